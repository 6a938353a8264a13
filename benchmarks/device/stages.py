"""The parts of a GPU run, as tasks with expected times, and their common session."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from matnet.benchmarks import machine
from matnet.benchmarks.contenders import Contender, ours
from matnet.benchmarks.device import agreement, ceilings, conformance, memory
from matnet.benchmarks.device.budget import TimedTask
from matnet.benchmarks.device.engine import GpuRunner
from matnet.benchmarks.device.kernels import by_kind
from matnet.benchmarks.device.memory import free
from matnet.benchmarks.measure import measure
from matnet.benchmarks.models import Model, build
from matnet.benchmarks.peers.base import imported
from matnet.benchmarks.peers.torch_gpu import TORCH_GPU_FORMS
from matnet.benchmarks.rows import Report
from matnet.benchmarks.timing import TimeLimits
from matnet.errors import EngineError, NetworkError
from matnet.files import atomic_write
from matnet.records import read_record

GRAPH, FUSED, COMPILED = TORCH_GPU_FORMS
LIMITS = TimeLimits(rounds=7, seconds=3, turn=0.03, pause=0.0)
KEPT_MODELS = 6  # in host memory
LARGE_BATCH = 64
FIRST_BATCHES = (16, 1)  # timed first, in the precisions with tensor cores
# Estimated maximum seconds of a part; replaced by measured times of the same kind.
CONFORMANCE_SECONDS = 45.0
SPEED_SECONDS = 8.0
LARGE_SECONDS = 12.0  # batches from 64 on
COMPILE_SECONDS = 60.0
KERNEL_SECONDS = 5.0
KERNEL_BATCH = 64


@dataclass
class Session:
    """The settings of a run, and its report."""

    backend: str
    models: list[str]
    batches: list[int]
    precisions: list[str]
    data: Path = conformance.DATA
    argv: list[str] = field(default_factory=list)
    plans: Path | None = None  # file of the fastest plans: read first, written after every part
    report: Report = field(default_factory=Report)
    _built: OrderedDict[str, Model] = field(default_factory=OrderedDict)
    _book: Path | None = None  # the engine's file of plans

    def open(self) -> None:
        """Find the GPU and describe the machine; EngineError if backend cupy cannot run."""
        self.report.machine = machine.describe(machine.processors(), self.argv, "matnet.benchmarks.gpu")
        if self.backend == "cupy":
            from matnet.engines.cupy.device import GpuDevice, GpuOptions
            from matnet.engines.cupy.probe import find_gpu

            gpu = find_gpu()
            device = GpuDevice(gpu, GpuOptions())
            self._book = device.chooser.book.path
            if self.plans is not None and self.plans.is_file():
                for key, plan in (read_record(self.plans, dict) or {}).items():
                    device.chooser.book.put(str(key), str(plan))
            self.report.machine["versions"]["cuda"] = str(gpu.runtime)
            if device.cudnn is not None:
                self.report.machine["versions"]["cudnn"] = str(device.cudnn.backend_version())
            self.report.notes += device.notes
            driver = f"CUDA driver {gpu.driver // 1000}.{gpu.driver % 1000 // 10}"
            self.report.machine["device"] = f"{gpu.name}, {gpu.memory / 2**30:.0f} GiB, {driver}{_kernel_driver()}"

    def model(self, name: str) -> Model:
        """The network, cached among the last few."""
        if name not in self._built:
            self._built[name] = build(name)
        self._built.move_to_end(name)
        while len(self._built) > KEPT_MODELS:
            self._built.popitem(last=False)
        return self._built[name]

    def write_plans(self) -> None:
        """Save the fastest plans so far for the next run."""
        if self.plans is not None and self._book is not None and self._book.is_file():
            with atomic_write(self.plans) as file:
                file.write(self._book.read_bytes())

    def faults(self) -> list[str]:
        """All failed checks, including differences from peers and failures of matnet to run."""
        sections = self.report.sections
        found = [f"{entry['case']}: {entry['status']}" for entry in sections.get("conformance", ()) if _bad(entry)]
        found += [line for line in sections.get("agreement", ()) if line.startswith("miss")]
        wrong = [row for row in self.report.rows if (row.ours and not row.timed) or "differs" in row.status]
        return found + [f"{row.model}, {row.engine}: {row.status}" for row in wrong]


def _bad(entry: dict[str, Any]) -> bool:
    return bool(entry["status"] != "ok")


def _kernel_driver() -> str:
    """The driver's version, if Linux reports it."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return ""
    numbers = [word for word in text.split() if word[0].isdigit() and word.count(".") == 2]
    return f" ({numbers[0]})" if numbers else ""


def tasks_of(session: Session, stages: Iterable[str]) -> Iterator[TimedTask]:
    """All tasks of these stages, in the order given."""
    for stage in stages:
        yield from STAGES[stage](session)


def conformance_tasks(session: Session) -> Iterator[TimedTask]:
    """Every recorded network, on replayed graphs, in full float32 and in the other chosen precisions."""
    for precision in dict.fromkeys(["fp32", *session.precisions]):
        yield _conformance(session, precision)


def _conformance(session: Session, precision: str) -> TimedTask:
    def act() -> None:
        found = session.report.sections.setdefault("conformance", [])
        wanted = conformance.cases(session.data)
        failed = []
        for case in wanted:
            outcome = conformance.check(case, session.backend, precision)
            found.append(asdict(outcome))
            if outcome.status != "ok":
                failed.append(case.name)
        if failed:
            raise NetworkError(f"{len(failed)} of {len(wanted)} networks differ from the record, such as {failed[0]}")

    return TimedTask(f"conformance, {precision}", CONFORMANCE_SECONDS, act, "conformance")


