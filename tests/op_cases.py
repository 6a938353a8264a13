"""One or more cases of every registered op: the op, its inputs, its params, for tests of what all ops keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from matnet.ops import extensions as ext
from matnet.ops.activation import DropOut, ReLU, Sigmoid, SoftMax
from matnet.ops.base import Array, Op
from matnet.ops.combine import Concat, ConcatMap, Crop, Scale, SubP, Sum
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.normalization import LRN, BatchNorm, NormalizeLp, NormOffset, SpatialNorm
from matnet.ops.pooling import Pooling
from matnet.ops.roi import ROIPooling
from matnet.ops.sampling import AffineGridGenerator, BilinearSampler, UniformScalingGridGenerator
from matnet.ops.training import Loss, LossSmoothL1, PDist

X = (3, 6, 7, 11)
ROW = (3, 6, 1, 1)
Given = tuple[int, ...] | np.ndarray  # a shape, to be filled with random numbers, or the values


@dataclass(frozen=True)
class OpCase:
    """An op with inputs N x C x H x W and params in MATLAB's shapes."""

    op: Op
    inputs: Sequence[Given] = (X,)
    params: Sequence[Given] = ()

    def __str__(self) -> str:
        return type(self.op).__name__

    def arrays(self, seed: int = 31) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Inputs and params, float32; random ones are positive."""
        random = np.random.default_rng(seed)
        found = [
            np.copy(given) if isinstance(given, np.ndarray) else random.uniform(0.5, 2, given).astype(np.float32)
            for given in (*self.inputs, *self.params)
        ]
        return found[: len(self.inputs)], found[len(self.inputs) :]


def forward(op: Op, inputs: Sequence[np.ndarray], params: Sequence[np.ndarray]) -> list[Array]:
    """The op's outputs in numpy."""
    return op.forward(np, inputs, op.prepare(np, params))


def column(*values: float) -> np.ndarray:
    """Values as N x 1 x 1 x 1."""
    return np.array(values, np.float32).reshape(-1, 1, 1, 1)


LARGE = np.random.default_rng(7).uniform(0, 255, (2, 3, 5, 6)).astype(np.float32)
FIRST_IMAGES = np.array([[0, 1, 1, 6, 5], [1, 2, 1, 10, 6], [0, 3, 2, 9, 4], [2, 1, 1, 2, 2]], np.float32)
FIRST_IMAGES = FIRST_IMAGES.reshape(4, 5, 1, 1)  # boxes of images counted from 0
PLACES = np.random.default_rng(9).permuted(np.tile(np.arange(77), (18, 1)), axis=1)[:, :6]
PLACES = PLACES.reshape(3, 6, 2, 3).astype(np.float32)  # of each value in its map of 7 x 11
PRIORS = np.sort(np.random.default_rng(3).random((1, 2, 12, 1)), axis=2).astype(np.float32)
BOXES = np.array([[1, 1, 1, 6, 5], [2, 2, 1, 11, 7], [1, 3, 2, 9, 4], [3, 1, 1, 2, 2]], np.float32).reshape(4, 5, 1, 1)

