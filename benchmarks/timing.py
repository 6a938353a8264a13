"""Timing in turns, A B A B ..., so that other load on the machine affects all engines equally."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

FEWEST = 3  # rounds that are always timed


@dataclass(frozen=True)
class TimeLimits:
    """How long to time: `rounds` turns of every engine, or fewer (at least 3) after `seconds` in total.

    turn: minimum seconds per turn; an engine runs at least once. pause: seconds before each turn, for the previous
    engine's threads to stop spinning; those of ONNX Runtime spin for 0.054 s.
    """

    rounds: int = 7
    seconds: float = 60.0
    turn: float = 0.1
    pause: float = 0.1


@dataclass(frozen=True)
class Spread:
    """Median and spread of times, in their unit."""

    median: float
    quartile_range: float
    shortest: float
    longest: float

    @classmethod
    def of(cls, times: list[float]) -> Spread:
        """The spread of at least one time; quartiles are interpolated linearly between order statistics."""
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
    """Seconds per call of every action, one number per turn, and the errors of failed actions.

    A first warm-up round is not counted. An action that raises gets no further turn.
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
            except Exception as error:  # any error of an engine is a result
                errors[name] = error
                del seconds[name]
                continue
            if number:
                seconds[name].append(taken)
    return seconds, errors


def _turn(action: Callable[[], object], clock: Callable[[], float], least: float) -> float:
    """Average seconds per call in a turn."""
    started, calls = clock(), 0
    while True:
        action()
        calls += 1
        taken = clock() - started
        if taken >= least:
            return taken / calls
