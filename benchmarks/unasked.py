"""matnet without options: a run of 200 batches from an empty cache, including the search for a runtime."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from matnet.benchmarks.contenders import MatnetRunner
from matnet.benchmarks.peers import Subject

BATCHES = 200


class UnaskedRunner(MatnetRunner):
    """An engine of backend auto after its search; `first` has the seconds of the calls during the search."""

    def __init__(self, subject: Subject) -> None:
        net, shape = subject.net, subject.shape
        super().__init__(net.compile([subject.output], backend="auto", threads=subject.threads), subject.output)
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        self.first: list[float] = []
        with empty_cache():
            self.engine.prepare({self.engine.inputs[0]: shape})  # compiling the default is not part of the search
            while self.engine.searching and len(self.first) < BATCHES:
                started = time.perf_counter()
                self(x)
                self.first.append(time.perf_counter() - started)

    def over_a_run(self, turns: list[float]) -> list[float]:
        """Seconds per batch of a run of BATCHES, if batches after the search take as long as the turns."""
        left = BATCHES - len(self.first)
        return [(sum(self.first) + left * seconds) / BATCHES for seconds in turns]


@contextmanager
def empty_cache() -> Iterator[None]:
    """Use an empty cache folder inside the block, without earlier choices."""
    before = os.environ.get("MATNET_HOME")
    with tempfile.TemporaryDirectory(prefix="matnet-") as folder:
        os.environ["MATNET_HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["MATNET_HOME"]
            else:
                os.environ["MATNET_HOME"] = before
