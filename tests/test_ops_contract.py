"""What every MatConvNet op keeps: its names, sizes known beforehand, float32 rows, inputs and params untouched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from matnet.errors import NetworkError
from matnet.ops import REGISTRY, Op
from matnet.ops.activation import DropOut, ReLU, Sigmoid, SoftMax
from matnet.ops.combine import Concat, ConcatMap, Crop, Scale, SubP, Sum
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.normalization import LRN, BatchNorm, NormalizeLp, NormOffset, SpatialNorm
from matnet.ops.pooling import Pooling
from matnet.ops.roi import ROIPooling
from matnet.ops.sampling import AffineGridGenerator, BilinearSampler, UniformScalingGridGenerator
from matnet.ops.training import Loss, LossSmoothL1, PDist

X = (2, 6, 7, 11)

# Op, shapes of its inputs, shapes of its params.
CASES: list[tuple[Op, list[tuple[int, ...]], list[tuple[int, ...]]]] = [
    (Conv(pad=(1, 2, 0, 3), stride=(2, 3)), [X], [(3, 5, 3, 8), (8, 1)]),
    (Conv(), [X], [(1, 1, 6, 5), (1, 5)]),
    (Conv(hasBias=False), [X], [(7, 11, 6, 5)]),
    (Conv(stride=3), [X], [(0, 0), (6, 1)]),
    (Conv(), [X], [(0, 0)]),
    (ConvTranspose(upsample=(2, 3), crop=(1, 0, 2, 1), numGroups=2), [X], [(4, 5, 3, 6), (6, 1)]),
    (ConvTranspose(hasBias=False), [X], [(3, 5, 1, 6)]),
    (Pooling(poolSize=(3, 5), stride=(2, 3), pad=(1, 2, 0, 3)), [X], []),
    (Pooling(method="avg"), [X], []),
    (LRN(), [X], []),
    (BatchNorm(), [X], [(6, 1), (1, 6), (6, 2)]),
    (SpatialNorm(), [X], []),
    (NormOffset(), [X], []),
    (NormalizeLp(), [X], []),
    (ReLU(), [X], []),
    (ReLU(leak=0.1), [X], []),
    (Sigmoid(), [X], []),
    (SoftMax(), [X], []),
    (DropOut(), [X], []),
    (Sum(), [X, X, X], []),
    (Sum(), [X], []),
    (Concat(), [X, (2, 3, 7, 11), X], []),
    (ConcatMap(), [X, (1, 3, 1, 1)], []),
    (Scale(), [X], [(1, 1, 6), (1, 1)]),
    (Crop(crop=(1, 2)), [X, (1, 3, 5, 7)], []),
    (SubP(scale=0.5), [(2, 3, 4, 6)], []),
    (SubP(), [(2, 12, 3, 5)], []),
    (ROIPooling(), [X, (4, 5, 1, 1)], []),
    (ROIPooling(method="avg", flatten=True), [X, (4, 5, 1, 1)], []),
    (BilinearSampler(), [X, (4, 5, 2, 3)], []),
    (AffineGridGenerator(Ho=3, Wo=5), [(2, 6, 1, 1)], []),
    (UniformScalingGridGenerator(Ho=3, Wo=5), [(2, 3, 1, 1)], []),
    (Loss(loss="hinge"), [X, X], []),
    (Loss(loss="binaryerror", normalise=False), [X, (2, 1, 1, 1)], []),
    (LossSmoothL1(), [X, X, X], []),
    (PDist(), [X, X], []),
    (PDist(aggregate=False), [X], [(1, 1, 6)]),
]


def frozen(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Positive float32 numbers that nobody can write to."""
    values = random.uniform(0.5, 2, shape).astype(np.float32)
    values.flags.writeable = False
    return values


@pytest.mark.parametrize(("op", "inputs", "params"), CASES, ids=[type(op).__name__ for op, _, _ in CASES])
def test_forward_keeps_the_contract(op, inputs, params):
    random = np.random.default_rng(31)
    given = [frozen(random, shape) for shape in inputs]
    prepared = op.prepare(np, [frozen(random, shape) for shape in params])
    results = op.forward(np, given, prepared)
    assert [result.shape for result in results] == op.output_shapes(inputs, params)
    for result in results:
        assert result.dtype == np.float32
        assert result.flags.c_contiguous
    for again, result in zip(op.forward(np, given, prepared), results, strict=True):
        np.testing.assert_array_equal(again, result)
    assert len(op.receptive_fields(inputs)) == len(inputs)
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
    assert {type(op).dagnn for op, _, _ in CASES} >= stock


@pytest.mark.parametrize("kind", SIMPLENN)
def test_every_simplenn_type_is_registered(kind):
    assert REGISTRY.simplenn[kind] is SIMPLENN[kind]
    assert kind in SIMPLENN[kind].simplenn


def test_the_first_simplenn_type_is_the_one_to_write():
    assert (LRN.simplenn[0], Loss.simplenn[0]) == ("lrn", "softmaxloss")


@pytest.mark.parametrize("op", [op for op, _, _ in CASES], ids=[type(op).__name__ for op, _, _ in CASES])
def test_an_op_cannot_be_changed(op):
    with pytest.raises(AttributeError):
        op.anything = 1
    assert op == replace(op)


def test_fields_are_given_by_name_alone():
    with pytest.raises(TypeError):
        ReLU(0.1)  # type: ignore[misc]
    with pytest.raises(NetworkError, match="field 'leak': expected numbers, found 'much'"):
        ReLU(leak="much")
