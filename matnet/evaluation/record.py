"""One row of the results: what was run on what, how, and what came out; what makes rows comparable."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(kw_only=True)
class Run:
    """One row of the results, whatever is scored: what was run on what, and how."""

    model: str
    introduced: str
    images_per_s: float  # end to end: decoding, resizing and the network
    network_images_per_s: float  # the engine alone
    images: int
    status: str  # one of matnet.outcomes.Status
    status_reason: str = ""
    unreadable: list[str] = field(default_factory=list)
    dataset: str = ""
    list_sha256: str = ""
    model_file: str = ""
    model_sha256: str = ""
    preprocessing: str = ""
    protocol: str = ""
    scores: str = ""  # the variable that is scored
    backend: str = ""
    runtime: str = ""  # of backend onnx: how the network ran (`Engine.way`), and which images where that changed
    device: str = "cpu"
    precision: str = "fp32"
    batch_size: int = 0
    batch_halved_from: int | None = None  # the batch size given, where so many images did not fit in memory
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""  # of matnet's checkout
    machine: str = ""
    date: str = ""
    notes: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """The row as plain JSON values; figures that could not be measured are null."""
        plain = asdict(self)
        return {key: None if isinstance(value, float) and value != value else value for key, value in plain.items()}


@dataclass(kw_only=True)
class Evaluation(Run):
    """A row of a classification: errors in percent."""

    top1_error: float
    top5_error: float


def versions(runtimes: Sequence[str] = ()) -> dict[str, str]:
    """What decides the figures on this machine: Python, numpy, Pillow, matnet and the engine's runtimes."""
    import platform

    import PIL

    from matnet import __version__
    from matnet.engines.cpu.runtimes import runtime_version

    return {
        "matnet": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        **{name: runtime_version(name) for name in runtimes},
    }


def file_sha256(path: Path | None) -> str:
    if path is None:
        return ""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
