"""The configuration of an evaluation: everything that decides scores, except the network and the images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from matnet.engines import EngineOptions
from matnet.layer_files import LayerFile, imported_layer_files

if TYPE_CHECKING:
    from matnet.images import Preprocessing

BATCH_SIZE = 32


@dataclass(frozen=True)
class EvaluationConfig:
    """Sent to every worker.

    scores: the scored variable. beside: other variables that the task needs. feeds: the names of the inputs that the
    task feeds, if several. engine: its batch size, by default BATCH_SIZE, counts views. decoders: number of decoding
    threads; None: one per processor. layer_files: the user's layers, which workers import.
    """

    preprocessing: Preprocessing
    scores: str
    engine: EngineOptions = field(default_factory=EngineOptions)
    decoders: int | None = None
    layer_files: tuple[LayerFile, ...] = field(default_factory=imported_layer_files)
    beside: tuple[str, ...] = ()
    feeds: tuple[str, ...] = ()

    @property
    def batch_size(self) -> int:
        return self.engine.batch_size or BATCH_SIZE

    @property
    def images_per_batch(self) -> int:
        """Images per batch of the engine, which holds all views of each image."""
        return max(1, self.batch_size // self.preprocessing.views)

    @property
    def identity(self) -> dict[str, str]:
        """Everything that decides the figures, except the network and the images; the batch size does not."""
        prepared = self.preprocessing
        mean = b"".join(planes.tobytes() for planes in (prepared.mean, prepared.std) if planes is not None)
        return {
            "preprocessing": f"{prepared.describe()} x {prepared.views} {hashlib.sha256(mean).hexdigest()}",
            "variable": " ".join((self.scores, *self.beside)),
            "layers": " ".join(file.sha256 for file in self.layer_files),
            **{name: str(getattr(self.engine, name)) for name in ("backend", "device", "precision", "runtime")},
        }
