"""Read BlobProto as Blob: packed floats as views of the mapped file, shapes by Caffe's two rules."""

from __future__ import annotations

from math import prod

import numpy as np

from matnet.converters.files.schema import enum_type
from matnet.converters.files.wire import DELIMITED, EIGHT, FOUR, VARINT, Piece, WireReader
from matnet.converters.graph.netdef import Blob
from matnet.errors import ShapeError

LEGACY = {1: "num", 2: "channels", 3: "height", 4: "width"}
SHAPE, RAW_TYPE, RAW_DATA = 7, 10, 12
RUNS = {5: "<f4", 6: "<f4", 8: "<f8", 9: "<f8"}
"""Field number of data, diff, double_data and double_diff -> the type of their elements."""
MOST_AXES = 32
"""Caffe's limit."""


def read_blob(wire: WireReader, start: int, end: int) -> Blob:
    """The BlobProto in `data[start:end]`: packed float32 data is not copied, everything else becomes float32.

    Values come from double_data if present, else data, else NVIDIA's raw_data (FLOAT, FLOAT16, DOUBLE); diffs are
    skipped. If any of num, channels, height, width is present, they are the shape, and `shape` is ignored. Raises
    FileFormatError for damage, ShapeError if shape and values do not agree.
    """
    legacy: dict[int, int] = {}
    dims: list[int] | None = None
    runs: dict[int, list[np.ndarray]] = {number: [] for number in RUNS}
    raw_type, raw = "FLOAT", None
    at = start
    while at < end:
        piece = wire.piece(at, end)
        at = piece.end
        if piece.number in RUNS:
            run, at = _run(wire, piece, end)
            runs[piece.number].append(run)
        elif piece.number in LEGACY:
            wire.expect(piece, (VARINT,), f"BlobProto.{LEGACY[piece.number]}")
            legacy[piece.number] = _signed(piece.value)
        elif piece.number == SHAPE:
            wire.expect(piece, (DELIMITED,), "BlobProto.shape")
            dims = (dims or []) + _dims(wire, piece)
        elif piece.number == RAW_TYPE:
            wire.expect(piece, (VARINT,), "BlobProto.raw_data_type")
            raw_type = enum_type("RawDataType").names.get(piece.value, str(piece.value))
        elif piece.number == RAW_DATA:
            wire.expect(piece, (DELIMITED,), "BlobProto.raw_data")
            raw = piece
    values = _join(runs[8]) if any(run.size for run in runs[8]) else _join(runs[5])
    if values.size == 0 and raw is not None:
        values = _raw(wire, raw, raw_type)
    if legacy:
        dims = [legacy.get(number, 0) for number in LEGACY]
    return _shaped(values, dims, legacy=bool(legacy))


def _run(wire: WireReader, piece: Piece, end: int) -> tuple[np.ndarray, int]:
    """The numbers of a packed field, or of a run of unpacked ones, and the offset after them."""
    dtype = np.dtype(RUNS[piece.number])
    wire.expect(piece, (FOUR if dtype.itemsize == 4 else EIGHT, DELIMITED), "a run of numbers in BlobProto")
    if piece.wire == DELIMITED:
        return wire.packed(piece, dtype), piece.end
    behind = wire.run_end(piece, end)
    step = piece.end - piece.key
    view = np.ndarray(((behind - piece.key) // step,), dtype, wire.data, piece.start, (step,))
    return view, behind


def _raw(wire: WireReader, piece: Piece, raw_type: str) -> np.ndarray:
    dtype = {"FLOAT": "<f4", "FLOAT16": "<f2", "DOUBLE": "<f8"}.get(raw_type)
    if dtype is None:
        wire.refuse(piece.key, f"raw_data has type {raw_type}, expected FLOAT, FLOAT16 or DOUBLE")
    return wire.packed(piece, np.dtype(dtype))


def _dims(wire: WireReader, shape: Piece) -> list[int]:
    dims: list[int] = []
    for piece in wire.pieces(shape.start, shape.end):
        if piece.number != 1:
            continue
        wire.expect(piece, (VARINT, DELIMITED), "BlobShape.dim")
        if piece.wire == VARINT:
            dims.append(_signed(piece.value))
        at = piece.start
        while piece.wire == DELIMITED and at < piece.end:
            wire.spend(1, at)
            value, at = wire.varint(at, piece.end)
            dims.append(_signed(value))
    return dims


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _join(runs: list[np.ndarray]) -> np.ndarray:
    if len(runs) == 1:
        return runs[0]
    return np.concatenate(runs) if runs else np.empty(0, np.float32)


def _shaped(values: np.ndarray, dims: list[int] | None, legacy: bool) -> Blob:
    """Values and shape as a Blob; values without a shape have one axis."""
    shape = (values.size,) if dims is None else tuple(dims)
    if len(shape) > MOST_AXES:
        raise ShapeError(f"its shape has {len(shape)} axes, but Caffe supports at most {MOST_AXES}")
    text = "x".join(map(str, shape)) or "()"
    if any(size <= 0 for size in shape):
        raise ShapeError(f"its shape {text} has a size that is not positive")
    if prod(shape) != values.size:
        raise ShapeError(f"its shape {text} needs {prod(shape)} values, but the file holds {values.size}")
    with np.errstate(over="ignore"):
        data = np.asarray(values, np.float32, order="C").reshape(shape)
    data.flags.writeable = False
    return Blob(shape, legacy, data)
