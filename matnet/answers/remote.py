"""Features computed in parts by the workers of a Dask scheduler; this process writes them."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.answers.extraction import Extraction, computed
from matnet.answers.pictures import Picture
from matnet.answers.running import BATCH, Seen
from matnet.answers.staging import Staging, Writer
from matnet.engines import EngineOptions
from matnet.errors import DataError, worded_as, wording
from matnet.evaluation.shard import TURN, NetworkSpec, kept, network_of, on_own_gpu, worker_name, worker_processors
from matnet.evaluation.shards import RETRIES, Cluster, results, scheduler_at, shard_size, share_network
from matnet.layer_files import imported_layer_files

if TYPE_CHECKING:
    from matnet.images import Preprocessing
    from matnet.network import Network

AHEAD = 2  # parts in flight for each worker: one computed, one waiting
LARGEST_PART = 64 << 20  # bytes of features, unless a single batch has more
How = tuple[Mapping[str, str], str, "Preprocessing", EngineOptions]
"""The fields of an Extraction other than the network."""


@dataclass
class FeaturePart:
    """The features of some images: their numbers in the part, a row of values for each, errors of unreadable ones.

    way: how the network ran (`Engine.way`).
    """

    numbers: list[int] = field(default_factory=list)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)
    way: str = ""


@dataclass(frozen=True)
class Remote:
    """The workers of a scheduler, to which a network is available (see `share_network`)."""

    cluster: Cluster
    spec: NetworkSpec
    network: Any

    @property
    def count(self) -> int:
        """The number of workers."""
        return self.cluster.workers

    def compute(
        self, task: Extraction, pictures: Sequence[Picture], rows: Sequence[int], staging: Staging, seen: Seen
    ) -> Generator[tuple[int, dict[int, str]], None, None]:
        """Compute and write; yields the number of images in each part and their errors by row."""
        client, words, chosen = self.cluster.client, wording(), staging.ways()[1]
        how = task.variables, task.pool, task.preprocessing, task.options

        def futures() -> Iterator[Any]:
            for span in parts(task, len(rows), staging, self.count):
                place = rows[span.start : span.stop]
                given = [_absolute(pictures[row]) for row in place]
                yield client.submit(
                    compute_part, self.spec, how, place, given, words, self.network, pure=False, retries=RETRIES
                )

        with Writer(staging) as writer, closing(results(client, futures(), AHEAD * self.count)) as finished:
            for place, found in finished:
                failed = {place[number]: fault for number, fault in found.faults.items()}
                writer.put([place[number] for number in found.numbers], found.values, sorted(failed))
                seen.add(found.seen)
                if found.way and not chosen:
                    chosen = found.way
                    staging.keep_ways({}, chosen)
                yield len(place), failed


@contextmanager
def remote_at(scheduler: str, net: Network, pictures: Sequence[Picture]) -> Iterator[Remote]:
    """The workers of the scheduler at an address, for these pictures.

    Raises DataError if they cannot receive or read the images; EngineError if there are none, or of other versions.
    """
    for picture in pictures:
        if hasattr(picture.source, "read"):
            raise DataError(f"{picture.name}: an open file cannot be sent to the workers of a scheduler; give its path")
    paths = (picture.source for picture in pictures if isinstance(picture.source, (str, os.PathLike)))
    image = next((Path(path) for path in paths if os.path.isfile(path)), None)
    with scheduler_at(scheduler) as cluster:
        yield Remote(cluster, *share_network(cluster.client, net, imported_layer_files(), image))


def parts(task: Extraction, images: int, staging: Staging, workers: int) -> list[range]:
    """The images of each part, which is a number of whole batches, so that batches are those of one process.

    The last part has the rest too: an incomplete batch of its own could be computed in another way.
    """
    batch = task.options.batch_size or BATCH
    together = max(1, batch // task.preprocessing.views)
    least = together * -(-batch // together)
    row = sum(4 * int(np.prod(shape)) for shape in staging.shapes.values())
    size = least * max(1, min(shard_size(images // least, workers), LARGEST_PART // max(1, least * row)))
    bounds = [*range(0, images, size), images]
    if len(bounds) > 2 and bounds[-1] - bounds[-2] < least:
        del bounds[-2]
    return [range(*bound) for bound in pairwise(bounds)]


def _absolute(picture: Picture) -> Picture:
    """The picture with an absolute path, because a worker has another current folder."""
    if isinstance(picture.source, (str, os.PathLike)):
        return Picture(picture.name, str(Path(picture.source).absolute()))
    return picture


def _as_given(fault: str, picture: Picture) -> str:
    """The error of an image with the path that the user gave, as in one process."""
    return fault.replace(picture.source, picture.name) if isinstance(picture.source, str) else fault


def compute_part(
    spec: NetworkSpec,
    how: How,
    place: Sequence[int],
    pictures: Sequence[Picture],
    words: tuple[list[object], list[str]],
    network: Network | None = None,
) -> tuple[Sequence[int], FeaturePart]:
    """Compute a part on this worker, whose network and engine are kept for the next. Returns `place`, its rows, too."""
    variables, pool, preprocessing, options = how
    with TURN, worded_as(words):
        net = kept(f"network {spec}", lambda: network_of(spec, network))
        task = Extraction(net, variables, pool, preprocessing, on_own_gpu(options, worker_name()))
        found, pieces = FeaturePart(), []
        for batch, values in computed(task, pictures, found.seen, worker_processors()):
            found.numbers += batch.numbers
            found.way = batch.way
            pieces += [values] if values else []
            found.faults.update((number, _as_given(fault, pictures[number])) for number, fault in batch.faults.items())
    if pieces:
        found.values = {name: np.concatenate([piece[name] for piece in pieces]) for name in variables}
    return place, found
