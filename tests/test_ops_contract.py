"""What every MatConvNet op keeps: its names, sizes known beforehand, float32 rows, inputs and params untouched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from matnet.errors import NetworkError
from matnet.ops import REGISTRY
from matnet.ops.activation import DropOut, ReLU, Sigmoid, SoftMax
from matnet.ops.combine import ConcatMap, Scale, SubP
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.normalization import LRN, BatchNorm, NormalizeLp, NormOffset, SpatialNorm
from matnet.ops.pooling import Pooling
from matnet.ops.training import Loss, PDist
from tests.op_cases import CASES, OpCase


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_keeps_the_contract(case: OpCase) -> None:
    """Sizes known beforehand, float32 in C order, inputs and params untouched, the same at every run."""
    op, (inputs, params) = case.op, case.arrays()
    for array in (*inputs, *params):
        array.flags.writeable = False
    shapes, param_shapes = [x.shape for x in inputs], [p.shape for p in params]
    prepared = op.prepare(np, params)
    results = op.forward(np, inputs, prepared)
    foretold = op.output_shapes(shapes, param_shapes)
    if op.sizes_depend_on_values:
        assert all(np.less_equal(result.shape, most).all() for result, most in zip(results, foretold, strict=True))
    else:
        assert [result.shape for result in results] == foretold
    for result in results:
        assert result.dtype == np.float32
        assert result.flags.c_contiguous
    for again, result in zip(op.forward(np, inputs, prepared), results, strict=True):
        np.testing.assert_array_equal(again, result)
    assert len(op.receptive_fields(shapes)) == len(inputs)
    assert op.input_count[0] <= len(inputs) <= (op.input_count[1] or len(inputs))
    assert op.param_count[0] <= len(params) <= op.param_count[1]


# Class names of MatConvNet's DagNN, types of its vl_simplenn.
DAGNN = {
    "AffineGridGenerator", "BatchNorm", "BilinearSampler", "Concat", "Conv", "ConvTranspose", "Crop", "DropOut", "LRN",
    "Loss", "NormOffset", "PDist", "Pooling", "ROIPooling", "ReLU", "Scale", "Sigmoid", "SoftMax", "SpatialNorm", "Sum",
    "UniformScalingGridGenerator",
}  # fmt: skip
SIMPLENN = {
    "conv": Conv, "convt": ConvTranspose, "pool": Pooling, "normalize": LRN, "lrn": LRN, "bnorm": BatchNorm,
    "relu": ReLU, "sigmoid": Sigmoid, "softmax": SoftMax, "dropout": DropOut, "noffset": NormOffset,
    "spnorm": SpatialNorm, "pdist": PDist, "softmaxloss": Loss, "loss": Loss,
    # of other people's files:
    "concat": ConcatMap, "SubP": SubP, "scale": Scale, "normalize_lp": NormalizeLp,
}  # fmt: skip


def test_every_dagnn_class_is_registered():
    stock = {op.dagnn for op in REGISTRY if op.stock and op.dagnn}
    assert stock == {f"dagnn.{name}" for name in DAGNN}
    assert {type(case.op).dagnn for case in CASES} >= stock


@pytest.mark.parametrize("kind", SIMPLENN)
def test_every_simplenn_type_is_registered(kind):
    assert REGISTRY.simplenn[kind] is SIMPLENN[kind]
    assert kind in SIMPLENN[kind].simplenn


def test_the_first_simplenn_type_is_the_one_to_write():
    assert (LRN.simplenn[0], Loss.simplenn[0]) == ("lrn", "softmaxloss")


@pytest.mark.parametrize("op", [case.op for case in CASES], ids=[str(case) for case in CASES])
def test_an_op_cannot_be_changed(op):
    with pytest.raises(AttributeError):
        op.anything = 1
    assert op == replace(op)


def test_fields_are_given_by_name_alone():
    with pytest.raises(TypeError):
        ReLU(0.1)  # type: ignore[misc]
    with pytest.raises(NetworkError, match=r"'leak'.*'much'"):
        ReLU(leak="much")
