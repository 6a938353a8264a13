"""`python -m matnet.benchmarks.convert`: converting Caffe models of 244 and 553 MB to .mat files, compared with cp.

AlexNet and VGG-16 have their real shapes and random weights. Every conversion runs the convert command in a fresh
process: `matnet s` is the time of the command with its modules imported, `process s` the time of the whole process,
with modules compiled to bytecode before. Memory is the peak resident set, including mapped pages of the caffemodel.
Copies and conversions alternate; the files are in the page cache before timing starts.
"""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import math
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from matnet.benchmarks.machine import with_bytecode, write_figures
from matnet.command_line import CommandParser, run_command
from matnet.converters.files.caffe_write import write_caffemodel, write_prototxt
from matnet.converters.files.message import Message, build
from matnet.errors import MatnetError
from matnet.files import check_outputs
from matnet.kinds import JSON
from matnet.tables import Column, Table

# name, outputs, kernel, stride, pad, groups; a number is a pooling window with stride 2.
ALEXNET = (
    ("conv1", 96, 11, 4, 0, 1), 3, ("conv2", 256, 5, 1, 2, 2), 3, ("conv3", 384, 3, 1, 1, 1),
    ("conv4", 384, 3, 1, 1, 2), ("conv5", 256, 3, 1, 1, 2), 3,
)  # fmt: skip
VGG16 = tuple(
    item
    for stage, (depth, width) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1)
    for item in (*((f"conv{stage}_{number}", width, 3, 1, 1, 1) for number in range(1, depth + 1)), 2)
)
MOST = {"AlexNet": 4.0}  # maximum time of the process relative to cp
FULLY_CONNECTED = (("fc6", 4096), ("fc7", 4096), ("fc8", 1000))
NETWORKS: dict[str, tuple[Any, int, int]] = {
    "AlexNet": (ALEXNET, 227, 256 * 6 * 6),
    "VGG-16": (VGG16, 224, 512 * 7 * 7),
}
"""Convolutional part, input size, and number of inputs of fc6."""


