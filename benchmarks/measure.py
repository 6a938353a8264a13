"""Measures one network and batch size on all engines: prepares, compares outputs, and times in turns."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from matnet.benchmarks.contenders import Contender
from matnet.benchmarks.models import Model
from matnet.benchmarks.peers import Runner, Subject
from matnet.benchmarks.rows import OK, RESIDENT, EngineRow
from matnet.benchmarks.timing import TimeLimits, by_turns

log = logging.getLogger(__name__)
AGREEMENT = {"fp32": 1e-3, "tf32": 3e-2, "fp16": 3e-2}  # maximum difference relative to the largest value


def measure(
    model: Model,
    batch: int,
    contenders: Sequence[Contender],
    limits: TimeLimits,
    *,
    threads: int,
    precision: str = "fp32",
) -> list[EngineRow]:
    """A row per contender; the row of a contender that fails or has other outputs has the reason.

    Outputs are compared with those of the first contender that runs.
    """
    x = np.random.default_rng(batch).standard_normal(model.input_shape(batch)).astype(np.float32)
    where = f"{model.name}, batch {batch}"
    rows = {contender.name: _row(model, batch, contender.name, precision) for contender in contenders}
    with tempfile.TemporaryDirectory(prefix="matnet-") as folder:
        subject = Subject(model.net, model.output, model.input_shape(batch), threads, Path(folder), precision)
        runners: dict[str, Runner] = {}
        reference: np.ndarray | None = None
        for contender in contenders:
            log.info("%s: preparing %s", where, contender.name)
            row = rows[contender.name]
            try:
                runner = contender.make(subject)
                reference = checked(row, runner, x, reference)
                runners[contender.name] = runner
            except Exception as error:  # any error of a peer is the reason in its row
                row.status = failure(error)
            if row.status != OK:
                log.warning("%s: %s %s", where, row.engine, row.status)
        right = {name: runner for name, runner in runners.items() if rows[name].status == OK}
        log.info("%s: timing %s", where, ", ".join(right))
        time_runners(rows, right, x, limits)
        for name, runner in right.items():
            if hasattr(runner, "over_a_run"):
                rows[name].seconds = runner.over_a_run(rows[name].seconds)
        return [*rows.values(), *resident_rows(rows, right, x, limits)]


def _row(model: Model, batch: int, engine: str, precision: str) -> EngineRow:
    operations = batch * model.operations()
    row = EngineRow(model.name, model.weights, batch, engine, precision, operations=operations)
    row.published = model.published
    return row


def resident_rows(
    rows: Mapping[str, EngineRow], runners: Mapping[str, Runner], x: np.ndarray, limits: TimeLimits
) -> list[EngineRow]:
    """The engines that support it, timed on input that is already in GPU memory."""
    able = {name: runner for name, runner in runners.items() if hasattr(runner, "resident")}
    found = {name: replace(rows[name], scope=RESIDENT, seconds=[]) for name in able}
    actions, ready = {}, {}
    for name, runner in able.items():
        try:
            actions[name] = runner.resident(x)
            ready[name] = found[name]
        except Exception as error:  # any error of a peer
            found[name].status = failure(error)
    _time(ready, actions, limits)
    return list(found.values())


def checked(row: EngineRow, runner: Runner, x: np.ndarray, reference: np.ndarray | None) -> np.ndarray:
    """Run twice, first on other values, and compare the second output; returns the reference output.

    On a GPU the second run replays a recorded graph. The difference and any error are stored in the row.
    """
    runner(-x)
    found = np.asarray(runner(x))
    row.runtime = getattr(runner, "runtime", "")
    row.work = getattr(runner, "work", [])
    if reference is None:
        row.difference = 0.0
        if not np.isfinite(found).all():
            row.status = "failed: non-finite output"
        return found
    if found.size != reference.size:
        row.status = f"failed: output has {found.size} values; expected {reference.size}"
        return reference
    row.difference = difference(found.reshape(reference.shape), reference)
    if not row.difference <= AGREEMENT[row.precision]:
        row.status = f"failed: output differs by {row.difference:.1g} of the largest value"
    return reference


def difference(found: np.ndarray, reference: np.ndarray) -> float:
    """The largest absolute difference relative to the largest magnitude; NaN if a value is NaN."""
    scale = float(np.abs(reference).max()) or 1.0
    return float(np.abs(found.astype(np.float64) - reference).max() / scale)


def failure(error: Exception) -> str:
    """A one-line status of at most about 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return f"failed: {text[:196]}{'...' if len(text) > 196 else ''}"


def time_runners(
    rows: Mapping[str, EngineRow], runners: Mapping[str, Runner], x: np.ndarray, limits: TimeLimits
) -> None:
    """Set the seconds of the rows, or the reason if an engine fails while it is timed."""
    _time(rows, {name: partial(runner, x) for name, runner in runners.items()}, limits)


def _time(rows: Mapping[str, EngineRow], actions: Mapping[str, Callable[[], object]], limits: TimeLimits) -> None:
    seconds, errors = by_turns(actions, limits)
    for name, taken in seconds.items():
        rows[name].seconds = taken
    for name, error in errors.items():
        rows[name].status = failure(error)
