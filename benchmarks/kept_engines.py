"""`python -m matnet.benchmarks.kept_engines`: the overhead of `net(x)` over `engine(x)` on a compiled network.

Both run only the first layer on a small image, so that the network's own time is negligible. The difference is the time
`net(x)` needs to find its cached engine, which depends at most on the number of layers.
"""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np

from matnet.benchmarks.machine import write_figures
from matnet.command_line import CommandParser, run_command
from matnet.engines import BACKENDS
from matnet.errors import MatnetError
from matnet.files import check_outputs
from matnet.kinds import JSON
from matnet.zoo import random_network

NAMES = ("imagenet-vgg-f", "imagenet-googlenet-dag", "imagenet-resnet-152-dag")
TARGET = 0.3  # milliseconds
SIZE = 32
WARM = 5


@dataclass(frozen=True)
class CallRow:
    """Medians of one network, in milliseconds."""

    model: str
    layers: int
    engine: float
    net: float

    @property
    def difference(self) -> float:
        return self.net - self.engine


def parser() -> argparse.ArgumentParser:
    command = CommandParser(
        prog="python -m matnet.benchmarks.kept_engines",
        description=f"Time net(x) and engine(x) in turns; exit status 1 if net(x) takes over {TARGET} ms more.",
    )
    command.add_argument("--calls", type=int, default=300, metavar="N", help="calls of each (default: %(default)s)")
    command.add_argument("--backend", choices=BACKENDS, default="onnx", help="default: %(default)s")
    command.add_argument("--json", metavar="FILE", help="write the figures to FILE as well")
    return command


def measure(name: str, backend: str, calls: int) -> CallRow:
    """Median times of both calls, measured alternately."""
    net = random_network(name)
    first = next(iter(net.layers.values()))
    shape = net.default_input_shapes(1, (SIZE, SIZE))[first.inputs[0]]
    x = np.zeros(shape, np.float32)
    engine = net.compile(first.outputs[:1], backend)
    seconds: dict[str, list[float]] = {"engine": [], "net": []}
    for _ in range(WARM + calls):
        start = time.perf_counter()
        engine(x)
        between = time.perf_counter()
        net(x, first.outputs[:1], backend=backend)
        seconds["engine"].append(between - start)
        seconds["net"].append(time.perf_counter() - between)
    median = {way: 1000 * statistics.median(values[WARM:]) for way, values in seconds.items()}
    return CallRow(name, len(net.layers), median["engine"], median["net"])


def main(argv: list[str] | None = None) -> int:
    from tabulate import tabulate

    options = parser().parse_args(argv)
    check_outputs([(options.json, JSON)])
    if options.calls < 1:
        raise MatnetError("--calls must be at least 1")
    rows = [measure(name, options.backend, options.calls) for name in NAMES]
    headers = ["model", "layers", "engine(x) ms", "net(x) ms", "difference"]
    table = [[row.model, row.layers, row.engine, row.net, row.difference] for row in rows]
    print(tabulate(table, headers, floatfmt=".3f"))
    held = all(row.difference <= TARGET for row in rows)
    print(f"at most {TARGET} ms more: {'PASS' if held else 'miss'}; {options.calls} calls each, {platform.platform()}")
    if options.json:
        report = {"target_ms": TARGET, "held": held, "ms": [{**asdict(row), "more": row.difference} for row in rows]}
        write_figures(options.json, "matnet.benchmarks.kept_engines", report, argv)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(run_command(main))
