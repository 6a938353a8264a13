"""Where an evaluation runs: in this process, in processes that it starts, or on the workers of a scheduler."""

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
    """Yields a tally of each batch or shard, in any order; `info` describes the engine after the run."""

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
    """A counter on a Dask scheduler's workers, on new Dask workers on this machine, or in this process.

    searches: whether this process may search for the fastest way to run the network; workers never do.
    Raises EngineError if Dask is not installed, does not answer, or runs other versions than this process;
    DataError if workers cannot read the images.
    """
    if scheduler is None and workers is None:
        yield OneProcess(net, config, task, searches)
        return
    from matnet.evaluation.shards import ShardCounter, local_cluster, scheduler_at

    found = scheduler_at(scheduler) if scheduler is not None else local_cluster(workers or 1, processors())
    with found as cluster:
        yield ShardCounter(cluster, net, config, task)
