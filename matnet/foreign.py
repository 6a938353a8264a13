"""Files that people give by mistake in place of a network: which kind they are, and what to do with them."""

from __future__ import annotations

from pathlib import Path

from matnet.errors import FileFormatError, in_words, program
from matnet.kinds import (
    ARCHIVE,
    CAFFE_BLOB,
    HDF5,
    IMAGE,
    KERAS,
    LFS_POINTER,
    MXNET,
    NPY,
    NPZ,
    ONNX,
    PDF,
    PICKLE,
    PYTORCH,
    SAFETENSORS,
    TENSORFLOW,
    TFLITE,
    ZIP,
    kind_of,
)  # fmt: skip

READS = "matnet reads only MatConvNet's .mat files and Caffe's prototxt and caffemodel"
_UNPACK = "unpack it, and give the .mat file, or the prototxt and the caffemodel, that it holds"


def refuse_foreign(path: Path) -> None:
    """FileFormatError with the kind of the file and the advice, where it is of a kind that never holds a network."""
    try:
        kind = kind_of(path) if path.is_file() else ""
    except OSError:
        return  # the reader says why
    if kind == HDF5 and _is_keras(path):
        kind = KERAS
    advice = _advice(kind)
    if advice:
        raise FileFormatError(f"{path}: is {kind}{advice}")


def _advice(kind: str) -> str:
    """What the sentence says of a file of this kind; empty where the file may hold a network."""
    arrays = in_words("net(array)", f"`{program('run')} MODEL FILE OUT`")
    first = in_words("images go to net.classify or net.features", "MODEL comes before the images")
    known = {
        ONNX: ", which matnet writes and never reads; give the .mat file or the Caffe files that it was made from, or "
        "run it with ONNX Runtime",
        IMAGE: f", not a network; {first}",
        CAFFE_BLOB: f", not a network; it is given as {in_words('mean=', '--mean')} beside one",
        ZIP: f", not a network; {_UNPACK}",
        ARCHIVE: f", not a network; {_UNPACK}",
        LFS_POINTER: ", not the file itself; run `git lfs pull` in its clone",
        NPZ: f", not a network; arrays are inputs of one: {arrays}",
        NPY: f", not a network; an array is the input of one: {arrays}",
        **{
            foreign: f"; {READS}"
            for foreign in (PYTORCH, PICKLE, KERAS, TENSORFLOW, TFLITE, SAFETENSORS, MXNET, PDF)
        },
    }
    return known.get(kind, "")


def _is_keras(path: Path) -> bool:
    """Whether an HDF5 file holds Keras' model or weights, as the attributes of its root or of model_weights show."""
    import h5py

    marks = {"keras_version", "model_config", "layer_names", "training_config"}
    try:
        with h5py.File(path, "r") as file:
            return bool(marks.intersection(file.attrs))
    except (OSError, RuntimeError, ValueError, KeyError):
        return False
