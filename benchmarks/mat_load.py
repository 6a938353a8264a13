"""`python -m matnet.benchmarks.mat_load`: loading a 240 MB network, compared with scipy (v5, v7) and h5py (v7.3).

The file has AlexNet's shapes and random weights; `--file` selects others. Every measurement is a fresh process that
opens the file and reads every value of its arrays once. Before timing starts, modules are imported and the file is in
the page cache. Memory is the growth of anonymous memory, sampled by the parent process; pages of a mapped file do not
count, since the system can reclaim them. The exit status is 1 if a target is missed.
"""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from matnet.benchmarks.machine import write_figures
from matnet.command_line import CommandParser, run_command
from matnet.errors import MatnetError
from matnet.files import check_outputs
from matnet.formats.mat import read_mat, write_mat
from matnet.formats.mat.header import read_header
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
    """One file and its peer; `options` are for write_mat."""

    name: str
    options: dict[str, Any]
    peer: str
    least: float | None = None  # target: minimum speed relative to the peer


CASES = (
    FileCase("v5", {"version": "5"}, "scipy"),
    FileCase("v7 (v5, deflated)", {"version": "5", "compress": True}, "scipy", 1.4),
    FileCase("v7.3", {"version": "7.3"}, "h5py", 1.0),
    FileCase("v7.3, deflated", {"version": "7.3", "compress": True}, "h5py"),
)
MOST_MEMORY = 1.15  # target: maximum memory relative to the bytes of all values


def network() -> dict[str, Any]:
    """The variables of a SimpleNN file with AlexNet's weighted layers, each followed by a ReLU."""
    random = np.random.default_rng(0)
    layers = []
    for name, shape in FILTERS.items():
        filters = random.standard_normal(shape[::-1], np.float32).T
        weights = Cell([filters, np.zeros((shape[3], 1), np.float32)])
        layers.append({"name": name, "type": "conv", "weights": weights, "pad": row([0]), "stride": row([1])})
        layers.append({"name": f"relu_{name}", "type": "relu", "weights": Cell(), "leak": row([0])})
    classes = {"description": Cell(f"class number {number}" for number in range(CLASSES))}
    return {"layers": Cell(layers), "meta": {"classes": classes}}


def arrays_of_matnet(path: str) -> list[np.ndarray]:
    """All numeric arrays in the file, read by matnet."""
    return list(_arrays(dict(read_mat(path))))


def arrays_of_scipy(path: str) -> list[np.ndarray]:
    """All numeric arrays in the file, read by scipy."""
    from scipy.io import loadmat

    return list(_arrays(loadmat(path)))


