"""Exceptions of matnet, and how commands report them."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING

from matnet.interrupts import INTERRUPTED, Interrupts

if TYPE_CHECKING:
    import argparse


class MatnetError(RuntimeError):
    """Base class: an error that the caller can fix. Its text is one clear message."""


class FileFormatError(MatnetError):
    """A file is missing, truncated, corrupt, or not of the expected format."""


class UnsupportedLayersError(MatnetError):
    """Layers that cannot be converted or run; all are listed. `layers`: their names, where known."""

    def __init__(self, message: str = "", layers: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.layers = tuple(layers)


class NetworkError(MatnetError):
    """A graph that cannot run: a cycle, a missing input, an unknown name or a bad parameter."""


class NoBoxError(NetworkError):
    """A layer found no box in an image, so the layers after it have no input."""


class ShapeError(MatnetError):
    """Shapes that do not match; the text states both."""


class DataError(MatnetError):
    """An unusable data set or image."""


class DownloadError(MatnetError):
    """A failed download, or a checksum mismatch."""


class EngineError(MatnetError):
    """An engine, device or precision that is not available."""


class OutOfMemoryError(EngineError):
    """A batch that does not fit in memory. `batch_size`: its number of images, if known."""

    def __init__(self, message: str, batch_size: int | None = None) -> None:
        super().__init__(message)
        self.batch_size = batch_size


def listing(what: str, items: Iterable[str], limit: int = 20) -> str:
    """`what` followed by one indented line per item, at most `limit`."""
    lines = list(items)
    shown = [f"  {line}" for line in lines[:limit]]
    if len(lines) > limit:
        shown.append(f"  ... and {len(lines) - limit} more")
    return "\n".join([what, *shown])


def printable(text: str) -> str:
    """Escape control characters, except tab and newline, in text from a file or server.

    >>> printable("404 \\x1b[2J")
    '404 \\\\x1b[2J'
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def say(text: object) -> None:
    """Print text that may contain names from a file."""
    print(printable(str(text)))


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint `; nearest: a, b`, or an empty string if no name is similar."""
    close = nearest_names(name, known)
    return f"; nearest: {', '.join(close)}" if close else ""


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Up to three of the names `known` that are similar to `name`, the nearest first."""
    return get_close_matches(name, list(dict.fromkeys(known)), n=3, cutoff=0.5)


def in_words(of_python: str, of_commands: str) -> str:
    """The wording of advice: `of_commands` while `run_command` runs a command, otherwise `of_python`."""
    return of_commands if _running else of_python


def where_names_are() -> str:
    """Advice on how to list the names of a network's variables and layers."""
    return in_words("net.variables and net.layers list them", f"`{program('show')} MODEL` lists them")


def wording() -> tuple[list[object], list[str]]:
    """The state of `in_words` and `program`, for `use_wording` in a worker process."""
    return [None] * len(_running), _called_as


def use_wording(of_parent: tuple[list[object], list[str]]) -> None:
    """Adopt the wording of the parent process, given its `wording()`."""
    _running[:], _called_as[:] = of_parent


_running: list[object] = []
"""The commands that `run_command` is running; shared by all threads."""


def run_command(main: Callable[[list[str] | None], int], argv: list[str] | None = None) -> int:
    """Run a command's `main` and report any error as one message on stderr.

    Exit status: 0 done, 1 a failed check or a bug in matnet, 2 bad input or usage, 130 interrupted. Shows the log of
    `matnet` on stderr. The traceback of an unexpected exception goes to a file named in the message; `--debug` and the
    test suite show it instead. Every command takes `--debug` and `--import FILE`.
    """
    _usable_streams()
    common, left = common_options().parse_known_args(argv)
    interrupts = Interrupts()
    _running.append(main)
    try:
        with interrupts.kept(), log_on_stderr():
            _refuse_empty(sys.argv[1:] if argv is None else argv)
            for path in common.import_:
                from matnet.layer_files import import_layers

                import_layers(path)
            status = main(left)
        sys.stdout.flush()
        if not interrupts.status or status in (130, 143):
            return status
        error: BaseException = KeyboardInterrupt()
    except BaseException as raised:
        error = raised
    finally:
        _running.pop()
    if interrupts.status or isinstance(error, KeyboardInterrupt):
        print(INTERRUPTED, file=sys.stderr)
        return interrupts.status or 130
    return _reported(error, common.debug or "PYTEST_CURRENT_TEST" in os.environ)