def network(name: str) -> tuple[Message, dict[str, list[np.ndarray]]]:
    """Definition and random weights."""
    body, size, features = NETWORKS[name]
    random = np.random.default_rng(0)
    weights: dict[str, list[np.ndarray]] = {}
    layers = [build("LayerParameter", name="data", type="Input", top=["data"],
                    input_param={"shape": [{"dim": [1, 3, size, size]}]})]  # fmt: skip
    blob, channels = "data", 3
    for item in body:
        if isinstance(item, int):
            top = f"pool{len(layers)}"
            layers.append(_layer(top, "Pooling", blob, top, pooling_param={"kernel_size": item, "stride": 2}))
        else:
            top, outputs, kernel, stride, pad, group = item
            param = {"num_output": outputs, "kernel_size": [kernel], "stride": [stride], "pad": [pad], "group": group}
            layers += [
                _layer(top, "Convolution", blob, top, convolution_param=param),
                _layer(f"relu_{top}", "ReLU", top, top),
            ]
            weights[top] = _blobs(random, (outputs, channels // group, kernel, kernel))
            channels = outputs
        blob = top
    for top, outputs in FULLY_CONNECTED:
        layers.append(_layer(top, "InnerProduct", blob, top, inner_product_param={"num_output": outputs}))
        weights[top] = _blobs(random, (outputs, features))
        blob, features = top, outputs
    message = Message("NetParameter")
    message.set("name", name)
    message.set("layer", layers)
    return message, weights


def _layer(name: str, kind: str, bottom: str, top: str, **fields: Any) -> Message:
    return build("LayerParameter", name=name, type=kind, bottom=[bottom], top=[top], **fields)


def _blobs(random: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    return [random.standard_normal(shape, np.float32), np.zeros(shape[0], np.float32)]


LAUNCHER = """
import sys, time
import matnet.convert, matnet.converters.convert, matnet.formats.mat.v5_write
start = time.perf_counter()
status = matnet.convert.main(sys.argv[1:])
seconds = time.perf_counter() - start
lines = open("/proc/self/status").read().splitlines()
print("measured", seconds, next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
sys.exit(status)
"""
"""Runs the command with its modules imported, and reports its seconds and its peak in kilobytes.

Linux counts the peak per process, so the parent does not affect it.
"""


def measure(folder: Path, repeats: int) -> Iterator[dict[str, float]]:
    """Seconds of a copy, a conversion and its process, and its peak bytes; without a warm-up round."""
    model, copy, target = folder / "net.caffemodel", folder / "copy", folder / "net.mat"
    command = [sys.executable, "-c", LAUNCHER, "--prototxt", str(folder / "net.prototxt")]
    command += ["--caffemodel", str(model), "--out", str(target)]
    environment = with_bytecode(str(folder / "bytecode"))
    for number in range(repeats + 1):
        for path in (copy, target):
            path.unlink(missing_ok=True)
        start = time.perf_counter()
        subprocess.run(["cp", str(model), str(copy)], check=True)
        copied = time.perf_counter()
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        converted = time.perf_counter()
        if result.returncode:
            raise MatnetError(f"the conversion failed: {result.stderr.strip()}")
        seconds, kilobytes = result.stdout.rsplit("measured ", 1)[1].split()
        if number:
            yield {
                "copy_seconds": copied - start,
                "seconds": float(seconds),
                "process_seconds": converted - copied,
                "peak_bytes": 1024 * int(kilobytes),
            }


def run(names: list[str], repeats: int) -> list[dict[str, Any]]:
    """One row per network: medians of the times, the largest peak, and their ratios."""
    rows = []
    for name in names:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            message, weights = network(name)
            write_prototxt(folder / "net.prototxt", message)
            write_caffemodel(folder / "net.caffemodel", message, weights)
            del weights
            size = (folder / "net.caffemodel").stat().st_size
            probes = list(measure(folder, repeats))
        names_of_times = ("seconds", "process_seconds", "copy_seconds")
        seconds, process, copy = (statistics.median(found[name] for found in probes) for name in names_of_times)
        peak = max(found["peak_bytes"] for found in probes)
        rows.append({
            "network": name, "file_bytes": size, "copy_seconds": copy, "seconds": seconds, "ratio": seconds / copy,
            "process_seconds": process, "process_ratio": process / copy, "peak_bytes": peak,
            "peak_ratio": peak / size, "probes": probes,
        })  # fmt: skip
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    columns = [
        Column("network", "network"),
        *(Column(key, heading, "right", places) for key, heading, places in (
            ("megabytes", "MB", 0), ("copy_seconds", "cp s", 2), ("seconds", "matnet s", 2),
            ("ratio", "matnet / cp", 2), ("process_seconds", "process s", 2), ("process_ratio", "process / cp", 2),
            ("peak_megabytes", "peak MB", 0), ("peak_ratio", "peak / file", 2))),
    ]  # fmt: skip
    sizes = {"megabytes": "file_bytes", "peak_megabytes": "peak_bytes"}
    return Table(columns, [{**row, **{name: row[key] / 1e6 for name, key in sizes.items()}} for row in rows]).text()


def parser() -> argparse.ArgumentParser:
    command = CommandParser(prog="python -m matnet.benchmarks.convert", description=__doc__.splitlines()[0])
    command.add_argument("--network", choices=tuple(NETWORKS), action="append", help="default: all")
    command.add_argument("--repeats", type=int, default=5, help="timed rounds of each network (default 5)")
    command.add_argument("--json", metavar="FILE", help="also write the rows, with every probe, to FILE")
    return command


def main(argv: list[str] | None = None) -> int:
    given = parser().parse_args(argv)
    check_outputs([(given.json, JSON)])
    if shutil.which("cp") is None or not Path("/proc/self/status").exists():
        raise MatnetError("this system has no cp or no /proc; run this benchmark on Linux")
    if given.repeats < 1:
        raise MatnetError("--repeats must be at least 1")
    rows = run(given.network or list(NETWORKS), given.repeats)
    print(table(rows))
    print(f"{platform.platform()}, Python {platform.python_version()}, numpy {np.__version__}")
    missed = [row["network"] for row in rows if row["process_ratio"] > MOST.get(row["network"], math.inf)]
    for row in rows:
        if row["network"] in MOST:
            verdict, most = "miss" if row["network"] in missed else "PASS", MOST[row["network"]]
            print(f"{verdict}  {row['network']}: process / cp {row['process_ratio']:.2f}, at most {most:g}")
    if given.json:
        write_figures(given.json, "matnet.benchmarks.convert", {"rows": rows}, argv)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
