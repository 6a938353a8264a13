"""The choice of an engine by its options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from matnet.engines.device import Device, processors, refuse_on_cpu
from matnet.engines.options import EngineOptions
from matnet.errors import EngineError
from matnet.finite import warn_not_finite
from matnet.network import Network

if TYPE_CHECKING:
    from matnet.engines.base import Engine

# Options handled here or by callers of the engine.
FOR_ALL = frozenset({"backend", "device", "precision", "batch_size", "strict", "callers"})
CPU_OPTIONS = frozenset({"threads", "runtime"})  # ignored with a note if `auto` selects an engine without them


class Choice(NamedTuple):
    """A backend, with notes for the user on the choice."""

    backend: str
    notes: tuple[str, ...] = ()


def choose(device: Device | None = None, precision: str = "fp32") -> Choice:
    """The backend for `auto`: `cupy` if a GPU is usable, else `onnx` if installed, else `numpy`.

    Probes the GPU once per process. Raises EngineError, naming what is missing, if a GPU (or a precision that requires
    one) is requested but not usable.
    """
    from matnet.engines.cupy.probe import find_gpu, reason, worth_a_note

    if device is not None and device.kind == "cpu":
        return Choice(_choose_on_processor())
    try:
        find_gpu(device.index if device else None, precision)
    except EngineError as error:
        if device is not None or precision != "fp32":
            raise
        note = f"computing on the CPU: {reason(error)}"
        return Choice(_choose_on_processor(), (note,) if worth_a_note() else ())
    return Choice("cupy")


def _choose_on_processor() -> str:
    from matnet.engines.cpu.runtimes import available

    return "onnx" if available() else "numpy"


def choose_backend() -> str:
    """The backend that `auto` selects on this machine."""
    return choose().backend


def engine_class(backend: str) -> type[Engine]:
    """The engine class for a name in BACKENDS. Raises EngineError for other names."""
    chosen = EngineOptions(backend).backend
    if chosen == "auto":
        chosen = choose_backend()
    if chosen == "cupy":
        from matnet.engines.cupy.engine import CupyEngine

        return CupyEngine
    if chosen == "onnx":
        from matnet.engines.cpu.engine import OnnxEngine

        return OnnxEngine
    from matnet.engines.numpy_engine import NumpyEngine

    return NumpyEngine


def engine_options(options: EngineOptions | None = None, **keywords: Any) -> EngineOptions:
    """`options`, or EngineOptions from the keywords that are not None. Raises EngineError if both are given."""
    given = sorted(name for name, value in keywords.items() if value is not None)
    if options is not None and given:
        raise EngineError(f"give engine options either as EngineOptions or as keywords ({', '.join(given)}), not both")
    return options if options is not None else EngineOptions.of(**keywords)


def for_batches(options: EngineOptions, share: int | None = None) -> EngineOptions:
    """The options with `callers` set: the number of threads that should call the engine concurrently for many batches.

    share: number of processors to use; None: all. Applies to backends with option `threads`.
    """
    backend = options.backend
    if backend == "auto":
        backend = choose(options.parsed_device, options.precision).backend
    engine = engine_class(backend)
    threads = options.threads
    if "threads" in engine.takes:
        threads = threads or share or processors()
    device = options.parsed_device
    devices = 1 if device is None else len(device.each)
    return replace(options, threads=threads, callers=devices * engine.callers_for(threads))


def compile_network(
    net: Network, outputs: Sequence[str] | None = None, options: EngineOptions | None = None, **keywords: Any
) -> Engine:
    """An engine for `outputs` (variable, layer or blob names; default: the network's outputs).

    options: an EngineOptions, or its fields as keywords. Call the engine with one array or a dict of arrays
    N x C x H x W; it returns a dict. Its `backend`, `device`, `precision` and `notes` describe the choice. Raises
    NetworkError for a graph that cannot run, and EngineError for an unknown or unsupported option or value, or for a
    backend, device or precision that is not available. Logs a warning for params with NaN or infinite values.
    """
    options = engine_options(options, **keywords)
    device, notes = options.parsed_device, tuple[str, ...]()
    backend = options.backend
    if backend == "auto":
        backend, notes = choose(device, options.precision)
    engine = engine_class(backend)
    unknown = options.given.keys() - FOR_ALL - engine.takes
    if options.backend == "auto":
        unused = unknown & CPU_OPTIONS
        notes += tuple(f"option {name} is ignored by backend {backend!r}" for name in sorted(unused))
        unknown -= unused
    if unknown:
        raise EngineError(f"backend {backend!r} does not support option {', '.join(sorted(unknown))}")
    if backend != "cupy":
        refuse_on_cpu(backend, device, options.precision)
    if device is not None and device.others and backend == "cupy":
        from matnet.engines.cupy.several import SeveralGpus

        engine = SeveralGpus
    damaged = warn_not_finite(net, str(net.source))
    compiled = engine(net, outputs, options)
    compiled.damaged = damaged
    compiled.notes = [*notes, *compiled.notes]
    return compiled
