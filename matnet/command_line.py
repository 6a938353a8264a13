"""How a command runs: the options of all, its log on stderr, its end on Ctrl-C, and how errors are reported."""

from __future__ import annotations

import argparse
import errno
import gc
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NoReturn

from matnet.errors import MatnetError, nearest, printable, program, worded_for_commands
from matnet.interrupts import INTERRUPTED, Interrupts, ended


def run_command(main: Callable[[list[str] | None], int], argv: list[str] | None = None) -> int:
    """Run a command's `main` and report any error as one message on stderr.

    Exit status: 0 done, 1 a failed check or a bug in matnet, 2 bad input or usage, 130 interrupted. Shows the log of
    `matnet` on stderr. The traceback of an unexpected exception goes to a file named in the message; `--debug` and the
    test suite show it instead. Every command takes `--debug` and `--import FILE`.
    """
    if not gc.isenabled():  # since `interruptible`; the modules loaded since then stay until the end
        gc.freeze()
        gc.enable()
    _usable_streams()
    common, left = _common(argv)
    interrupts = Interrupts()
    try:
        with worded_for_commands(), interrupts.kept(), log_on_stderr():
            _refuse_empty(sys.argv[1:] if argv is None else argv)
            for path in common.import_:
                from matnet.layer_files import import_layers

                import_layers(path)
            status = main(left)
        sys.stdout.flush()
        if not interrupts.status:
            return status
        from matnet.outcomes import ExitStatus

        if status in (ExitStatus.INTERRUPTED, ExitStatus.TERMINATED):
            return ended(status)
        error: BaseException = KeyboardInterrupt()
    except BaseException as raised:
        error = raised
    from matnet.outcomes import ExitStatus

    if interrupts.status or isinstance(error, KeyboardInterrupt):
        print(INTERRUPTED, file=sys.stderr)
        return ended(interrupts.status or ExitStatus.INTERRUPTED)
    return _reported(error, common.debug or "PYTEST_CURRENT_TEST" in os.environ)


def _common(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The common options, and the other arguments; all of these if the command's own parser must report a fault."""
    parser = common_options()
    try:
        return parser.parse_known_args(argv)
    except argparse.ArgumentError:
        return parser.parse_args([]), sys.argv[1:] if argv is None else argv


def _reported(error: BaseException, debug: bool) -> int:
    """Print the error on stderr; returns the exit status."""
    from matnet.outcomes import ExitStatus

    if isinstance(error, MatnetError):
        print(f"matnet: {printable(str(error))}", file=sys.stderr)
        return ExitStatus.MENDABLE
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        return 141
    if isinstance(error, OSError):
        # Errors of a stream have no file name; errors of files written by matnet do.
        stream = "standard output" if error.errno == errno.ENOSPC else ""
        where = f"{error.filename or stream}: " if error.filename or stream else ""
        print(f"matnet: {printable(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return ExitStatus.MENDABLE
    if isinstance(error, MemoryError):
        print("matnet: out of memory; try a smaller batch or input size", file=sys.stderr)
        return ExitStatus.MENDABLE
    if debug or not isinstance(error, Exception):  # such as SystemExit of argparse
        raise error
    print(_report_of_bug(error), file=sys.stderr)
    return ExitStatus.CHECK_FAILED


def _refuse_empty(arguments: Iterable[str]) -> None:
    """Raise MatnetError for an empty argument or an empty value (`--option=`)."""
    for argument in arguments:
        if argument == "--":
            return
        if not argument or re.fullmatch(r"--[\w-]+=", argument):
            which = f"{argument[:-1]} has an empty value" if argument else "one of the arguments is empty"
            raise MatnetError(f"{which}, perhaps from an unset variable; omit it or set a value")


def command_parser(verb: str, *forms: str, description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """A parser with the common options. forms: the usage after `matnet VERB [options]`, one line each."""
    spelled = [f"%(prog)s [options] {form}".rstrip() for form in forms]
    usage = "\n       ".join(spelled) or None
    return CommandParser(
        parents=[common_options()], prog=program(verb), usage=usage, description=description, epilog=epilog
    )


_ANY_WIDTH: Any = partial(argparse.HelpFormatter, width=80)
"""Checks options while they are added. To find the terminal's width for that, argparse would load `shutil`."""


class CommandParser(argparse.ArgumentParser):
    """Names the options that are similar to an unknown one. It takes no abbreviations.

    `--color` of one command would otherwise be `--color-format` of another.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_ANY_WIDTH, **options)

    def format_help(self) -> str:
        self.formatter_class = argparse.HelpFormatter
        return super().format_help()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._typed = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        options, unknown = _options_of(self), "unrecognized arguments:"
        if message.startswith("the following arguments are required"):  # perhaps because an option is misspelt
            typed = (text for text in self._typed if re.match("--[a-z]", text))
            wrong = [text for text in typed if text.partition("=")[0] not in options]
            message = f"{unknown} {' '.join(wrong)}" if wrong else message
        option = re.search(r" (-[-a-zA-Z][\w-]+)", message) if message.startswith(unknown) else None
        super().error(message + (nearest(option[1], options) if option else ""))


def _options_of(parser: argparse.ArgumentParser) -> list[str]:
    """The options of a parser and of its subcommands."""
    ways = [action.choices or {} for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    below = [option for way in ways for each in way.values() for option in _options_of(each)]
    return [*parser._option_string_actions, *below]


def common_options() -> argparse.ArgumentParser:
    """Options of every command. `run_command` parses them; command parsers list them as a parent."""
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
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


def say(text: object) -> None:
    """Print text that may contain names from a file."""
    print(printable(str(text)))


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
    import tempfile  # slow to import, and rarely needed

    said = f"matnet: {type(error).__name__}: {printable(' '.join(str(error).split())[:300])}; this is a bug in matnet"
    try:
        descriptor, name = tempfile.mkstemp(prefix="matnet-traceback-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        return f"{said}; the traceback:\n{text}"
    return f"{said}; the traceback is in {name}"
