"""Files that are not networks: error messages with their kind and advice."""

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
_UNPACK = "unpack it, and give the .mat file, or the prototxt and caffemodel, inside"


def refuse_foreign(path: Path) -> None:
    """Raise FileFormatError, with the kind and advice, for a kind of file that never holds a network."""
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
    """The end of the message for this kind of file; empty if it may hold a network."""
    arrays = in_words("net(array)", f"`{program('run')} MODEL FILE OUT`")
    first = in_words("pass images to net.classify or net.features", "give MODEL before the images")
    known = {
        ONNX: ", which matnet cannot read; give the original .mat or Caffe files, or run it with ONNX Runtime",
        IMAGE: f", not a network; {first}",
        CAFFE_BLOB: f", not a network; give it as {in_words('mean=', '--mean')} together with one",
        ZIP: f", not a network; {_UNPACK}",
        ARCHIVE: f", not a network; {_UNPACK}",
        LFS_POINTER: ", not the file itself; run `git lfs pull` in its clone",
        NPZ: f", not a network; to run a network on arrays: {arrays}",
        NPY: f", not a network; to run a network on an array: {arrays}",
        **{foreign: f"; {READS}" for foreign in (PYTORCH, PICKLE, KERAS, TENSORFLOW, TFLITE, SAFETENSORS, MXNET, PDF)},
    }
    return known.get(kind, "")


def _is_keras(path: Path) -> bool:
    """Whether an HDF5 file is a Keras model or weights file, judged by its root attributes."""
    import h5py

    marks = {"keras_version", "model_config", "layer_names", "training_config"}
    try:
        with h5py.File(path, "r") as file:
            return bool(marks.intersection(file.attrs))
    except (OSError, RuntimeError, ValueError, KeyError):
        return False
