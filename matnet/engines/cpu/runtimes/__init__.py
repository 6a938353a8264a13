"""The runtimes for ONNX models on the CPU, by name as in option --runtime."""

from __future__ import annotations

from importlib import import_module

from matnet.engines.cpu.runtimes.base import RUNTIMES, Runtime, RuntimeSettings
from matnet.engines.cpu.runtimes.onnx_runtime import OnnxRuntime
from matnet.engines.cpu.runtimes.openvino import OpenVino
from matnet.errors import EngineError, nearest

AUTO = "auto"
REMOVED = {"opencv": "was removed, because it was never the fastest; the benchmarks still include it (--peers opencv)"}

__all__ = ["AUTO", "RUNTIMES", "OnnxRuntime", "OpenVino", "Runtime", "RuntimeSettings"]
__all__ += ["available", "candidates", "runtime_class", "runtime_version", "tries_out"]


def available(runtime: str = OnnxRuntime.name) -> bool:
    """Whether a runtime is installed, without importing it."""
    return RUNTIMES[runtime].available()


def runtime_version(name: str) -> str:
    """The version of an installed runtime, or of another package by module name."""
    return str(import_module(RUNTIMES[name].package if name in RUNTIMES else name).__version__)


def candidates(runtime: str) -> list[str]:
    """The runtimes for a value of option --runtime. Raises EngineError for an unknown name.

    `auto`: all installed ones; `auto:A,B`: A and B. A suffix `+...` is ignored here (see `Variant.text`).
    """
    if runtime == AUTO:
        return [name for name in RUNTIMES if available(name)] or [OnnxRuntime.name]
    names = runtime.removeprefix(f"{AUTO}:").split(",") if tries_out(runtime) else [runtime.partition("+")[0]]
    for name in names:
        if name not in RUNTIMES:
            known = (AUTO, *RUNTIMES)
            if name in REMOVED:
                raise EngineError(f"runtime {name!r} {REMOVED[name]}; expected {', '.join(known)}")
            raise EngineError(f"unknown runtime {name!r}{nearest(name, known)}; expected {', '.join(known)}")
    return [name for name in RUNTIMES if name in names]


def tries_out(runtime: str) -> bool:
    """Whether a value of option --runtime requests the fastest runtime, found by timing."""
    return runtime.partition(":")[0] == AUTO


def runtime_class(name: str) -> type[Runtime]:
    """The registered class. Raises EngineError if its package cannot be imported."""
    RUNTIMES[name].load()
    return RUNTIMES[name]
