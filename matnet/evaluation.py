"""A labelled image list through a network: decode, prepare, run, score; what comes out is one comparable record."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.errors import DataError, NetworkError
from matnet.network import Network

if TYPE_CHECKING:
    from matnet.datasets import ImageList
    from matnet.images import Preprocessing
    from matnet.metrics import TopK

AHEAD = 2  # batches that are decoded before the engine asks for them


@dataclass
class Evaluation:
    """One row of the results: what was run on what, how, and what came out. Errors are in percent."""

    model: str
    introduced: str
    top1_error: float
    top5_error: float
    images_per_s: float  # end to end: decoding, resizing and the network
    network_images_per_s: float  # the engine alone
    images: int
    status: str
    unreadable: list[str] = field(default_factory=list)
    dataset: str = ""
    list_sha256: str = ""
    model_file: str = ""
    model_sha256: str = ""
    preprocessing: str = ""
    protocol: str = ""
    scores: str = ""  # the variable whose channels are ranked
    backend: str = ""
    device: str = "cpu"
    precision: str = "fp32"
    batch_size: int = 0
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    date: str = ""
    notes: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """The row as plain JSON values; figures that could not be measured are null."""
        plain = asdict(self)
        return {key: None if isinstance(value, float) and value != value else value for key, value in plain.items()}


def score_variable(net: Network, asked: str | None = None) -> str:
    """The variable to rank: `asked`, else the output of a SoftMax (the last in the file), else the last output.

    Training-only layers are not looked at. NetworkError where `asked` does not exist.
    """
    if asked is not None:
        net.resolve(asked)
        return asked
    inference = net.for_inference()
    outputs = inference.outputs
    softmax = [
        layer.outputs[0]
        for layer in inference.layers.values()
        if layer.op.dagnn == "dagnn.SoftMax" and layer.outputs[0] in outputs
    ]
    return (softmax or outputs)[-1]


def evaluate(
    net: Network,
    images: ImageList,
    preprocessing: Preprocessing,
    *,
    scores: str | None = None,
    backend: str = "numpy",
    batch_size: int = 32,
    workers: int = 2,
    progress: Callable[[int], Any] | None = None,
    **options: Any,
) -> Evaluation:
    """Top-1 and top-5 error of `net` over `images`, whose labels must already be the network's classes.

    Unreadable images are named in `unreadable`, left out of the figures, and make the status `unreadable
    images`. `progress` is called with the number of images done after each batch. Raises NetworkError
    for a network without one image input, DataError where no image at all could be read.
    """
    variable = score_variable(net, scores)
    engine = net.compile([variable], backend=backend, **options)
    if len(engine.inputs) != 1:
        raise NetworkError(f"{net.source}: {variable!r} needs {len(engine.inputs)} inputs; evaluation feeds one image")
    started = time.perf_counter()
    batches = prepared_batches(images, preprocessing, batch_size, workers)
    errors, unreadable, network_seconds = _score(engine, variable, batches, progress)
    seconds = time.perf_counter() - started
    if not errors.images:
        raise DataError(f"{images.name}: none of its {len(unreadable)} images could be read; first: {unreadable[0]}")
    return Evaluation(
        model=net.source.path.stem if net.source.path else "network",
        introduced="",
        top1_error=errors.top1_error,
        top5_error=errors.top5_error,
        images_per_s=errors.images / seconds,
        network_images_per_s=errors.images / network_seconds,
        images=errors.images,
        status="unreadable images" if unreadable else "ok",
        unreadable=unreadable,
        dataset=images.name,
        list_sha256=images.list_sha256,
        model_file=str(net.source.path or ""),
        model_sha256=_sha256(net.source.path),
        preprocessing=preprocessing.describe(),
        scores=variable,
        backend=engine.backend,
        batch_size=batch_size,
        seconds=seconds,
        versions=versions(getattr(engine, "runtimes", ())),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _score(
    engine: Any, variable: str, batches: Iterable[Any], progress: Callable[[int], Any] | None
) -> tuple[TopK, list[str], float]:
    """Errors over all batches, what could not be read, and the seconds that the engine alone took."""
    from matnet.metrics import TopK

    errors, unreadable = TopK(), []
    network_seconds = 0.0
    for batch, labels, faults in batches:
        unreadable += faults
        if len(batch):
            before = time.perf_counter()
            ranked = engine(batch)[variable]
            network_seconds += time.perf_counter() - before
            errors.update(ranked, labels)
        if progress is not None:
            progress(len(labels) + len(faults))
    return errors, unreadable, network_seconds


def prepared_batches(
    images: ImageList, preprocessing: Preprocessing, batch_size: int, workers: int
) -> Iterator[tuple[np.ndarray, np.ndarray, list[str]]]:
    """Batches N x C x H x W, their labels, and what could not be read, in list order.

    Threads decode at most AHEAD batches before they are asked for, so memory stays bounded.
    """
    starts = deque(range(0, len(images.paths), batch_size))
    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting: deque[tuple[int, list[Future[Any]]]] = deque()
        try:
            while starts or waiting:
                while starts and len(waiting) < AHEAD:
                    start = starts.popleft()
                    paths = images.paths[start : start + batch_size]
                    waiting.append((start, [pool.submit(_prepare, path, preprocessing) for path in paths]))
                start, futures = waiting.popleft()
                yield _gather(images, start, [future.result() for future in futures])
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()


def _prepare(path: Path, preprocessing: Preprocessing) -> np.ndarray | DataError:
    try:
        return preprocessing.load(path)
    except DataError as error:
        return error


def _gather(images: ImageList, start: int, results: Sequence[Any]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    faults = [str(result) for result in results if isinstance(result, DataError)]
    readable = [index for index, result in enumerate(results) if not isinstance(result, DataError)]
    labels = np.asarray([images.labels[start + index] for index in readable], dtype=np.int64)
    batch = np.stack([results[index] for index in readable]) if readable else np.zeros((0, 0, 0, 0), np.float32)
    return batch, labels, faults


def versions(runtimes: Sequence[str] = ()) -> dict[str, str]:
    """What decides the figures on this machine: Python, numpy, Pillow, matnet and the engine's runtimes."""
    import platform
    from importlib.metadata import version

    import PIL

    from matnet import __version__

    return {
        "matnet": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        **{name: version(name) for name in runtimes},
    }


def _sha256(path: Path | None) -> str:
    if path is None:
        return ""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
