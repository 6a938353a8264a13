"""The fastest way to run a network on this machine: tried out once per network, input sizes and threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from matnet.engines.program import Compiler, Program, batch_of
from matnet.engines.variants import Variant
from matnet.errors import EngineError
from matnet.shapes import Shape

FEWEST, USUAL, MOST = 3, 9, 100  # runs of each of two programs, by turns
LEAST_SECONDS = 2.0  # for which short runs are repeated: something else may keep the processors for a while
SECONDS = 8.0  # after which the fewest turns are enough
HOPELESS = 1.5  # a ratio to the best time at which a program is given up
MARGIN = 0.99  # of the best time so far, which a better one must stay below
AGREEMENT = 1e-3  # of the greatest output: another result is another network

Challenge = Callable[[Variant], Variant | None]


def fastest(compiler: Compiler, inputs: Mapping[str, Shape], runtimes: list[str]) -> tuple[Program, dict[str, float]]:
    """The program that wins against all that can be had, and by variant the seconds of its runs on random inputs.

    One challenges the best so far at a time, so that no more than two copies of the weights are in memory. One that
    cannot be compiled, or computes something else, is left out. EngineError where none can be compiled.
    """
    random = np.random.default_rng(0)
    values = {name: random.standard_normal(shape, dtype=np.float32) for name, shape in inputs.items()}
    best: Program | None = None
    seconds: dict[str, float] = {}
    for challenge in challenges(runtimes, batch_of(inputs), compiler.settings.all_threads):
        variant = challenge(best.variant if best else Variant())
        try:
            program = compiler.program(variant, inputs, open_sizes=False) if variant else None
        except EngineError:
            continue
        if program is None or (best is not None and not agree(best, program, values, compiler.wanted)):
            continue
        if best is None or beats(program, best, values, compiler.wanted, seconds):
            best = program
    if best is None:
        raise EngineError(f"none of the runtimes {', '.join(runtimes)} can run this network")
    return best, seconds


def challenges(runtimes: list[str], batch: int, threads: int) -> Iterator[Challenge]:
    """What to try, one after the other, each given the best so far."""
    divide = batch > 1 and threads > 1
    if "onnxruntime" in runtimes:
        yield lambda best: Variant()
        yield lambda best: replace(best, winograd=True)
        if divide:
            yield lambda best: replace(best, division="threads")
            yield lambda best: replace(best, division="images")
    if "openvino" in runtimes:
        yield lambda best: Variant("openvino")
        if divide:
            yield lambda best: replace(best, division="threads") if best.runtime == "openvino" else None
    if "opencv" in runtimes:
        yield lambda best: Variant("opencv")


def agree(one: Program, other: Program, values: Mapping[str, np.ndarray], wanted: list[str]) -> bool:
    """Whether two programs compute the same, as far as rounding allows; also warms both up."""
    expected = one(values, wanted)
    try:
        found = other(values, wanted)
    except EngineError:
        return False
    for name, value in expected.items():
        finite = np.abs(value[np.isfinite(value)])
        bound = AGREEMENT * finite.max(initial=0)
        if found[name].shape != value.shape or not np.allclose(found[name], value, 0, bound, equal_nan=True):
            return False
    return True


def beats(
    program: Program, best: Program, values: Mapping[str, np.ndarray], wanted: list[str], seconds: dict[str, float]
) -> bool:
    """Whether a program is faster: in its shortest run, and in most of the turns that the two take.

    What else the machine does makes runs longer, never shorter, and seldom all runs of one alone. The shortest
    times go into `seconds`.
    """
    times: list[tuple[float, float]] = []
    began = time.perf_counter()
    while _undecided(len(times), time.perf_counter() - began):
        times.append((timed(best, values, wanted), timed(program, values, wanted)))
        if len(times) >= FEWEST and min(new for _, new in times) > HOPELESS * min(old for old, _ in times):
            break
    old, new = (min(column) for column in zip(*times, strict=True))
    seconds.update({str(best.variant): old, str(program.variant): new})
    return new < MARGIN * old and 2 * sum(after < before for before, after in times) > len(times)


def _undecided(turns: int, seconds: float) -> bool:
    return turns < FEWEST or (turns < USUAL and seconds < SECONDS) or (turns < MOST and seconds < LEAST_SECONDS)


def timed(program: Program, values: Mapping[str, np.ndarray], wanted: list[str]) -> float:
    """Seconds of one run."""
    started = time.perf_counter()
    program(values, wanted)
    return time.perf_counter() - started
