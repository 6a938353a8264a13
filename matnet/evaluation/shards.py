"""Work in shards on Dask: on processes of this machine, or on the workers of a scheduler."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import re
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from matnet.errors import DataError, EngineError, MatnetError, listing
from matnet.evaluation.config import EvaluationConfig
from matnet.evaluation.provenance import network_sha256, sha256_once, whole_file
from matnet.evaluation.record import versions
from matnet.evaluation.runner import EngineInfo
from matnet.evaluation.shard import NetworkSpec, Shard, ShardResult, Survey, score_shard, survey
from matnet.evaluation.tally import Tally
from matnet.evaluation.tasks import Task
from matnet.layer_files import LayerFile, run_layer_files
from matnet.network import Network

WAIT = 20.0  # seconds for a scheduler to answer, and for its first worker
SHARDS_PER_WORKER = 8  # balances workers of different speeds, and limits the loss if a worker dies
LARGEST_SHARD = 32  # batches
RETRIES = 2  # of a shard that raised an error; Dask itself counts the deaths of workers
LOCAL: dict[str, Any] = {
    "distributed.scheduler.http.routes": [],  # no HTTP page
    "distributed.worker.http.routes": [],
    # Dask gives up a worker that does not reconnect in this time; a busy machine can be slow.
    "distributed.deploy.lost-worker-timeout": "1 day",
}
INSTALL = "install it with `python -m pip install 'matnet[dask]'`"


@dataclass(frozen=True)
class Cluster:
    """Dask workers: the client, and the number of processes."""

    client: Any
    workers: int


@contextmanager
def local_cluster(workers: int, processors: int) -> Iterator[Cluster]:
    """`workers` processes on this machine, which share its `processors`; a process that dies is restarted.

    Anyone who can connect to a scheduler can run code in its workers, and other users of this machine can reach its
    ports. So connections use TLS with a certificate that only these processes have, and there is no HTTP page.
    """
    distributed = _distributed()
    import dask

    threads = max(1, processors // workers)
    with (
        dask.config.set(LOCAL),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=True,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            security=_temporary_tls(distributed),
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield Cluster(client, workers)


def _temporary_tls(distributed: Any) -> Any:
    try:
        return distributed.Security.temporary()
    except ImportError as error:
        raise EngineError(f"several processes need the package cryptography ({error}); {INSTALL}") from None


@contextmanager
def scheduler_at(address: str, wait: float = WAIT) -> Iterator[Cluster]:
    """The workers of a running scheduler.

    Raises EngineError if it does not answer, or has no worker, within `wait` seconds.
    """
    distributed = _distributed()
    if not re.search(r":\d+/?$", address) and not address.startswith("inproc://"):
        raise EngineError(f"{address}: has no port; give the scheduler's address, such as tcp://10.0.0.5:8786")
    try:
        client = distributed.Client(address, timeout=wait, set_as_default=False)
    except (OSError, asyncio.TimeoutError, ValueError) as error:
        why = str(error).split("\n")[0] or type(error).__name__
        raise EngineError(
            f"no Dask scheduler answers at {address} within {wait:.0f} s ({why}); start one with `dask scheduler`"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=wait)
        except asyncio.TimeoutError:  # not the builtin TimeoutError in Python 3.10
            raise EngineError(
                f"the scheduler at {address} has no worker after {wait:.0f} s; start one with `dask worker {address}`"
            ) from None
        yield Cluster(client, len(client.nthreads()))


class ShardCounter:
    """Counts on a cluster; the counts, and so the figures, are those of one process."""

    def __init__(self, cluster: Cluster, net: Network, config: EvaluationConfig, task: Task) -> None:
        self.cluster, self.config, self.task = cluster, config, task
        self.spec, self.network = share_network(cluster.client, net, config.layer_files, task.paths[0])
        self.key = f"{self.spec} {config.identity} {config.engine} {config.decoders} {task.own_size}"
        self.engines: list[EngineInfo] = []

    def tallies(self, spans: Sequence[range]) -> Generator[Tally, None, None]:
        """A tally of each shard. Raises EngineError if shards fail because workers are lost."""
        client = self.cluster.client
        futures = (
            client.submit(
                score_shard, self.config, self.key, self.spec, shard, self.network, pure=False, retries=RETRIES
            )
            for shard in self._shards(spans)
        )
        found: ShardResult
        with closing(results(client, futures)) as finished:
            for found in finished:
                self.engines.append(found.engine)
                yield replace(found.tally, network_seconds=found.tally.network_seconds / self.cluster.workers)

    def _shards(self, spans: Sequence[range]) -> list[Shard]:
        size = shard_size(len(spans), self.cluster.workers)
        groups = [tuple(spans[at : at + size]) for at in range(0, len(spans), size)]
        return [Shard(self.task.part(group[0].start, group[-1].stop), group) for group in groups]

    @property
    def info(self) -> EngineInfo:
        """The engines of all workers as one; differing values are listed."""
        return merged(self.engines, self.cluster.workers)


def shard_size(batches: int, workers: int) -> int:
    """The number of batches in each shard."""
    return max(1, min(LARGEST_SHARD, math.ceil(batches / (SHARDS_PER_WORKER * workers))))


def results(client: Any, futures: Iterable[Any], ahead: int | None = None) -> Generator[Any, None, None]:
    """The results of futures in the order in which they finish.

    ahead: take so many futures from the iterable, and one more after each result; None: take all. Raises EngineError
    if workers are lost. The rest is cancelled at the end.
    """
    distributed = _distributed()
    left = iter(futures)
    pending = set(islice(left, ahead))
    finished = distributed.as_completed(pending, loop=client.loop)
    try:
        for future in finished:
            try:
                found = future.result()
            except distributed.scheduler.KilledWorker as error:
                raise EngineError(
                    f"a shard failed: several workers died while computing it (the last: {error.last_worker.address}); "
                    "they may lack memory: try a smaller batch size or fewer workers"
                ) from None
            except (distributed.CancelledError, OSError) as error:
                raise EngineError(f"lost the Dask cluster ({error or type(error).__name__})") from None
            pending.discard(future)
            for another in islice(left, 1):
                pending.add(another)
                finished.add(another)
            del future  # so that its worker frees the result
            yield found
    finally:
        client.cancel(list(pending))


def share_network(
    client: Any, net: Network, layer_files: tuple[LayerFile, ...], image: Path | None
) -> tuple[NetworkSpec, Any]:
    """Make a network and the user's layers available to all workers.

    Returns its spec, and the future of the network itself if it differs from its file or a worker cannot read the
    file, else None.
    image: one of the files that workers read, if any. Raises as `require_alike`.
    """
    if layer_files:
        _import_on_workers(client, layer_files)
    sha256, path = network_sha256(net), whole_file(net)
    code = code_of_layers(net)
    if path is not None and (code or sha256 != sha256_once(path)):
        path = None  # edited since it was read, or has layers that workers cannot read from it
    spec = NetworkSpec(sha256, str(path.absolute()) if path is not None else None, code)
    found: Mapping[str, Survey] = client.run(survey, spec, None if image is None else str(Path(image).absolute()), ())
    return spec, None if require_alike(found, image) else _held_by_scheduler(client, net)


def code_of_layers(net: Network) -> str:
    """The SHA-256 of the pickled classes of layers from a notebook or script, which may change; "" without any."""
    own = {type(layer.op) for layer in net.layers.values() if type(layer.op).__module__ == "__main__"}
    if not own:
        return ""
    import cloudpickle

    ordered = sorted(own, key=lambda kind: kind.__qualname__)
    return hashlib.sha256(cloudpickle.dumps(ordered)).hexdigest()


def _import_on_workers(client: Any, files: tuple[LayerFile, ...]) -> None:
    """Import the user's layers on every worker, including later ones."""

    class ImportLayers(_distributed().WorkerPlugin):  # type: ignore[misc]  # a local class: Dask is optional
        name = "matnet-layers"  # one name, so that the scheduler forgets those of earlier runs

        def setup(self, worker: Any) -> None:
            run_layer_files(files)

    register = getattr(client, "register_plugin", None) or client.register_worker_plugin
    try:
        register(ImportLayers())
    except MatnetError as error:
        raise EngineError(f"a worker: {error}; workers keep the layers of earlier runs, so restart them") from None


