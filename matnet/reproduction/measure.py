"""One row's figures: the network of a model over a data set, prepared as the published figures were measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from matnet.evaluation.record import Run
from matnet.evaluation.segmentation import PROTOCOL as OWN_SIZE
from matnet.evaluation.segmentation import evaluate_segmentation
from matnet.evaluation.tasks import preprocessing
from matnet.evaluation.verification import FACE_CROP, evaluate_verification
from matnet.evaluation.verification import PROTOCOL as FOLDS
from matnet.meta import class_descriptions, class_names
from matnet.reproduction.expected import OWN, Expected

if TYPE_CHECKING:
    from matnet.images.protocols import Measured
    from matnet.network import Network


@dataclass(frozen=True)
class Settings:
    """What the figures depend on besides model and data. protocol, crops: of classification; None: those that the
    published figures of the row were measured by.

    face_crop: the part of a face image that is taken. workers: threads that decode. engine: options of
    `compile_network`.
    """

    protocol: str | None = None
    crops: int | None = None
    face_crop: float = FACE_CROP
    batch_size: int = 32
    workers: int | None = None
    strict: bool = False
    engine: Mapping[str, Any] = field(default_factory=dict)

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
    say: Callable[[str], Any] | None = None,
) -> Run:
    """Evaluate `net` on the row's data; raises what the evaluation of its task raises."""
    options: dict[str, Any] = {"workers": settings.workers, "progress": progress, **settings.engine}
    batches: dict[str, Any] = {"batch_size": settings.batch_size, "strict": settings.strict, "say": say}
    run: Run
    if row.task == "segmentation":
        run = evaluate_segmentation(net, data, preprocessing(net, "meta"), **options)
    elif row.task == "faces":
        cut = {"crop_fraction": (settings.face_crop,) * 2, "resize": "vl_imreadjpeg"}
        prepared = preprocessing(net, "meta", **cut, crops=settings.crops_of(row))
        run = evaluate_verification(net, data, prepared, **options, **batches)
    else:
        run = _classified(net, row, data, settings, {**options, **batches})
    run.protocol = settings.protocol_of(row)
    run.introduced = str(row.card.introduced or "")
    run.notes = [*net.source.notes, *run.notes]
    return run


def _classified(net: Network, row: Expected, data: Any, settings: Settings, options: Mapping[str, Any]) -> Run:
    from matnet.evaluation.loop import evaluate

    images = data.align(class_names(net) or (), class_descriptions(net) or ())
    prepared = preprocessing(net, settings.protocol_of(row), crops=settings.crops_of(row))
    run = evaluate(net, images, prepared, **options)
    run.notes = [*images.notes, *run.notes]
    return run
