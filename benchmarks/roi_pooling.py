"""`python -m matnet.benchmarks.roi_pooling`: pooling of 2,000 boxes over 512 channels, compared with torchvision."""

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
from matnet.ops.roi import ROIPooling
from matnet.tables import Table

MAP = (1, 512, 38, 63)
"""The output of VGG-16's last convolution for an image of 600 x 1000 pixels."""
STRIDE = 16
TILES = 7


def random_boxes(count: int, seed: int = 3) -> np.ndarray:
    """Boxes in 0-based pixels of an image of 600 x 1000: R x 5, image index first."""
    generator = np.random.default_rng(seed)
    low = generator.uniform(0, 1, (count, 2)) * (980, 580)
    high = np.minimum(low + generator.uniform(16, 500, (count, 2)), (999, 599))
    return np.concatenate([np.zeros((count, 1)), low.round(), high.round()], axis=1).astype(np.float32)


def pooled(values: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Pooling by matnet, with 1-based boxes and a transform equivalent to Caffe's layer."""
    op = ROIPooling(subdivisions=(TILES, TILES), transform=((1 / STRIDE, 0.0, 1.0), (0.0, 1 / STRIDE, 1.0)))
    rows = boxes + np.array([1, 0, 0, 0, 0], np.float32)
    (found,) = op.forward(np, [values, rows.reshape(-1, 5, 1, 1)], None)
    return np.asarray(found)


def main(argv: list[str] | None = None) -> int:
    """Print the table; status 1 if values differ. EngineError without torchvision."""
    command = CommandParser(parents=[common_options()], description=__doc__)
    command.add_argument("--boxes", type=positive, default=2000, metavar="N")
    command.add_argument("--rounds", type=positive, default=5, metavar="N")
    options = command.parse_args(argv)
    peer = torchvision_pool()
    values = np.random.default_rng(5).standard_normal(MAP, np.float32)
    boxes = random_boxes(options.boxes)
    same = np.array_equal(pooled(values, boxes), peer(values, boxes))
    own, other = [], []
    for _ in range(options.rounds):
        own.append(seconds(pooled, values, boxes))
        other.append(seconds(peer, values, boxes))
    mine, peers = statistics.median(own), statistics.median(other)
    numbers = [f"{1e3 * mine:.0f}", f"{1e3 * peers:.0f}", f"{mine / peers:.2f}"]
    headings = ("boxes", "channels", "same values", "matnet ms", "torchvision ms", "time ratio")
    print(Table.of(headings, [[len(boxes), MAP[1], "yes" if same else "NO", *numbers]], right=headings).text())
    return 0 if same else 1


def torchvision_pool() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """torchvision.ops.roi_pool on one thread, for numpy arrays."""
    torch, ops = torchvision_ops()

    def run(values: np.ndarray, boxes: np.ndarray) -> Any:
        return ops.roi_pool(torch.from_numpy(values), torch.from_numpy(boxes), TILES, 1 / STRIDE).numpy()

    return run


if __name__ == "__main__":
    sys.exit(run_command(main))