def merged(engines: Sequence[EngineInfo], workers: int) -> EngineInfo:
    """One engine for all shards; notes give the number of workers and their differences."""
    kinds = list(dict.fromkeys((engine.backend, engine.device, engine.precision) for engine in engines))
    notes = dict.fromkeys(note for engine in engines for note in engine.notes)
    if len({re.sub(r"gpu:\d+", "gpu", device) + backend + precision for backend, device, precision in kinds}) > 1:
        notes[f"workers computed differently: {'; '.join(' '.join(kind) for kind in kinds)}"] = None
    notes[f"computed in shards on {workers} Dask worker{'s' if workers > 1 else ''}"] = None
    backend, device, precision = (", ".join(dict.fromkeys(kind[k] for kind in kinds)) for k in range(3))
    halved = [engine.batch_halved_from for engine in engines if engine.batch_halved_from is not None]
    found = {name: version for engine in engines for name, version in engine.versions.items()}
    return EngineInfo(
        backend=backend,
        device=device,
        precision=precision,
        batch_size=min((engine.batch_size for engine in engines), default=0),
        batch_halved_from=max(halved, default=None),
        versions=found or versions(),
        notes=tuple(notes),
        damaged=tuple(dict.fromkeys(name for engine in engines for name in engine.damaged)),
    )


def require_alike(found: Mapping[str, Survey], image: Path | None) -> bool:
    """Whether all workers can read the network's file. Raises DataError or EngineError for unusable workers."""
    blind = [worker for worker, seen in found.items() if not seen.images]
    if blind:
        raise DataError(
            listing(f"{image}: {len(blind)} of {len(found)} workers cannot read it; share the images' folder:", blind)
        )
    here = versions()
    differing = [
        f"{worker}: {name} {seen.versions.get(name, 'absent')}, here {version}"
        for worker, seen in found.items()
        for name, version in here.items()
        if _deciding(name, seen.versions.get(name, "")) != _deciding(name, version)
    ]
    if differing:
        raise EngineError(listing("workers have other versions than this process; install the same ones:", differing))
    return all(seen.network for seen in found.values())


def _deciding(name: str, version: str) -> str:
    """The part of a version that must agree; for Python 3.11.7, 3.11."""
    return ".".join(version.split(".")[:2]) if name == "python" else version


def _held_by_scheduler(client: Any, net: Network) -> Any:
    """A future of the network that survives the loss of workers, unlike data that Dask scatters."""
    import dask

    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")
        return client.submit(_itself, sendable(net), pure=False)


def _itself(net: Network) -> Network:
    return net


def sendable(net: Network) -> Network:
    """The network without its file path, which other machines may not have."""
    sent = net.copy()
    sent.source = replace(net.source, path=None)
    return sent


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise EngineError(f"several processes or machines need Dask ({error}); {INSTALL}") from None
    return distributed
