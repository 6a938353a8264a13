"""The kind of a file, by its content only."""

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
ARCHIVE = "a packed archive"
IMAGE = "an image"
ONNX = "an ONNX model"
PYTORCH = "a PyTorch file"
PICKLE = "a Python pickle"
KERAS = "a Keras model"
TENSORFLOW = "a TensorFlow or Core ML model"
TFLITE = "a TensorFlow Lite model"
SAFETENSORS = "a safetensors file"
MXNET = "an MXNet file"
CAFFEMODEL = "a caffemodel"
CAFFE_BLOB = "a Caffe mean file"
PROTOTXT = "a prototxt"
JSON = "a JSON file"
SVG = "an SVG drawing"
HTML = "a web page"
DOT = "a Graphviz graph"
PDF = "a PDF document"
LFS_POINTER = "a Git LFS pointer"
TEXT = "a text file"
UNKNOWN = "a file of an unknown kind"

SUFFIXES = {
    ".mat": MAT, ".onnx": ONNX, ".prototxt": PROTOTXT, ".caffemodel": CAFFEMODEL, ".npz": NPZ, ".npy": NPY,
    ".h5": HDF5, ".png": IMAGE, ".jpg": IMAGE, ".jpeg": IMAGE, ".gif": IMAGE, ".bmp": IMAGE, ".tif": IMAGE,
    ".pt": PYTORCH, ".pth": PYTORCH, ".safetensors": SAFETENSORS, ".zip": ZIP, ".pdf": PDF, ".svg": SVG, ".html": HTML,
    ".json": JSON, ".txt": TEXT, ".csv": TEXT, ".md": TEXT,
}  # fmt: skip
"""Suffixes that imply a kind."""
TEXTS = (TEXT, JSON, PROTOTXT, DOT, SVG, HTML)
"""Kinds that a file with a suffix of TEXT may hold."""
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
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", PYTORCH),  # torch.save before version 1.6
    *((bytes((0x80, protocol)), PICKLE) for protocol in (2, 3, 4, 5)),
    (b"\x12\x01\0\0\0\0\0\0", MXNET),
    (b"%PDF-", PDF),
    (b"version https://git-lfs", LFS_POINTER),
    (b"\x1f\x8b", ARCHIVE),  # gzip
    (b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (b"Rar!\x1a\x07", ARCHIVE),
    (b"\xfd7zXZ\0", ARCHIVE),
    (b"BZh", ARCHIVE),
)
_LAYER = re.compile(rb"(?:^|[\n;}])\s*layers?\s*:?\s*\{")
_FIRST_FIELD = re.compile(
    rb"\s*(?:name\s*:\s*[\"']|input\s*:\s*[\"']|input_dim\s*:|input_shape\s*:?\s*\{|"
    rb"(?:net|train_net|test_net)\s*:\s*[\"']|(?:net_param|state|transform_param)\s*:?\s*\{|base_lr\s*:)"
)
_COMMENT = re.compile(rb"#[^\n]*")
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))


def kind_of(path: str | os.PathLike[str]) -> str:
    """The kind (one of the constants above) of the regular file at `path`. Raises OSError if it cannot be read."""
    head = b""
    if os.stat(path).st_size:  # a file of /proc may block
        with Path(path).open("rb") as file:
            head = file.read(_HEAD)
    if not head:
        return EMPTY
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", "replace").encode()
    if head[126:128] in (b"IM", b"MI") and head[124:126] in (b"\x00\x01", b"\x01\x00", b"\x00\x02", b"\x02\x00"):
        return MAT
    if head.startswith(b"PK"):
        return _zip_kind(Path(path))
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return IMAGE
    if head[257:262] == b"ustar":
        return ARCHIVE
    if head[4:8] == b"TFL3":
        return TFLITE
    if head[8:10] == b'{"' and head[4:8] == bytes(4):  # the length of the header, which is JSON
        return SAFETENSORS
    for start, kind in _MAGIC:
        if head.startswith(start) and not (len(start) == 2 and _is_text(head)):
            return kind
    return _text_kind(head) if _is_text(head) else _protobuf_kind(head)


