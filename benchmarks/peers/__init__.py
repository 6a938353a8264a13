"""The peer engines: each converts a network and a batch shape to a function of one array.

`PEERS` maps the names for `--peers` to the timed forms of that engine; the best form counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from matnet.benchmarks.peers.base import Factory, Runner, Subject
from matnet.benchmarks.peers.onnx_file import onnxruntime_runner, opencv_runner, openvino_runner
from matnet.benchmarks.peers.opencv_caffe import opencv_caffe_runner
from matnet.benchmarks.peers.torch_cpu import TORCH_FORMS
from matnet.benchmarks.peers.torch_gpu import TORCH_GPU_FORMS

PEERS: dict[str, dict[str, Factory]] = {
    "onnxruntime": {"onnxruntime": onnxruntime_runner},
    "openvino": {"openvino": openvino_runner},
    "opencv": {"opencv-onnx": opencv_runner, "opencv-caffe": opencv_caffe_runner},
    "torch": TORCH_FORMS,
    "torch-gpu": TORCH_GPU_FORMS,
}
ON_GPU = ("torch-gpu",)

MODULES = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "opencv": "cv2",
    "torch": "torch",
    "torch-gpu": "torch",
}


def peers_on(gpu: bool) -> list[str]:
    """The peers for the GPU or for the CPU."""
    return [name for name in PEERS if (name in ON_GPU) == gpu]


def installed(names: Iterable[str]) -> list[str]:
    """The peers with installed packages; imports none."""
    return [name for name in names if find_spec(MODULES[name])]


__all__ = ["PEERS", "Factory", "Runner", "Subject", "installed", "peers_on"]
