"""Check a file's integrity: empty, a web page, truncated, wrong checksum."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from matnet.files import looks_like_html
from matnet.zoo.cards import RemoteFile
from matnet.zoo.schema import HASHES

CHUNK = 1 << 20
MAT5_HEADER = 128


def digests(path: Path, kinds: Iterable[str]) -> dict[str, str]:
    """Hexadecimal digests of a file, all `kinds` in one pass."""
    states = {kind: hashlib.new(kind, usedforsecurity=False) for kind in kinds}
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            for state in states.values():
                state.update(chunk)
    return {kind: state.hexdigest() for kind, state in states.items()}


def damage(path: Path, size: int | None = None) -> str | None:
    """The obvious damage of any kind of file: empty, a web page, truncated; else None.

    size: its expected bytes; not needed for MAT v5, whose elements state their lengths.
    """
    found = path.stat().st_size
    if found == 0:
        return "empty"
    with path.open("rb") as file:
        if looks_like_html(file.read(512)):
            return f"a web page of {found:,} bytes"
    size = size or mat5_size(path)
    if size is not None and found < size:
        return f"truncated at {found:,} of {size:,} bytes"
    return None


def mat5_size(path: Path) -> int | None:
    """The size of a MAT v5 file according to its elements; None for other files, or if the lengths are inconsistent."""
    actual = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(MAT5_HEADER)
        order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
        if order is None or header[124:126] not in (b"\x00\x01", b"\x01\x00"):
            return None
        end = MAT5_HEADER
        while end + 8 <= actual:
            file.seek(end)
            _, length = struct.unpack(f"{order}II", file.read(8))
            end += 8 + length
    return max(end, actual)


def mismatch(path: Path, file: RemoteFile, accepted: Mapping[str, str] | None = None) -> str | None:
    """Why a file is not the one in a card; None if it is, or if nothing is known about it.

    accepted: MD5 sums by generation; any one is accepted. The strongest published hash decides.
    """
    fault = damage(path, file.size)
    if fault:
        return fault
    if accepted:
        found = digests(path, ["md5"])["md5"]
        if found not in accepted.values():
            return f"its MD5 is {found}; published: {', '.join(accepted.values())}"
    kind = strongest(file.hashes)
    if kind:
        found = digests(path, [kind])[kind]
        if found != file.hashes[kind]:
            return f"its {kind.upper()} is {found}; expected {file.hashes[kind]}"
    elif file.size is not None and path.stat().st_size != file.size:
        return f"its size is {path.stat().st_size:,} bytes; expected {file.size:,}"
    return None


def strongest(hashes: Mapping[str, str]) -> str | None:
    """The strongest kind of hash."""
    return next((kind for kind in reversed(HASHES) if kind in hashes), None)
