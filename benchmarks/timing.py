"""Timing by turns: A B A B ..., so that whatever else the machine does falls on all engines alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

FEWEST = 3  # rounds that are timed whatever they take


@dataclass(frozen=True)
class TimeLimits:
    """How long to time: `rounds` turns of every engine, fewer (but 3) once `seconds` have passed in all.

    turn: seconds; an engine runs at least once in a turn, and again until they have passed. pause: seconds before
    each turn, in which the threads of the engine before stop looking for work; ONNX Runtime's do so for 0.054 s.
    """

    rounds: int = 7
    seconds: float = 60.0
    turn: float = 0.1
    pause: float = 0.1


@dataclass(frozen=True)
class Spread:
    """The middle of some times and how far they lie apart, in the unit of the times."""

    median: float
    quartile_range: float
    shortest: float
    longest: float

    @classmethod
    def of(cls, times: list[float]) -> Spread:
        """Of at least one time; quartiles are those of linear interpolation between order statistics."""
        if len(times) == 1:
            return cls(times[0], 0.0, times[0], times[0])
        low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
        return cls(middle, high - low, min(times), max(times))


def by_turns(
    actions: Mapping[str, Callable[[], object]],
    limits: TimeLimits,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[dict[str, list[float]], dict[str, Exception]]:
    """Seconds per call of every action, one number per turn, and what was raised by those that failed.

    A first round, which warms up, is not counted. An action that raises takes no further turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    errors: dict[str, Exception] = {}
    started = clock()
    for number in range(limits.rounds + 1):
        if number > FEWEST and clock() - started > limits.seconds:
            break
        for name in list(seconds):
            sleep(limits.pause)
            try:
                taken = _turn(actions[name], clock, limits.turn if number else 0.0)
            except Exception as error:  # of any engine, in any language: it is a result like others
                errors[name] = error
                del seconds[name]
                continue
            if number:
                seconds[name].append(taken)
    return seconds, errors


def _turn(action: Callable[[], object], clock: Callable[[], float], least: float) -> float:
    """Seconds per call, on average over the turn."""
    started, calls = clock(), 0
    while True:
        action()
        calls += 1
        taken = clock() - started
        if taken >= least:
            return taken / calls
