"""Extension ops against blobs that BVLC Caffe 1.0 computed: tests/data/caffe/*/io.npz, weights of the same folders."""

from __future__ import annotations

import numpy as np
import pytest

from matnet.converters.caffemodel import read_weights
from matnet.ops import extensions as ops
from matnet.ops.base import Op
from tests.conftest import DATA, assert_close
from tests.extension_ops import run

TOLERANCE = 1e-5


def blobs(case: str) -> dict[str, np.ndarray]:
    """The case's blobs by name, right-padded with ones to four axes."""
    with np.load(DATA / "caffe" / case / "io.npz") as stored:
        named = {name.split("__")[1]: stored[name] for name in stored.files}
    return {name: value.reshape(value.shape + (1,) * (4 - value.ndim)) for name, value in named.items()}


def weights(case: str, layer: str) -> list[np.ndarray]:
    """The layer's parameter blobs as the caffemodel has them."""
    found = read_weights(DATA / "caffe" / case / "weights.caffemodel").layers[layer]
    return [blob.data for blob in found if blob is not None]


def pooling(case: str) -> ops.CaffePooling:
    """The op for a case's name, such as pool_ave_h10_k2s3p1: window 2, stride 3, pad 1."""
    _, method, _, numbers = case.split("_")
    kernel, stride, pad = (int(number) for number in numbers.replace("s", "k").replace("p", "k").split("k")[1:])
    return ops.CaffePooling(method="avg" if method == "ave" else "max", poolSize=kernel, stride=stride, pad=pad)


POOLED = sorted(path.name for path in (DATA / "caffe").glob("pool_*_h*"))
# case, inputs, output blobs, layer whose weights are params, op
CASES: list[tuple[str, str, str, str, Op]] = [
    ("absval", "data", "y", "", ops.AbsVal()),
    ("log", "a", "y", "", ops.Log(base=10, scale=2, shift=0.5)),
    ("prelu", "data", "y", "r", ops.PReLU()),
    ("eltwise_max", "a b", "y", "", ops.Max()),
    ("slice_channels", "data", "p q", "", ops.Slice(axis=1, points=(2,))),
    ("lrn_within", "data", "y", "", ops.WithinChannelLRN(size=3, alpha=0.4, beta=0.75)),
    ("mvn", "data", "y", "", ops.MVN()),
    ("embed", "ids", "y", "e", ops.Embed(axis=2)),
    ("lstm", "data cont", "y", "r", ops.LSTM()),
    ("pool_global_ave", "data", "y", "", ops.GlobalPooling()),
    ("flatten", "data", "y", "", ops.CaffeFlatten()),
    ("softmax_map", "data", "y", "", ops.SoftMaxTranspose.along(1)),
    ("ip_from_map", "data", "y", "f", ops.InnerProduct()),
    ("ip_vector_input", "data", "y", "f", ops.InnerProduct()),
    *[(case, "data", "y", "", pooling(case)) for case in POOLED],
]


@pytest.mark.parametrize(("case", "inputs", "outputs", "layer", "op"), CASES, ids=[case for case, *_ in CASES])
def test_an_op_gives_caffes_blobs(case: str, inputs: str, outputs: str, layer: str, op: Op) -> None:
    known = blobs(case)
    params = weights(case, layer) if layer else []
    found = run(op, *(known[name] for name in inputs.split()), params=params)
    for name, y in zip(outputs.split(), found, strict=True):
        assert_close(y, known[name], TOLERANCE, f"{case}, blob {name!r}")


def test_all_pooling_cases_are_there() -> None:
    assert len(POOLED) == 11, POOLED
