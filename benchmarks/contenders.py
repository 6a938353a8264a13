"""The contenders to time: first matnet in the requested forms, then every peer in all of its forms."""

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
ALONE = f"{OURS}-alone"  # the fastest way with only ONNX Runtime installed
UNASKED = f"{OURS}-unasked"  # backend auto, including its search during the first batches


@dataclass(frozen=True)
class Contender:
    """An engine's name, and the function that prepares it."""

    name: str
    make: Factory


def ours(backend: str | None = None, runtime: str | None = None) -> list[Contender]:
    """matnet's engines for these options.

    By default the CPU engine in four forms: on ONNX Runtime, as backend auto without options, in the fastest way on
    ONNX Runtime, and in the fastest way on all installed runtimes.
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
    """The engine from `Network.compile`; omits options that the backend does not accept."""
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
        """The runtimes and variants in use, known after the first run."""
        return "; ".join(self.engine.variants)


def chosen_peers(names: Sequence[str]) -> list[Contender]:
    """All forms of the named peers; a name may also be a single form. EngineError for unknown names."""
    forms = {form: make for group in PEERS.values() for form, make in group.items()}
    found: dict[str, Factory] = {}
    for name in names:
        if name not in PEERS and name not in forms:
            known = [*PEERS, *(form for form in forms if form not in PEERS)]
            raise EngineError(f"unknown peer {name!r}{nearest(name, known)}; expected {', '.join(known)}")
        found.update(PEERS.get(name) or {name: forms[name]})
    return [Contender(name, make) for name, make in found.items()]
