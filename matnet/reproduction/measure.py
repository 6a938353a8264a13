"""One row's figures: the network of a model over a data set, prepared as the published figures were measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matnet.engines import EngineOptions
from matnet.errors import DataError
from matnet.evaluation.class_order import classes_of
from matnet.evaluation.counters import counter_for
from matnet.evaluation.loop import evaluation, score_variable
from matnet.evaluation.record import Run
from matnet.evaluation.resume import Unfinished, run_kept, unfinished
from matnet.evaluation.scoring import Job
from matnet.evaluation.segmentation import PROTOCOL as OWN_SIZE
from matnet.evaluation.segmentation import evaluate_segmentation
from matnet.evaluation.tally import Tally
from matnet.evaluation.verification import FACE_CROP, evaluate_verification
from matnet.evaluation.verification import PROTOCOL as FOLDS
from matnet.meta import class_descriptions
from matnet.reproduction.expected import OWN, Expected
from matnet.zoo.fetch import to_stderr

if TYPE_CHECKING:
    from matnet.images.protocols import Measured
    from matnet.network import Network


@dataclass(frozen=True)
class Settings:
    """What the figures depend on besides model and data. protocol, crops: of classification; None: those that the
    published figures of the row were measured by.

    face_crop: the part of a face image that is taken. workers: threads that decode. processes, scheduler: Dask's, to
    share classification among; None: this process alone. engine: how the network is computed.
    """

    protocol: str | None = None
    crops: int | None = None
    face_crop: float = FACE_CROP
    batch_size: int = 32
    workers: int | None = None
    strict: bool = False
    processes: int | None = None
    scheduler: str | None = None
    engine: EngineOptions = field(default_factory=EngineOptions)

    def protocol_of(self, row: Expected) -> str:
        """By name; images beside a card are prepared as the network's file says."""
        if row.task == "segmentation":
            return OWN_SIZE
        if row.task == "faces":
            return FOLDS
        return self.protocol or self._measured(row).protocol

    def crops_of(self, row: Expected) -> int:
        """Views of each image, 1 or 10."""
        return self.crops or (self._measured(row).crops if row.task == "classification" else 1)

    def decisive(self, row: Expected) -> dict[str, Any]:
        """Settings that change the row's figures, beyond protocol and engine."""
        crops = {} if row.task == "segmentation" else {"crops": self.crops_of(row)}
        return {**crops, **({"face_crop": round(self.face_crop, 6)} if row.task == "faces" else {})}

    def _measured(self, row: Expected) -> Measured:
        """How the published figures were measured, as far as that can be done here."""
        from matnet.images.protocols import Measured, protocol_for

        if row.data == OWN or row.published is None:
            return Measured("meta")
        return protocol_for(row.published.source, row.published.protocol) or Measured("meta")


def measure(
    net: Network,
    row: Expected,
    data: Any,
    settings: Settings,
    progress: Callable[[int], Any] | None = None,
    say: Callable[[str], Any] = to_stderr,
    kept: Path | None = None,
) -> Run:
    """Evaluate `net` on the row's data; raises what the evaluation of its task raises.

    kept: where a classification that is interrupted keeps what it has counted, and goes on from; it raises Interrupted.
    """
    watched = progress or (lambda images: None)
    run: Run
    if row.task == "classification":
        run = _classified(net, row, data, settings, watched, say, kept)
    else:
        options: dict[str, Any] = {"workers": settings.workers, "progress": watched, "engine": settings.engine}
        run = _others(net, row, data, settings, options, say)
    run.protocol = settings.protocol_of(row)
    run.introduced = str(row.card.introduced or "")
    run.notes = [*net.source.notes, *run.notes]
    return run


def _others(
    net: Network, row: Expected, data: Any, settings: Settings, options: dict[str, Any], say: Callable[[str], Any]
) -> Run:
    from matnet.images import Preprocessing

    if row.task == "segmentation":
        return evaluate_segmentation(net, data, Preprocessing.of(net, "meta"), **options)
    cut = {"crop_fraction": (settings.face_crop,) * 2, "resize": "vl_imreadjpeg"}
    prepared = Preprocessing.of(net, "meta", **cut, crops=settings.crops_of(row))
    options |= {"batch_size": settings.batch_size, "strict": settings.strict, "say": say}
    return evaluate_verification(net, data, prepared, **options)


def _classified(
    net: Network,
    row: Expected,
    data: Any,
    settings: Settings,
    progress: Callable[[int], Any],
    say: Callable[[str], Any],
    kept: Path | None,
) -> Run:
    from matnet.images import Preprocessing

    images = data.align(classes_of(net, row.card.labels.get("order"), data), class_descriptions(net) or ())
    prepared = Preprocessing.of(net, settings.protocol_of(row), crops=settings.crops_of(row))
    job = Job(prepared, score_variable(net), settings.batch_size, settings.strict, settings.engine, settings.workers)
    start, done = Tally(), 0

    def watch(tally: Tally) -> None:
        nonlocal done
        progress(tally.images - done)
        done = tally.images

    with counter_for(net, job, images, settings.scheduler, settings.processes, say) as counter:
        if kept is None:
            tally = counter(start, watch)
        else:
            state = unfinished(net, job, images.list_sha256, str(kept))
            start = _begun(state, say)
            watch(start)
            tally = run_kept(counter, state, start, watch)
    run = evaluation(net, images, job, counter.site, tally)
    run.notes = [*images.notes, *run.notes]
    return run


def _begun(state: Unfinished, say: Callable[[str], Any]) -> Tally:
    """What an interrupted run had counted; nothing, said, where its file is another run's."""
    try:
        found = state.load()
    except DataError as error:
        say(f"{str(error).split('; ')[0]}; starting anew")
        return Tally()
    if found is not None:
        say(f"going on after {found.images:,} images")
    return found or Tally()
