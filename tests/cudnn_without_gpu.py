"""Asks cuDNN which plans it has for the engine's graphs on GPUs that are not there; run by tests/test_cudnn_graphs.py.

cuDNN plans for a device that is described to it. Its libraries want to load the NVIDIA driver, in whose place stands
a library whose functions all fail. Prints {device: {graph: what is found}} as JSON: whether there is a plan that can
be built, and how many plans are compiled already; with "every plan" how many can be built.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import cudnn

from matnet.engines.cupy.graphs import build_graph, propose_plans
from matnet.engines.cupy.steps import ConvGraph, DeviceBlob, strides_of
from matnet.shapes import Pad, filtered

# Compute capability, multiprocessors, shared memory of one in bytes, second-level cache, memory (NVIDIA's data sheets).
GPUS = {
    "H200": ("NVIDIA H200", 900, 132, 233472, 52428800, 150 * 10**9),
    "H100": ("NVIDIA H100 80GB HBM3", 900, 132, 233472, 52428800, 85 * 10**9),
    "A100": ("NVIDIA A100-SXM4-80GB", 800, 108, 167936, 41943040, 85 * 10**9),
    "T4": ("Tesla T4", 750, 40, 65536, 4194304, 15 * 10**9),
}
NO_DRIVER = ("cuLibraryLoadData", "cuModuleLoadData")  # what fails last for plans whose kernels are compiled here


def properties(name: str, capability: int, processors: int, shared: int, cache: int, memory: int) -> str:
    """A device's description as cuDNN writes and reads it."""
    values: dict[str, Any] = {
        "deviceName": name, "deviceVer": capability, "driverVer": 13000, "multiProcessorCount": processors,
        "maxSharedMemoryPerBlockOptin": shared - 1024, "l2CacheSize": cache, "totalGlobalMem": memory,
        "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64], "maxThreadsPerBlock": 1024,
        "maxThreadsPerSM": 2048, "regsPerBlock": 65536, "maxRegistersPerSM": 65536, "maxCtasPerSM": 32,
        "warpSize": 32, "maxSharedMemoryPerBlock": 49152, "reservedSharedMemoryPerBlock": 1024,
        "oversizedSharedMemoryPerBlock": 0, "smClockRateKHz": 1500000, "memClockRateKHz": 1500000,
        "memoryBusWidth": 5120, "supportCoopLaunch": 1, "isTccDriver": 0, "pciDeviceId": 0, "cudaDeviceId": 0,
        "smCountOrigin": 0,
    }  # fmt: skip
    return json.dumps(values)


