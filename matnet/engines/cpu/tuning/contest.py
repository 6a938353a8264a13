"""Search for the fastest way to run a network, once per network, input sizes and threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from matnet.engines.cpu.division import Division
from matnet.engines.cpu.program import Compiler, Program, batch_of
from matnet.engines.cpu.runtimes import RUNTIMES
from matnet.engines.cpu.tuning.variants import Variant
from matnet.errors import EngineError
from matnet.shapes import Shape

FEWEST, USUAL, MOST = 3, 9, 100  # number of turns of two programs
LEAST_SECONDS = 2.0  # minimum time for short runs, because other processes may disturb them
SECONDS = 12.0  # time after which FEWEST turns are enough
CLEAR = 0.85  # time ratio (or its inverse) in all turns for which FEWEST turns are enough
MARGIN = 0.99  # a better program must take less than this fraction of the best time
AGREEMENT = 1e-3  # tolerance relative to the maximum output

Challenge = Callable[[Variant | None], Variant | None]


def fastest(compiler: Compiler, inputs: Mapping[str, Shape], runtimes: list[str]) -> tuple[Program, dict[str, float]]:
    """The fastest program, and the seconds of each variant on random inputs.

    Compares one program at a time with the best so far, so that at most two copies of the weights are in memory. Skips
    programs that cannot be compiled or have other results. Raises EngineError if none can be compiled.
    """
    random = np.random.default_rng(0)
    values = {name: random.standard_normal(shape, dtype=np.float32) for name, shape in inputs.items()}
    best: Program | None = None
    seconds: dict[str, float] = {}
    tried: set[Variant] = set()
    for challenge in challenges(runtimes, batch_of(inputs), compiler.division(Variant())):
        variant = challenge(best.variant if best else None)
        if variant is None or variant in tried:
            continue
        tried.add(variant)
        try:
            program = compiler.program(variant, inputs, open_sizes=False)
        except EngineError:
            continue
        if best is not None and not agree(best, program, values, compiler.wanted):
            continue
        if best is None or beats(program, best, values, compiler.wanted, seconds):
            best = program
    if best is None:
        raise EngineError(f"none of the runtimes {', '.join(runtimes)} can run this network")
    return best, seconds


def challenges(runtimes: list[str], batch: int, undivided: Division) -> Iterator[Challenge]:
    """The variants to try, each derived from the best so far; a variant may occur twice."""
    several = undivided.settings.all_threads > 1
    for runtime in runtimes:
        divisions = RUNTIMES[runtime].divisions if several else ()
        divisions = tuple(kind for kind in divisions if replace(undivided, kind=kind).images(batch) < batch)
        yield partial(_moved, runtime)
        yield partial(_plain, runtime)
        yield partial(_more, runtime, winograd=True)
        for division in divisions:
            yield partial(_more, runtime, division=division)
        if divisions:
            yield partial(_more, runtime, winograd=True)


def _moved(runtime: str, best: Variant | None) -> Variant:
    """The best variant with another runtime."""
    return replace(best, runtime=runtime) if best else Variant(runtime)


def _plain(runtime: str, best: Variant | None) -> Variant:
    return Variant(runtime)


def _more(runtime: str, best: Variant | None, **change: Any) -> Variant | None:
    """The best variant with changes; None if it uses another runtime."""
    return replace(best, **change) if best and best.runtime == runtime else None


def agree(one: Program, other: Program, values: Mapping[str, np.ndarray], wanted: list[str]) -> bool:
    """Whether two programs have equal results up to rounding; also warms up both."""
    expected = one(values, wanted)
    try:
        return alike(expected, other(values, wanted))
    except EngineError:
        return False


def alike(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> bool:
    """Whether two results are equal up to rounding."""
    for name, value in expected.items():
        finite = np.abs(value[np.isfinite(value)])
        bound = AGREEMENT * finite.max(initial=0)
        if found[name].shape != value.shape or not np.allclose(found[name], value, 0, bound, equal_nan=True):
            return False
    return True


def beats(
    program: Program, best: Program, values: Mapping[str, np.ndarray], wanted: list[str], seconds: dict[str, float]
) -> bool:
    """Whether a program is faster, by the median of the time ratios of turns.

    Other load on the machine affects both runs of a turn equally; the order alternates between turns. The shortest
    times go into `seconds`.
    """
    times: list[tuple[float, float]] = []
    began = time.perf_counter()
    while not _decided(times) and _time_left(len(times), time.perf_counter() - began):
        if len(times) % 2:
            after = timed(program, values, wanted)
            times.append((timed(best, values, wanted), after))
        else:
            times.append((timed(best, values, wanted), timed(program, values, wanted)))
    old, new = (min(column) for column in zip(*times, strict=True))
    seconds.update({str(best.variant): old, str(program.variant): new})
    return median(_ratios(times)) < MARGIN


def _ratios(times: list[tuple[float, float]]) -> list[float]:
    return [after / before for before, after in times]


def _decided(times: list[tuple[float, float]]) -> bool:
    ratios = _ratios(times)
    return len(times) >= FEWEST and (max(ratios) < CLEAR or min(ratios) > 1 / CLEAR)


def _time_left(turns: int, seconds: float) -> bool:
    return turns < FEWEST or (turns < USUAL and seconds < SECONDS) or (turns < MOST and seconds < LEAST_SECONDS)


def timed(program: Program, values: Mapping[str, np.ndarray], wanted: list[str]) -> float:
    """Seconds of one run, or of concurrent runs of all callers."""
    return timed_results(program, values, wanted)[0]


def timed_results(
    program: Program, values: Mapping[str, np.ndarray], wanted: list[str]
) -> tuple[float, dict[str, np.ndarray]]:
    """The seconds as of `timed`, and the results."""
    started = time.perf_counter()
    if program.callers == 1:
        results = program(values, wanted)
    else:
        with ThreadPoolExecutor(program.callers) as pool:
            results, *_ = pool.map(lambda _: program(values, wanted), range(program.callers))
    return time.perf_counter() - started, results
