"""A time budget: tasks in order of importance, each begun only if it should end in time, each failing alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from matnet.benchmarks.measure import failure


@dataclass(frozen=True)
class TimedTask:
    """One thing to do; `seconds` is what it should take, until tasks of the same kind have shown what they take."""

    name: str
    seconds: float
    action: Callable[[], None]
    kind: str = ""


@dataclass(frozen=True)
class TaskDone:
    """What became of a task: ok, failed with a reason, or not begun."""

    name: str
    status: str
    seconds: float


class TimeBudget:
    """So many seconds from now on."""

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
    """Run tasks one after the other; one that does not fit any more is left out, and smaller ones behind it still run.

    `done` gets each at once. A task that fails is a TaskDone with its reason; only an interrupt ends all.
    """
    outcomes = []
    taken: dict[str, list[float]] = {}
    for task in tasks:
        before = budget.spent
        seen = taken.get(task.kind, [])
        if (sum(seen) / len(seen) if seen else task.seconds) > budget.left:
            outcome = TaskDone(task.name, f"not begun: {max(budget.left, 0):.0f} s were left of the time", 0.0)
        else:
            try:
                task.action()
                outcome = TaskDone(task.name, "ok", budget.spent - before)
                if task.kind:
                    taken.setdefault(task.kind, []).append(outcome.seconds)
            except Exception as error:  # the other tasks are still worth running
                outcome = TaskDone(task.name, failure(error), budget.spent - before)
        outcomes.append(outcome)
        done(outcome)
    return outcomes
