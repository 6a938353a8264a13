"""A labelled image list through a network: decode, prepare, run, score; what comes out is one comparable record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from matnet.engines.batches import Halving
from matnet.errors import DataError, NetworkError
from matnet.evaluation.pipeline import prepared_batches
from matnet.evaluation.record import Evaluation, file_sha256, versions
from matnet.network import Network

if TYPE_CHECKING:
    from matnet.datasets import ImageList
    from matnet.images import Preprocessing
    from matnet.metrics import TopK


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
    strict: bool = False,
    progress: Callable[[int], Any] | None = None,
    say: Callable[[str], Any] | None = None,
    **options: Any,
) -> Evaluation:
    """Top-1 and top-5 error of `net` over `images`, whose labels must already be the network's classes.

    A batch that does not fit in memory is halved, unless `strict`; `say` is called with a line about it.
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
    halving = Halving(engine, strict, say)
    errors, unreadable, network_seconds = _score(halving, variable, batches, progress)
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
        model_sha256=file_sha256(net.source.path),
        preprocessing=preprocessing.describe(),
        scores=variable,
        backend=engine.backend,
        device=engine.device,
        precision=engine.precision,
        batch_size=halving.limit or batch_size,
        batch_halved_from=halving.halved_from,
        seconds=seconds,
        versions=versions(getattr(engine, "runtimes", ())),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        notes=list(engine.notes),
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