def _reported(error: BaseException, debug: bool) -> int:
    """Print the error on stderr; returns the exit status."""
    if isinstance(error, MatnetError):
        print(f"matnet: {printable(str(error))}", file=sys.stderr)
        return 2
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        return 141
    if isinstance(error, OSError):
        # Errors of a stream have no file name; errors of files written by matnet do.
        stream = "standard output" if error.errno == errno.ENOSPC else ""
        where = f"{error.filename or stream}: " if error.filename or stream else ""
        print(f"matnet: {printable(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return 2
    if isinstance(error, MemoryError):
        print("matnet: out of memory; try a smaller batch or input size", file=sys.stderr)
        return 2
    if debug or not isinstance(error, Exception):  # such as SystemExit of argparse
        raise error
    print(_report_of_bug(error), file=sys.stderr)
    return 1


def _refuse_empty(arguments: Iterable[str]) -> None:
    """Raise MatnetError for an empty argument or an empty value (`--option=`)."""
    for argument in arguments:
        if argument == "--":
            return
        if not argument or re.fullmatch(r"--[\w-]+=", argument):
            which = f"{argument[:-1]} has an empty value" if argument else "one of the arguments is empty"
            raise MatnetError(f"{which}, perhaps from an unset variable; omit it or set a value")


def program(verb: str) -> str:
    """A command as the user calls it: `python -m matnet.VERB`, or `matnet VERB` after `called_as("matnet")`."""
    return f"{_called_as[-1]} {verb}" if _called_as else f"python -m matnet.{verb}"


def called_as(name: str) -> None:
    """Set the program name for all commands of this process."""
    _called_as.append(name)


_called_as: list[str] = []


def command_parser(verb: str, *forms: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """A parser with the common options. forms: the usage after `matnet VERB [options]`, one line each."""
    import argparse

    spelled = [f"%(prog)s [options] {form}".rstrip() for form in forms]
    usage = "\n       ".join(spelled) or None
    return argparse.ArgumentParser(
        parents=[common_options()], prog=program(verb), usage=usage, description=description, epilog=epilog
    )


def common_options() -> argparse.ArgumentParser:
    """Options of every command. `run_command` parses them; command parsers list them as a parent."""
    import argparse

    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    group = common.add_argument_group("all commands")
    group.add_argument(
        "--import",
        dest="import_",
        action="append",
        default=[],
        metavar="FILE.py",
        help="run a Python file that registers layers (matnet.ops.register) before anything is read; may be repeated",
    )
    group.add_argument("--debug", action="store_true", help="show Python's traceback of an unexpected error")
    return common


def _usable_streams() -> None:
    """Make printing safe: replace a closed stream by the null device, escape what cannot be encoded."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open until the process ends
        elif getattr(stream, "errors", None) in ("strict", "surrogateescape"):
            with suppress(AttributeError, ValueError, OSError):
                stream.reconfigure(errors="backslashreplace")


@contextmanager
def log_on_stderr() -> Iterator[None]:
    """Show the log of `matnet` (level INFO and above) on stderr while a command runs."""
    handler = StderrHandler()
    log = logging.getLogger("matnet")
    if any(isinstance(other, StderrHandler) for other in log.handlers):
        yield
        return
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


class StderrHandler(logging.Handler):
    """Writes `matnet: MESSAGE` to the current sys.stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"matnet: {printable(record.getMessage())}", file=sys.stderr, flush=True)


def _report_of_bug(error: Exception) -> str:
    """A message for an unexpected exception, with the file of its traceback, or else the traceback itself."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    import tempfile  # slow to import

    said = f"matnet: {type(error).__name__}: {printable(' '.join(str(error).split())[:300])}; this is a bug in matnet"
    try:
        descriptor, name = tempfile.mkstemp(prefix="matnet-traceback-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        return f"{said}; the traceback:\n{text}"
    return f"{said}; the traceback is in {name}"
