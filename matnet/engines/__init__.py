"""Engines: Network -> something that runs. `compile_network` picks one by name."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any, NamedTuple

from matnet.engines.base import Engine, wanted_variables
from matnet.engines.device import PRECISIONS, Device, check_precision, parse_device, refuse_on_cpu
from matnet.errors import EngineError, nearest
from matnet.network import Network

BACKENDS = ("auto", "numpy", "onnx", "cupy")
CPU_OPTIONS = frozenset({"threads", "runtime"})  # what `auto` leaves out where the engine it chose has no use for them

__all__ = ["BACKENDS", "PRECISIONS", "Choice", "Engine", "choose", "choose_backend", "compile_network", "engine_class"]
__all__ += ["parse_device", "wanted_variables"]


class Choice(NamedTuple):
    """A backend, and what is to be told about how it was chosen."""

    backend: str
    notes: tuple[str, ...] = ()


def choose(device: Device | None = None, precision: str = "fp32") -> Choice:
    """What `auto` means here: `cupy` where a GPU can be used, else `onnx` where it is installed, else `numpy`.

    A GPU or a precision that only a GPU has must be had: EngineError, saying what is missing, where it is not.
    """
    from matnet.engines.cupy.probe import INSTEAD, find_gpu, worth_a_note

    on_processor = device is not None and device.kind == "cpu"
    if on_processor:
        return Choice(_choose_on_processor())
    try:
        find_gpu(device.index if device else None, precision)
    except EngineError as error:
        if device is not None or precision != "fp32":
            raise
        told = f"computing on the processor: {str(error).removesuffix(f', {INSTEAD}')}"
        return Choice(_choose_on_processor(), (told,) if worth_a_note() else ())
    return Choice("cupy")


def _choose_on_processor() -> str:
    from matnet.engines.cpu.runtimes import available

    return "onnx" if available() else "numpy"


def choose_backend() -> str:
    """The backend that `auto` means here."""
    return choose().backend


def engine_class(backend: str) -> type[Engine]:
    """The class behind a name of BACKENDS; EngineError for any other."""
    if backend not in BACKENDS:
        hint = nearest(backend, BACKENDS)
        raise EngineError(f"no backend is called {backend!r}{hint}; there is {', '.join(BACKENDS)}")
    chosen = choose_backend() if backend == "auto" else backend
    if chosen == "cupy":
        from matnet.engines.cupy.engine import CupyEngine

        return CupyEngine
    if chosen == "onnx":
        from matnet.engines.cpu.engine import OnnxEngine

        return OnnxEngine
    from matnet.engines.numpy_engine import NumpyEngine

    return NumpyEngine


def compile_network(
    net: Network,
    outputs: Sequence[str] | None = None,
    backend: str = "numpy",
    device: str | None = None,
    precision: str | None = None,
    **options: Any,
) -> Engine:
    """An engine for `outputs` (variable, layer or blob names; default: the network's outputs).

    The engine is called with one array or a dict of arrays N x C x H x W and returns a dict; its `backend`,
    `device`, `precision` and `notes` say what was chosen, and why. `device` is cpu, gpu or gpu:N, `precision`
    fp32 (default), tf32 or fp16. Options that are None count as not given. Raises NetworkError for a graph
    that cannot run, EngineError for an unknown backend, one that is not installed, an option it does not
    take, or a device or precision that is not to be had.
    """
    where, exactness = parse_device(device), precision or "fp32"
    check_precision(exactness)
    given = {name: value for name, value in options.items() if value is not None}
    notes: tuple[str, ...] = ()
    found = backend
    if backend == "auto":
        found, notes = choose(where, exactness)
    engine = engine_class(found)
    unknown = given.keys() - signature(engine).parameters.keys()
    if backend == "auto":
        unused = unknown & CPU_OPTIONS
        notes += tuple(f"option {name} has no meaning for backend {found!r}" for name in sorted(unused))
        unknown -= unused
    if unknown:
        raise EngineError(f"backend {engine.backend!r} takes no option {', '.join(sorted(unknown))}")
    given = {name: value for name, value in given.items() if name in signature(engine).parameters}
    if found == "cupy":
        given.update(device=where, precision=exactness)
    else:
        refuse_on_cpu(found, where, exactness)
    compiled = engine(net, outputs, **given)
    compiled.notes = [*notes, *compiled.notes]
    return compiled
