"""Opening and writing files safely: checks before a parser sees them, atomic replacement after."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from matnet.errors import FileFormatError

HOME = "MATNET_HOME"


def cache_folder() -> Path:
    """The folder of all that matnet keeps: `MATNET_HOME`, else `matnet` in the user's cache folder. May not exist."""
    chosen = os.environ.get(HOME)
    if chosen:
        return Path(chosen).expanduser().resolve()
    import pooch

    return Path(pooch.os_cache("matnet"))


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that appears under `path` whole, or not at all.

    The bytes go to a temporary file in the same folder, which replaces `path` when the block ends
    without an exception; otherwise it is removed and an older file at `path` stays as it was. It is not
    forced to the disk (fsync), which costs a large network as much as writing it: a crash of the program
    leaves no half file, a power cut within seconds of the end may.
    Raises FileFormatError where the folder does not exist or `path` is a folder.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """As atomic_write, for libraries that open files by name: the path of the temporary file, still empty."""
    target = Path(path)
    if target.is_dir():
        raise FileFormatError(f"{target}: is a folder; give the name of the file to write")
    if not target.parent.is_dir():
        raise FileFormatError(f"{target}: the folder {target.parent} does not exist; create it first")
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(_mode_of(target))
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _mode_of(target: Path) -> int:
    """The permission bits that a plain `open(target, "w")` would leave behind."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def existing_file(path: str | os.PathLike[str], what: str = "file") -> Path:
    """`path` as a Path, once it is known to be a non-empty regular file.

    Raises FileFormatError naming the path for a missing file, a folder, an empty file.
    """
    target = Path(path)
    if target.is_dir():
        raise FileFormatError(f"{target}: is a folder, not a {what}; give the file itself")
    if not target.exists():
        raise FileFormatError(f"{target}: no such {what}; check the name and the folder")
    if target.stat().st_size == 0:
        raise FileFormatError(f"{target}: the {what} is empty (0 bytes); fetch or copy it again")
    return target


def map_file(path: str | os.PathLike[str]) -> memoryview:
    """The bytes of a non-empty file, read-only and mapped: nothing is read until it is looked at.

    The file stays mapped as long as the view, or an array made of it, lives. Raises FileFormatError.
    """
    try:
        with open(path, "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path}: cannot be read: {error}") from error


def looks_like_html(head: bytes) -> bool:
    """Whether the first bytes of a file are a web page, the usual result of a dead download link."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<body"))