def _zip_kind(path: Path) -> str:
    """The kind of a zip archive: .npz, PyTorch, Keras or other."""
    import zipfile  # not needed for network files

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return ZIP
    if all(name.endswith(".npy") for name in names):
        return NPZ
    if any(name.endswith("/data.pkl") for name in names):
        return PYTORCH
    return KERAS if {"config.json", "model.weights.h5"} <= set(names) else ZIP


def _is_text(head: bytes) -> bool:
    return not head.translate(None, delete=bytes(set(range(256)) - set(_CONTROLS)))


def _text_kind(head: bytes) -> str:
    text = _COMMENT.sub(b"", head.removeprefix(b"\xef\xbb\xbf")).lstrip()
    if _LAYER.search(text) or _FIRST_FIELD.match(text):
        return PROTOTXT
    if re.match(rb"[\[{]\s*[\"\[{\]}\d-]", text):
        return JSON
    if text.startswith(b"<"):
        first = re.search(rb"<(?:!doctype\s+html|html|svg)\b", text[:4096].lower())  # a page may hold drawings
        return TEXT if first is None else SVG if first[0] == b"<svg" else HTML
    return DOT if re.match(rb"(?:strict\s+)?(?:di)?graph\b[^{]*\{", text) else TEXT


# -- protocol buffers -------------------------------------------------------------------------------

_NET_STARTS = (0x0A, 0x12)  # NetParameter: name or input, layers (V1)
_V2_LAYER = b"\xa2\x06"  # field 100, a message


def _protobuf_kind(head: bytes) -> str:
    """The kind of a binary file without magic number, by the first fields of NetParameter, ModelProto, BlobProto."""
    if head.startswith(_V2_LAYER):
        return CAFFEMODEL
    if head[0] == 0x08 and len(head) > 2:  # field 1 is a number: ir_version of ONNX, or num of a blob
        after = 1 + _varint_length(head, 1)
        if head[after : after + 1] == b"\x12" and _first_of_message(head, after) == b"\n":
            return TENSORFLOW  # ONNX has a string here: producer_name
        return ONNX if head[after : after + 1] in (b"\x12", b"\x1a", b"\x3a", b"\x42") else CAFFE_BLOB
    if head[0] in _NET_STARTS:
        length, size = _varint(head, 1)
        after = 1 + size + length
        if head[0] == 0x0A and _is_graph_node(head[1 + size : after]):
            return TENSORFLOW
        if head[0] == 0x12 or after >= len(head) or head[after] in (*_NET_STARTS, 0x1A, 0x22, 0x28, 0x32, 0x38, 0x42):
            return CAFFEMODEL
        return CAFFEMODEL if head.startswith(_V2_LAYER, after) else UNKNOWN
    return UNKNOWN


def _first_of_message(head: bytes, key: int) -> bytes:
    """The first byte of the string or message with its key at offset `key`."""
    start = key + 1 + _varint_length(head, key + 1)
    return head[start : start + 1]


def _is_graph_node(content: bytes) -> bool:
    """Whether this is a node of a TensorFlow GraphDef (name, op) rather than the name of a Caffe net."""
    if not content.startswith(b"\n"):
        return False
    length, size = _varint(content, 1)
    return content[1 + size + length : 2 + size + length] == b"\x12"


def _varint(data: bytes, start: int) -> tuple[int, int]:
    """A varint's value and its length in bytes."""
    value = size = 0
    for byte in data[start : start + 10]:
        value |= (byte & 0x7F) << (7 * size)
        size += 1
        if byte < 0x80:
            break
    return value, size


def _varint_length(data: bytes, start: int) -> int:
    return _varint(data, start)[1]
