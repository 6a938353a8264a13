"""The plain ONNX file in ONNX Runtime, OpenVINO and OpenCV, each with its own settings for speed in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from matnet.benchmarks.peers.base import Runner, Subject, imported


def onnxruntime_runner(subject: Subject) -> Runner:
    """ONNX Runtime on the CPU, with all graph optimizations."""
    ort = imported("onnxruntime", "onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = subject.threads
    options.log_severity_level = 3  # errors only
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(str(subject.onnx_file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def openvino_runner(subject: Subject) -> Runner:
    """OpenVINO, optimized for latency; in float32 like all others, even if the processor supports shorter formats."""
    openvino = imported("openvino", "openvino")
    settings = {
        "INFERENCE_NUM_THREADS": subject.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.Core().compile_model(str(subject.onnx_file), "CPU", settings).create_infer_request()

    def run(x: np.ndarray) -> np.ndarray:
        request.infer([x], share_inputs=True)
        return request.get_output_tensor().data.copy()

    return run


def opencv_runner(subject: Subject) -> Runner:
    """OpenCV's dnn module, with Winograd convolutions, its default."""
    cv2 = imported("cv2", "opencv-python-headless")
    return opencv_session(cv2, cv2.dnn.readNetFromONNX(str(subject.onnx_file)), subject)


def opencv_session(cv2: Any, net: Any, subject: Subject) -> Runner:
    """A runner for a network read by OpenCV."""
    cv2.setNumThreads(subject.threads)
    if hasattr(net, "enableWinograd"):
        net.enableWinograd(True)

    def run(x: np.ndarray) -> np.ndarray:
        net.setInput(x)
        return net.forward().reshape(len(x), -1)

    return run