CASES: list[OpCase] = [
    OpCase(Conv(pad=(1, 2, 0, 3), stride=(2, 3)), [X], [(3, 5, 3, 8), (8, 1)]),
    OpCase(Conv(), [X], [(1, 1, 6, 5), (1, 5)]),
    OpCase(Conv(hasBias=False), [X], [(7, 11, 6, 5)]),
    OpCase(Conv(stride=3), [X], [(0, 0), (6, 1)]),
    OpCase(Conv(), [X], [(0, 0)]),
    OpCase(ConvTranspose(upsample=(2, 3), crop=(1, 0, 2, 1), numGroups=2), [X], [(4, 5, 3, 6), (6, 1)]),
    OpCase(ConvTranspose(hasBias=False), [X], [(3, 5, 1, 6)]),
    OpCase(Pooling(poolSize=(3, 5), stride=(2, 3), pad=(1, 2, 0, 3)), [X]),
    OpCase(Pooling(method="avg"), [X]),
    OpCase(LRN(), [X]),
    OpCase(BatchNorm(), [X], [(6, 1), (1, 6), (6, 2)]),
    OpCase(SpatialNorm(), [X]),
    OpCase(NormOffset(), [X]),
    OpCase(NormalizeLp(), [X]),
    OpCase(ReLU(), [X]),
    OpCase(ReLU(leak=0.1), [X]),
    OpCase(Sigmoid(), [X]),
    OpCase(SoftMax(), [X]),
    OpCase(DropOut(), [X]),
    OpCase(Sum(), [X, X, X]),
    OpCase(Sum(), [X]),
    OpCase(Concat(), [X, (3, 2, 7, 11), X]),
    OpCase(ConcatMap(), [X, (1, 3, 1, 1)]),
    OpCase(Scale(), [X], [(1, 1, 6), (1, 1)]),
    OpCase(Crop(crop=(1, 2)), [X, (3, 4, 5, 7)]),
    OpCase(SubP(scale=0.5), [(3, 2, 4, 6)]),
    OpCase(SubP(), [(3, 12, 3, 5)]),
    OpCase(ROIPooling(), [X, BOXES]),
    OpCase(ROIPooling(method="avg", flatten=True), [X, BOXES]),
    OpCase(BilinearSampler(), [X, (6, 5, 2, 3)]),
    OpCase(AffineGridGenerator(Ho=3, Wo=5), [ROW]),
    OpCase(UniformScalingGridGenerator(Ho=3, Wo=5), [(3, 3, 1, 1)]),
    OpCase(Loss(loss="hinge"), [X, X]),
    OpCase(Loss(loss="binaryerror", normalise=False), [X, column(1, -1, 1)]),
    OpCase(LossSmoothL1(), [X, X, X]),
    OpCase(PDist(), [X, X]),
    OpCase(PDist(aggregate=False), [X], [(1, 1, 6)]),
    OpCase(Pooling(method="avg", poolSize=(2, 3), stride=(1, 2), pad=(1, 0, 2, 1))),
    OpCase(LRN(param=(4, 2, 0.5, 0.75))),
    OpCase(SpatialNorm(param=(2, 3, 0.5, 0.75))),
    OpCase(NormalizeLp(spatial=True)),
    OpCase(Concat(dim=1), [X, (3, 6, 2, 11)]),
    OpCase(Concat(dim=2), [X, (3, 6, 7, 4)]),
    OpCase(Concat(dim=4), [X, X]),
    OpCase(ConcatMap(), [X, (3, 2, 7, 11)]),
    OpCase(Scale(hasBias=False), [X, ROW]),
    OpCase(Scale(hasBias=False), [X], [(7, 11, 6)]),
    OpCase(PDist(p=1, aggregate=False, noRoot=True), [X], [(7, 11, 6)]),
    OpCase(LossSmoothL1(sigma=2), [X, X]),
    OpCase(Loss(loss="softmaxlog"), [X, column(1, 6, 2)]),
    OpCase(ext.PReLU(), [X], [(1, 1, 6)]),
    OpCase(ext.PReLU(), [X], [(1, 1)]),
    OpCase(ext.ELU(alpha=0.5)),
    OpCase(ext.TanH()),
    OpCase(ext.BNLL()),
    OpCase(ext.AbsVal()),
    OpCase(ext.Power(power=2, scale=0.5, shift=1)),
    OpCase(ext.Exp(base=2)),
    OpCase(ext.Log(shift=1)),
    OpCase(ext.Threshold(threshold=1)),
    OpCase(ext.Clip(min=0.7, max=1.5)),
    OpCase(ext.Swish(beta=0.5)),
    OpCase(ext.PriorBox(minSize=(3,), aspectRatios=(2,)), [X, (3, 3, 30, 40)]),
    OpCase(ext.Eltwise(coeff=(1, -2)), [X, X]),
    OpCase(ext.Eltwise(operation="prod"), [X, X, X]),
    OpCase(ext.Max(), [X, X]),
    OpCase(ext.Axpy(), [ROW, X, X]),
    *(OpCase(ext.Slice(axis=axis, points=(1,))) for axis in range(4)),
    *(OpCase(ext.Tile(axis=axis, tiles=2)) for axis in range(4)),
    *(OpCase(ext.CaffeCrop(axis=axis, offset=(1,) * (axis > 0)), [X, (2, 4, 5, 6)]) for axis in range(4)),
    OpCase(ext.CaffeCrop(axis=1, offset=(1, 2, 0)), [X, (3, 4, 5, 6)]),
    OpCase(ext.BatchReindex(), [X, column(2, 0, 1, 1)]),
    OpCase(ext.Filter(), [X, ROW, column(1, 0, 1)]),
    OpCase(ext.Parameter(), [], [(7, 11, 6, 2)]),
    OpCase(ext.DummyData(size=(7, 11, 6, 3), value=2), []),
    OpCase(ext.MultiStageMeanfield(numIterations=2), [(2, 4, 5, 6), (2, 4, 5, 6), LARGE], [(4, 4)] * 3),
    OpCase(ext.DenseCRF(wtGauss=3, xGauss=2, yGauss=3, iterations=2), [(2, 4, 5, 6), LARGE]),
    OpCase(ext.DenseCRF(wtGauss=3, xGauss=2, yGauss=3, iterations=2, output="log"), [(2, 4, 5, 6), LARGE]),
    OpCase(
        ext.DetectionOutput(numClasses=2, confidenceThreshold=0.6, keepTopK=2), [(3, 12, 1, 1), (3, 6, 1, 1), PRIORS]
    ),
    OpCase(
        ext.DetectionOutput(numClasses=2, confidenceThreshold=0.6, objectnessScore=0.2),
        [(3, 12, 1, 1), (3, 6, 1, 1), PRIORS, (3, 6, 1, 1), (3, 12, 1, 1)],
    ),
    OpCase(
        ext.Proposal(anchors=(-3, -3, 4, 4, -5, -2, 6, 3), featStride=4, minSize=4, withScores=True),
        [(2, 4, 5, 6), (2, 8, 5, 6), np.float32([[20, 24, 1]] * 2).reshape(2, 3, 1, 1)],
    ),
    OpCase(
        ext.BoxGroupOutput(fieldW=(8, 6, 4), fieldH=(6, 6, 9), downsampleRate=4, groups=3, minSize=2, withScores=True),
        [(6, 2, 5, 6), (6, 4, 5, 6)],
    ),
    OpCase(ext.FrcnnOutput(clsAware=False), [(4, 3, 1, 1), (4, 8, 1, 1), (4, 5, 1, 1), (1, 2, 1, 1)]),
    OpCase(ext.BoxOutput(fieldW=8, fieldH=6, downsampleRate=4, minSize=2, withScores=True), [(2, 6, 5, 6)]),
    OpCase(ext.DecodeBBox(bboxStd=(0.1, 0.2, 0.1, 0.2)), [(4, 8, 1, 1), FIRST_IMAGES]),
    OpCase(ext.PSROIPooling(outputDim=2, groupSize=2), [(3, 8, 7, 11), FIRST_IMAGES]),
    OpCase(ext.ROIAlign(subdivisions=(2, 3), padRatio=0.1), [X, FIRST_IMAGES]),
    OpCase(ext.Tanh()),
    OpCase(ext.Mish()),
    OpCase(ext.HardSwish()),
    OpCase(ext.CTCGreedyDecoder(withScores=True), [(4, 2, 3, 1)]),
    OpCase(ext.PermuteAxes(shape=(3, 2, 3, 7, 11), order=(0, 2, 1, 4, 3))),
    *(OpCase(ext.Reverse(axis=axis)) for axis in ((0,), (1,), (2,), (1, 3))),
    OpCase(ext.Reorg(), [(3, 4, 6, 10)]),
    OpCase(ext.Reorg(reverse=True), [(3, 8, 3, 5)]),
    OpCase(ext.Upsample(scale=(2, 3))),
    OpCase(ext.Unpooling(scale=(2, 3), padOut=(1, 0))),
    OpCase(ext.Unpooling(outputSize=(7, 11)), [(3, 6, 2, 3), PLACES]),
    *(OpCase(ext.Region(classes=3, num=2, layout=layout), [(3, 16, 5, 7)]) for layout in ("maps", "rows")),
    OpCase(
        ext.YoloDetectionOutput(
            version=2, numClasses=2, numBox=2, biases=(1, 2, 3, 1), confidenceThreshold=0.3, nmsThreshold=0.2
        ),
        [(1, 14, 5, 5)],
    ),
    OpCase(ext.Interp(height=5, width=17)),
    OpCase(ext.Interp(zoomFactor=2, padBeg=-1)),
    OpCase(ext.InnerProduct(), [X], [(5, 6 * 7 * 11), (5,)]),
    OpCase(ext.InnerProduct(axis=2, hasBias=False), [X], [(5, 7 * 11)]),
    OpCase(ext.InnerProduct(axis=0, hasBias=False), [X], [(5, 3 * 6 * 7 * 11)]),
    OpCase(ext.Embed(), [column(2, 0, 1)], [(4, 5), (5,)]),
    OpCase(ext.MVN()),
    OpCase(ext.MVN(acrossChannels=True, normalizeVariance=False)),
    OpCase(ext.BatchStatNorm()),
    OpCase(ext.Normalize(), [X], [(1, 1, 6)]),
    OpCase(ext.Normalize(acrossSpatial=True), [X], [(6, 1)]),
    OpCase(ext.Normalize(eps=0, margin=0.5), [X], [(1, 1, 6)]),
    OpCase(ext.WithinChannelLRN(size=3)),
    OpCase(ext.CaffePooling(poolSize=(3, 2), stride=2, pad=(1, 1, 0, 0))),
    OpCase(ext.CaffePooling(method="avg", poolSize=(3, 2), stride=(2, 3), pad=(1, 1, 0, 0), roundMode="floor")),
    OpCase(ext.CaffePooling(method="stochastic", poolSize=(3, 2), stride=(2, 3))),
    OpCase(ext.CaffePooling(poolSize=(3, 2), stride=2, mask=True)),
    OpCase(ext.GlobalPooling()),
    OpCase(ext.SPP(pyramidHeight=2)),
    OpCase(ext.LSTM(), [(3, 2, 4, 1), (3, 2, 1, 1)], [(20, 4), (20,), (20, 5)]),
    OpCase(ext.RNN(), [(3, 2, 4, 1), (3, 2, 1, 1)], [(5, 4), (5,), (5, 5), (5, 5), (5,)]),
    *(OpCase(ext.Reduction(axis=axis, operation="mean")) for axis in range(4)),
    *(OpCase(ext.ArgMax(axis=axis, topK=2, outMaxVal=True)) for axis in range(-1, 4)),
    *(OpCase(ext.SoftMaxTranspose(dim=dim)) for dim in range(1, 5)),
    OpCase(ext.CaffeFlatten()),
    OpCase(ext.CaffeFlatten(axis=0, endAxis=1)),
    OpCase(ext.CaffeFlatten(axis=2)),
    OpCase(ext.CaffeReshape(shape=(0, 3, -1))),
    OpCase(ext.CaffeReshape(shape=(0, 0, -1))),
    OpCase(ext.CaffeReshape(shape=(-1, 2, 7, 11))),
    OpCase(ext.CaffeReshape(shape=(11, 7), axis=2)),
    OpCase(ext.CaffeReshape(shape=(2, -1), axis=1, numAxes=1), [(3, 6, 7, 1)]),
    OpCase(ext.ChannelShuffle(group=2)),
    OpCase(ext.Im2col(kernelSize=(3, 2), stride=(1, 2), pad=(1, 0, 2, 0))),
    *(OpCase(ext.Permute(order=order)) for order in ((2, 1, 3, 4), (3, 1, 2, 4), (4, 2, 3, 1), (1, 2, 4, 3))),
    OpCase(ext.Flatten(axis=3)),
    OpCase(ext.Reshape(shape=(11, 7))),
]
"""At least one case for each op of matnet."""
