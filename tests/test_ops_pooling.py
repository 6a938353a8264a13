"""Pooling: hand-worked cases of vl_nnpool, and float64 loops on odd geometries."""

from __future__ import annotations

import numpy as np
import pytest

from matnet.errors import NetworkError, ShapeError
from matnet.ops.pooling import Pooling
from matnet.shapes import ReceptiveField
from tests import reference_ops as reference
from tests.conftest import assert_close
from tests.device_double import run

N, C, H, W = 2, 6, 7, 11
X = np.random.default_rng(3).standard_normal((N, C, H, W), np.float32)
SIXTEEN = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)


@pytest.mark.parametrize(("method", "expected"), [("max", [[10, 11], [14, 15]]), ("avg", [[5, 6.5], [11, 12.5]])])
def test_windows_cut_at_the_border(method, expected):
    """Rows 0..3, 4..7 ...; pool 3, stride 2, pad [0 1 0 1]: the divisors are 9, 6, 6, 4."""
    found = run(Pooling(method=method, poolSize=3, stride=2, pad=(0, 1, 0, 1)), SIXTEEN)
    np.testing.assert_array_equal(found[0, 0], expected)


def test_padding_is_not_counted():
    """3 x 3 average with pad 1 at the corner: (0 + 1 + 4 + 5) / 4, where Caffe divides by 9."""
    assert run(Pooling(method="avg", poolSize=3, pad=1), SIXTEEN)[0, 0, 0, 0] == 2.5


def test_padding_never_wins():
    assert run(Pooling(poolSize=3, pad=2), -1 - SIXTEEN).max() == -1


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "expected"),
    [
        (112, 3, 2, (0, 1), 56),
        (112, 3, 2, (1, 2), 57),
        (109, 3, 3, (0, 2), 37),
        (28, 2, 2, (0, 1), 14),
        (14, 3, 1, (1, 1), 14),
        (7, 7, 1, (0, 0), 1),
        (10, 2, 3, (0, 1), 4),
        (4, 1, 2, (0, 0), 2),
    ],
)
def test_pads_of_the_caffe_importer(size, kernel, stride, pad, expected):
    """The sizes that MatConvNet's importer gives for Caffe's ceil mode, on rows and columns apart."""
    rows = Pooling(poolSize=(kernel, 1), stride=(stride, 1), pad=(*pad, 0, 0))
    columns = Pooling(poolSize=(1, kernel), stride=(1, stride), pad=(0, 0, *pad))
    assert rows.output_shapes([(1, 3, size, 5)], []) == [(1, 3, expected, 5)]
    assert columns.output_shapes([(1, 3, 5, size)], []) == [(1, 3, 5, expected)]


GEOMETRIES = {
    "plain": {"poolSize": (3, 5)},
    "pad, stride": {"poolSize": (3, 5), "stride": (2, 3), "pad": (1, 2, 0, 3)},
    "stride beyond the window": {"poolSize": (2, 1), "stride": (3, 4)},
    "widest pads": {"poolSize": (4, 3), "stride": (2, 2), "pad": (3, 3, 2, 2)},
    "all of it": {"poolSize": (H, W)},
    "more than all of it": {"poolSize": (H + 2, W + 5), "pad": (1, 1, 2, 3)},
    "one pixel": {"poolSize": (1, 1), "stride": (2, 3)},
}


@pytest.mark.parametrize("method", ["max", "avg"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_pooling_is_the_definition(name, method):
    op = Pooling(method=method, **GEOMETRIES[name])
    expected = reference.pool(reference.hwcn(X), method, op.poolSize, op.stride, op.pad)
    assert_close(run(op, X), reference.nchw(expected), 1e-6, name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"poolSize": 2, "pad": (0, 2, 0, 0)}, r"\[0, 2, 0, 0\]; expected less than the pooling window of 2x2"),
        ({"poolSize": (5, 2), "pad": (4, 4, 0, 2)}, "expected less than the pooling window of 5x2"),
        ({"poolSize": (8, 2)}, "a window of 8x2 does not fit in an input of 7x11"),
    ],
)
def test_what_does_not_fit(fields, message):
    with pytest.raises(ShapeError, match=message):
        Pooling(**fields).output_shapes([X.shape], [])


def test_the_method_is_compared_without_regard_to_case():
    assert Pooling(method="MAX").method == "max"
    with pytest.raises(NetworkError, match=r"'method'.*'median'.*max, avg"):
        Pooling(method="median")


def test_pooling_receptive_field():
    """DagNN's Filter: offset 1 - pad + (window - 1) / 2 for [top .. left ..]."""
    op = Pooling(poolSize=(3, 5), stride=(2, 3), pad=(1, 2, 0, 3))
    assert op.receptive_fields([X.shape]) == [ReceptiveField((3.0, 5.0), (2.0, 3.0), (1.0, 3.0))]
