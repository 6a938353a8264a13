"""Extract files from untrusted .tar.gz, .tgz and .zip archives: no path traversal, no links, no zip bombs."""

from __future__ import annotations

import errno
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

from matnet.errors import DownloadError, MatnetError, listing, nearest
from matnet.files import atomic_write

CHUNK = 1 << 20
LARGEST = 16 << 30  # unpacked bytes of one archive
MOST_MEMBERS = 100_000
UNREADABLE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError, KeyError),
)
RATIO = 1100  # deflate compresses at most 1032:1


def extract(archive: Path, member: str, target: Path, size: int | None = None) -> None:
    """Write the file `member` of an archive to `target`, whole or not at all.

    Only regular files are extracted, and only to `target`. `member` may leave out leading folders if it stays
    unambiguous. size: its expected bytes, if known. Raises DownloadError for other kinds of files, missing members,
    and archives that unpack to too many bytes.
    """
    try:
        with _open(archive) as (names, reader):
            name = _chosen(archive, member, names)
            _copy(archive, name, reader(name), target, _most(archive) if size is None else size)
    except UNREADABLE as error:
        _refuse(archive, error)


def _refuse(archive: Path, error: Exception) -> NoReturn:
    """Raises DownloadError for a broken archive; re-raises errors of the disk (full, read-only).

    An impossible offset in an archive raises EINVAL.
    """
    if isinstance(error, MatnetError):
        raise error
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        raise error
    raise DownloadError(f"{archive}: cannot be unpacked ({error}); delete it and download it again") from None


def unpack_flat(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Extract the members with `wanted` names (without folders) to `folder`.

    Raises as `extract` does, and DownloadError if two members have the same name.
    """
    try:
        with _open(archive) as (names, reader):
            chosen = [name for name in dict.fromkeys(names) if wanted(name.rpartition("/")[2])]
            targets = [name.rpartition("/")[2] for name in chosen]
            if len(set(targets)) < len(targets):
                raise DownloadError(listing(f"{archive}: holds files with the same name:", chosen))
            left = _most(archive)  # a total, because members of a .zip file may share their packed bytes
            for name, target in zip(chosen, targets, strict=True):
                left -= _copy(archive, name, reader(name), folder / target, left)
    except UNREADABLE as error:
        _refuse(archive, error)


class _Reader:
    """Opens one regular member; refuses links, devices and folders."""

    def __init__(self, archive: Path, packed: tarfile.TarFile | zipfile.ZipFile) -> None:
        self.archive = archive
        self.packed = packed

    def __call__(self, name: str) -> IO[bytes]:
        if isinstance(self.packed, zipfile.ZipFile):
            info = self.packed.getinfo(name)
            kind = info.external_attr >> 28
            if info.flag_bits & 1:
                raise DownloadError(f"{self.archive}: {name!r} is encrypted")
            if kind in (0, 0o10) and not info.is_dir():
                return self.packed.open(info)
        else:
            entry = self.packed.getmember(name)
            found = self.packed.extractfile(entry) if entry.isreg() else None
            if found is not None:
                return found
        raise DownloadError(f"{self.archive}: {name!r} is a link or a folder; expected a plain file")


@contextmanager
def _open(archive: Path) -> Iterator[tuple[list[str], _Reader]]:
    """The names in an archive, and a function that opens them."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            names = zipped.namelist()
            if len(names) > MOST_MEMBERS:
                raise DownloadError(f"{archive}: holds {len(names):,} members; expected at most {MOST_MEMBERS:,}")
            yield names, _Reader(archive, zipped)
        return
    with tarfile.open(archive, "r:*") as tar:
        yield _tar_names(archive, tar), _Reader(archive, tar)


def _tar_names(archive: Path, tar: tarfile.TarFile) -> list[str]:
    """The names of all members; stops at archives that list or skip endlessly."""
    limit = archive.stat().st_size * RATIO
    names = []
    for entry in tar:
        names.append(entry.name)
        if len(names) > MOST_MEMBERS or entry.offset_data > limit:
            raise DownloadError(f"{archive}: unpacks to more than {archive.stat().st_size:,} packed bytes can hold")
    return names


def _chosen(archive: Path, member: str, names: list[str]) -> str:
    """The only name that is `member` or ends with it."""
    found = [name for name in names if name.removeprefix("./") == member]
    found = found or [name for name in names if name.endswith(f"/{member}")]
    if len(set(found)) == 1:
        return found[-1]
    if found:
        raise DownloadError(listing(f"{archive}: {member!r} is ambiguous; it may be any of", found))
    raise DownloadError(f"{archive}: no member {member!r}{nearest(member, names)} (of {len(names)})")


def _most(archive: Path) -> int:
    """The limit of an archive's unpacked bytes."""
    return min(LARGEST, os.path.getsize(archive) * RATIO)


def _copy(archive: Path, name: str, source: IO[bytes], target: Path, limit: int) -> int:
    """Write a member. Returns its number of bytes."""
    done = 0
    with source, atomic_write(target) as file:
        while chunk := source.read(CHUNK):
            done += len(chunk)
            if done > limit:
                raise DownloadError(f"{archive}: {name!r} unpacks to more than {limit:,} bytes")
            file.write(chunk)
    return done
