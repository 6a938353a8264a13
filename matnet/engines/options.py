"""EngineOptions: how a network is run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from matnet.engines import BACKENDS, PRECISIONS
from matnet.engines.device import Device, parse_device
from matnet.errors import EngineError, nearest
from matnet.keywords import FLAG, TEXT, plain, require, whole

MOST_THREADS = 1024
KINDS = {
    "backend": TEXT,
    "device": TEXT.or_none(),
    "precision": TEXT,
    "threads": whole().or_none(),
    "runtime": TEXT.or_none(),
    "batch_size": whole().or_none(),
    "strict": FLAG,
    "callers": whole(),
}
"""Kinds of the option values; options for tests are not checked."""


@dataclass(frozen=True)
class EngineOptions:
    """Backend, device, precision and further options of an engine. Raises EngineError for an invalid value.

    backend: one of BACKENDS. device: cpu, gpu, gpu:N or gpu:N,gpu:M; None: default of the backend. precision: fp32,
    tf32 or fp16. threads: for backend onnx; None: all processors. runtime: for backend onnx; None: the default runtime.
    batch_size: images per pass; None: all. strict: raise an error instead of halving a batch that does not fit in
    memory. batch_size and strict are used by callers of the engine (`batches.py`, evaluation). callers: number of
    threads that call the engine concurrently and share its threads (see `engines.for_batches`).
    """

    backend: str = "numpy"
    device: str | None = None
    precision: str = "fp32"
    threads: int | None = None
    runtime: str | None = None
    batch_size: int | None = None
    strict: bool = False
    callers: int = 1
    # For tests and benchmarks, only in Python.
    optimize: bool = True  # backend onnx: graph optimization of the runtime
    cudnn: bool | None = None  # backend cupy: use cuDNN; None: if installed
    autotune: bool = True  # backend cupy: time cuDNN's plans and use the fastest
    fused: bool = True  # backend cupy: False: run layer by layer
    memory_limit: int | None = None  # backend cupy: maximum GPU memory in bytes

    def __post_init__(self) -> None:
        require(vars(self), KINDS, EngineError)
        for name in KINDS:
            object.__setattr__(self, name, plain(getattr(self, name)))
        _require(self.backend, BACKENDS, "backend")
        _require(self.precision, PRECISIONS, "precision")
        parse_device(self.device)
        if self.threads is not None and self.threads > MOST_THREADS:
            raise EngineError(f"threads is {self.threads:,}; expected at most {MOST_THREADS:,}")

    @classmethod
    def of(cls, **keywords: Any) -> EngineOptions:
        """Options from keywords, ignoring None. Raises EngineError for an unknown name."""
        known = [field.name for field in fields(cls)]
        for name in keywords:
            if name not in known:
                raise EngineError(f"unknown engine option {name!r}{nearest(name, known)}")
        return cls(**{name: value for name, value in keywords.items() if value is not None})

    @property
    def parsed_device(self) -> Device | None:
        """The device, or None."""
        return parse_device(self.device)

    @property
    def given(self) -> dict[str, Any]:
        """The options that differ from their defaults, by name."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}


def _require(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        raise EngineError(f"unknown {what} {name!r}{nearest(name, known)}; expected {', '.join(known)}")
