"""Safe file access: checks before reading, atomic writing."""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

import matnet
from matnet.errors import FileFormatError, in_words
from matnet.kinds import CAFFEMODEL, EMPTY, JSON, MAT, ONNX, PROTOTXT, SUFFIXES, TEXT, TEXTS, kind_of

HOME = "MATNET_HOME"
PathLike = str | os.PathLike[str]
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")
_STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_LEFTOVER = re.compile(r"(\d{1,10})\.[0-9a-f]{16}\.part")
_LINKS = 40  # longest chain of symbolic links, as in the Linux kernel
_OF_THE_FILE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.ENXIO)


def cache_folder() -> Path:
    """The cache folder: `MATNET_HOME`, else `matnet` in the user's cache folder. It may not exist.

    Raises FileFormatError if `MATNET_HOME` names an unknown user (`~name`).
    """
    chosen = os.environ.get(HOME)
    if not chosen:
        import pooch

        return Path(pooch.os_cache("matnet"))
    try:
        return Path(chosen).expanduser().resolve()
    except (RuntimeError, OSError) as error:
        raise FileFormatError(f"environment variable {HOME}: {chosen!r} is not a valid folder: {error}") from None


def models_folder() -> Path:
    """The folder of the bundled model cards: `matnet/models`, or `models` at the top of a checkout.

    Raises FileFormatError if it is missing or has no cards.
    """
    tried = [Path(folder, "models") for folder in matnet.__path__]
    for models in tried:
        if any(models.glob("*/readme.md")):
            return models
    raise FileFormatError(
        f"{tried[-1]}: no model cards found (NAME/readme.md); the installation is incomplete, reinstall matnet"
    )


# -- what a command may write -----------------------------------------------------------------------


def check_outputs(outputs: Iterable[tuple[PathLike | None, str]], read: Iterable[PathLike | None] = ()) -> None:
    """Check all output paths before any work, so that nothing is overwritten by mistake.

    outputs: each path with its kind, one of `matnet.kinds`; None for an output that was not requested. read: every
    input file of the command; names without a file (such as model names) are ignored, and `P,W` means two files.
    Raises FileFormatError if an output is also an input (also through links), is given twice, is JSON data in an input
    folder, has the suffix of another kind, exists with another kind, is a folder or read-only, or if its folder does
    not exist or is read-only.
    """
    sources: dict[object, Path] = {}
    for part in (part for path in read if path is not None for part in _parts(os.fspath(path))):
        sources.setdefault(_identity(part), part)
    earlier: set[object] = set()
    for path, kind in outputs:
        if path is None:
            continue
        target = Path(path)
        if is_special(target):
            _check_target(target)
            continue
        identity = _identity(target)
        if identity in sources:
            found = sources[identity]
            raise FileFormatError(f"{target}: is an input of this command ({found}); give another output file")
        if identity in earlier:
            raise FileFormatError(f"{target}: is given for two outputs; give each its own file")
        _check_kind(target, kind)
        if kind == JSON:
            _refuse_data(target, sources.values())
        earlier.add(identity)


def _refuse_data(target: Path, sources: Iterable[Path]) -> None:
    """Raise FileFormatError for JSON in an input folder, such as annotations, that matnet did not write."""
    folders = Path(os.path.realpath(target)).parents
    inputs = (source for source in sources if os.path.isdir(source))
    folder = next((source for source in inputs if Path(os.path.realpath(source)) in folders), None)
    if folder is None or not target.is_file():
        return
    with target.open("rb") as file:
        ours = re.match(rb'\s*(\{\s*"(model|matnet)"|$)', file.read(256))
    if not ours:
        raise FileFormatError(
            f"{target}: lies in the input {folder} and is no result of matnet; give another output file"
        )


def _parts(path: str) -> list[Path]:
    return [Path(path)] if os.path.exists(path) else [Path(part) for part in path.split(",")]


