"""Engines: Network -> something that runs. `compile_network` picks one by its options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from matnet.engines.device import PRECISIONS, Device, parse_device, processors, refuse_on_cpu
from matnet.engines.options import BACKENDS, EngineOptions
from matnet.errors import EngineError
from matnet.finite import warn_not_finite
from matnet.lazy import lazy
from matnet.network import Network

if TYPE_CHECKING:
    from matnet.engines.base import Engine, wanted_variables

# Checked here, or used by what feeds the engine.
FOR_ALL = frozenset({"backend", "device", "precision", "batch_size", "strict", "callers"})
CPU_OPTIONS = frozenset({"threads", "runtime"})  # what `auto` ignores, with a note, where its engine does not take them

# Commands read options without loading engines.
__getattr__, __dir__, _ = lazy(__name__, {"base": "Engine wanted_variables"})
__all__ = ["BACKENDS", "PRECISIONS", "Choice", "Engine", "EngineOptions", "choose", "choose_backend"]
__all__ += ["compile_network", "engine_class", "for_batches", "parse_device", "wanted_variables"]


class Choice(NamedTuple):
    """A backend, and notes for the user on how it was chosen."""

    backend: str
    notes: tuple[str, ...] = ()


def choose(device: Device | None = None, precision: str = "fp32") -> Choice:
    """What `auto` means on this machine: `cupy` where a GPU can be used, else `onnx` where installed, else `numpy`.

    The GPU is probed once per process. EngineError, naming what is missing, where a GPU or a precision that only GPUs
    have is asked for and cannot be used.
    """
    from matnet.engines.cupy.probe import INSTEAD, find_gpu, worth_a_note

    if device is not None and device.kind == "cpu":
        return Choice(_choose_on_processor())
    try:
        find_gpu(device.index if device else None, precision)
    except EngineError as error:
        if device is not None or precision != "fp32":
            raise
        note = f"computing on the processor: {str(error).removesuffix(f', {INSTEAD}')}"
        return Choice(_choose_on_processor(), (note,) if worth_a_note() else ())
    return Choice("cupy")


def _choose_on_processor() -> str:
    from matnet.engines.cpu.runtimes import available

    return "onnx" if available() else "numpy"


def choose_backend() -> str:
    """The backend that `auto` means on this machine."""
    return choose().backend


def engine_class(backend: str) -> type[Engine]:
    """The class behind a name of BACKENDS; EngineError for any other."""
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
    """`options`, or those of the keywords that are not None; EngineError where both are given."""
    given = sorted(name for name, value in keywords.items() if value is not None)
    if options is not None and given:
        raise EngineError(f"give engine options as EngineOptions or as keywords ({', '.join(given)}), not as both")
    return options if options is not None else EngineOptions.of(**keywords)


def for_batches(options: EngineOptions, share: int | None = None) -> EngineOptions:
    """The same options with `callers`: how many threads call the engine at a time when it runs many batches.

    share: how many processors it may use, where others use the rest; None: all. Of backends that take `threads`.
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

    `options`, or the fields of EngineOptions as keywords. The engine is called with one array or a dict of arrays
    N x C x H x W and returns a dict; its `backend`, `device`, `precision` and `notes` say what was chosen, and why.
    Raises NetworkError for a graph that cannot run, EngineError for an unknown option or value, a backend that is not
    installed, an option that it does not take, or a device or precision that is not available. Logs a warning that
    names the params which hold NaN or infinite values.
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
        notes += tuple(f"option {name} has no meaning for backend {backend!r}" for name in sorted(unused))
        unknown -= unused
    if unknown:
        raise EngineError(f"backend {backend!r} takes no option {', '.join(sorted(unknown))}")
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
