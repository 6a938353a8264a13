"""What kind of file a file is, by its content: its name plays no part."""

from __future__ import annotations

import os
import re
from pathlib import Path

EMPTY = "an empty file"
MAT = "a MAT file"
HDF5 = "an HDF5 file"
NPZ = "a NumPy archive (.npz)"
NPY = "a NumPy array (.npy)"
ZIP = "a zip archive"
IMAGE = "an image"
ONNX = "an ONNX model"
CAFFEMODEL = "a caffemodel"
CAFFE_BLOB = "a Caffe mean file"
PROTOTXT = "a prototxt"
JSON = "a JSON file"
SVG = "an SVG drawing"
HTML = "a web page"
DOT = "a Graphviz graph"
TEXT = "a text file"
UNKNOWN = "a file of an unknown kind"

SUFFIXES = {
    ".mat": MAT, ".onnx": ONNX, ".prototxt": PROTOTXT, ".caffemodel": CAFFEMODEL, ".npz": NPZ, ".npy": NPY,
    ".png": IMAGE, ".jpg": IMAGE, ".jpeg": IMAGE,
}  # fmt: skip
"""Endings that promise a kind."""
DEFINITIONS = (PROTOTXT,)
WEIGHTS = (CAFFEMODEL, HDF5)

_HEAD = 1 << 16
_MAGIC = (
    (b"MATLAB 5.0", MAT),
    (b"MATLAB 7.3", MAT),
    (b"\x89HDF\r\n\x1a\n", HDF5),
    (b"\x93NUMPY", NPY),
    (b"\x89PNG", IMAGE),
    (b"\xff\xd8\xff", IMAGE),
    (b"GIF8", IMAGE),
    (b"BM", IMAGE),
    (b"II*\0", IMAGE),
    (b"MM\0*", IMAGE),
    (b"P5", IMAGE),
    (b"P6", IMAGE),
)
_LAYER = re.compile(rb"(?:^|[\n;}])\s*layers?\s*:?\s*\{")
_FIRST_FIELD = re.compile(
    rb"\s*(?:name\s*:\s*[\"']|input\s*:\s*[\"']|input_dim\s*:|input_shape\s*:?\s*\{|"
    rb"(?:net|train_net|test_net)\s*:\s*[\"']|(?:net_param|state|transform_param)\s*:?\s*\{|base_lr\s*:)"
)
_COMMENT = re.compile(rb"#[^\n]*")
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))


def kind_of(path: str | os.PathLike[str]) -> str:
    """One of the kinds above for the regular file at `path`; OSError where it cannot be read."""
    with Path(path).open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return EMPTY
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", "replace").encode()
    if head[126:128] in (b"IM", b"MI") and head[124:126] in (b"\x00\x01", b"\x01\x00", b"\x00\x02", b"\x02\x00"):
        return MAT
    if head.startswith(b"PK"):
        return NPZ if _holds_arrays(Path(path)) else ZIP
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return IMAGE
    for start, kind in _MAGIC:
        if head.startswith(start) and not (len(start) == 2 and _is_text(head)):
            return kind
    return _text_kind(head) if _is_text(head) else _protobuf_kind(head)


def _holds_arrays(path: Path) -> bool:
    """Whether a zip archive holds .npy files alone, as numpy.savez writes them."""
    import zipfile  # not for a network's file

    try:
        with zipfile.ZipFile(path) as archive:
            return all(name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def _is_text(head: bytes) -> bool:
    return not head.translate(None, delete=bytes(set(range(256)) - set(_CONTROLS)))


def _text_kind(head: bytes) -> str:
    text = _COMMENT.sub(b"", head.removeprefix(b"\xef\xbb\xbf")).lstrip()
    if _LAYER.search(text) or _FIRST_FIELD.match(text):
        return PROTOTXT
    if re.match(rb"[\[{]\s*[\"\[{\]}\d-]", text):
        return JSON
    if text.startswith(b"<"):
        start = text[:4096].lower()
        return SVG if b"<svg" in start else HTML if b"<html" in start or start.startswith(b"<!doctype") else TEXT
    return DOT if re.match(rb"(?:strict\s+)?(?:di)?graph\b[^{]*\{", text) else TEXT


# -- protocol buffers -------------------------------------------------------------------------------

_NET_STARTS = (0x0A, 0x12)  # NetParameter: name or input, layers (V1)
_V2_LAYER = b"\xa2\x06"  # field 100, a message


def _protobuf_kind(head: bytes) -> str:
    """A binary without a magic number: the first fields distinguish NetParameter, ModelProto and BlobProto."""
    if head.startswith(_V2_LAYER):
        return CAFFEMODEL
    if head[0] == 0x08 and len(head) > 2:  # field 1 is a number: ir_version of ONNX, or num of a blob
        after = 1 + _varint_length(head, 1)
        return ONNX if head[after : after + 1] in (b"\x12", b"\x1a", b"\x3a", b"\x42") else CAFFE_BLOB
    if head[0] in _NET_STARTS:
        length, size = _varint(head, 1)
        after = 1 + size + length
        if head[0] == 0x12 or after >= len(head) or head[after] in (*_NET_STARTS, 0x1A, 0x22, 0x28, 0x32, 0x38, 0x42):
            return CAFFEMODEL
        return CAFFEMODEL if head.startswith(_V2_LAYER, after) else UNKNOWN
    return UNKNOWN


def _varint(data: bytes, start: int) -> tuple[int, int]:
    """A varint's value, and the number of its bytes."""
    value = size = 0
    for byte in data[start : start + 10]:
        value |= (byte & 0x7F) << (7 * size)
        size += 1
        if byte < 0x80:
            break
    return value, size


def _varint_length(data: bytes, start: int) -> int:
    return _varint(data, start)[1]
