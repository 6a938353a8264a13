"""`matnet VERB ...`, or `python -m matnet VERB ...`: every command of matnet under one name."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec

from matnet.command_line import run_command
from matnet.errors import MatnetError, called_as, nearest

VERBS = {
    "predict": "classify photos: the best classes, with probabilities",
    "features": "compute features of photos, as an array",
    "show": "show layers, sizes, receptive fields and memory of a network",
    "run": "run a network on arrays or images, and write any of its variables",
    "eval": "measure a network's error on a data set",
    "convert": "convert Caffe into .mat, and .mat into Caffe, ONNX or PyTorch",
    "diff": "compare two networks: structure, params, meta",
    "doctor": "find faults in a network's file, preprocessing or labels",
    "zoo": "list, fetch and check known models",
    "reproduce": "measure the published tables again",
    "benchmarks": "compare the speed with that of other programs",
    "demo": "show networks and run them on images, in the browser",
    "env": "print the versions and devices that a bug report needs",
}
"""Each command with its one-line description. `verbs()` omits commands without a module."""


def module_of(verb: str) -> str | None:
    """The module that holds the command's `main`, or None."""
    if verb not in VERBS:
        return None
    found = find_spec(f"matnet.{verb}")
    if found is None or found.submodule_search_locations is None:
        return found.name if found else None
    command = find_spec(f"matnet.{verb}.__main__")
    return command.name if command else None


def verbs() -> Mapping[str, str]:
    """The installed commands with their one-line descriptions."""
    return {verb: text for verb, text in VERBS.items() if module_of(verb) is not None}


def usage() -> str:
    """The text that `matnet` prints without arguments."""
    known = verbs()
    width = max(map(len, known))
    return "\n".join(
        [
            "usage: matnet COMMAND ...",
            "",
            "Load, convert, run and evaluate networks of MatConvNet and Caffe.",
            "",
            *(f"  {verb:{width}}  {text}" for verb, text in known.items()),
            "",
            "matnet COMMAND --help explains a command.",
            "matnet --version prints the version, backends and devices.",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Handle a command line that names no known command: help, version or an error."""
    given = sys.argv[1:] if argv is None else argv
    if not given or given[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if given[0] == "--version":
        from matnet import __version__
        from matnet.evaluation.provenance import backends_and_devices

        print(f"matnet {__version__}")
        print("\n".join(f"{name}: {value}" for name, value in backends_and_devices().items()))
        return 0
    what, known = ("an option", ["--help", "--version"]) if given[0].startswith("-") else ("a command", [*verbs()])
    raise MatnetError(f"{given[0]}: is not {what} of matnet{nearest(given[0], known)}; `matnet --help` lists all")


def script() -> int:
    """Console script `matnet`: run the command named by the first argument; returns the exit status."""
    interruptible()
    module = module_of(sys.argv[1]) if len(sys.argv) > 1 else None
    if module is None:
        return run_command(main)
    called_as("matnet")
    command = import_module(module)
    return run_command(command.main, sys.argv[2:])


if __name__ == "__main__":
    sys.exit(script())
