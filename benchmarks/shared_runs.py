"""`python -m matnet.benchmarks.shared_runs`: the overhead of a distributed evaluation, and the cost of killed workers.

The simulated network waits a millisecond per image and computes almost nothing, so that many workers run on few
processors. Everything else is as in `matnet eval --workers`: shards, Dask, restarted processes.
"""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from matnet.arguments import positive
from matnet.command_line import CommandParser, common_options, run_command
from matnet.datasets import ImageList
from matnet.engines import EngineOptions
from matnet.evaluation.config import EvaluationConfig
from matnet.evaluation.counters import OneProcess
from matnet.evaluation.shards import ShardCounter, local_cluster
from matnet.evaluation.tally import Tally, batches_left
from matnet.evaluation.tasks.classification import Classification
from matnet.images import Preprocessing
from matnet.network import Layer, Network, Source
from matnet.ops.activation import SoftMax
from matnet.tables import Table

BATCH = 32
CLASSES = 3


@dataclass(frozen=True)
class Waiting(Classification):
    """A classification that waits `wait` seconds per image and reads no files."""

    wait: float = 0.001

    def read(self, number: int, preprocessing: Preprocessing, place: np.ndarray) -> None:
        place[...] = number % CLASSES

    def count(self, scores: np.ndarray, numbers: Sequence[int], truths: Sequence[Any]) -> Any:
        time.sleep(self.wait * len(numbers))
        return super().count(scores, numbers, truths)


@dataclass(frozen=True)
class Times:
    """A run: seconds, processor seconds of the coordinating process, shards, and counts."""

    wall: float
    processor: float
    shards: int
    counts: Any


def network() -> Network:
    """A softmax over the pixels of images of CLASSES x 1 x 1."""
    net = Network({}, Source(format="dagnn"))
    net.add(Layer("prob", SoftMax(), ["data"], ["prob"]))
    return net


def simulated(count: int, wait: float, folder: Path) -> tuple[Network, EvaluationConfig, Waiting]:
    """A network, its configuration, and a task of `count` images that are all the same unread file."""
    file = folder / "image.png"
    file.write_bytes(b"")
    labels = np.random.default_rng(3).integers(0, CLASSES, count)
    images = ImageList((file,) * count, labels, None, folder, "simulated", "0" * 64)
    prepared = Preprocessing(image_size=(1, 1), channels=CLASSES)
    config = EvaluationConfig(prepared, "prob", EngineOptions("numpy", batch_size=BATCH), 1)
    return network(), config, Waiting(images, wait=wait)


def run(counter: Any, count: int, size: int, cluster: Any = None, deaths: Sequence[int] = ()) -> Times:
    """Count all images; kill a worker at each number of counted images in `deaths`."""
    left, tally, shards = sorted(deaths), Tally(counter.task.empty()), 0
    wall, processor = time.perf_counter(), time.process_time()
    for part in counter.tallies(batches_left(count, size)):
        tally, shards = tally.plus(part), shards + 1
        while left and tally.images >= left[0]:
            left.pop(0)
            kill_one(cluster)
    return Times(time.perf_counter() - wall, time.process_time() - processor, shards, tally.counts)


def kill_one(cluster: Any) -> None:
    """Kill a random running worker."""
    found = cluster.client.run(os.getpid, on_error="ignore")
    os.kill(random.choice(list(found.values())), signal.SIGKILL)


def main(argv: list[str] | None = None) -> int:
    """Print the table; status 1 if the counts differ."""
    command = CommandParser(parents=[common_options()], description=__doc__)
    command.add_argument("--images", type=positive, default=50_000, metavar="N")
    command.add_argument("--workers", type=positive, default=8, metavar="N")
    command.add_argument("--deaths", type=int, default=3, metavar="N", help="workers that are killed (default: 3)")
    command.add_argument("--wait", type=float, default=0.001, metavar="SECONDS", help="delay of the network per image")
    options = command.parse_args(argv)
    random.seed(7)
    deaths = random.sample(range(options.images // 10, options.images * 8 // 10), options.deaths)
    with tempfile.TemporaryDirectory() as folder:
        net, config, task = simulated(options.images, options.wait, Path(folder))
        few = min(2000, options.images)
        alone = run(OneProcess(net, config, task), few, BATCH)
        each = alone.wall / few
        with local_cluster(options.workers, options.workers) as cluster:
            cluster.client.wait_for_workers(options.workers, timeout=300)
            run(ShardCounter(cluster, net, config, task), few, BATCH)  # prepares the engines
            whole = run(ShardCounter(cluster, net, config, task), options.images, BATCH)
            killed = run(ShardCounter(cluster, net, config, task), options.images, BATCH, cluster, deaths)
    print(report(options, each, whole, killed))
    return 0 if killed.counts.record() == whole.counts.record() else 1


def report(options: argparse.Namespace, each: float, whole: Times, killed: Times) -> str:
    """The times of the runs and the overhead as a table."""
    ideal = each * options.images / options.workers
    overhead = whole.wall * options.workers / options.images - each
    lost = killed.wall - whole.wall
    rows = [
        ("an image in one process, ms", f"{1e3 * each:.3f}"),
        ("ideal, s", f"{ideal:.2f}"),
        (f"{options.workers} workers, s", f"{whole.wall:.2f}"),
        ("overhead of a worker per image, ms", f"{1e3 * overhead:.3f}"),
        ("scheduler and client per image, ms of a processor", f"{1e3 * whole.processor / options.images:.4f}"),
        ("scheduler and client per shard, ms of a processor", f"{1e3 * whole.processor / whole.shards:.1f}"),
        ("shards", str(whole.shards)),
        (f"{options.deaths} workers killed, s", f"{killed.wall:.2f}"),
        ("time lost by deaths, %", f"{100 * lost / whole.wall:.1f}"),
        ("lost by a death, s of one worker", f"{lost * options.workers / max(1, options.deaths):.2f}"),
        ("load of the machine", " ".join(f"{value:.1f}" for value in os.getloadavg())),
    ]
    return Table.of(("", "value"), rows, right=("value",)).text()


if __name__ == "__main__":
    sys.exit(run_command(main))