def ceiling_tasks(session: Session) -> Iterator[TimedTask]:
    """Matrix products, copies on the GPU, copies to the GPU."""

    def act() -> None:
        torch = imported("torch", "torch")
        if not torch.cuda.is_available():
            raise EngineError(f"torch {torch.__version__} finds no GPU")
        session.report.machine["matmul_flop_per_s"] = ceilings.matmul_peaks(torch)
        session.report.machine["copy_bytes_per_s"] = ceilings.copy_bandwidth(torch)
        session.report.machine["transfer_bytes_per_s"] = ceilings.transfer_bandwidth(torch)
        session.report.machine["versions"].update(machine.versions())

    yield TimedTask("ceilings", 10.0, act)


def agreement_tasks(session: Session) -> Iterator[TimedTask]:
    """Agreement of the top class on real images."""

    def act() -> None:
        net, images = agreement.squeezenet(agreement.real_data())
        found = agreement.agreement(net, images, session.backend, session.precisions)
        session.report.sections["agreement"] = [found.line(precision) for precision in found.same]

    yield TimedTask("agreement over real images", 25.0, act)


def memory_tasks(session: Session) -> Iterator[TimedTask]:
    """Maximum device memory, and whether it grows."""

    def task(name: str) -> TimedTask:
        def act() -> None:
            found = session.report.sections.setdefault("memory", [])
            found.append(asdict(memory.device_memory(session.model(name))))
            free()

        return TimedTask(f"memory, {name}", 12.0, act, "memory")

    if session.backend == "cupy":
        yield from map(task, session.models)


def first_speed_tasks(session: Session) -> Iterator[TimedTask]:
    """Every network in batches of 16 and 1, in FP16 and TF32, compared with torch's CUDA graphs."""
    yield from _speeds(session, _first(session))


def _first(session: Session) -> list[tuple[str, int]]:
    """The most important precisions and batches."""
    precisions = [precision for precision in session.precisions if precision != "fp32"]
    batches = [batch for batch in FIRST_BATCHES if batch in session.batches] or session.batches[:1]
    return [(precision, batch) for batch in batches for precision in precisions]


def speed_tasks(session: Session) -> Iterator[TimedTask]:
    """All other precisions and batches."""
    first = _first(session)
    every = [(precision, batch) for precision in session.precisions for batch in session.batches]
    yield from _speeds(session, [setting for setting in every if setting not in first])


def _speeds(session: Session, settings: Iterable[tuple[str, int]]) -> Iterator[TimedTask]:
    for precision, batch in settings:
        for name in session.models:
            yield _speed(session, name, batch, precision, [GRAPH, FUSED])


def compile_tasks(session: Session) -> Iterator[TimedTask]:
    """The first batch again, now also with torch.compile and max-autotune; replaces the earlier rows."""
    first = _first(session)
    for precision, batch in first:
        if batch == first[0][1]:
            for name in session.models:
                yield _speed(session, name, batch, precision, [GRAPH, FUSED, COMPILED])


def _speed(session: Session, name: str, batch: int, precision: str, forms: list[str]) -> TimedTask:
    def act() -> None:
        (own,) = ours(session.backend)
        peers = [Contender(form, TORCH_GPU_FORMS[form]) for form in forms]
        threads = machine.processors()
        rows = measure(session.model(name), batch, [own, *peers], LIMITS, threads=threads, precision=precision)
        session.report.add(rows)
        free()

    large, compiled = batch >= LARGE_BATCH, COMPILED in forms
    seconds = (LARGE_SECONDS if large else SPEED_SECONDS) + COMPILE_SECONDS * compiled
    kind = f"speed{' of large batches' * large}{', compiled' * compiled}"
    return TimedTask(f"speed, {name}, batch {batch}, {precision}{', compiled' * compiled}", seconds, act, kind)


def kernel_tasks(session: Session) -> Iterator[TimedTask]:
    """Every step of the engine, compared with the minimum time for its bytes and operations."""

    def task(name: str, precision: str) -> TimedTask:
        def act() -> None:
            found = session.report.sections.setdefault("kernels", [])
            found.append(_kernels(session, name, precision))
            free()

        return TimedTask(f"kernels, {name}, {precision}", KERNEL_SECONDS, act, "kernels")

    if session.backend == "cupy":
        for precision in session.precisions:
            for name in session.models:
                yield task(name, precision)


def _kernels(session: Session, name: str, precision: str) -> dict[str, Any]:
    """Steps and kinds of steps of one network; minimum times are 0 without measured ceilings."""
    peak = session.report.peak(precision) or float("inf")
    bandwidth = session.report.machine.get("copy_bytes_per_s", float("inf"))
    model = session.model(name)
    x = np.random.default_rng(0).standard_normal(model.input_shape(KERNEL_BATCH)).astype(np.float32)
    engine = model.net.compile([model.output], backend="cupy", precision=precision)
    times = GpuRunner(engine, model.output).step_times(x)
    return {
        "model": name,
        "batch": KERNEL_BATCH,
        "precision": precision,
        "kinds": by_kind(times, bandwidth, peak),
        "steps": [{**asdict(time), "floor": time.floor(bandwidth, peak)} for time in times],
    }


STAGES: dict[str, Callable[[Session], Iterator[TimedTask]]] = {
    "ceilings": ceiling_tasks,
    "conformance": conformance_tasks,
    "agreement": agreement_tasks,
    "first-speed": first_speed_tasks,
    "memory": memory_tasks,
    "compile": compile_tasks,
    "speed": speed_tasks,
    "kernels": kernel_tasks,
}
"""In order of importance, after the ceilings, which the roofline figures need."""
