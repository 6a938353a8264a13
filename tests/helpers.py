"""Helpers of many tests: random values, networks of layers in a row, MATLAB's arrays with all their axes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from matnet import Layer, Network, Param
from matnet.ops.base import Op


def values(*shape: int, seed: int = 3) -> np.ndarray:
    """Standard normal float32 values, the same for one shape and seed."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def full(array: np.ndarray) -> np.ndarray:
    """An array with four axes at least: the trailing axes of length 1 that MATLAB drops, and Caffe has not."""
    return array.reshape(array.shape + (1,) * (4 - array.ndim))


def network(*steps: tuple[Op, Sequence[str], Sequence[np.ndarray]]) -> Network:
    """Layers a, b, c ... each of which reads the named variables and writes one of its own name."""
    net = Network()
    for letter, (op, inputs, params) in zip("abcdefghij", steps, strict=False):
        names = [f"{letter}{number}" for number in range(len(params))]
        net.params.update({name: Param(value) for name, value in zip(names, params, strict=True)})
        net.add(Layer(letter, op, list(inputs), [letter], names))
    return net


def chain(*steps: tuple[Op, Sequence[np.ndarray]]) -> Network:
    """Layers a, b, c ... one after the other, each writing a variable of its own name; the input is x."""
    return network(*((op, [before], params) for before, (op, params) in zip("xabcdefghi", steps, strict=False)))


def assert_line(text: str | Iterable[str], *facts: str) -> None:
    """One line of a text (or one of several texts) holds the facts in this order; its wording is free."""
    lines = text.splitlines() if isinstance(text, str) else list(text)
    wanted = re.compile(".*".join(map(re.escape, facts)), re.DOTALL)
    assert any(map(wanted.search, lines)), f"no line holds {' ... '.join(facts)}: {lines}"


@contextmanager
def logged(lines: list[str]) -> Iterator[list[str]]:
    """Adds what matnet logs meanwhile, notes included."""

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    log, handler = logging.getLogger("matnet"), Collector()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
