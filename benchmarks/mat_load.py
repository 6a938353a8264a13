"""`python -m matnet.benchmarks.mat_load`: opening a 240 MB network, beside scipy (v5, v7) and plain h5py (v7.3).

The file has AlexNet's shapes and random weights. Every measurement is a fresh process that opens the file and
lists each layer's type and weight shapes; modules are imported, and the file is in the page cache, before the
clock starts. Memory is the growth of the process's peak resident set over what it held before.
"""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from matnet.errors import MatnetError, run_command
from matnet.files import atomic_write, check_outputs
from matnet.formats.mat import read_mat, write_mat
from matnet.formats.mat.values import Cell, row
from matnet.kinds import JSON
from matnet.tables import Column, Table

# AlexNet as MatConvNet stores it: filters of height x width x depth (per group) x number.
FILTERS = {
    "conv1": (11, 11, 3, 96),
    "conv2": (5, 5, 48, 256),
    "conv3": (3, 3, 256, 384),
    "conv4": (3, 3, 192, 384),
    "conv5": (3, 3, 192, 256),
    "fc6": (6, 6, 256, 4096),
    "fc7": (1, 1, 4096, 4096),
    "fc8": (1, 1, 4096, 1000),
}
CLASSES = 1000


@dataclass(frozen=True)
class FileCase:
    """One file and its two readers; `options` are write_mat's."""

    name: str
    options: dict[str, Any]
    peer: str


CASES = (
    FileCase("v5", {"version": "5"}, "scipy"),
    FileCase("v7 (v5, deflated)", {"version": "5", "compress": True}, "scipy"),
    FileCase("v7.3", {"version": "7.3"}, "h5py"),
    FileCase("v7.3, deflated", {"version": "7.3", "compress": True}, "h5py"),
)


def network() -> dict[str, Any]:
    """The variables of a SimpleNN file with AlexNet's layers that have weights, a ReLU after each."""
    random = np.random.default_rng(0)
    layers = []
    for name, shape in FILTERS.items():
        filters = random.standard_normal(shape[::-1], np.float32).T
        weights = Cell([filters, np.zeros((shape[3], 1), np.float32)])
        layers.append({"name": name, "type": "conv", "weights": weights, "pad": row([0]), "stride": row([1])})
        layers.append({"name": f"relu_{name}", "type": "relu", "weights": Cell(), "leak": row([0])})
    classes = {"description": Cell(f"class number {number}" for number in range(CLASSES))}
    return {"layers": Cell(layers), "meta": {"classes": classes}}


def list_with_matnet(path: str) -> list[Any]:
    layers = read_mat(path)["layers"]
    return [(layer["type"], [weights.shape for weights in layer["weights"]]) for layer in layers]


def list_with_scipy(path: str) -> list[Any]:
    from scipy.io import loadmat

    layers = [layer[0, 0] for layer in loadmat(path)["layers"].flat]
    return [(layer["type"].item(), [weights.shape for weights in layer["weights"].flat]) for layer in layers]


