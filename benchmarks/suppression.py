"""`python -m matnet.benchmarks.suppression`: non-maximum suppression of 20,000 boxes, compared with torchvision."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from matnet.arguments import positive
from matnet.benchmarks.torchvision import seconds, torchvision_ops
from matnet.command_line import CommandParser, common_options, run_command
from matnet.ops.extensions.suppression import keep_best
from matnet.tables import Table

SPANS = (4000, 1000, 300)
"""Sides of the square that contains the boxes' corners: few, more, and most overlaps."""
LIMIT = 0.3


def random_boxes(count: int, span: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Boxes with sides of 10 to 120 pixels, R x 4, and different scores."""
    generator = np.random.default_rng(seed)
    low, size = generator.uniform(0, span, (count, 2)), generator.uniform(10, 120, (count, 2))
    scores = generator.permutation(count).astype(np.float32) / count
    return np.concatenate([low, low + size], axis=1).astype(np.float32), scores


def suppressed(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Indices of the boxes kept by matnet, best first."""
    order = np.argsort(-scores, kind="stable")
    return order[keep_best(boxes[order], LIMIT)]


def main(argv: list[str] | None = None) -> int:
    """Print the table; status 1 if the kept boxes differ. EngineError without torchvision."""
    command = CommandParser(parents=[common_options()], description=__doc__)
    command.add_argument("--boxes", type=positive, default=20_000, metavar="N")
    command.add_argument("--rounds", type=positive, default=9, metavar="N")
    options = command.parse_args(argv)
    peer = torchvision_nms()
    rows, same = [], True
    for span in SPANS:
        boxes, scores = random_boxes(options.boxes, span)
        ours, theirs = suppressed(boxes, scores), peer(boxes, scores)
        alike = np.array_equal(ours, theirs)
        same = same and alike
        own, other = [], []
        for _ in range(options.rounds):
            own.append(seconds(suppressed, boxes, scores))
            other.append(seconds(peer, boxes, scores))
        mine, peers = statistics.median(own), statistics.median(other)
        rows.append([span, len(ours), "yes" if alike else "NO", 1e3 * mine, 1e3 * peers, mine / peers])
    shown = [[*row[:3], *(f"{value:.2f}" for value in row[3:])] for row in rows]
    headings = ("span", "kept", "same boxes", "matnet ms", "torchvision ms", "time ratio")
    print(Table.of(headings, shown, right=headings).text())
    return 0 if same else 1


def torchvision_nms() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """torchvision.ops.nms on one thread, for numpy arrays."""
    torch, ops = torchvision_ops()

    def run(boxes: np.ndarray, scores: np.ndarray) -> Any:
        return ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), LIMIT).numpy()

    return run


if __name__ == "__main__":
    sys.exit(run_command(main))