def _identity(path: Path) -> object:
    """A value that identifies the file, the same for all its links; also defined for a file that does not exist yet."""
    try:
        found = path.stat()
    except ValueError:  # invalid file name
        return path
    except OSError:
        return os.path.normcase(os.path.realpath(path))
    return found.st_dev, found.st_ino


def _check_kind(target: Path, kind: str) -> None:
    promised = SUFFIXES.get(target.suffix.lower(), kind)
    if promised != kind and not (promised == TEXT and kind in TEXTS):
        ways = {ONNX: f", or --to-onnx {target}"}
        ways |= dict.fromkeys((PROTOTXT, CAFFEMODEL), f", or --to-caffe {target.with_suffix('')}")
        option = in_words("", ways.get(promised, "")) if kind == MAT else ""
        raise FileFormatError(
            f"{target}: the suffix is that of {promised}, but the output is {kind}; give another name{option}"
        )
    refuse_other_kind(target, kind)


def refuse_other_kind(path: PathLike, kind: str) -> None:
    """Raise FileFormatError if the path cannot be written, or a file of another kind than `kind` exists there."""
    target = Path(path)
    _check_target(target)
    if target.is_file() and not is_special(target):
        try:
            found = kind_of(target)
        except OSError as error:
            raise FileFormatError(f"{target}: exists and cannot be read: {error.strerror or error}") from None
        if found not in (kind, EMPTY):
            raise FileFormatError(f"{target}: exists and is {found}, not {kind}; give another name or remove it first")


def _check_target(target: Path) -> None:
    """Raise FileFormatError if no file can be written at this path."""
    try:
        problem = _problem(target)
    except (OSError, ValueError) as error:  # name too long or with a NUL byte
        problem = f"cannot be written: {getattr(error, 'strerror', None) or error}"
    if problem:
        raise FileFormatError(f"{target}: {problem}")


def _problem(target: Path) -> str:
    """Why no file can be written at this path; "" if it can."""
    if target.is_dir():
        return "is a folder; expected the name of an output file"
    number = _descriptor(target)
    if number is not None:
        import fcntl

        flags = fcntl.fcntl(number, fcntl.F_GETFL)
        return "" if flags & (os.O_WRONLY | os.O_RDWR) else "is not open for writing; use another file"
    real = Path(os.path.realpath(target))
    folder = real.parent if target.is_symlink() else target.parent
    if not real.parent.is_dir():
        return f"the folder {folder} does not exist; create it first"
    with suppress(FileNotFoundError):
        found = real.stat()
        if found.st_nlink > 1 and _is_mapped(found):
            return "has several names (hard links), and a loaded network is mapped from it; write to another file"
        writable = found.st_mode & 0o222 if os.name == "posix" else True
        if not (writable and os.access(real, os.W_OK)):
            return "is read-only; make it writable, or use another name"
    if not (is_special(target) or os.access(real.parent, os.W_OK | os.X_OK)):
        return f"the folder {folder} is read-only; make it writable, or write to another folder"
    return ""


def _is_mapped(found: os.stat_result) -> bool:
    from matnet.mapped import is_mapped  # loads numpy

    return is_mapped(found)


def check_folder(folder: PathLike) -> None:
    """Raise FileFormatError, before any work, if the folder cannot be created or written to."""
    _make_folder(Path(folder), make=False)


def make_folder(folder: PathLike) -> None:
    """Create the folder if it does not exist. Raises FileFormatError if it cannot be written to."""
    _make_folder(Path(folder), make=True)


def _make_folder(folder: Path, make: bool) -> None:
    try:
        real = Path(os.path.realpath(folder))  # of a link, the folder that it leads to, which need not exist yet
        if make:
            real.mkdir(parents=True, exist_ok=True)
        here = next(part for part in (real, *real.parents) if part.exists())
        writable = os.access(here, os.W_OK | os.X_OK)
        problem = f"{here} is a file" if not here.is_dir() else "" if writable else f"{here} is read-only"
    except (OSError, ValueError) as error:
        problem = f"cannot be created: {getattr(error, 'strerror', None) or error}"
    if problem:
        raise FileFormatError(f"{folder}: {problem}; use another folder")