def graph(
    x: tuple[int, int, int, int], count: int, kernel: tuple[int, int], pad: Pad = (0, 0, 0, 0), groups: int = 1,
    stride: tuple[int, int] = (1, 1), dilate: tuple[int, int] = (1, 1), pitch: int = 0, residual: bool = False,
    leak: float | None = 0.0,
) -> ConvGraph:  # fmt: skip
    """A convolution with bias; `pitch`: its output is part of a concatenation of so many channels."""
    y = (x[0], count, *filtered(x[2:], kernel, stride, pad, dilate))
    strides = DeviceBlob("y", y, pitch=pitch or count).strides
    filters = (count, x[1] // groups, *kernel)
    return ConvGraph(
        x, DeviceBlob("x", x, pitch=x[1]).strides, filters, y, strides, pad, stride, dilate, "fp32", True,
        strides if residual else None, leak,
    )  # fmt: skip


GRAPHS = {
    "AlexNet's first": graph((16, 3, 227, 227), 96, (11, 11), stride=(4, 4)),
    "AlexNet's second, in two groups": graph((16, 96, 27, 27), 256, (5, 5), (2, 2, 2, 2), groups=2),
    "VGG": graph((16, 64, 56, 56), 128, (3, 3), (1, 1, 1, 1)),
    "ResNet's block": graph((16, 64, 56, 56), 256, (1, 1), residual=True),
    "GoogLeNet's branch": graph((16, 192, 28, 28), 64, (1, 1), pitch=256),
    "odd sizes, four pads": graph((2, 6, 7, 11), 10, (3, 5), (1, 2, 0, 3), stride=(2, 3)),
    "odd sizes, groups, sum": graph((2, 6, 7, 11), 10, (3, 5), (1, 2, 0, 3), groups=2, residual=True),
    "dilated": graph((2, 64, 28, 28), 32, (3, 3), (2, 2, 2, 2), dilate=(2, 2)),
    "depthwise": graph((2, 32, 14, 14), 32, (3, 3), (1, 1, 1, 1), groups=32),
    "leaky": graph((2, 64, 28, 28), 32, (3, 3), (1, 1, 1, 1), leak=0.1),
    "FCN's upsampling": ConvGraph(
        (2, 21, 34, 34), DeviceBlob("x", (2, 21, 34, 34), pitch=21).strides, (21, 21, 4, 4), (2, 21, 70, 70),
        DeviceBlob("y", (2, 21, 70, 70), pitch=21).strides, (0, 0, 0, 0), (2, 2), (1, 1), "fp32", transposed=True,
    ),
    "FCN's last, in groups, cropped": ConvGraph(
        (1, 21, 18, 24), DeviceBlob("x", (1, 21, 18, 24), pitch=21).strides, (21, 1, 64, 64), (1, 21, 577, 769),
        DeviceBlob("y", (1, 21, 577, 769), pitch=21).strides, (10, 21, 15, 16), (32, 32), (1, 1), "fp32",
        transposed=True,
    ),
    "fully connected": replace(graph((16, 9216, 1, 1), 4096, (1, 1)), wide=False),
    "an image with a channel of zeros": graph((16, 4, 227, 227), 96, (11, 11), stride=(4, 4)),
    "one of AlexNet's two groups": replace(
        graph((16, 48, 27, 27), 128, (5, 5), (2, 2, 2, 2), pitch=256), x_strides=strides_of((16, 48, 27, 27), 96)
    ),
    "AlexNet's second, with zeros between groups": graph((16, 96, 27, 27), 256, (5, 5), (2, 2, 2, 2)),
    "bias alone": graph((2, 64, 28, 28), 32, (3, 3), (1, 1, 1, 1), leak=None),
}  # fmt: skip


EVERY_PLAN = "VGG"  # of which all plans are tried


def buildable(built: Any, count: int, enough: int) -> int:
    """How many plans can be built, or could be with a driver; no more than `enough` are looked for."""
    found = 0
    for index in range(count):
        try:
            built.build_plan_at_index(index)
            built.get_workspace_size_plan_at_index(index)
        except (RuntimeError, cudnn.cudnnGraphNotSupportedError) as error:
            if not any(name in str(error) for name in NO_DRIVER):
                continue
        found += 1
        if found == enough:
            break
    return found


def asked(device: Any, name: str, wanted: ConvGraph) -> dict[str, int]:
    """Plans that can be built, 1 standing for any but for EVERY_PLAN, and plans whose kernels are compiled already."""
    built = build_graph(cudnn, wanted, device_property=device)
    count = propose_plans(cudnn, built, wanted)
    at_run_time = cudnn.behavior_note.RUNTIME_COMPILATION
    ready = sum(at_run_time not in built.get_behavior_notes_for_plan_at_index(index) for index in range(count))
    return {"plans": buildable(built, count, count if name == EVERY_PLAN else 1), "compiled": ready}


def main() -> None:
    answers: dict[str, dict[str, dict[str, int]]] = {}
    for gpu, described in GPUS.items():
        device = cudnn.create_device_properties(properties(*described))
        for precision in ("fp32", "tf32", "fp16"):
            if precision != "tf32" or described[1] >= 800:
                answers[f"{gpu} {precision}"] = {
                    name: asked(device, name, replace(item, precision=precision)) for name, item in GRAPHS.items()
                }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
