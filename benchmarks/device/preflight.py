"""Before anything is timed: which packages are missing, and how a machine without a network gets them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

# Module -> package, and what is not done without it.
NEEDED: Mapping[str, tuple[str, str]] = {
    "numpy": ("numpy", "nothing runs"),
    "cupy": ("cupy-cuda13x", "the GPU engine cannot run"),
    "cudnn": ("nvidia-cudnn-frontend", "convolutions go through CuPy alone, which is slower"),
    "torch": ("torch", "there is no peer, and no ceiling is measured"),
    "h5py": ("h5py", "networks in MATLAB's 7.3 files are not checked"),
    "yaml": ("PyYAML", "networks of the zoo cannot be built by name"),
    "tabulate": ("tabulate", "figures are written as JSON alone, without tables"),
    "pooch": ("pooch", "the user's cache folder is not found, and an empty one is used"),
    "PIL": ("Pillow", "agreement over real images is not checked"),
}
HOME = "MATNET_HOME"


@dataclass(frozen=True)
class Missing:
    """A package that is not there, and what is lost by that."""

    package: str
    loss: str

    def line(self) -> str:
        return f"{self.package} is not installed: {self.loss}"


def missing(found: Callable[[str], object] = find_spec) -> list[Missing]:
    """All packages of NEEDED that are not installed."""
    return [Missing(package, loss) for module, (package, loss) in NEEDED.items() if not found(module)]


def how_to_install(lacking: list[Missing]) -> list[str]:
    """The commands, with a network and without one."""
    names = " ".join(item.package for item in lacking)
    return [
        f"with a network: python -m pip install {names}",
        f"without one: where there is one, python -m pip download --no-deps --only-binary=:all: -d wheels {names}",
        "then here: sh benchmarks/device/run.sh, which installs what lies in the folder wheels",
    ]


def use_a_cache_without_pooch() -> None:
    """Choose an empty cache folder where pooch, which knows the user's, is not installed."""
    if not os.environ.get(HOME) and not find_spec("pooch"):
        os.environ[HOME] = tempfile.mkdtemp(prefix="matnet-home-")
