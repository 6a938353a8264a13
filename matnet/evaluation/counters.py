"""Who counts an evaluation: this process, processes that it starts, or the workers of a scheduler."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from matnet.engines.device import processors
from matnet.evaluation.config import EvaluationConfig
from matnet.evaluation.runner import EngineInfo, Runner
from matnet.evaluation.tally import Tally
from matnet.evaluation.tasks import Task
from matnet.network import Network


class Counter(Protocol):
    """Gives a tally of each batch or shard, in any order; `info` describes the engine, once it has run."""

    task: Task

    @property
    def info(self) -> EngineInfo: ...

    def tallies(self, spans: Sequence[range]) -> Generator[Tally, None, None]: ...


class OneProcess:
    """Counts in this process."""

    def __init__(self, net: Network, config: EvaluationConfig, task: Task, searches: bool = False) -> None:
        self._runner, self.task = Runner(net, config, task.own_size, searches=searches), task

    def tallies(self, spans: Sequence[range]) -> Generator[Tally, None, None]:
        return self._runner.tallies(self.task, spans)

    @property
    def info(self) -> EngineInfo:
        return self._runner.info


@contextmanager
def counter_for(
    net: Network,
    config: EvaluationConfig,
    task: Task,
    scheduler: str | None = None,
    workers: int | None = None,
    searches: bool = False,
) -> Iterator[Counter]:
    """The workers of a Dask scheduler at an address, so many Dask workers on this machine, or this process alone.

    searches: whether this process may look for the fastest way to run the network; workers never do.
    Raises EngineError if Dask is not installed, does not answer, or has other versions than this process;
    DataError if workers do not see the images.
    """
    if scheduler is None and workers is None:
        yield OneProcess(net, config, task, searches)
        return
    from matnet.evaluation.shards import ShardCounter, local_cluster, scheduler_at

    found = scheduler_at(scheduler) if scheduler is not None else local_cluster(workers or 1, processors())
    with found as cluster:
        yield ShardCounter(cluster, net, config, task)