def list_with_h5py(path: str) -> list[Any]:
    """Every array of the file, read as it stands, without following MATLAB's conventions."""
    import h5py

    found: list[Any] = []

    def visit(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not h5py.check_ref_dtype(item.dtype):
            found.append(item[()])

    with h5py.File(path) as file:
        file.visititems(visit)
    return [(array.dtype, array.shape) for array in found]


READERS: dict[str, Callable[[str], list[Any]]] = {
    "matnet": list_with_matnet,
    "scipy": list_with_scipy,
    "h5py": list_with_h5py,
}


def resident_bytes(peak: bool) -> int:
    """This process's resident set now, or at its peak: from Linux itself, since getrusage counts the parent's."""
    field = "VmHWM:" if peak else "VmRSS:"
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def probe(reader: str, path: str) -> dict[str, float]:
    """Open and list one file in this process."""
    import h5py  # noqa: F401
    import scipy.io  # noqa: F401

    import matnet.formats.mat.v5_read
    import matnet.formats.mat.v73_read  # noqa: F401

    before = resident_bytes(peak=False)
    start = time.perf_counter()
    listed = READERS[reader](path)
    seconds = time.perf_counter() - start
    assert listed
    return {"seconds": seconds, "bytes": max(0, resident_bytes(peak=True) - before)}


def measure(path: Path, peer: str, repeats: int) -> dict[str, list[dict[str, float]]]:
    """Probes of both readers, by turns; a first round, which may fill the page cache, is left out."""
    probes: dict[str, list[dict[str, float]]] = {"matnet": [], peer: []}
    for number in range(repeats + 1):
        for reader, results in probes.items():
            command = [sys.executable, "-m", "matnet.benchmarks.mat_load", "--probe", reader, str(path)]
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode:
                raise MatnetError(f"{reader} failed on {path.name}: {result.stderr.strip()}")
            if number:
                results.append(json.loads(result.stdout))
    return probes


def summary(case: FileCase, size: int, probes: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """One row: medians of both readers, and how many times longer the peer takes.

    On a busy machine the ratio of the fastest runs is the steadier one.
    """
    seconds = {reader: statistics.median(probe["seconds"] for probe in found) for reader, found in probes.items()}
    fastest = {reader: min(probe["seconds"] for probe in found) for reader, found in probes.items()}
    growth = {reader: max(probe["bytes"] for probe in found) for reader, found in probes.items()}
    return {
        "file": case.name,
        "file_bytes": size,
        "peer": case.peer,
        "seconds": seconds["matnet"],
        "peer_seconds": seconds[case.peer],
        "ratio": seconds[case.peer] / seconds["matnet"],
        "ratio_fastest": fastest[case.peer] / fastest["matnet"],
        "peak_bytes": growth["matnet"],
        "peer_peak_bytes": growth[case.peer],
        "probes": probes,
    }


def run(repeats: int) -> list[dict[str, Any]]:
    variables = network()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            path = Path(folder) / "alexnet.mat"
            write_mat(path, variables, **case.options)
            rows.append(summary(case, path.stat().st_size, measure(path, case.peer, repeats)))
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    columns = [
        Column("file", "file"),
        Column("megabytes", "MB", "right", 0),
        Column("milliseconds", "matnet ms", "right", 1),
        Column("peer", "peer"),
        Column("peer_milliseconds", "peer ms", "right", 1),
        Column("ratio", "ratio", "right", 2),
        Column("ratio_fastest", "of fastest", "right", 2),
        Column("peak_megabytes", "peak MB", "right", 1),
        Column("peer_peak_megabytes", "peer peak MB", "right", 1),
    ]
    lines = [
        {
            **row,
            "megabytes": row["file_bytes"] / 1e6,
            "milliseconds": 1000 * row["seconds"],
            "peer_milliseconds": 1000 * row["peer_seconds"],
            "peak_megabytes": row["peak_bytes"] / 1e6,
            "peer_peak_megabytes": row["peer_peak_bytes"] / 1e6,
        }
        for row in rows
    ]
    return Table(columns, lines).text()


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m matnet.benchmarks.mat_load",
        description="Time opening and listing a 240 MB network in each MAT version, beside scipy and plain h5py.",
    )
    command.add_argument("--repeats", type=int, default=5, metavar="N", help="processes each (default 5)")
    command.add_argument("--json", metavar="FILE", help="write the figures to FILE as well")
    command.add_argument("--probe", nargs=2, metavar=("READER", "FILE"), help=argparse.SUPPRESS)
    return command


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    check_outputs([(options.json, JSON)])
    if options.probe:
        print(json.dumps(probe(*options.probe)))
        return 0
    if options.repeats < 1:
        raise MatnetError("--repeats must be at least 1")
    rows = run(options.repeats)
    print(table(rows))
    print(f"medians of {options.repeats} fresh processes each, ratio = peer / matnet; {platform.platform()}")
    if options.json:
        with atomic_write(options.json) as file:
            file.write(json.dumps({"rows": rows}, indent=1).encode())
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
