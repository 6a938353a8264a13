"""How the tests of extension ops run one op, and the checks that every run makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from matnet.ops.base import Op
from tests.device_double import forward


def numbered(*shape: int, start: float = 0.0, step: float = 1.0) -> np.ndarray:
    """start, start + step, ... in C order, float32."""
    return (start + step * np.arange(np.prod(shape))).astype(np.float32).reshape(shape)


def seeded(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normally distributed float32 values, the same at every run."""
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def run(op: Op, *inputs: np.ndarray, params: Sequence[np.ndarray] = (), exact_shapes: bool = True) -> list[np.ndarray]:
    """The outputs of `op`, after checking what every op owes its caller.

    Inputs stay as they were; a device gives the same; outputs are float32, C-contiguous, of four axes and of
    the shapes foretold (`exact_shapes` false: of at most those, for ops whose result depends on the data).
    """
    before = [x.copy() for x in inputs]
    shapes = op.output_shapes([x.shape for x in inputs], [p.shape for p in params])
    outputs = forward(op, inputs, params)
    for x, kept in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x, kept)
    assert len(outputs) == len(shapes)
    for y, shape in zip(outputs, shapes, strict=True):
        assert y.dtype == np.float32 and y.ndim == 4 and y.flags.c_contiguous
        assert y.shape == shape if exact_shapes else np.less_equal(y.shape, shape).all()
    fields = op.receptive_fields([x.shape for x in inputs])
    assert len(fields) == len(inputs)
    return outputs
