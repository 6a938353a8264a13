"""One shard of an evaluation, as a Dask worker computes it: the network is made ready once per process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.errors import DataError
from matnet.evaluation.provenance import sha256_once
from matnet.evaluation.record import versions
from matnet.evaluation.scoring import Job, Part, Scorer, Site
from matnet.evaluation.tally import Tally

if TYPE_CHECKING:
    from matnet.network import Network

MOST_NETWORKS = 2  # made ready at a time in a process

_ready: OrderedDict[str, Scorer] = OrderedDict()
_turn = Lock()  # shards of one process share its processors, so they come one after the other


@dataclass(frozen=True)
class NetworkSpec:
    """Which network: its SHA-256 as rows tell it, and the .mat file that it is read from, if there is one."""

    sha256: str
    path: str | None = None


@dataclass(frozen=True)
class Shard:
    """Consecutive images of a list, and the batches that are to be computed of them."""

    paths: tuple[str, ...]
    labels: np.ndarray
    first: int
    spans: tuple[range, ...]


@dataclass(frozen=True)
class ShardResult:
    """What was counted, and where; `worker` names the process."""

    tally: Tally
    site: Site
    worker: str


@dataclass(frozen=True)
class Survey:
    """Whether a worker sees the network's file and the images, and the versions that decide figures there."""

    network: bool
    images: bool
    versions: Mapping[str, str]


def score_shard(job: Job, key: str, spec: NetworkSpec, shard: Shard, network: Network | None = None) -> ShardResult:
    """Count a shard's errors on this worker.

    key: names network and job; what was made ready under it is used again. network: where the file is not to
    be seen here. Raises what an evaluation raises.
    """
    with _turn:
        scorer = _scorer(job, key, spec, network)
        part, tally = Part([Path(path) for path in shard.paths], shard.labels, shard.first), Tally()
        for batch in scorer.tallies(part, shard.spans):
            tally = tally.plus(batch)
        return ShardResult(tally, scorer.site, _address())


def _scorer(job: Job, key: str, spec: NetworkSpec, network: Network | None) -> Scorer:
    if key not in _ready:
        _ready[key] = Scorer(_network(spec, network), job, share=_processors())
        while len(_ready) > MOST_NETWORKS:
            _ready.popitem(last=False)
    _ready.move_to_end(key)
    return _ready[key]


def _network(spec: NetworkSpec, network: Network | None) -> Network:
    from matnet import load

    if network is not None:
        return network
    if spec.path is None or not _sees(spec):
        raise DataError(f"{spec.path or 'the network'}: is not to be seen by {_address()}, or is another file there")
    return load(spec.path)


def _sees(spec: NetworkSpec) -> bool:
    if spec.path is None:
        return False
    try:
        return sha256_once(Path(spec.path)) == spec.sha256
    except OSError:
        return False


def _processors() -> int | None:
    """The part of the machine that this worker may use: its number of threads, as Dask counts; None outside Dask."""
    worker = _worker()
    return int(worker.state.nthreads) if worker is not None else None


def _address() -> str:
    worker = _worker()
    return str(worker.address) if worker is not None else "this process"


def _worker() -> Any:
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


def survey(spec: NetworkSpec, image: str, runtimes: Sequence[str]) -> Survey:
    """What this worker sees, before anything is computed; `image` is one of the files."""
    try:
        found = versions(runtimes)
    except ModuleNotFoundError as error:
        found = {"missing": str(error.name)}
    return Survey(_sees(spec), Path(image).is_file(), found)
