"""Runs tasks in order within a time budget; a task starts only if it is expected to end in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from matnet.benchmarks.measure import failure


@dataclass(frozen=True)
class TimedTask:
    """A task; `seconds` is its expected time until tasks of the same kind have been timed."""

    name: str
    seconds: float
    action: Callable[[], None]
    kind: str = ""


@dataclass(frozen=True)
class TaskDone:
    """The outcome of a task: ok, failed with a reason, or not started."""

    name: str
    status: str
    seconds: float


class TimeBudget:
    """A number of seconds from now."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._seconds = seconds

    @property
    def spent(self) -> float:
        return self._clock() - self._begun

    @property
    def left(self) -> float:
        return self._seconds - self.spent


def run_tasks(
    tasks: Iterable[TimedTask], budget: TimeBudget, done: Callable[[TaskDone], None] = lambda outcome: None
) -> list[TaskDone]:
    """Run tasks in order; skip those that no longer fit, but still run shorter ones after them.

    `done` is called after each task. A failed task is a TaskDone with its reason; only an interrupt stops all.
    """
    outcomes = []
    taken: dict[str, list[float]] = {}
    for task in tasks:
        before = budget.spent
        seen = taken.get(task.kind, [])
        if (sum(seen) / len(seen) if seen else task.seconds) > budget.left:
            outcome = TaskDone(task.name, f"not started: only {max(budget.left, 0):.0f} s left", 0.0)
        else:
            try:
                task.action()
                outcome = TaskDone(task.name, "ok", budget.spent - before)
                if task.kind:
                    taken.setdefault(task.kind, []).append(outcome.seconds)
            except Exception as error:  # continue with the other tasks
                outcome = TaskDone(task.name, failure(error), budget.spent - before)
        outcomes.append(outcome)
        done(outcome)
    return outcomes
