"""An editable install, imported in the folder that holds the clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])"
IMPORT = "import site, sys; site.addsitedir(sys.argv[1]); import matnet, matnet.converters; print(matnet.__version__)"


@pytest.mark.process
@pytest.mark.skipif(not (ROOT / "matnet/converters").is_dir(), reason="a checkout without symbolic links")
def test_the_folder_of_the_clone_does_not_hide_the_package(tmp_path: Path) -> None:
    """Python looks in the current folder first, where the clone `matnet` has no __init__.py: a namespace package."""
    pytest.importorskip("setuptools")
    pytest.importorskip("wheel")
    clone = tmp_path / "matnet"
    for folder in ("matnet", "converters", "benchmarks"):
        shutil.copytree(ROOT / folder, clone / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    (clone / "models").mkdir()
    for file in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, clone / file)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    built, installed = tmp_path / "built", tmp_path / "installed"
    built.mkdir()

    def python(folder: Path, code: str, argument: Path) -> str:
        line = [sys.executable, "-c", code, str(argument)]
        done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    python(clone, BUILD, built)
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(installed)
    import matnet

    assert python(tmp_path, IMPORT, installed).strip() == matnet.__version__