def _descriptor(path: Path) -> int | None:
    """The file descriptor of this process that `path` names (/dev/stdout, /dev/fd/N), also through links."""
    name = os.path.abspath(path)
    if os.name != "posix":
        return None
    for _ in range(_LINKS):
        found = _DESCRIPTOR.fullmatch(name)
        if found or name in _STANDARD:
            return int(found[1]) if found else _STANDARD[name]
        try:
            name = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(name)))
        except (OSError, ValueError):
            return None
    return None


# -- writing ----------------------------------------------------------------------------------------


@contextmanager
def atomic_write(path: PathLike) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` atomically.

    The data goes to a temporary file in the same folder, which replaces `path` when the block ends. After an exception
    the temporary file is removed and `path` is unchanged. There is no fsync, because it would double the time of large
    files: a crash of the program never leaves a partial file, but a power failure within seconds may. Symbolic links
    are followed. Devices, FIFOs and open descriptors (/dev/stdout, /dev/fd/N) are written directly. A replaced file
    keeps its permissions, its owner where permitted, and its hard links (by copying the finished data into it).
    Raises FileFormatError if the folder does not exist, `path` is a folder or read-only, or the disk is full.
    """
    target = Path(path)
    if is_special(target):
        with _errors_named(target), _opened_directly(target) as file:
            yield file
        return
    with atomic_path(target) as temporary, open(temporary, "wb", opener=_untruncated) as file:
        yield file


def _untruncated(path: str, flags: int) -> int:
    """Open an empty file without truncating it: ext4 writes a truncated file to disk when it is closed."""
    return os.open(path, flags & ~os.O_TRUNC)


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Like atomic_write, for libraries that open files by name: yields the path of the empty temporary file."""
    target = Path(path)
    _check_target(target)
    if is_special(target):
        import shutil
        import tempfile

        with tempfile.TemporaryDirectory() as folder, _errors_named(target):
            finished = Path(folder, "whole")
            finished.touch()
            yield finished
            with finished.open("rb") as whole, _opened_directly(target) as file:
                shutil.copyfileobj(whole, file)
        return
    real = Path(os.path.realpath(target))
    temporary = _temporary_beside(real)
    try:
        with _errors_named(target, temporary, real):
            yield temporary
            _put(temporary, real)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_special(target: Path) -> bool:
    """Whether the path exists and is neither a regular file nor a folder."""
    if _descriptor(target) is not None:
        return True
    try:
        return not stat.S_ISREG(target.stat().st_mode) and not target.is_dir()
    except (OSError, ValueError):
        return False


@contextmanager
def _opened_directly(target: Path) -> Iterator[BinaryIO]:
    """Open a device, FIFO or descriptor for writing, without creating, truncating or replacing it."""
    number = _descriptor(target)
    if number is None:
        descriptor = os.open(target, os.O_WRONLY)
    else:
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, ValueError):
                stream.flush()
        descriptor = os.dup(number)
    with os.fdopen(descriptor, "wb") as file:
        yield file


@contextmanager
def temporary_folder(path: PathLike) -> Iterator[Path]:
    """Create a folder beside `path` and remove it at the end, or, after a kill, at the next call."""
    import shutil

    real = Path(os.path.realpath(path))
    make_folder(real.parent)
    _remove_leftovers(real)
    folder = real.with_name(f"{_start(real)}{os.getpid()}.{os.urandom(8).hex()}.part")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary_beside(real: Path) -> Path:
    """Create an empty file in the folder of `real`, with at most the permissions that `open` would give."""
    mode = real.stat().st_mode & 0o666 if real.exists() else 0o666
    _remove_leftovers(real)
    temporary = real.with_name(f"{_start(real)}{os.getpid()}.{os.urandom(8).hex()}.part")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    except OSError as error:
        raise FileFormatError(f"{real}: cannot be written: {error.strerror or error}") from error
    return temporary


def _start(real: Path) -> str:
    """The start of the names of temporary files of this machine beside `real`; a file name has at most 255 bytes."""
    return f".{os.fsencode(real.name)[:100].decode(errors='ignore')}.{_this_machine()}."


@cache
def _this_machine() -> str:
    """An eight-character identifier of this machine."""
    import hashlib
    import socket

    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _remove_leftovers(real: Path) -> None:
    """Remove temporary files and folders left beside `real` by killed processes of this machine."""
    start = _start(real)
    with suppress(OSError):
        for name in os.listdir(real.parent):
            found = _LEFTOVER.fullmatch(name[len(start) :]) if name.startswith(start) else None
            if not found or process_exists(int(found[1])):
                continue
            left = real.with_name(name)
            if left.is_dir():
                import shutil

                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def process_exists(number: int) -> bool:
    """Whether the process id is in use on this machine; True if the system cannot tell."""
    if os.name != "posix":
        return True  # os.kill would end it
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _put(temporary: Path, real: Path) -> None:
    """Replace `real` by the finished file."""
    try:
        before = real.stat()
    except FileNotFoundError:
        os.replace(temporary, real)
        return
    if before.st_nlink > 1:
        import shutil

        with temporary.open("rb") as whole, real.open("r+b") as file:
            _reserve(file, temporary.stat().st_size, before.st_size)
            shutil.copyfileobj(whole, file)
            file.truncate()
        temporary.unlink()
        return
    temporary.chmod(stat.S_IMODE(before.st_mode) & 0o777)
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(temporary, before.st_uid, before.st_gid)
    os.replace(temporary, real)


def _reserve(file: BinaryIO, size: int, before: int) -> None:
    """Allocate the disk space of the new content first, so that a full disk does not destroy the old content."""
    if not hasattr(os, "posix_fallocate") or size <= before:
        return
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        file.truncate(before)
        if error.errno in _OF_THE_FILE:
            raise


@contextmanager
def _errors_named(target: Path, *others: Path) -> Iterator[None]:
    """Turn OSError while writing into a FileFormatError that names the file."""
    own = {os.fspath(path) for path in (target, *others)}
    try:
        yield
    except OSError as error:
        if error.filename in own or (error.filename is None and error.errno in _OF_THE_FILE):
            raise FileFormatError(f"{target}: cannot be written: {error.strerror or error}") from error
        raise


# -- reading ----------------------------------------------------------------------------------------

IMAGE_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError, OverflowError),
    *(NotImplementedError, MemoryError, struct.error, zlib.error),
)
"""Exceptions of Pillow for damaged files, besides DecompressionBombError. MemoryError: a block that claims 4 GB."""


def _a(noun: str) -> str:
    """The noun with its article: `a file`, `an image`."""
    return f"{'an' if noun[:1] in 'aeiouAEIOU' else 'a'} {noun}"


def existing_file(path: PathLike, what: str = "file") -> Path:
    """`path` as a Path, after checking that it is a non-empty regular file.

    Raises FileFormatError for a missing or empty file, a folder, a pipe or a device. Does not open the file, so a pipe
    without a writer cannot block.
    """
    target, named = Path(path), os.fspath(path)
    try:
        found = target.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise FileFormatError(f"{named}: no such {what}; check the name and the folder") from None
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{named}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(found.st_mode):
        raise FileFormatError(f"{named}: is a folder, not {_a(what)}; give the file itself")
    if not stat.S_ISREG(found.st_mode):
        raise FileFormatError(f"{named}: is a pipe or device, not {_a(what)}; save its content to a file first")
    if found.st_size == 0:
        raise FileFormatError(f"{named}: the {what} is empty (0 bytes); fetch or copy it again")
    return target


def looks_like_html(head: bytes) -> bool:
    """Whether a file starts like a web page, the usual result of a dead download link."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<body"))
