"""Checks before timing: which packages are missing, and how to install them on a machine without a network."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

# Module -> package, and the consequence if it is missing.
NEEDED: Mapping[str, tuple[str, str]] = {
    "numpy": ("numpy", "nothing runs"),
    "cupy": ("cupy-cuda13x", "the GPU engine cannot run"),
    "cudnn": ("nvidia-cudnn-frontend", "convolutions run in CuPy, which is slower"),
    "torch": ("torch", "no peer and no ceilings are measured"),
    "h5py": ("h5py", "networks in MAT 7.3 files are not checked"),
    "yaml": ("PyYAML", "networks of the zoo cannot be built by name"),
    "tabulate": ("tabulate", "figures are written only as JSON, without tables"),
    "pooch": ("pooch", "an empty cache folder is used instead of the user's"),
    "PIL": ("Pillow", "agreement over real images is not checked"),
}
HOME = "MATNET_HOME"


@dataclass(frozen=True)
class Missing:
    """A missing package and the consequence."""

    package: str
    loss: str

    def line(self) -> str:
        return f"{self.package} is not installed: {self.loss}"


def missing(found: Callable[[str], object] = find_spec) -> list[Missing]:
    """The packages in NEEDED that are not installed."""
    return [Missing(package, loss) for module, (package, loss) in NEEDED.items() if not found(module)]


def how_to_install(lacking: list[Missing]) -> list[str]:
    """The install commands, with and without a network."""
    names = " ".join(item.package for item in lacking)
    return [
        f"with a network: python -m pip install {names}",
        f"without: on another machine, python -m pip download --no-deps --only-binary=:all: -d wheels {names}",
        "then here: sh benchmarks/device/run.sh, which installs from the folder wheels",
    ]


def use_a_cache_without_pooch() -> None:
    """Use an empty cache folder if pooch, which finds the user's, is not installed."""
    if not os.environ.get(HOME) and not find_spec("pooch"):
        os.environ[HOME] = tempfile.mkdtemp(prefix="matnet-home-")
