"""The packages of a checkout without symbolic links, as on Windows; all else about matnet stands in setup.cfg."""

from pathlib import Path

from setuptools import find_packages, setup

LINKED = ("benchmarks", "converters", "models")  # in matnet/, links to the folders at the top
CODE = ["benchmarks", "benchmarks.*", "converters", "converters.*"]

if Path("matnet", "converters").is_dir():
    setup()
else:
    setup(
        packages=[
            *find_packages(include=["matnet", "matnet.*"]),
            *(f"matnet.{name}" for name in find_packages(include=CODE)),
            "matnet.models",
        ],
        package_dir={f"matnet.{top}": top for top in LINKED},
    )
