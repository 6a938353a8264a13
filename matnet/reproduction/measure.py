"""One row's figures: the network of a model over a data set, prepared as the published figures were measured."""

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
    """What the figures depend on besides model and data. protocol, crops: of classification; None: those that the
    published figures of the row were measured by.

    face_crop: the part of a face image that is taken. decoders: threads that decode. sharing: who computes. engine:
    how the network is computed.
    """

    protocol: str | None = None
    crops: int | None = None
    face_crop: float = FACE_CROP
    decoders: int | None = None
    sharing: Sharing = field(default_factory=Sharing)
    engine: EngineOptions = field(default_factory=lambda: EngineOptions(batch_size=BATCH_SIZE))

    def protocol_of(self, row: Expected) -> str:
        """By name; images beside a card are prepared as the network's file says."""
        fixed = TASKS[row.task].protocol
        if fixed:
            return fixed
        return self.protocol or self._measured(row).protocol

    def crops_of(self, row: Expected) -> int:
        """Views of each image, 1 or 10."""
        return self.crops or (self._measured(row).crops if row.task == "classification" else 1)

    def decisive(self, row: Expected) -> dict[str, Any]:
        """Settings that change the row's figures, beyond protocol and engine."""
        crops = {} if row.task == "segmentation" else {"crops": self.crops_of(row)}
        return {**crops, **({"face_crop": round(self.face_crop, 6)} if row.task == "faces" else {})}

    def _measured(self, row: Expected) -> Measured:
        """How the published figures were measured, as far as matnet can repeat it."""
        from matnet.images.protocols import Measured, protocol_for

        if row.data == OWN or row.published is None:
            return Measured("meta")
        return protocol_for(row.published.source, row.published.protocol) or Measured("meta")

    def preprocessing(self, net: Network, row: Expected) -> Preprocessing:
        """How the row's images are prepared."""
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
    """Evaluate `net` on the row's data; raises what `matnet.evaluation.flow.run` raises.

    kept: where a run that is interrupted keeps what it has counted, and goes on from; whoever keeps the row removes it.
    """
    prepared, labels = settings.preprocessing(net, row), row.card.labels
    stated = {"order": labels.get("order"), "named": labels.get("names")}
    config, task = planned(net, data, prepared, None, settings.engine, settings.decoders, **stated)
    state = _state(unfinished(net, config, task, kept)) if kept is not None else None
    found: Run = run(net, config, task, sharing=settings.sharing, state=state, resume=state is not None, show=show)
    return replace(found, protocol=settings.protocol_of(row), introduced=str(row.card.introduced or ""))


def _state(state: Unfinished) -> Unfinished:
    """The state of an interrupted run; removed, with a warning, where it is another run's."""
    try:
        state.load()
    except DataError as error:
        log.warning("%s; starting anew", str(error).split("; ")[0])
        state.remove()
    return state
