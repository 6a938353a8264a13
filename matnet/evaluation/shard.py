"""One shard of an evaluation on a Dask worker; the network is compiled once per process."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from matnet.engines import EngineOptions
from matnet.errors import DataError
from matnet.evaluation.config import EvaluationConfig
from matnet.evaluation.provenance import sha256_once
from matnet.evaluation.record import versions
from matnet.evaluation.runner import EngineInfo, Runner
from matnet.evaluation.tally import Tally
from matnet.evaluation.tasks import Task

if TYPE_CHECKING:
    from matnet.network import Network

MOST_NETWORKS = 2  # compiled networks kept per process

Kept = TypeVar("Kept")
TURN = Lock()  # shards of one process share its processors, so they run one after the other
_kept: OrderedDict[str, Any] = OrderedDict()


@dataclass(frozen=True)
class NetworkSpec:
    """Identifies a network: its SHA-256 as in results, its .mat file, if any, and `code_of_layers`."""

    sha256: str
    path: str | None = None
    code: str = ""


@dataclass(frozen=True)
class Shard:
    """A part of a task, and its batches to compute."""

    task: Task
    spans: tuple[range, ...]


@dataclass(frozen=True)
class ShardResult:
    """The tally of a shard, and its engine; `worker` names the process."""

    tally: Tally
    engine: EngineInfo
    worker: str


@dataclass(frozen=True)
class Survey:
    """Whether a worker can read the network's file and the images, and its versions that decide the figures."""

    network: bool
    images: bool
    versions: Mapping[str, str]


def score_shard(
    config: EvaluationConfig, key: str, spec: NetworkSpec, shard: Shard, network: Network | None = None
) -> ShardResult:
    """Count a shard on this worker.

    key: identifies network, config and task; their engine is reused. network: given if the worker cannot read the file.
    Raises what an evaluation raises.
    """
    with TURN:
        runner = kept(key, lambda: _runner(config, spec, shard.task.own_size, network))
        tally = Tally(shard.task.empty())
        for batch in runner.tallies(shard.task, shard.spans):
            tally = tally.plus(batch)
        return ShardResult(tally, runner.info, _address())


def _runner(config: EvaluationConfig, spec: NetworkSpec, own_size: bool, network: Network | None) -> Runner:
    own = replace(config, engine=on_own_gpu(config.engine, worker_name()))
    return Runner(network_of(spec, network), own, own_size, share=worker_processors())


def kept(key: str, make: Callable[[], Kept]) -> Kept:
    """What `make` returned for this key, kept in this process until others replace it."""
    if key not in _kept:
        _kept[key] = make()
        while len(_kept) > MOST_NETWORKS:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    found: Kept = _kept[key]
    return found


def network_of(spec: NetworkSpec, network: Network | None) -> Network:
    """`network`, or, if None, that of the file. Raises DataError if this worker cannot read the file."""
    from matnet import load

    if network is not None:
        return network
    if spec.path is None or not _sees(spec):
        raise DataError(f"{spec.path or 'the network'}: {_address()} cannot read it, or has another file there")
    return load(spec.path)


def _sees(spec: NetworkSpec) -> bool:
    if spec.path is None:
        return False
    try:
        return sha256_once(Path(spec.path)) == spec.sha256
    except OSError:
        return False


def worker_processors() -> int | None:
    """How many processors this worker may use: its number of Dask threads; None outside Dask."""
    worker = _worker()
    return int(worker.state.nthreads) if worker is not None else None


def on_own_gpu(options: EngineOptions, worker: str) -> EngineOptions:
    """The options for a worker; the number at the end of its name selects one of several GPUs."""
    device = options.parsed_device
    if device is None or not device.others:
        return options
    digits = re.search(r"\d*$", worker)
    number = int(digits[0]) if digits and digits[0] else 0
    return replace(options, device=device.each[number % len(device.each)])


def worker_name() -> str:
    """The name of this worker; "" outside Dask."""
    worker = _worker()
    return str(worker.name) if worker is not None else ""


def _address() -> str:
    worker = _worker()
    return str(worker.address) if worker is not None else "this process"


def _worker() -> Any:
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


def survey(spec: NetworkSpec, image: str | None, runtimes: Sequence[str]) -> Survey:
    """The Survey of this worker, before anything is computed; `image` is one of the files, None if there are none."""
    try:
        found = versions(runtimes)
    except ModuleNotFoundError as error:
        found = {"missing": str(error.name)}
    return Survey(_sees(spec), image is None or Path(image).is_file(), found)
