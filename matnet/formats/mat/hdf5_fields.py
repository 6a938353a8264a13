"""The MATLAB_fields attribute of v7.3 structs, decoded from the file's bytes with bounds checks.

HDF5 stores these names as variable-length data in a heap and copies as many bytes as the heap declares, so a damaged
file can crash the process. No other attribute used here has variable-length data. Source of the layouts: HDF5 File
Format Specification (object headers, attribute message, global heap).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10
_NAME = b"MATLAB_fields"
_REFERENCE = struct.Struct("<IQI")

# Objects of MATLAB files have about a dozen messages; HDF5's heaps for short data take at most 64 KiB.
_MAX_MESSAGES = 2**16
_MAX_HEAP = 2**17


class FieldNames:
    """The field names declared by the objects of one file. base: offset of HDF5 in `content`."""

    def __init__(self, content: memoryview, base: int) -> None:
        self._content = content
        self._base = base
        self._known: dict[int, list[str]] = {}
        self._heaps: dict[int, dict[int, bytes]] = {}

    def of(self, address: int) -> list[str]:
        """The names, in order, in attribute MATLAB_fields of the object at `address`.

        Raises ValueError, IndexError or struct.error if the file is damaged.
        """
        if address not in self._known:
            self._known[address] = [self._name(*reference) for reference in self._references(address)]
        return self._known[address]

    def _references(self, address: int) -> list[tuple[int, int, int]]:
        """Length, heap address and heap index of every name."""
        for kind, message in islice(self._messages(self._base + address), _MAX_MESSAGES):
            if kind == _ATTRIBUTE:
                name, data = _attribute(message)
                if name == _NAME:
                    return list(_REFERENCE.iter_unpack(data[: len(data) - len(data) % _REFERENCE.size]))
        raise ValueError("MATLAB_fields is missing in the object's header")

    def _name(self, length: int, heap: int, index: int) -> str:
        if not length:
            return ""
        if heap not in self._heaps:
            self._heaps[heap] = self._heap(self._base + heap)
        name = self._heaps[heap].get(index)
        if name is None or len(name) != length:
            raise ValueError(f"a name of {length} bytes in MATLAB_fields is not in the heap")
        return name.decode()

    def _part(self, start: int, size: int) -> memoryview:
        part = self._content[start : start + size]
        if len(part) != size:
            raise ValueError(f"byte {start:,}: {size:,} bytes extend beyond the end of the file")
        return part

    def _messages(self, start: int) -> Iterator[tuple[int, memoryview]]:
        """Type and data of every message in the object header at `start`, continuations included."""
        version_2 = bytes(self._part(start, 4)) == b"OHDR"
        head, first = self._first_block_2(start) if version_2 else self._first_block_1(start)
        blocks = [first]
        while blocks:
            block = blocks.pop(0)
            at = 0
            while at + head.size <= len(block):
                kind, size = head.unpack_from(block, at)[:2]
                at += head.size
                message = block[at : at + size]
                at += size
                if kind == _CONTINUATION:
                    offset, length = struct.unpack_from("<QQ", message)
                    further = self._part(self._base + offset, length)
                    # A continuation of version 2 starts with a signature and ends with a checksum.
                    blocks.append(further[4:-4] if version_2 else further)
                yield kind, message

    def _first_block_1(self, start: int) -> tuple[struct.Struct, memoryview]:
        version, _, _, size = struct.unpack_from("<BxHII", self._part(start, 16))
        if version != 1:
            raise ValueError(f"byte {start:,}: object header has version {version}; expected 1")
        return struct.Struct("<HHB3x"), self._part(start + 16, size)

    def _first_block_2(self, start: int) -> tuple[struct.Struct, memoryview]:
        flags = self._content[start + 5]
        times, phases, width = 16 * (flags >> 5 & 1), 4 * (flags >> 4 & 1), 1 << (flags & 3)
        at = start + 6 + times + phases
        size = int.from_bytes(self._part(at, width), "little")
        # Messages include their creation order if it is tracked.
        return struct.Struct("<BHBH" if flags & 4 else "<BHB"), self._part(at + width, size)

    def _heap(self, start: int) -> dict[int, bytes]:
        """The data in the global heap at `start` by index."""
        signature, version, size = struct.unpack_from("<4sB3xQ", self._part(start, 16))
        if signature != b"GCOL" or version != 1 or size > _MAX_HEAP:
            raise ValueError(f"byte {start:,}: expected a global heap with names")
        heap = self._part(start, size)
        found = {}
        at = 16
        while at + 16 <= size:
            index, length = struct.unpack_from("<H6xQ", heap, at)
            if index == 0:
                break
            found[index] = bytes(heap[at + 16 : at + 16 + length])
            at += 16 + -(-length // 8) * 8
        return found


def _attribute(message: memoryview) -> tuple[bytes, memoryview]:
    """The name and the raw data of an attribute message; version 1 pads its parts to 8 bytes."""
    version, name_size, *others = struct.unpack_from("<BxHHH", message)
    start = 9 if version == 3 else 8
    sizes = [-(-size // 8) * 8 if version == 1 else size for size in (name_size, *others)]
    return bytes(message[start : start + name_size]).rstrip(b"\0"), message[start + sum(sizes) :]
