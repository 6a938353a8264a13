"""A batch in parts, several at a time, each on one thread: threads that share nothing never wait for each other."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from matnet.engines.cpu.runtimes import Runtime
from matnet.engines.cpu.tuning.variants import Variant


class DividedSession:
    """A session of one thread, called for parts of the batch by as many threads as there are.

    Every input and output has the images on its first axis, and each image's outputs depend on it alone.
    """

    def __init__(self, session: Runtime, variant: Variant, threads: int) -> None:
        self._session, self._variant, self._threads = session, variant, threads
        self._pool = ThreadPoolExecutor(threads, "matnet")

    def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for these inputs; raises what the session raises."""
        batch = len(next(iter(values.values())))
        images = self._variant.images(batch, self._threads)
        parts = [
            {name: value[first : first + images] for name, value in values.items()} for first in range(0, batch, images)
        ]
        results = list(self._pool.map(self._session, parts))
        return {name: np.concatenate([result[name] for result in results]) for name in results[0]}
