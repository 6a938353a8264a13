"""The header of a MAT file: its version, and error messages for other files."""

from __future__ import annotations

import os
import struct
from typing import Literal, NamedTuple

from matnet.errors import FileFormatError
from matnet.files import existing_file, looks_like_html
from matnet.foreign import refuse_foreign

SIZE = 128
USER_BLOCK = 512
_TEXT_SIZE = 116
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_VERSION_5, _VERSION_73 = 0x0100, 0x0200

ByteOrder = Literal["<", ">"]
_MARKS: dict[bytes, ByteOrder] = {b"IM": "<", b"MI": ">"}

_OF_CAFFE = (".prototxt", ".caffemodel")


class Header(NamedTuple):
    """The version, "5" (v5 or v7) or "7.3", and for "5" the byte order."""

    version: Literal["5", "7.3"]
    order: ByteOrder


def read_header(path: str | os.PathLike[str]) -> Header:
    """The header of the file at `path`. Raises FileFormatError if it is not a MAT v5, v7 or v7.3 file."""
    target = existing_file(path, "MAT file")
    try:
        with target.open("rb") as file:
            head = file.read(USER_BLOCK + len(_HDF5_SIGNATURE))
    except OSError as error:
        raise FileFormatError(f"{target}: cannot be read: {error.strerror or error}") from error
    order = _MARKS.get(head[126:SIZE])
    version = int.from_bytes(head[124:126], "big" if order == ">" else "little")
    if order is None or version not in (_VERSION_5, _VERSION_73):
        refuse_foreign(target)
        hint = "; use matnet.convert_caffe for Caffe files" if target.suffix in _OF_CAFFE else ""
        raise FileFormatError(f"{target}: {_what_else(head)}{hint}")
    if version == _VERSION_5:
        return Header("5", order)
    if head[USER_BLOCK:] != _HDF5_SIGNATURE:
        raise FileFormatError(
            f"{target}: byte {USER_BLOCK}: found {head[USER_BLOCK:]!r}, expected the HDF5 signature of a "
            f"MAT v7.3 file; the file is truncated or damaged, fetch or copy it again"
        )
    return Header("7.3", order)


def _what_else(head: bytes) -> str:
    if looks_like_html(head):
        return "is a web page, not a MAT file (a dead link, or a login page); download it again"
    if b"MATLAB".startswith(head[:6]):
        if len(head) < SIZE:
            return f"is truncated after {len(head)} bytes, within the MAT header ({SIZE}); fetch or copy it again"
        return (
            f"byte 124: found version and byte order {head[124:SIZE]!r}, expected b'\\x00\\x01IM' (v5, v7), "
            f"b'\\x00\\x02IM' (v7.3) or their big-endian forms; the file is damaged, fetch or copy it again"
        )
    if head.startswith(b"\x89HDF"):
        return "is an HDF5 file without MATLAB's header; expected a MAT file of version 5, 7 or 7.3"
    if _is_version_4(head):
        return "is a MAT file of version 4, which cannot hold a network; save it from MATLAB with -v7"
    return f"byte 0: found {head[:16]!r}, expected 'MATLAB 5.0 MAT-file' or 'MATLAB 7.3 MAT-file'"


def _is_version_4(head: bytes) -> bool:
    """A v4 file starts with five numbers: MOPT (machine 0-4, 0, type 0-5, class 0-2) ... length of a name."""
    for endian in ("<", ">"):
        if len(head) < 20:
            return False
        mopt, _, _, _, name_length = struct.unpack_from(f"{endian}5i", head)
        machine, reserved, storage, kind = mopt // 1000, mopt // 100 % 10, mopt // 10 % 10, mopt % 10
        if 0 <= machine <= 4 and reserved == 0 and storage <= 5 and kind <= 2 and 1 <= name_length <= 256:
            return True
    return False


def header_bytes(version: Literal["5", "7.3"]) -> bytes:
    """The 128-byte header of a written file, without a date, so that the output is deterministic."""
    if version == "5":
        text = "MATLAB 5.0 MAT-file, Platform: any, Created by: matnet"
        number = _VERSION_5
    else:
        text = "MATLAB 7.3 MAT-file, Platform: any, Created by: matnet HDF5 schema 1.00 ."
        number = _VERSION_73
    no_subsystem = bytes(8)
    return text.encode("ascii").ljust(_TEXT_SIZE) + no_subsystem + number.to_bytes(2, "little") + b"IM"
