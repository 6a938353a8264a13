"""The exception classes, and helpers for their messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


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


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint `; nearest: a, b`, or an empty string if no name is similar."""
    close = nearest_names(name, known)
    return f"; nearest: {', '.join(close)}" if close else ""


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Up to three of the names `known` that are similar to `name`, the nearest first; else those that begin like it."""
    from difflib import get_close_matches  # only for messages

    backwards = list(known)[::-1]  # of several with one spelling or beginning, the first known counts
    names = {text.casefold(): text for text in backwards}
    beginnings = {text.casefold()[: len(name)]: text.casefold() for text in backwards}
    folded = name.casefold()
    close = get_close_matches(folded, names, n=3, cutoff=0.5)
    close = close or [beginnings[text] for text in get_close_matches(folded, beginnings, n=3, cutoff=0.75)]
    return [names[text] for text in close]


def in_words(of_python: str, of_commands: str) -> str:
    """The wording of advice: `of_commands` while `run_command` runs a command, otherwise `of_python`."""
    return of_commands if _running else of_python


@contextmanager
def worded_for_commands() -> Iterator[None]:
    """Inside the block, messages refer to command-line options."""
    _running.append(None)
    try:
        yield
    finally:
        _running.pop()


def where_names_are() -> str:
    """Advice on how to list the names of a network's variables and layers."""
    return in_words("net.variables and net.layers list them", f"`{program('show')} MODEL` lists them")


def wording() -> tuple[list[object], list[str]]:
    """The state of `in_words` and `program`, for `use_wording` in a worker process."""
    return [None] * len(_running), [*_called_as]


def use_wording(of_parent: tuple[list[object], list[str]]) -> None:
    """Adopt the wording of the parent process, given its `wording()`."""
    _running[:], _called_as[:] = of_parent


@contextmanager
def worded_as(of_client: tuple[list[object], list[str]]) -> Iterator[None]:
    """Inside the block, messages have the wording of another process, given its `wording()`."""
    own = wording()
    use_wording(of_client)
    try:
        yield
    finally:
        use_wording(own)


_running: list[object] = []
"""One entry per running command, shared by all threads."""


def program(verb: str) -> str:
    """A command as the user calls it: `python -m matnet.VERB`, or `matnet VERB` after `called_as("matnet")`."""
    return f"{_called_as[-1]} {verb}" if _called_as else f"python -m matnet.{verb}"


def called_as(name: str) -> None:
    """Set the program name for all commands of this process."""
    _called_as.append(name)


_called_as: list[str] = []
