"""Protobuf's wire format in a mapped file: varints, fields, runs of numbers; no schema."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import numpy as np

from matnet.converters.files.message import FileText
from matnet.errors import FileFormatError
from matnet.files import existing_file, looks_like_html

VARINT, EIGHT, DELIMITED, GROUP, GROUP_END, FOUR = range(6)
"""Wire types. Caffe never used groups; they are skipped."""
WIRE_NAMES = ("a varint", "an 8-byte value", "a length-delimited value", "a group", "the end of a group",
              "a 4-byte value")
DEEPEST = 100
"""The deepest nesting of groups: protobuf's own limit."""
MOST_FIELDS = 500_000
"""The most fields and numbers in a file outside its float runs; ResNet-152 has about 20,000."""
LONGEST_TEXT = 1 << 20
"""The longest plausible string in bytes."""


class Piece(NamedTuple):
    """One field in the file: `data[start:end]` is its value, `key` the offset of its key."""

    number: int
    wire: int
    key: int
    start: int
    end: int
    value: int
    """The decoded value of a varint, 0 otherwise."""


class WireReader:
    """The bytes of a file, and its name; every method raises FileFormatError with the byte offset."""

    def __init__(self, data: bytes | mmap.mmap, path: str) -> None:
        self.data = data
        self.source = FileText(path)
        self.budget = MOST_FIELDS

    def spend(self, count: int, offset: int) -> None:
        """Count the created Python objects, so that a hostile file cannot use up time or memory."""
        self.budget -= count
        if self.budget < 0:
            self.refuse(offset, f"found more than {MOST_FIELDS} fields, expected far fewer; the file is "
                                "damaged or not a Caffe file")

    def refuse(self, offset: int, text: str) -> NoReturn:
        raise FileFormatError(f"{self.source.place(offset)}: {text}")

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """The unsigned 64-bit value at `at`, and the offset after it."""
        value, shift, start = 0, 0, at
        while at < end:
            byte = self.data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & 0xFFFFFFFFFFFFFFFF, at
            shift += 7
            if shift >= 70:
                self.refuse(start, "found a number of more than 10 bytes; the file is damaged")
        return self.refuse(start, f"the file is truncated inside a number; it has {len(self.data)} bytes")

    def piece(self, at: int, end: int) -> Piece:
        """The field with its key at `at`, in a message that ends at `end`. Whole groups are skipped."""
        self.spend(1, at)
        key, start = self.varint(at, end)
        number, wire = key >> 3, key & 7
        if number == 0 or number >= 1 << 29 or wire > FOUR or wire == GROUP_END:
            self.refuse(at, f"found the invalid field key {key}; the file is damaged or not a Caffe file")
        if wire == VARINT:
            value, stop = self.varint(start, end)
            return Piece(number, wire, at, start, stop, value)
        if wire == DELIMITED:
            length, start = self.varint(start, end)
            self.check_length(at, number, start, length, end)
            return Piece(number, wire, at, start, start + length, 0)
        if wire == GROUP:
            return Piece(number, wire, at, start, self.group_end(number, start, end), 0)
        length = 8 if wire == EIGHT else 4
        self.check_length(at, number, start, length, end)
        return Piece(number, wire, at, start, start + length, 0)

    def check_length(self, key: int, number: int, start: int, length: int, end: int) -> None:
        if length <= end - start:
            return
        if end < len(self.data):
            self.refuse(key, f"field {number} has length {length}, but the message around it ends after "
                             f"{end - start} bytes; the file is damaged")
        self.refuse(key, f"field {number} has length {length}, but the file ends after {end - start} bytes: "
                         f"truncated at {end} of {start + length} bytes or more; download it again")

    def group_end(self, number: int, at: int, end: int) -> int:
        """The offset after the end marker of a group; inner groups are counted, without recursion."""
        open_groups = [number]
        while open_groups:
            key, behind = self.varint(at, end)
            if key & 7 == GROUP_END:
                if key >> 3 != open_groups.pop():
                    self.refuse(at, f"group {key >> 3} ends, but another group is open; the file is damaged")
            elif key & 7 == GROUP:
                if len(open_groups) >= DEEPEST:
                    self.refuse(at, f"more than {DEEPEST} levels of nested groups; the file is damaged")
                open_groups.append(key >> 3)
            else:
                behind = self.piece(at, end).end
            at = behind
        return at

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        """The fields of the message in `data[start:end]`."""
        while start < end:
            piece = self.piece(start, end)
            yield piece
            start = piece.end

    def run_end(self, piece: Piece, end: int) -> int:
        """The offset after the run of fixed-size fields with the same key that starts with `piece`.

        An unpacked `repeated float` is such a run, with `piece.end - piece.key` bytes per number. Its end is found by
        comparing keys in blocks of increasing size.
        """
        key = bytes(self.data[piece.key:piece.start])
        step = piece.end - piece.key
        at, block = piece.end, 16
        while at < end:
            count = min(block, (end - at) // step)
            if count == 0:
                return at
            grid = np.frombuffer(self.data, np.uint8, count * step, at).reshape(count, step)
            same = (grid[:, :len(key)] == np.frombuffer(key, np.uint8)).all(axis=1)
            if not same.all():
                return at + int(np.argmin(same)) * step
            at, block = at + count * step, block * 4
        return at

    def packed(self, piece: Piece, dtype: np.dtype) -> np.ndarray:
        """The numbers of a packed run, as a view of the file."""
        length = piece.end - piece.start
        if length % dtype.itemsize:
            self.refuse(piece.key, f"found a run of {length} bytes, expected a multiple of {dtype.itemsize}; "
                                   "the file is damaged")
        return np.frombuffer(self.data, dtype, length // dtype.itemsize, piece.start)

    def expect(self, piece: Piece, wires: tuple[int, ...], what: str) -> None:
        """Raises FileFormatError for a field with a wrong wire type for `what`."""
        if piece.wire not in wires:
            expected = " or ".join(WIRE_NAMES[wire] for wire in wires)
            self.refuse(piece.key, f"found {WIRE_NAMES[piece.wire]} for {what} (field {piece.number}), "
                                   f"expected {expected}; the file is damaged or not a Caffe file")

    def text(self, piece: Piece) -> str:
        """A string; bytes that are not UTF-8 become \\xNN, as in the text reader."""
        if piece.end - piece.start > LONGEST_TEXT:
            self.refuse(piece.key, f"found a string of {piece.end - piece.start} bytes, expected at most "
                                   f"{LONGEST_TEXT}; the file is damaged")
        return bytes(self.data[piece.start:piece.end]).decode("utf-8", errors="backslashreplace")


def open_wire(path: str | os.PathLike[str], what: str) -> WireReader:
    """A reader of a mapped file. Raises FileFormatError for a file that is missing, empty, a web page or text."""
    file = existing_file(path, what)
    with open(file, "rb") as handle:
        data = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    head = data[:256]
    if looks_like_html(head):
        raise FileFormatError(f"{file}, byte 0: found a web page, expected a {what}; the download link is "
                              "dead or asks for a login")
    for magic, name in _OTHER_FILES.items():
        if head.startswith(magic):
            raise FileFormatError(f"{file}, byte 0: found {name}, expected a {what}")
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        raise FileFormatError(f"{file}, byte 0: found text, expected a {what}, which is binary; are the "
                              "prototxt and the caffemodel swapped?")
    return WireReader(data, str(file))


_OTHER_FILES = {
    b"PK\x03\x04": "a zip archive (unpack it first)", b"\x1f\x8b": "a gzip file (unpack it first)",
    b"BZh": "a bzip2 file (unpack it first)", b"\xfd7zXZ": "an xz file (unpack it first)",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file", b"MATLAB ": "a MATLAB file", b"\x93NUMPY": "a NumPy file",
}
