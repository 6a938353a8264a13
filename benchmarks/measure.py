"""One network and batch size through all engines: made ready, checked against each other, timed by turns."""

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
AGREEMENT = {"fp32": 1e-3, "tf32": 3e-2, "fp16": 3e-2}  # of the greatest value: all compute the same network


def measure(
    model: Model,
    batch: int,
    contenders: Sequence[Contender],
    limits: TimeLimits,
    *,
    threads: int,
    precision: str = "fp32",
) -> list[EngineRow]:
    """A row per contender; one that cannot run, or computes something else, is a row that says why.

    The first contender that runs is what the others' outputs are compared with.
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
            except Exception as error:  # whatever a peer raises, in whatever language, is its row's reason
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
    """The same engines on input that lies in a GPU's memory already, for those that can be timed so."""
    able = {name: runner for name, runner in runners.items() if hasattr(runner, "resident")}
    found = {name: replace(rows[name], scope=RESIDENT, seconds=[]) for name in able}
    actions, ready = {}, {}
    for name, runner in able.items():
        try:
            actions[name] = runner.resident(x)
            ready[name] = found[name]
        except Exception as error:  # as for any other fault of a peer
            found[name].status = failure(error)
    _time(ready, actions, limits)
    return list(found.values())


def checked(row: EngineRow, runner: Runner, x: np.ndarray, reference: np.ndarray | None) -> np.ndarray:
    """Run twice, first on other values, and compare the second output; the output to compare with.

    On a GPU the second one comes from a recorded graph. The difference and any fault go into the row.
    """
    runner(-x)
    found = np.asarray(runner(x))
    row.runtime = getattr(runner, "runtime", "")
    row.work = getattr(runner, "work", [])
    if reference is None:
        row.difference = 0.0
        if not np.isfinite(found).all():
            row.status = "failed: its output is not finite"
        return found
    if found.size != reference.size:
        row.status = f"failed: its output has {found.size} values, expected {reference.size}"
        return reference
    row.difference = difference(found.reshape(reference.shape), reference)
    if not row.difference <= AGREEMENT[row.precision]:
        row.status = f"failed: its output differs by {row.difference:.1g} of the greatest value"
    return reference


def difference(found: np.ndarray, reference: np.ndarray) -> float:
    """The largest absolute difference relative to the largest magnitude; NaN where a value is not a number."""
    scale = float(np.abs(reference).max()) or 1.0
    return float(np.abs(found.astype(np.float64) - reference).max() / scale)


def failure(error: Exception) -> str:
    """A status of one line, at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return f"failed: {text[:196]}{'...' if len(text) > 196 else ''}"


def time_runners(
    rows: Mapping[str, EngineRow], runners: Mapping[str, Runner], x: np.ndarray, limits: TimeLimits
) -> None:
    """Fill in the seconds; an engine that gives up while it is timed gets the reason instead."""
    _time(rows, {name: partial(runner, x) for name, runner in runners.items()}, limits)


def _time(rows: Mapping[str, EngineRow], actions: Mapping[str, Callable[[], object]], limits: TimeLimits) -> None:
    seconds, errors = by_turns(actions, limits)
    for name, taken in seconds.items():
        rows[name].seconds = taken
    for name, error in errors.items():
        rows[name].status = failure(error)
