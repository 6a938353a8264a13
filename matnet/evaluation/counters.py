"""Who counts the errors of an evaluation: this process, processes that it starts, or the workers of a scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from matnet.engines.device import processors
from matnet.evaluation.loop import Watch, count
from matnet.evaluation.scoring import Job, Scorer, Site
from matnet.evaluation.tally import Tally
from matnet.network import Network

if TYPE_CHECKING:
    from matnet.datasets import ImageList


class Counter(Protocol):
    """Counts on from a tally, and calls a function with each one on the way; `site` says where that was done."""

    @property
    def site(self) -> Site: ...

    def __call__(self, start: Tally, watch: Watch) -> Tally: ...


class OneProcess:
    """Counts in this process."""

    def __init__(self, net: Network, job: Job, images: ImageList, say: Callable[[str], Any] | None = None) -> None:
        self._scorer, self._images = Scorer(net, job, say), images

    def __call__(self, start: Tally, watch: Watch) -> Tally:
        return count(self._scorer, self._images, start, watch)

    @property
    def site(self) -> Site:
        return self._scorer.site


@contextmanager
def counter_for(
    net: Network,
    job: Job,
    images: ImageList,
    scheduler: str | None = None,
    workers: int | None = None,
    say: Callable[[str], Any] | None = None,
) -> Iterator[Counter]:
    """The workers of a Dask scheduler at an address, so many Dask workers on this machine, or this process alone.

    Raises EngineError where Dask is not installed, does not answer, or has other versions than this process;
    DataError where workers do not see the images.
    """
    if scheduler is None and workers is None:
        yield OneProcess(net, job, images, say)
        return
    from matnet.evaluation.shards import ShardCounter, local_cluster, scheduler_at

    found = scheduler_at(scheduler) if scheduler is not None else local_cluster(workers or 1, processors())
    with found as cluster:
        yield ShardCounter(cluster, net, job, images)
