"""The engines that are compared: each turns a network and a batch shape into a function of one array.

`PEERS` holds, by the name that `--peers` takes, the forms in which that engine is timed; it is judged by its best.
"""

from __future__ import annotations

from matnet.benchmarks.peers.base import Factory, Runner, Subject
from matnet.benchmarks.peers.onnx_file import onnxruntime_runner, opencv_runner, openvino_runner
from matnet.benchmarks.peers.opencv_caffe import opencv_caffe_runner
from matnet.benchmarks.peers.torch_cpu import TORCH_FORMS

PEERS: dict[str, dict[str, Factory]] = {
    "onnxruntime": {"onnxruntime": onnxruntime_runner},
    "openvino": {"openvino": openvino_runner},
    "opencv": {"opencv-onnx": opencv_runner, "opencv-caffe": opencv_caffe_runner},
    "torch": TORCH_FORMS,
}

__all__ = ["PEERS", "Factory", "Runner", "Subject"]
