"""How threads are divided among the callers of an engine, and a batch among the threads of one call.

The only place that decides it. Threads that share nothing never wait for each other, so on few processors one call per
processor is fastest where there are several batches (an evaluation), and one part per thread where there is one batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from matnet.engines.cpu.runtimes import Runtime, RuntimeSettings

DIVISIONS = {"": "", "threads": "a part of the batch per thread", "images": "an image at a time per thread"}
MOST_CALLERS = 4  # each holds the activations of a batch of its own


def callers_for(threads: int) -> int:
    """How many threads should call an engine of so many threads at a time, where there are batches for all of them."""
    return max(number for number in range(1, MOST_CALLERS + 1) if threads % number == 0)


@dataclass(frozen=True)
class Division:
    """So many calls at a time share the threads of `settings`; `kind`, of DIVISIONS, divides the batch of a call."""

    settings: RuntimeSettings
    kind: str = ""

    @property
    def threads(self) -> int:
        """The threads of one call."""
        return max(1, self.settings.all_threads // self.settings.callers)

    @property
    def parts(self) -> int:
        """How many parts of a batch are computed at a time, each on one thread; 1: one by one, on all threads."""
        return self.threads if self.kind else 1

    @property
    def streams(self) -> int:
        """How many threads call the compiled model at a time."""
        return self.settings.callers * self.parts

    def images(self, batch: int) -> int:
        """How many images of a batch go through the network together."""
        return {"": batch, "threads": -(-batch // self.threads), "images": 1}[self.kind]


class DividedSession:
    """A compiled model that is called for parts of each batch.

    Every input and output has the images on its first axis, and each image's outputs depend on it alone.
    """

    def __init__(self, session: Runtime, division: Division) -> None:
        self._session, self._division = session, division
        self._pool = ThreadPoolExecutor(division.streams, "matnet") if division.parts > 1 else None

    def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for these inputs; raises what the session raises."""
        batch = len(next(iter(values.values())))
        images = self._division.images(batch)
        parts = [
            {name: value[first : first + images] for name, value in values.items()} for first in range(0, batch, images)
        ]
        results = list(self._pool.map(self._session, parts) if self._pool else map(self._session, parts))
        return {name: np.concatenate([result[name] for result in results]) for name in results[0]}
