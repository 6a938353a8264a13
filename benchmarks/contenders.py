"""Who is timed: matnet in the forms asked for, first, and every peer in all of its forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matnet.benchmarks.peers import PEERS, Factory, Runner, Subject
from matnet.benchmarks.rows import OURS
from matnet.engines import Engine
from matnet.engines.cpu.runtimes import RUNTIMES, available
from matnet.errors import EngineError, nearest

AUTO = f"{OURS}-auto"
ALONE = f"{OURS}-alone"  # the same where ONNX Runtime alone is installed
UNASKED = f"{OURS}-unasked"  # what backend auto finds beside its first batches


@dataclass(frozen=True)
class Contender:
    """An engine by name, and how it is made ready."""

    name: str
    make: Factory


def ours(backend: str | None = None, runtime: str | None = None) -> list[Contender]:
    """matnet as asked for.

    By default the CPU engine on ONNX Runtime, as it is unasked, in the fastest way on ONNX Runtime, and in the fastest
    on all runtimes here.
    """
    if backend or runtime:
        if backend == "cupy":
            from matnet.benchmarks.device.engine import gpu_runner

            return [Contender(f"{OURS}-cupy", gpu_runner)]
        suffix = "-".join(part for part in (backend, runtime) if part)
        return [Contender(f"{OURS}-{suffix}", lambda subject: matnet_runner(subject, backend or "onnx", runtime))]
    found = [
        Contender(OURS, lambda subject: matnet_runner(subject, "onnx", "onnxruntime")),
        Contender(UNASKED, _unasked),
        Contender(ALONE, lambda subject: matnet_runner(subject, "onnx", "auto:onnxruntime")),
    ]
    if any(available(name) for name in list(RUNTIMES)[1:]):
        found.append(Contender(AUTO, lambda subject: matnet_runner(subject, "onnx", "auto")))
    return found


def _unasked(subject: Subject) -> Runner:
    from matnet.benchmarks.unasked import UnaskedRunner

    return UnaskedRunner(subject)


def matnet_runner(subject: Subject, backend: str, runtime: str | None = None) -> Runner:
    """The engine that `Network.compile` gives; options that a backend does not take are left out."""
    options: dict[str, Any] = {"runtime": runtime} if runtime else {}
    if backend in ("auto", "onnx"):
        options["threads"] = subject.threads
    if subject.precision != "fp32":
        options["precision"] = subject.precision
    return MatnetRunner(subject.net.compile([subject.output], backend=backend, **options), subject.output)


class MatnetRunner:
    """A compiled network for one output."""

    def __init__(self, engine: Engine, output: str) -> None:
        self.engine, self._output = engine, output

    def __call__(self, x: Any) -> Any:
        return self.engine(x)[self._output]

    @property
    def runtime(self) -> str:
        """What runs it, and how, once it has run."""
        return "; ".join(self.engine.variants)


def chosen_peers(names: Sequence[str]) -> list[Contender]:
    """All forms of the named peers, or the forms themselves where those are named; EngineError for unknown names."""
    forms = {form: make for group in PEERS.values() for form, make in group.items()}
    found: dict[str, Factory] = {}
    for name in names:
        if name not in PEERS and name not in forms:
            known = [*PEERS, *(form for form in forms if form not in PEERS)]
            raise EngineError(f"no peer is called {name!r}{nearest(name, known)}; there is {', '.join(known)}")
        found.update(PEERS.get(name) or {name: forms[name]})
    return [Contender(name, make) for name, make in found.items()]
