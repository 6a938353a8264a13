"""`python -m matnet.benchmarks.numpy_alexnet`: the numpy engine compared with torch on the CPU, on AlexNet's shapes.

Both run the same random weights on the same images alternately, after an untimed first round; the scores must agree.
Compiling is not timed. OMP_NUM_THREADS limits the threads of both.
"""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from matnet.command_line import CommandParser, run_command
from matnet.errors import EngineError, NetworkError
from matnet.network import Layer, Network
from matnet.ops.activation import ReLU, SoftMax
from matnet.ops.base import Op
from matnet.ops.convolution import Conv
from matnet.ops.normalization import LRN
from matnet.ops.pooling import Pooling
from matnet.params import Param
from matnet.tables import Table

INPUT = (3, 227, 227)
TOLERANCE = 1e-4  # relative to the largest score, for different summation orders of up to 9216 float32 products
NORM = LRN(param=(5, 1, 2e-5, 0.75))
POOL = Pooling(method="max", poolSize=(3, 3), stride=(2, 2))

# Name, op, and the filters' h x w x c x K or None (BVLC's AlexNet).
LAYERS: list[tuple[str, Op, tuple[int, ...] | None]] = [
    ("conv1", Conv(stride=(4, 4)), (11, 11, 3, 96)),
    ("relu1", ReLU(), None),
    ("norm1", NORM, None),
    ("pool1", POOL, None),
    ("conv2", Conv(pad=(2, 2, 2, 2)), (5, 5, 48, 256)),
    ("relu2", ReLU(), None),
    ("norm2", NORM, None),
    ("pool2", POOL, None),
    ("conv3", Conv(pad=(1, 1, 1, 1)), (3, 3, 256, 384)),
    ("relu3", ReLU(), None),
    ("conv4", Conv(pad=(1, 1, 1, 1)), (3, 3, 192, 384)),
    ("relu4", ReLU(), None),
    ("conv5", Conv(pad=(1, 1, 1, 1)), (3, 3, 192, 256)),
    ("relu5", ReLU(), None),
    ("pool5", POOL, None),
    ("fc6", Conv(), (6, 6, 256, 4096)),
    ("relu6", ReLU(), None),
    ("fc7", Conv(), (1, 1, 4096, 4096)),
    ("relu7", ReLU(), None),
    ("fc8", Conv(), (1, 1, 4096, 1000)),
    ("prob", SoftMax(), None),
]


def alexnet(seed: int = 0) -> Network:
    """AlexNet's layers with random weights that preserve the scale of activations."""
    random = np.random.default_rng(seed)
    net, previous = Network(), "data"
    for name, op, shape in LAYERS:
        params = []
        if shape:
            spread = np.sqrt(2 / np.prod(shape[:3])).astype(np.float32)
            filters = spread * random.standard_normal(shape[::-1], np.float32).T  # column-major, as in files
            bias = 0.1 * random.standard_normal((shape[3], 1), np.float32)
            params = [f"{name}_filter", f"{name}_bias"]
            net.params.update(zip(params, (Param(filters), Param(bias)), strict=True))
        net.add(Layer(name, op, [previous], [name], params))
        previous = name
    return net


def torch_alexnet(net: Network) -> Callable[[np.ndarray], np.ndarray]:
    """The same network in torch, layer by layer; EngineError if torch is not installed."""
    try:
        import torch
        from torch.nn import functional
    except ImportError:
        raise EngineError("torch, the peer of this benchmark, is not installed; pip install torch") from None

    def step(layer: Layer) -> Callable[[Any], Any]:
        op = layer.op
        if isinstance(op, Conv):
            filters, bias = (net.params[name].value for name in layer.params)
            weight = torch.from_numpy(np.ascontiguousarray(filters.transpose(3, 2, 0, 1)))
            offset, depth = torch.from_numpy(bias.ravel()), filters.shape[2]
            return lambda x: functional.conv2d(x, weight, offset, op.stride, op.pad[0], groups=x.shape[1] // depth)
        if isinstance(op, LRN):
            length, kappa, alpha, beta = op.param
            return lambda x: functional.local_response_norm(x, int(length), alpha * length, beta, kappa)
        if isinstance(op, Pooling):
            return lambda x: functional.max_pool2d(x, op.poolSize, op.stride)
        if isinstance(op, SoftMax):
            return lambda x: functional.softmax(x, dim=1)
        return functional.relu

    steps = [step(layer) for layer in net.layers.values()]

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(images)
            for apply in steps:
                x = apply(x)
            return x.numpy()

    return run


def measure(batch: int, repeats: int) -> dict[str, Any]:
    """Median images/s of both, their ratio, and the largest difference between their scores.

    Raises NetworkError if the scores differ by more than TOLERANCE of the largest one.
    """
    net = alexnet()
    images = np.random.default_rng(1).standard_normal((batch, *INPUT), np.float32)
    engine = net.compile(backend="numpy")
    runners: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "matnet numpy": lambda x: engine(x)["prob"],
        "torch eager": torch_alexnet(net),
    }
    scores = {name: run(images) for name, run in runners.items()}
    ours, theirs = scores.values()
    difference = float(np.abs(ours - theirs).max() / theirs.max())
    if not difference <= TOLERANCE:
        raise NetworkError(f"the scores differ by {difference:.2g} of the largest one; expected at most {TOLERANCE:g}")
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(repeats):
        for name, run in runners.items():
            start = time.perf_counter()
            run(images)
            seconds[name].append(time.perf_counter() - start)
    speeds = {name: batch / statistics.median(times) for name, times in seconds.items()}
    ratio = speeds["matnet numpy"] / speeds["torch eager"]
    return {"images_per_s": speeds, "ratio": ratio, "difference": difference, "batch": batch, "repeats": repeats}


def versions() -> dict[str, str]:
    import torch

    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "threads": os.environ.get("OMP_NUM_THREADS") or str(torch.get_num_threads()),
    }


def main(argv: list[str] | None = None) -> int:
    parser = CommandParser(prog="python -m matnet.benchmarks.numpy_alexnet", description=__doc__)
    parser.add_argument("--batch", type=int, default=10, help="images per forward pass (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=9, help="timed passes of each (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(argv)
    if options.batch < 1 or options.repeats < 1:
        parser.error("--batch and --repeats must be at least 1")
    result = {**measure(options.batch, options.repeats), **versions()}
    if options.json:
        print(json.dumps(result, indent=2))
        return 0
    rows = [(name, f"{speed:.1f}") for name, speed in result["images_per_s"].items()]
    rows.append(("ratio", f"{result['ratio']:.2f}"))
    print(Table.of(["AlexNet's shapes", "images/s"], rows, right=["images/s"]).text())
    print(
        f"\nbatch {result['batch']}, median of {result['repeats']} passes, {result['threads']} threads, "
        f"numpy {result['numpy']}, torch {result['torch']}; scores agree within {result['difference']:.1e}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
