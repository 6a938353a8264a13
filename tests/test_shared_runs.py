"""The simulation of a shared run: its task counts every image once, in parts as in one piece."""

from __future__ import annotations

from pathlib import Path

from matnet.benchmarks.shared_runs import BATCH, CLASSES, run, simulated
from matnet.evaluation.counters import OneProcess


def test_the_simulated_network_answers_the_number_of_the_image(tmp_path: Path) -> None:
    """All pixels are alike, so the first class is given; the labels say how often that is right."""
    net, config, task = simulated(100, 0.0, tmp_path)
    found = run(OneProcess(net, config, task), 100, BATCH)
    wrong = int((task.data.labels != 0).sum())
    assert (found.shards, found.counts.images, found.counts.wrong[1]) == (4, 100, wrong)
    part = task.part(32, 64)
    assert (part.first, len(part.paths), part.wait, CLASSES) == (32, 32, 0.0, 3)
