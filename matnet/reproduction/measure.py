"""Measure the figures of one row: a model on a data set, with the protocol of the published figures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matnet.engines import EngineOptions
from matnet.errors import DataError
from matnet.evaluation.config import BATCH_SIZE
from matnet.evaluation.flow import Sharing, Show, planned, run
from matnet.evaluation.record import Run
from matnet.evaluation.resume import Unfinished, log, unfinished
from matnet.evaluation.tasks import TASKS
from matnet.evaluation.tasks.verification import FACE_CROP
from matnet.reproduction.expected import OWN, Expected

if TYPE_CHECKING:
    from matnet.datasets.base import DataSet
    from matnet.images import Preprocessing
    from matnet.images.protocols import Measured
    from matnet.network import Network


@dataclass(frozen=True)
class MeasureSettings:
    """The settings that decide the figures, besides model and data.

    protocol, crops: for classification; None: those of the row's published figures. face_crop: the cropped part of a
    face image. decoders: number of decoding threads. sharing: where to compute. engine: the engine's options.
    """

    protocol: str | None = None
    crops: int | None = None
    face_crop: float = FACE_CROP
    decoders: int | None = None
    sharing: Sharing = field(default_factory=Sharing)
    engine: EngineOptions = field(default_factory=lambda: EngineOptions(batch_size=BATCH_SIZE))

    def protocol_of(self, row: Expected) -> str:
        """The name of the protocol; images beside a card use that of the network's file."""
        fixed = TASKS[row.task].protocol
        if fixed:
            return fixed
        return self.protocol or self._measured(row).protocol

    def crops_of(self, row: Expected) -> int:
        """The number of views per image, 1 or 10."""
        return self.crops or (self._measured(row).crops if row.task == "classification" else 1)

    def decisive(self, row: Expected) -> dict[str, Any]:
        """The settings that change the row's figures, besides protocol and engine."""
        crops = {} if row.task == "segmentation" else {"crops": self.crops_of(row)}
        return {**crops, **({"face_crop": round(self.face_crop, 6)} if row.task == "faces" else {})}

    def _measured(self, row: Expected) -> Measured:
        """The protocol and crops of the published figures, as far as matnet supports them."""
        from matnet.images.protocols import Measured, protocol_for

        if row.data == OWN or row.published is None:
            return Measured("meta")
        return protocol_for(row.published.source, row.published.protocol) or Measured("meta")

    def preprocessing(self, net: Network, row: Expected) -> Preprocessing:
        """The preprocessing of the row's images."""
        from matnet.images import Preprocessing

        if TASKS[row.task].own_size:
            return Preprocessing.of(net, "meta")
        if row.task == "faces":
            cut: dict[str, Any] = {"crop_fraction": (self.face_crop,) * 2, "resize": "vl_imreadjpeg"}
            return Preprocessing.of(net, "meta", **cut, crops=self.crops_of(row))
        return Preprocessing.of(net, self.protocol_of(row), crops=self.crops_of(row))


def measure(
    net: Network,
    row: Expected,
    data: DataSet,
    settings: MeasureSettings,
    show: Show | None = None,
    kept: Path | None = None,
) -> Run:
    """Evaluate `net` on the row's data. Raises what `matnet.evaluation.flow.run` raises.

    kept: the file from which an interrupted run resumes; the caller removes it after storing the row.
    """
    prepared, labels = settings.preprocessing(net, row), row.card.labels
    stated = {"order": labels.get("order"), "named": labels.get("names")}
    config, task = planned(net, data, prepared, None, settings.engine, settings.decoders, **stated)
    state = _state(unfinished(net, config, task, kept)) if kept is not None else None
    found: Run = run(net, config, task, sharing=settings.sharing, state=state, resume=state is not None, show=show)
    return replace(found, protocol=settings.protocol_of(row), introduced=str(row.card.introduced or ""))


def _state(state: Unfinished) -> Unfinished:
    """The state of an interrupted run; removed, with a warning, if it belongs to another run."""
    try:
        state.load()
    except DataError as error:
        log.warning("%s; starting again", str(error).split("; ")[0])
        state.remove()
    return state
