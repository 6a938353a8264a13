"""One result of an evaluation: network, data set, settings and figures, so that results are comparable."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(kw_only=True)
class Run:
    """The fields that the results of all tasks share."""

    model: str
    introduced: str
    images_per_s: float  # end to end: decoding, preprocessing and the network
    network_images_per_s: float  # the engine alone
    images: int
    status: str  # one of matnet.outcomes.Status
    status_reason: str = ""
    unreadable: list[str] = field(default_factory=list)
    dataset: str = ""
    list_sha256: str = ""
    model_file: str = ""
    model_sha256: str = ""
    files_sha256: dict[str, str] = field(default_factory=dict)  # of the files that the network was read from, by path
    preprocessing: str = ""
    protocol: str = ""
    scores: str = ""  # the scored variable
    backend: str = ""
    runtime: str = ""  # the runtime of backend onnx (`Engine.way`), with the image ranges if it changed
    device: str = "cpu"
    precision: str = "fp32"
    batch_size: int = 0
    batch_halved_from: int | None = None  # the requested batch size, if it did not fit in memory
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""  # of matnet's checkout
    machine: str = ""
    date: str = ""
    notes: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """The result as plain JSON values; figures that could not be measured are null."""
        plain = asdict(self)
        return {key: None if isinstance(value, float) and value != value else value for key, value in plain.items()}


@dataclass(kw_only=True)
class Evaluation(Run):
    """The result of a classification: errors in percent."""

    top1_error: float
    top5_error: float


def versions(runtimes: Sequence[str] = ()) -> dict[str, str]:
    """The versions that decide the figures: Python, numpy, Pillow, matnet and the engine's runtimes."""
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
