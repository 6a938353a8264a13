"""Taking files out of .tar.gz, .tgz and .zip archives that strangers made: no path escapes, no links, no bombs."""

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
LARGEST = 16 << 30  # bytes of one archive once unpacked
MOST_MEMBERS = 100_000
UNREADABLE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError, KeyError),
)
RATIO = 1100  # deflate packs at most 1032 bytes into one


def extract(archive: Path, member: str, target: Path, size: int | None = None) -> None:
    """Write the file `member` of an archive to `target`, whole or not at all.

    Only the bytes of a regular file are taken; where they go, `target` alone says. `member` may leave out leading
    folders where that is unambiguous. size: the bytes that it must have, if known. Raises DownloadError for
    anything that is no such archive, has no such member, or unpacks to more than it may.
    """
    try:
        with _open(archive) as (names, reader):
            name = _chosen(archive, member, names)
            _copy(archive, name, reader(name), target, _most(archive) if size is None else size)
    except UNREADABLE as error:
        _refuse(archive, error)


def _refuse(archive: Path, error: Exception) -> NoReturn:
    """What a broken archive leads to; a disk that is full or read-only is not the archive's fault.

    An offset that no file has ends in EINVAL.
    """
    if isinstance(error, MatnetError):
        raise error
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        raise error
    raise DownloadError(f"{archive}: cannot be unpacked ({error}); delete it and fetch it again") from None


def unpack_flat(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Write the members of an archive whose bare names are `wanted` into `folder`, under these names.

    Raises as `extract`, and DownloadError if two members have one name.
    """
    try:
        with _open(archive) as (names, reader):
            chosen = [name for name in dict.fromkeys(names) if wanted(name.rpartition("/")[2])]
            targets = [name.rpartition("/")[2] for name in chosen]
            if len(set(targets)) < len(targets):
                raise DownloadError(listing(f"{archive}: holds two files of one name:", chosen))
            left = _most(archive)  # for all together: members of a .zip file may share their packed bytes
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
    """The names in an archive, and what opens them."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            names = zipped.namelist()
            if len(names) > MOST_MEMBERS:
                raise DownloadError(f"{archive}: has {len(names):,} members; expected at most {MOST_MEMBERS:,}")
            yield names, _Reader(archive, zipped)
        return
    with tarfile.open(archive, "r:*") as tar:
        yield _tar_names(archive, tar), _Reader(archive, tar)


def _tar_names(archive: Path, tar: tarfile.TarFile) -> list[str]:
    """The names of all members, and an end to archives that would list, or skip over, without end."""
    limit = archive.stat().st_size * RATIO
    names = []
    for entry in tar:
        names.append(entry.name)
        if len(names) > MOST_MEMBERS or entry.offset_data > limit:
            raise DownloadError(f"{archive}: unpacks to more than {archive.stat().st_size:,} packed bytes can hold")
    return names


def _chosen(archive: Path, member: str, names: list[str]) -> str:
    """The one name that is `member`, or ends in it."""
    found = [name for name in names if name.removeprefix("./") == member]
    found = found or [name for name in names if name.endswith(f"/{member}")]
    if len(set(found)) == 1:
        return found[-1]
    if found:
        raise DownloadError(listing(f"{archive}: {member!r} may be any of", found))
    raise DownloadError(f"{archive}: holds no {member!r}{nearest(member, names)} ({len(names)} members)")


def _most(archive: Path) -> int:
    """The bytes that an archive may hold unpacked."""
    return min(LARGEST, os.path.getsize(archive) * RATIO)


def _copy(archive: Path, name: str, source: IO[bytes], target: Path, limit: int) -> int:
    """Write a member; how many bytes it has."""
    done = 0
    with source, atomic_write(target) as file:
        while chunk := source.read(CHUNK):
            done += len(chunk)
            if done > limit:
                raise DownloadError(f"{archive}: {name!r} unpacks to more than {limit:,} bytes")
            file.write(chunk)
    return done
