"""Division of threads among callers of an engine, and of a batch among the threads of one call.

Independent threads do not wait for each other. So on few processors, one call per processor is fastest for many batches
(an evaluation), and one part per thread is fastest for a single batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from matnet.engines.cpu.runtimes import Runtime, RuntimeSettings

DIVISIONS = {"": "", "threads": "a part of the batch per thread", "images": "an image at a time per thread"}
MOST_CALLERS = 4  # each needs memory for its activations


def callers_for(threads: int) -> int:
    """The number of concurrent callers for an engine with this many threads, given enough batches."""
    return max(number for number in range(1, MOST_CALLERS + 1) if threads % number == 0)


@dataclass(frozen=True)
class Division:
    """Concurrent calls share the threads of `settings`; `kind` (a key of DIVISIONS) divides the batch of a call."""

    settings: RuntimeSettings
    kind: str = ""

    @property
    def threads(self) -> int:
        """The number of threads per call."""
        return max(1, self.settings.all_threads // self.settings.callers)

    @property
    def parts(self) -> int:
        """The number of parts of a batch computed in parallel, one thread each; 1: sequentially, on all threads."""
        return self.threads if self.kind else 1

    @property
    def streams(self) -> int:
        """The number of threads that call the compiled model concurrently."""
        return self.settings.callers * self.parts

    def images(self, batch: int) -> int:
        """The number of images computed together."""
        return {"": batch, "threads": -(-batch // self.threads), "images": 1}[self.kind]


class DividedSession:
    """Calls a compiled model for parts of each batch.

    Every input and output must have the images on its first axis, and images must be independent.
    """

    def __init__(self, session: Runtime, division: Division) -> None:
        self._session, self._division = session, division
        self._pool = ThreadPoolExecutor(division.streams, "matnet") if division.parts > 1 else None

    def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for these inputs; errors as of the session."""
        batch = len(next(iter(values.values())))
        images = self._division.images(batch)
        parts = [
            {name: value[first : first + images] for name, value in values.items()} for first in range(0, batch, images)
        ]
        results = list(self._pool.map(self._session, parts) if self._pool else map(self._session, parts))
        return {name: np.concatenate([result[name] for result in results]) for name in results[0]}