def _arrays(value: Any) -> Iterator[np.ndarray]:
    """The numeric arrays within cells, structs and scipy's representation of these."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "buif":
        yield value
    elif isinstance(value, np.ndarray) and value.dtype.names:
        for name in value.dtype.names:
            yield from _arrays(value[name])
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _arrays(item)
    elif isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype.kind == "O"):
        for item in value.flat if isinstance(value, np.ndarray) else value:
            yield from _arrays(item)


def arrays_of_h5py(path: str) -> list[np.ndarray]:
    """All arrays in the file, read without MATLAB's conventions."""
    import h5py

    found: list[Any] = []

    def visit(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not h5py.check_ref_dtype(item.dtype):
            found.append(item[()])

    with h5py.File(path) as file:
        file.visititems(visit)
    return [array for array in found if array.dtype.kind in "buif"]


READERS: dict[str, Callable[[str], list[np.ndarray]]] = {
    "matnet": arrays_of_matnet,
    "scipy": arrays_of_scipy,
    "h5py": arrays_of_h5py,
}


def anonymous_bytes(process: int | str) -> int:
    """The current anonymous memory of a process from Linux; 0 if it has ended or is not reported."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0)


def probe(reader: str, path: str) -> dict[str, float]:
    """Load one file in this process and read every value; `bytes` is the size of all values."""
    import h5py  # noqa: F401
    import scipy.io  # noqa: F401

    import matnet.formats.mat.v5_read
    import matnet.formats.mat.v73_read  # noqa: F401

    before = anonymous_bytes("self")
    start = time.perf_counter()
    arrays = READERS[reader](path)
    for array in arrays:
        array.max(initial=0)
    seconds = time.perf_counter() - start
    assert arrays
    return {"seconds": seconds, "before": before, "bytes": sum(array.nbytes for array in arrays)}


def measure(path: Path, peer: str, repeats: int) -> dict[str, list[dict[str, float]]]:
    """Alternating probes of both readers, without a first round that may fill the page cache."""
    probes: dict[str, list[dict[str, float]]] = {"matnet": [], peer: []}
    for number in range(repeats + 1):
        for reader, results in probes.items():
            command = [sys.executable, "-m", "matnet.benchmarks.mat_load", "--probe", reader, str(path)]
            peak = 0
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                while process.poll() is None:
                    peak = max(peak, anonymous_bytes(process.pid))
                    time.sleep(0.001)
                out, errors = process.communicate()
            if process.returncode:
                raise MatnetError(f"{reader} failed on {path.name}: {errors.strip()}")
            if number:
                found = json.loads(out)
                results.append({**found, "peak": max(0, peak - found["before"])})
    return probes


def summary(case: FileCase, size: int, probes: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """One row: medians of both readers, and the time of the peer relative to matnet.

    On a busy machine the ratio of the fastest runs is more stable.
    """
    seconds = {reader: statistics.median(probe["seconds"] for probe in found) for reader, found in probes.items()}
    fastest = {reader: min(probe["seconds"] for probe in found) for reader, found in probes.items()}
    growth = {reader: max(probe["peak"] for probe in found) for reader, found in probes.items()}
    ratio, memory = seconds[case.peer] / seconds["matnet"], growth["matnet"] / probes["matnet"][0]["bytes"]
    return {
        "file": case.name,
        "file_bytes": size,
        "peer": case.peer,
        "seconds": seconds["matnet"],
        "peer_seconds": seconds[case.peer],
        "ratio": ratio,
        "least_ratio": case.least,
        "peak_ratio": memory,
        "held": case.least is None or (ratio >= case.least and memory <= MOST_MEMORY),
        "ratio_fastest": fastest[case.peer] / fastest["matnet"],
        "peak_bytes": growth["matnet"],
        "peer_peak_bytes": growth[case.peer],
        "probes": probes,
    }


def run(repeats: int, files: Sequence[str] = ()) -> list[dict[str, Any]]:
    """A row per user file, which is copied first, and per case."""
    variables = network()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            path = Path(folder, Path(file).name)
            shutil.copyfile(file, path)
            peer, least = ("scipy", 1.4) if read_header(path).version == "5" else ("h5py", 1.0)
            own = FileCase(path.name, {}, peer, least)
            rows.append(summary(own, path.stat().st_size, measure(path, peer, repeats)))
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
        Column("peak_ratio", "peak / values", "right", 2),
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
    command = CommandParser(
        prog="python -m matnet.benchmarks.mat_load",
        description="Time loading a 240 MB network in each MAT version and compare with scipy and h5py.",
    )
    command.add_argument("--file", action="append", default=[], metavar="FILE", help="a .mat file too; may be repeated")
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
    rows = run(options.repeats, options.file)
    print(table(rows))
    print(f"medians of {options.repeats} fresh processes each, ratio = peer / matnet; {platform.platform()}")
    for line in rows:
        if line["least_ratio"] is not None:
            wanted = f"at least {line['least_ratio']:.1f} times as fast as {line['peer']}, peak at most {MOST_MEMORY}"
            found = f"{line['ratio']:.2f}, peak {line['peak_ratio']:.2f} of the values"
            print(f"{'PASS' if line['held'] else 'miss'}  {line['file']}: {found}; {wanted}")
    if options.json:
        write_figures(options.json, "matnet.benchmarks.mat_load", {"rows": rows}, argv)
    return 0 if all(line["held"] for line in rows) else 1


if __name__ == "__main__":
    sys.exit(run_command(main))
