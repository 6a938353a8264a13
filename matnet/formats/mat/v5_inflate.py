"""Safe inflation of the compressed variables of a MAT v7 file."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from matnet.formats.mat import v5_elements as v5
from matnet.formats.mat.limits import most_bytes
from matnet.formats.mat.v5_elements import Element, Elements

# Input per call of zlib. This bounds its output, because deflate expands at most 1032-fold.
_PIECE = 64 * 2**10

# Enough for array flags, dimensions and the longest name.
_START = 1024


def inflate(elements: Elements, packed: Element) -> Elements:
    """The elements inside a compressed element: a single matrix.

    Raises FileFormatError if the stream is damaged or truncated, differs in size from its tag, or exceeds the file's
    limits.
    """
    try:
        return _part(elements, packed, _content(elements, packed).toreadonly())
    except zlib.error as error:
        raise _refused(elements, packed, error) from error


def inflate_start(elements: Elements, packed: Element) -> Elements:
    """The first bytes of a compressed variable, enough for its name."""
    head = elements.buffer[packed.start : packed.start + min(packed.size, _PIECE)]
    try:
        start = zlib.decompressobj().decompress(head, _START)
    except zlib.error as error:
        raise _refused(elements, packed, error) from error
    _promised(elements, packed, start)
    return _part(elements, packed, memoryview(start))


def _part(elements: Elements, packed: Element, content: memoryview) -> Elements:
    part = f" of the variable inflated from byte {packed.start:,}"
    return Elements(content, elements.order, elements.path, elements.limits, part)


def _refused(elements: Elements, packed: Element, error: zlib.error) -> Exception:
    return elements.damage(packed.start, f"compressed data that cannot be inflated ({error})", "a zlib stream")


def _content(elements: Elements, packed: Element) -> memoryview:
    """The inflated variable in one buffer; its arrays become views of it."""
    stored = elements.buffer[packed.start : packed.start + packed.size]
    promised = _promised(elements, packed, zlib.decompressobj().decompress(stored[:_PIECE], v5.TAG_SIZE))
    if not elements.limits.allow_bytes(promised, packed.size):
        expected = f"at most {most_bytes(packed.size):,} from {packed.size:,}, also in total"
        raise elements.damage(packed.start, f"a variable that inflates to {promised:,} bytes", expected)
    whole = _at_once(stored, promised)
    return _in_pieces(elements, packed, promised) if whole is None else whole


def _at_once(stored: memoryview, promised: int) -> memoryview | None:
    """Inflate with libdeflate, which is faster than zlib; None if the stream is invalid or of another size."""
    try:
        import deflate
    except ImportError:
        return None
    try:
        content = deflate.zlib_decompress(stored, promised)
    except deflate.DeflateError:
        return None
    return memoryview(content) if len(content) == promised else None


def _in_pieces(elements: Elements, packed: Element, promised: int) -> memoryview:
    """Inflate with zlib, and report errors in the stream."""
    stream = zlib.decompressobj()
    content = np.empty(promised, np.uint8).data
    filled = 0
    end = packed.start + packed.size
    for start in range(packed.start, end, _PIECE):
        # Room for one byte more than declared, to detect a longer stream and to read its checksum.
        piece = stream.decompress(elements.buffer[start : min(start + _PIECE, end)], promised + 1 - filled)
        content[filled : filled + len(piece)] = piece[: promised - filled]
        filled += len(piece)
        if stream.eof or filled > promised:
            break
    if not stream.eof or filled != promised:
        found = f"{'' if stream.eof else 'an unfinished stream of '}{filled:,} bytes"
        raise elements.damage(packed.start, found, f"the {promised:,} declared in the variable's tag")
    return content


def _promised(elements: Elements, packed: Element, start: bytes | bytearray) -> int:
    """The size of a variable according to its tag, including the tag."""
    if len(start) < v5.TAG_SIZE:
        raise elements.damage(packed.start, f"{len(start)} inflated bytes", "a variable")
    kind, size = struct.unpack_from(f"{elements.order}II", start)
    if kind != v5.MATRIX:
        raise elements.damage(packed.start, f"a compressed element of type {kind}", f"type {v5.MATRIX}")
    return v5.TAG_SIZE + int(size)
