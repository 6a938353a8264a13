"""`matnet env`: versions, engines, devices and the cache folder, for bug reports."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import matnet
from matnet.command_line import command_parser, run_command
from matnet.errors import MatnetError
from matnet.files import cache_folder, models_folder

REQUIRED = ("numpy", "scipy", "h5py", "Pillow", "requests", "pooch", "PyYAML", "onnxruntime")
OPTIONAL = ("openvino", "opencv-python-headless", "onnx", "torch", "distributed", "matplotlib", "starlette")
GPU = ("cupy-cuda13x", "cupy-cuda12x", "cupy", "nvidia-cudnn-frontend", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12")


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "env", description="Print the versions, engines, devices and folders that a bug report needs."
    )
    command.add_argument("--json", action="store_true", help="print them as JSON")
    return command


def environment() -> dict[str, str]:
    """The environment by name. Only the folder paths are personal."""
    from matnet.evaluation.provenance import backends_and_devices, commit

    found = {
        "matnet": " ".join(filter(None, [matnet.__version__, commit()])),
        "installed in": str(Path(matnet.__file__).parent),
        "models": _or_error(lambda: str(models_folder())),
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        **backends_and_devices(),
    }
    for package in (*REQUIRED, *OPTIONAL, *GPU):
        installed = _version(package)
        if installed or package in REQUIRED:
            found[package] = installed or "not installed"
    found["runtimes"] = _or_error(_runtimes)
    found["backend auto"] = _or_error(_chosen)
    found["cache folder"] = _or_error(_cache)
    return {**found, **{name: value for name, value in sorted(os.environ.items()) if name.startswith("MATNET_")}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _or_error(describe: Callable[[], str]) -> str:
    """The text, or the error message: this command must work in a broken installation."""
    try:
        return describe()
    except MatnetError as error:
        return str(error)


def _runtimes() -> str:
    from matnet.engines.cpu.runtimes import RUNTIMES, available

    return ", ".join(filter(available, RUNTIMES)) or "none"


def _chosen() -> str:
    """The chosen backend, with the reason if no GPU is used."""
    from matnet.engines import choose

    backend, notes = choose()
    return "; ".join([backend, *notes])


def _cache() -> str:
    folder = cache_folder()
    if not folder.is_dir():
        return f"{folder} (does not exist yet)"
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return f"{folder} ({len(files)} files, {size / 1e6:,.1f} MB)"


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    found = environment()
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        width = max(map(len, found))
        print("\n".join(f"{name:{width}}  {value}" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
