"""Search for the fastest way to run a network during the first calls of a run.

Each call runs a fixed program, which provides the results, and one other program to time it. A budget, derived from the
expected length of the run, limits the cost of the others, including compilation.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from statistics import median

import numpy as np

from matnet.engines.cpu.program import Compiler, Program, batch_of
from matnet.engines.cpu.runtimes import RUNTIMES
from matnet.engines.cpu.tuning.choices import TunedChoice
from matnet.engines.cpu.tuning.contest import CLEAR, FEWEST, MARGIN, USUAL, alike, challenges, timed_results
from matnet.engines.cpu.tuning.variants import Variant
from matnet.errors import MatnetError
from matnet.shapes import Shape

SHARE = 0.02  # maximum cost of a search, as a fraction of the expected run
SECONDS, SHARE_OF_SHORT = 3.0, 0.1  # maximum cost in a shorter run: seconds and fraction
CALLS = 200  # assumed for a run of unknown length
HOPELESS = 1.3  # time ratio of the first turn above which a program is rejected
SURE = 0.95  # time ratio of two turns below which a program wins if there is no time for a third
# Estimated compile times relative to the fixed program, and estimated seconds to import a runtime.
OTHER, WINOGRAD, IMPORT = 4.0, 8.0, 0.2

Runs = Callable[[Program, Mapping[str, np.ndarray], list[str]], tuple[float, dict[str, np.ndarray]]]


class Beside:
    """A search for inputs of one size. Call it with these inputs until it is `over`; `best` is then the program to use.

    fixed: the program that provides the results. compiling: its compile time in seconds. calls: expected number of
    calls; None if unknown. tried: variants that lost in an earlier run. Not thread-safe.
    """

    def __init__(
        self,
        compiler: Compiler,
        fixed: Program,
        inputs: Mapping[str, Shape],
        runtimes: list[str],
        calls: int | None,
        compiling: float,
        tried: frozenset[Variant] = frozenset(),
        *,
        clock: Callable[[], float] = time.perf_counter,
        run: Runs | None = None,
    ) -> None:
        self.inputs, self.fixed, self.best = dict(inputs), fixed, fixed
        self.over = self.complete = False
        self.tried = {*tried, fixed.variant}
        self.seconds: dict[str, float] = {}
        self.spent = 0.0
        self._compiler, self._compiling, self._expected = compiler, compiling, calls
        self._clock, self._run = clock, run or timed_results
        # Other runtimes first: if one of them wins, most ways of the usual runtime need not be timed.
        order = sorted(runtimes, key=lambda name: name == fixed.variant.runtime)
        self._left = challenges(order, batch_of(inputs), compiler.division(Variant()))
        self._challenger: Program | None = None
        self._turns: list[tuple[float, float]] = []
        self._best_ratio = 1.0
        self._calls, self._usual = 0, 0.0

    @property
    def choice(self) -> TunedChoice:
        """The result so far, to be recorded."""
        return TunedChoice(self.best.variant, frozenset(self.tried), self.complete)

    @property
    def budget(self) -> float:
        """Maximum cost of the search in seconds."""
        calls = self._expected if self._expected is not None else max(CALLS, self._calls)
        run = calls * self._usual / self.fixed.callers
        return max(SHARE * run, min(SECONDS, SHARE_OF_SHORT * run))

    def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The results of the fixed program; errors as of this program."""
        began = self._clock()
        self._calls += 1
        if self._challenger is not None:
            taken, results = self._turn(self._challenger, values)
        else:
            taken, results = self._run(self.fixed, values, self._compiler.wanted)
        self._usual = min(self._usual, taken) if self._usual else taken
        if self._challenger is None and self._calls > 1 and not self.over:
            self._begin(values, results)
        # One call of the fixed program is needed anyway.
        self.spent += self._clock() - began - taken / self.fixed.callers
        if self._challenger is not None and self._turns:
            self._judge()
        return results

    def _turn(self, challenger: Program, values: Mapping[str, np.ndarray]) -> tuple[float, dict[str, np.ndarray]]:
        """Run both programs once, in alternating order; returns seconds and results of the fixed one."""
        wanted = self._compiler.wanted
        try:
            if len(self._turns) % 2:
                new, _ = self._run(challenger, values, wanted)
                old, results = self._run(self.fixed, values, wanted)
            else:
                old, results = self._run(self.fixed, values, wanted)
                new, _ = self._run(challenger, values, wanted)
        except (MatnetError, MemoryError):  # if the fixed program failed, it raises again
            self._challenger = None
            return self._run(self.fixed, values, wanted)
        self._turns.append((old, new))
        return old, results

    def _begin(self, values: Mapping[str, np.ndarray], results: Mapping[str, np.ndarray]) -> None:
        """Compile and warm up the next program; the search is over if there is none, or the budget is exhausted."""
        variants = (challenge(self.best.variant) for challenge in self._left)
        variant = next((variant for variant in variants if variant is not None and variant not in self.tried), None)
        self.complete = variant is None
        if variant is None or self.spent + self._estimate(variant) > self.budget:
            self.over = True
            return
        self.tried.add(variant)
        try:
            program = self._compiler.program(variant, self.inputs, open_sizes=False)
            if alike(results, program(values, self._compiler.wanted)):
                self._challenger, self._turns = program, []
        except (MatnetError, MemoryError):  # skip it; the next call tries another one
            pass

    def _estimate(self, variant: Variant) -> float:
        """Estimated seconds to compile a program and time two turns."""
        package = RUNTIMES[variant.runtime].package
        runs = 3 * self._usual + 2 * self._usual * (1 - 1 / self.fixed.callers)
        loading = IMPORT if package and package not in sys.modules else 0.0
        return self._compiling * (WINOGRAD if variant.winograd else OTHER) + loading + runs

    def _judge(self) -> None:
        """After a turn, continue with this program, or keep the better one."""
        ratios = [new / old for old, new in self._turns]
        turns = len(ratios)
        clear = turns > 1 and (max(ratios) < CLEAR or min(ratios) > 1 / CLEAR)
        another = self._turns[-1][1] + self._usual * (1 - 1 / self.fixed.callers)
        affordable = self.spent + another <= self.budget
        if min(ratios) < HOPELESS and not clear and turns < USUAL and affordable:
            return
        won = median(ratios) < MARGIN if turns >= FEWEST else turns > 1 and max(ratios) < SURE
        challenger, self._challenger = self._challenger, None
        assert challenger is not None
        self.seconds[str(self.fixed.variant)] = self._usual
        self.seconds[str(challenger.variant)] = min(new for _, new in self._turns)
        if won and median(ratios) < self._best_ratio * (MARGIN if self.best is not self.fixed else 1):
            self.best, self._best_ratio = challenger, median(ratios)
