"""`python -m matnet.benchmarks.cpu`: images/s of the CPU engine on published architectures, beside peers."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

import numpy as np

from matnet.benchmarks.nets import NETS
from matnet.benchmarks.peers import PEERS, Runner, matnet_auto_runner, matnet_runner
from matnet.engines.runtime import available, processors
from matnet.errors import EngineError, MatnetError, run_command
from matnet.files import atomic_write
from matnet.network import Network

AGREEMENT = 1e-3  # of the greatest score: enough to see that all compute the same network
PAUSE = 0.02  # seconds before each batch, in which the threads of the engine before stop looking for work
MATRIX = 1536  # side of the product that measures what the machine can do


@dataclass
class Row:
    """One engine on one network and batch size; `seconds` are those of every batch, in order."""

    model: str
    batch: int
    engine: str
    images_per_s: float  # at the median
    slowest_images_per_s: float
    fastest_images_per_s: float
    ratio_to_best_peer: float | None  # of matnet's rows
    gflop_per_s: float
    difference: float  # from matnet's scores, relative to the greatest
    seconds: list[float]


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m matnet.benchmarks.cpu",
        description="Time matnet's onnx backend and its peers on networks with random weights, by turns, in one run.",
    )
    command.add_argument("--models", default=",".join(NETS), metavar="A,B", help="default: %(default)s")
    command.add_argument("--batch", default="1,16", metavar="N,M", help="batch sizes (default: %(default)s)")
    command.add_argument("--peers", default=",".join(PEERS), metavar="A,B", help="default: %(default)s")
    command.add_argument("--threads", type=int, metavar="N", help="default: the processors at hand")
    command.add_argument("--rounds", type=int, default=7, metavar="N", help="batches timed each (default: 7)")
    command.add_argument("--json", metavar="FILE", help="write all timings to FILE as well")
    return command


def chosen(text: str, known: Sequence[str], what: str) -> list[str]:
    """The comma-separated names, each of which must be known."""
    names = [name for name in text.split(",") if name]
    wrong = [name for name in names if name not in known]
    if wrong:
        raise MatnetError(f"no {what} is called {wrong[0]!r}; there is {', '.join(known)}")
    return names


def runners(net: Network, output: str, peers: Sequence[str], threads: int) -> dict[str, Runner]:
    """matnet first, then each peer that is installed; the others are named on stderr."""
    found = {"matnet": matnet_runner(net, output, threads)}
    if available("openvino"):
        found["matnet-auto"] = matnet_auto_runner(net, output, threads)
    for peer in peers:
        for name, make in PEERS[peer].items():
            try:
                found[name] = make(net, output, threads)
            except EngineError as error:
                print(f"matnet: {name} left out: {error}", file=sys.stderr)
    return found


def interleaved(found: dict[str, Runner], x: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Seconds of every batch, the engines taking turns; a first round, which warms up, is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for number in range(rounds + 1):
        for name, run in found.items():
            time.sleep(PAUSE)
            started = time.perf_counter()
            run(x)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def multiply_adds(net: Network) -> int:
    """Of one image through all convolutions."""
    shapes = net.infer_shapes(net.default_input_shapes(1))
    return sum(
        layer.op.multiply_adds(
            [shapes[name] for name in layer.inputs], net.param_shapes(layer), [shapes[name] for name in layer.outputs]
        )
        for layer in net.layers.values()
    )


def matmul_peak(threads: int) -> float:
    """FLOP/s of a large float32 matrix product in ONNX Runtime, whose kernels matnet runs on."""
    from matnet.engines.runtime import OnnxRuntimeSession
    from matnet.formats.onnx.model import Constant, Node, OnnxModel

    matrix = np.random.default_rng(0).standard_normal((MATRIX, MATRIX)).astype(np.float32)
    shape = (MATRIX, MATRIX)
    node = Node("MatMul", ["x", "w"], ["y"])
    model = OnnxModel("peak", [node], {"w": Constant.of(matrix)}, {"x": shape}, {"y": shape})
    session = OnnxRuntimeSession(model, threads)
    seconds = interleaved({"peak": lambda x: session({"x": x})["y"]}, matrix, 9)["peak"]
    return 2 * MATRIX**3 / min(seconds)


def measure(model: str, batches: Sequence[int], peers: Sequence[str], threads: int, rounds: int) -> list[Row]:
    """The rows of one network; EngineError where an engine computes other scores than matnet's."""
    net = NETS[model]()
    (output,) = net.outputs
    found, operations = runners(net, output, peers, threads), 2 * multiply_adds(net)
    _, *shape = next(iter(net.default_input_shapes(1).values()))
    rows = []
    for batch in batches:
        x = np.random.default_rng(batch).standard_normal((batch, *shape)).astype(np.float32)
        scores = {name: run(x) for name, run in found.items()}
        differences = {n: float(np.abs(s - scores["matnet"]).max() / s.max()) for n, s in scores.items()}
        astray = [name for name, difference in differences.items() if difference > AGREEMENT]
        if astray:
            raise EngineError(f"{model}: {astray[0]} computes other scores, by {differences[astray[0]]:.2g}")
        seconds = interleaved(found, x, rounds)
        rows += rows_of(model, batch, seconds, differences, batch * operations)
    return rows


