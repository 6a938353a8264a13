"""The exception tree, and the one way in which a command reports it."""

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
    """Something that the caller can mend; its text is one clear message."""


class FileFormatError(MatnetError):
    """A file is missing, cut, corrupt, or not what its name promises."""


class UnsupportedLayersError(MatnetError):
    """A network holds layers that cannot be converted or run; all are listed, by name in `layers` where it is known."""

    def __init__(self, message: str = "", layers: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.layers = tuple(layers)


class NetworkError(MatnetError):
    """A graph that cannot run: cycles, dangling inputs, unknown names, bad parameters."""


class NoBoxError(NetworkError):
    """A layer found no box in an image, so that the layers behind it have nothing to compute."""


class ShapeError(MatnetError):
    """Sizes that do not fit together; both sides are in the text."""


class DataError(MatnetError):
    """A data set or an image that cannot be used."""


class DownloadError(MatnetError):
    """A file that could not be fetched or whose checksum differs."""


class EngineError(MatnetError):
    """An engine, device or precision that is not available here."""


class OutOfMemoryError(EngineError):
    """A batch that does not fit in memory; `batch_size` is the number of images in it, where that is known."""

    def __init__(self, message: str, batch_size: int | None = None) -> None:
        super().__init__(message)
        self.batch_size = batch_size


def listing(what: str, items: Iterable[str], limit: int = 20) -> str:
    """`what` followed by one indented line per item, which names every problem of a file at once."""
    lines = list(items)
    shown = [f"  {line}" for line in lines[:limit]]
    if len(lines) > limit:
        shown.append(f"  ... and {len(lines) - limit} more")
    return "\n".join([what, *shown])


def printable(text: str) -> str:
    """Text from a file or a server for a terminal: control characters are escaped, but for tab and new line.

    >>> printable("404 \\x1b[2J")
    '404 \\\\x1b[2J'
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def say(text: object) -> None:
    """Print what may hold names of a file."""
    print(printable(str(text)))


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def nearest(name: str, known: Iterable[str]) -> str:
    """A ready-made hint: `; nearest: a, b` or, where nothing is near, an empty string."""
    close = nearest_names(name, known)
    return f"; nearest: {', '.join(close)}" if close else ""


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """At most three of the names `known` that are spelled like `name`, the nearest first, each once."""
    return get_close_matches(name, list(dict.fromkeys(known)), n=3, cutoff=0.5)


def in_words(of_python: str, of_commands: str) -> str:
    """What a message advises: keywords of Python, or, while `run_command` runs a command, its options."""
    return of_commands if _running else of_python


def where_names_are() -> str:
    """Where the person finds the names of a network's variables and layers."""
    return in_words("net.variables and net.layers list them", f"`{program('show')} MODEL` lists them")


def wording() -> tuple[list[object], list[str]]:
    """The state of `in_words` and `program`, for `use_wording` in a process that helps this one."""
    return [None] * len(_running), _called_as


def use_wording(of_parent: tuple[list[object], list[str]]) -> None:
    """Word messages as the process does whose `wording()` this is."""
    _running[:], _called_as[:] = of_parent


_running: list[object] = []
"""The commands that `run_command` runs at the moment: what the person used, whatever thread writes the message."""


def run_command(main: Callable[[list[str] | None], int], argv: list[str] | None = None) -> int:
    """Run a command's `main`; whatever goes wrong becomes one message on stderr.

    Status: 0 done, 1 a check failed or matnet itself is at fault, 2 bad input or usage, 130 interrupted. The log below
    `matnet` is shown on stderr. An unexpected exception leaves its traceback in a file that the message names;
    `--debug` and the test suite show it instead. Every command takes `--debug` and `--import FILE`.
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
    """Print on stderr what went wrong; returns the exit status."""
    if isinstance(error, MatnetError):
        print(f"matnet: {printable(str(error))}", file=sys.stderr)
        return 2
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        return 141
    if isinstance(error, OSError):
        # Errors of a stream carry no name; those of files that matnet writes do.
        stream = "standard output" if error.errno == errno.ENOSPC else ""
        where = f"{error.filename or stream}: " if error.filename or stream else ""
        print(f"matnet: {printable(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return 2
    if isinstance(error, MemoryError):
        print("matnet: out of memory; try a smaller batch or input size", file=sys.stderr)
        return 2
    if debug or not isinstance(error, Exception):  # such as the end that argparse asks for
        raise error
    print(_report_of_bug(error), file=sys.stderr)
    return 1


def _refuse_empty(arguments: Iterable[str]) -> None:
    """MatnetError for an empty argument, and for an option with `=` and nothing behind it."""
    for argument in arguments:
        if argument == "--":
            return
        if not argument or re.fullmatch(r"--[\w-]+=", argument):
            which = f"{argument[:-1]} has an empty value" if argument else "one of the arguments is empty"
            raise MatnetError(f"{which}, as that of an unset variable is; leave it out")


def program(verb: str) -> str:
    """A command as the person calls it: `python -m matnet.VERB`, or `matnet VERB` after `called_as("matnet")`."""
    return f"{_called_as[-1]} {verb}" if _called_as else f"python -m matnet.{verb}"


def called_as(name: str) -> None:
    """State the name under which all commands are called in this process."""
    _called_as.append(name)


_called_as: list[str] = []


def command_parser(verb: str, *forms: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """The parser of a command, with the options of all. forms: what may follow `matnet VERB [options]`, if anything."""
    import argparse

    spelled = [f"%(prog)s [options] {form}".rstrip() for form in forms]
    usage = "\n       ".join(spelled) or None
    return argparse.ArgumentParser(
        parents=[common_options()], prog=program(verb), usage=usage, description=description, epilog=epilog
    )


def common_options() -> argparse.ArgumentParser:
    """The options that every command takes: `run_command` reads them, and a command's parser lists them as a parent."""
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
    """Let printing never fail: a closed stream becomes the null device, and what cannot be encoded is escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open until the process ends
        elif getattr(stream, "errors", None) in ("strict", "surrogateescape"):
            with suppress(AttributeError, ValueError, OSError):
                stream.reconfigure(errors="backslashreplace")


@contextmanager
def log_on_stderr() -> Iterator[None]:
    """Show notes and warnings of the library, the log below `matnet`, on stderr while a command runs."""
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
    """Writes `matnet: MESSAGE` to what is standard error at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"matnet: {printable(record.getMessage())}", file=sys.stderr, flush=True)


def _report_of_bug(error: Exception) -> str:
    """One sentence about an unexpected exception, with the file that holds its traceback, or the traceback."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    import tempfile  # which loads more than most commands need

    said = f"matnet: {type(error).__name__}: {printable(' '.join(str(error).split())[:300])}; this is a bug in matnet"
    try:
        descriptor, name = tempfile.mkstemp(prefix="matnet-traceback-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        return f"{said}; the traceback:\n{text}"
    return f"{said}; the traceback is in {name}"
