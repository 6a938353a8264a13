"""EngineOptions: how a network is run, made once from arguments or keywords and handed through unchanged."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from matnet.engines.device import PRECISIONS, Device, parse_device
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
"""What the options must be; those for tests are not checked."""
BACKENDS = ("auto", "numpy", "onnx", "cupy")


@dataclass(frozen=True)
class EngineOptions:
    """Backend, device, precision and the rest. EngineError for a value that no engine knows.

    backend: one of BACKENDS. device: cpu, gpu, gpu:N or gpu:N,gpu:M; None: that of the backend. precision: fp32, tf32
    or fp16.
    threads: of backend onnx; None: all processors. runtime: of backend onnx; None: the default one.
    batch_size: images per pass; None: as many as are given. strict: a batch that does not fit in memory is an error,
    where it is otherwise halved; both are used by what feeds the engine (`batches.py`, evaluation). callers: how many
    threads call the engine at a time, which share its threads (see `engines.for_batches`).
    """

    backend: str = "numpy"
    device: str | None = None
    precision: str = "fp32"
    threads: int | None = None
    runtime: str | None = None
    batch_size: int | None = None
    strict: bool = False
    callers: int = 1
    # For tests and measurements, from Python only.
    optimize: bool = True  # backend onnx: the runtime's graph optimisation
    cudnn: bool | None = None  # backend cupy: convolutions by cuDNN; None: where it is installed
    autotune: bool = True  # backend cupy: time cuDNN's plans once and keep the fastest
    fused: bool = True  # backend cupy: False runs the layers one by one
    memory_limit: int | None = None  # backend cupy: bytes of the GPU's memory to use at most

    def __post_init__(self) -> None:
        require(vars(self), KINDS, EngineError)
        for name in KINDS:
            object.__setattr__(self, name, plain(getattr(self, name)))
        _require(self.backend, BACKENDS, "backend")
        _require(self.precision, PRECISIONS, "precision")
        parse_device(self.device)
        if self.threads is not None and self.threads > MOST_THREADS:
            raise EngineError(f"threads must be at most {MOST_THREADS:,}, found {self.threads:,}")

    @classmethod
    def of(cls, **keywords: Any) -> EngineOptions:
        """Options from keywords; those that are None count as not given. EngineError for an unknown name."""
        known = [field.name for field in fields(cls)]
        for name in keywords:
            if name not in known:
                raise EngineError(f"no engine takes an option {name!r}{nearest(name, known)}")
        return cls(**{name: value for name, value in keywords.items() if value is not None})

    @property
    def parsed_device(self) -> Device | None:
        """The device; None where none was given."""
        return parse_device(self.device)

    @property
    def given(self) -> dict[str, Any]:
        """The options that differ from their defaults, by name."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}


def _require(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        raise EngineError(f"no {what} is called {name!r}{nearest(name, known)}; there is {', '.join(known)}")
