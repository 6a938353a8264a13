"""The runtimes that execute ONNX models on the CPU, by the names that the option --runtime takes."""

from __future__ import annotations

from importlib import import_module

from matnet.engines.cpu.runtimes.base import RUNTIMES, Runtime, RuntimeSettings
from matnet.engines.cpu.runtimes.onnx_runtime import OnnxRuntime
from matnet.engines.cpu.runtimes.openvino import OpenVino
from matnet.errors import EngineError, nearest

AUTO = "auto"
REMOVED = {
    "opencv": "was removed, since it was never the fastest; the benchmarks still compare with it (--peers opencv)"
}

__all__ = ["AUTO", "RUNTIMES", "OnnxRuntime", "OpenVino", "Runtime", "RuntimeSettings"]
__all__ += ["available", "candidates", "runtime_class", "runtime_version", "tries_out"]


def available(runtime: str = OnnxRuntime.name) -> bool:
    """Whether a runtime is installed; its package is not imported."""
    return RUNTIMES[runtime].available()


def runtime_version(name: str) -> str:
    """The version of an installed runtime, or of another installed package by its module's name."""
    return str(import_module(RUNTIMES[name].package if name in RUNTIMES else name).__version__)


def candidates(runtime: str) -> list[str]:
    """The runtimes that an option's text stands for; EngineError for an unknown name.

    `auto`: all that are installed; `auto:A,B`: A and B. What follows a `+` says how one is used (`Variant.text`).
    """
    if runtime == AUTO:
        return [name for name in RUNTIMES if available(name)] or [OnnxRuntime.name]
    names = runtime.removeprefix(f"{AUTO}:").split(",") if tries_out(runtime) else [runtime.partition("+")[0]]
    for name in names:
        if name not in RUNTIMES:
            known = (AUTO, *RUNTIMES)
            if name in REMOVED:
                raise EngineError(f"runtime {name!r} {REMOVED[name]}; choose among {', '.join(known)}")
            raise EngineError(f"no runtime is called {name!r}{nearest(name, known)}; there is {', '.join(known)}")
    return [name for name in RUNTIMES if name in names]


def tries_out(runtime: str) -> bool:
    """Whether an option's text asks for the fastest runtime, which is found by timing."""
    return runtime.partition(":")[0] == AUTO


def runtime_class(name: str) -> type[Runtime]:
    """The registered class; EngineError where its package cannot be imported."""
    RUNTIMES[name].load()
    return RUNTIMES[name]