def rows_of(
    model: str,
    batch: int,
    seconds: dict[str, list[float]],
    differences: dict[str, float],
    operations: int,
) -> list[Row]:
    """A row per engine; `operations` are those of one batch."""
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    best = min((median for name, median in medians.items() if not _ours(name)), default=None)
    return [
        Row(
            model=model,
            batch=batch,
            engine=name,
            images_per_s=batch / medians[name],
            slowest_images_per_s=batch / max(taken),
            fastest_images_per_s=batch / min(taken),
            ratio_to_best_peer=best / medians[name] if best and _ours(name) else None,
            gflop_per_s=operations / medians[name] / 1e9,
            difference=differences[name],
            seconds=taken,
        )
        for name, taken in seconds.items()
    ]


def _ours(engine: str) -> bool:
    return engine.startswith("matnet")


def table(rows: Sequence[Row], peak: float) -> str:
    """The rows for people; `peak` in FLOP/s."""
    from tabulate import tabulate

    headers = ["model", "batch", "engine", "images/s", "slowest", "fastest", "ratio", "GFLOP/s", "of peak", "differs"]
    cells = [
        [
            row.model,
            row.batch,
            row.engine,
            f"{row.images_per_s:.1f}",
            f"{row.slowest_images_per_s:.1f}",
            f"{row.fastest_images_per_s:.1f}",
            f"{row.ratio_to_best_peer:.2f}" if row.ratio_to_best_peer else "",
            f"{row.gflop_per_s:.0f}",
            f"{100 * 1e9 * row.gflop_per_s / peak:.0f} %",
            f"{row.difference:.0e}",
        ]
        for row in rows
    ]
    return tabulate(cells, headers, disable_numparse=True)


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    models, peers = chosen(options.models, list(NETS), "model"), chosen(options.peers, list(PEERS), "peer")
    if not all(part.isdigit() and int(part) for part in options.batch.split(",")):
        raise MatnetError(f"--batch takes numbers >= 1 with commas between them, found {options.batch!r}")
    threads = processors() if options.threads is None else options.threads
    if threads < 1 or options.rounds < 1:
        raise MatnetError("--threads and --rounds must be at least 1")
    batches = [int(part) for part in options.batch.split(",")]
    peak, rows = matmul_peak(threads), []
    for model in models:
        rows += measure(model, batches, peers, threads, options.rounds)
        peak = max(peak, matmul_peak(threads))  # whatever else the machine does comes and goes
        print(f"matnet: {model} measured", file=sys.stderr)
    print(table(rows, peak))
    packages = {name: version(name) for name in ("numpy", "onnxruntime", "openvino", "torch") if available(name)}
    print(f"\nrandom weights; medians of {options.rounds} batches by turns; ratio: to the best peer of the same run")
    print(f"peak: {peak / 1e9:.0f} GFLOP/s, a product of {MATRIX} x {MATRIX} matrices; {threads} threads, float32")
    print(f"{packages}; Python {platform.python_version()}, {platform.platform()}")
    if options.json:
        record = {"peak_flop_per_s": peak, "threads": threads, "versions": packages, "rows": [asdict(r) for r in rows]}
        with atomic_write(options.json) as file:
            file.write(json.dumps(record, indent=1).encode())
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
