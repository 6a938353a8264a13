"""One or more cases of every op that other frameworks' files can hold: a network of one layer, and what it reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from matnet import Layer, Param
from matnet.network import Network
from matnet.ops import extensions as ext
from matnet.ops.activation import DropOut, ReLU, Sigmoid, SoftMax
from matnet.ops.base import Op
from matnet.ops.combine import Concat, ConcatMap, Crop, Scale, SubP, Sum
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.normalization import LRN, BatchNorm, NormalizeLp, NormOffset, SpatialNorm
from matnet.ops.pooling import Pooling
from matnet.ops.sampling import AffineGridGenerator, BilinearSampler, UniformScalingGridGenerator
from matnet.ops.training import PDist
from tests.helpers import values

X = (2, 6, 7, 11)  # N x C x H x W


def single(op: Op, params: Sequence[np.ndarray], inputs: int = 1, outputs: int = 1) -> Network:
    """A network of one layer: inputs x0, x1, ..., outputs y0, y1, ..."""
    net = Network()
    names = [f"p{number}" for number in range(len(params))]
    net.params = {name: Param(value) for name, value in zip(names, params, strict=True)}
    net.add(Layer("a", op, [f"x{i}" for i in range(inputs)], [f"y{i}" for i in range(outputs)], names))
    return net


MOMENTS = np.stack([values(6, seed=1), 0.5 + np.abs(values(6, seed=2))], axis=1)
FILTERS = values(3, 5, 6, 8)
GEOMETRY = {"pad": (1, 2, 0, 3), "stride": (2, 3)}

# op, params, shapes of the inputs, number of outputs
CASES: dict[str, tuple[Op, list[np.ndarray], list[tuple[int, ...]], int]] = {
    "conv": (Conv(**GEOMETRY), [FILTERS, values(8, 1)], [X], 1),
    "conv, dilated": (Conv(dilate=(2, 1), pad=(1, 2, 0, 3)), [FILTERS, values(8, 1)], [X], 1),
    "conv, groups, no bias": (Conv(hasBias=False, **GEOMETRY), [values(3, 5, 2, 9)], [X], 1),
    "conv, depthwise": (Conv(), [values(3, 5, 1, 12), values(12, 1)], [X], 1),
    "conv, one filter": (Conv(), [values(3, 5, 6), values(1, 1)], [X], 1),
    "conv, whole map": (Conv(), [values(7, 11, 6, 5), values(5, 1)], [X], 1),
    "conv, one pixel": (Conv(hasBias=False), [values(1, 1, 6, 5)], [(2, 6, 1, 1)], 1),
    "conv, empty filters": (Conv(**GEOMETRY), [np.zeros((0, 0)), values(6, 1)], [X], 1),
    "conv, empty filters and bias": (Conv(), [np.zeros((0, 0)), np.zeros((0, 0))], [X], 1),
    "convt": (ConvTranspose(upsample=(2, 3), crop=(1, 0, 2, 1)), [values(3, 5, 4, 6), values(4, 1)], [X], 1),
    "convt, groups": (ConvTranspose(upsample=(3, 2), numGroups=2), [values(3, 5, 4, 6), values(8, 1)], [X], 1),
    "convt, large crop": (ConvTranspose(crop=(3, 2, 6, 1)), [values(3, 5, 4, 6), values(4, 1)], [X], 1),
    "max pooling": (Pooling(poolSize=(3, 5), **GEOMETRY), [], [X], 1),
    "average pooling": (Pooling(method="avg", poolSize=(3, 5), **GEOMETRY), [], [X], 1),
    "average pooling, gaps": (Pooling(method="avg", poolSize=(2, 2), stride=(3, 4), pad=(1, 0, 0, 1)), [], [X], 1),
    "relu": (ReLU(), [], [X], 1),
    "leaky relu": (ReLU(leak=0.2), [], [X], 1),
    "sigmoid": (Sigmoid(), [], [X], 1),
    "softmax": (SoftMax(), [], [X], 1),
    "dropout": (DropOut(), [], [X], 1),
    "lrn": (LRN(param=(5, 1, 0.3, 0.75)), [], [X], 1),
    "lrn, even window": (LRN(param=(4, 2, 0.3, 0.75)), [], [X], 1),
    "lrn, window of two": (LRN(param=(2, 1, 0.3, 0.5)), [], [X], 1),
    "lrn, window beyond the channels": (LRN(param=(20, 1, 0.3, 0.6)), [], [X], 1),
    "lrn by blocks": (LRN(param=(5, 1, 0.3, 0.75)), [], [(2, 48, 7, 3)], 1),
    "lrn by blocks, even window": (LRN(param=(4, 2, 0.3, 0.6)), [], [(3, 32, 2, 5)], 1),
    "lrn, quarter": (LRN(param=(3, 1, 0.3, 0.25)), [], [X], 1),
    "bnorm": (BatchNorm(), [values(6, 1, seed=8), values(6, 1), MOMENTS], [X], 1),
    "spnorm": (SpatialNorm(param=(3, 4, 0.5, 0.6)), [], [X], 1),
    "noffset": (NormOffset(param=(0.3, 0.4)), [], [X], 1),
    "normalize_lp": (NormalizeLp(p=2), [], [X], 1),
    "normalize_lp, pixels": (NormalizeLp(p=4, spatial=True), [], [X], 1),
    "sum": (Sum(), [], [X, X, X], 1),
    "sum of one": (Sum(), [], [X], 1),
    "concat": (Concat(), [], [X, (2, 3, 7, 11)], 1),
    "concat, rows": (Concat(dim=1), [], [X, (2, 6, 3, 11)], 1),
    "concat, images": (Concat(dim=4), [], [X, (3, 6, 7, 11)], 1),
    "concat map": (ConcatMap(), [], [X, (1, 2, 1, 1)], 1),
    "scale": (Scale(), [values(1, 1, 6), values(1, 1, 6, seed=4)], [X], 1),
    "scale by an input": (Scale(hasBias=False), [], [X, (2, 6, 1, 1)], 1),
    "scale, images": (Scale(hasBias=False), [values(7, 1, 6, 2)], [X], 1),
    "crop": (Crop(crop=(2, 3)), [], [X, (2, 3, 4, 5)], 1),
    "crop, less left over": (Crop(crop=(2, 3)), [], [X, (2, 3, 6, 10)], 1),
    "pixels to channels": (SubP(scale=0.5), [], [(2, 3, 8, 10)], 1),
    "channels to pixels": (SubP(scale=2), [], [(2, 12, 3, 5)], 1),
    "sampler": (BilinearSampler(), [], [X, (6, 5, 2, 4)], 1),
    "affine grid": (AffineGridGenerator(Ho=4, Wo=5), [], [(3, 6, 1, 1)], 1),
    "scaling grid": (UniformScalingGridGenerator(Ho=1, Wo=5), [], [(2, 3, 1, 1)], 1),
    "pdist": (PDist(aggregate=False), [], [X, X], 1),
    "pdist, weighted": (PDist(p=3, noRoot=True), [], [X, (2, 6, 1, 1), (2, 1, 7, 11)], 1),
    "prelu": (ext.PReLU(), [values(1, 1, 6)], [X], 1),
    "prelu, one slope": (ext.PReLU(), [values(1, 1)], [X], 1),
    "elu": (ext.ELU(alpha=0.7), [], [X], 1),
    "tanh": (ext.TanH(), [], [X], 1),
    "bnll": (ext.BNLL(), [], [X], 1),
    "absval": (ext.AbsVal(), [], [X], 1),
    "power": (ext.Power(power=3, scale=0.5, shift=0.2), [], [X], 1),
    "power 2": (ext.Power(power=2, scale=0.5), [], [X], 1),
    "power 0": (ext.Power(power=0), [], [X], 1),
    "power, linear": (ext.Power(scale=-2, shift=1), [], [X], 1),
    "exp": (ext.Exp(base=2, scale=0.5, shift=0.25), [], [X], 1),
    "threshold": (ext.Threshold(threshold=0.1), [], [X], 1),
    "clip": (ext.Clip(min=-0.5, max=0.75), [], [X], 1),
    "swish": (ext.Swish(beta=1.5), [], [X], 1),
    "tanh of others": (ext.Tanh(), [], [X], 1),
    "mish": (ext.Mish(), [], [X], 1),
    "hard swish": (ext.HardSwish(), [], [X], 1),
    "eltwise sum": (ext.Eltwise(coeff=(1, -0.5, 2)), [], [X, X, X], 1),
    "eltwise product": (ext.Eltwise(operation="prod"), [], [X, X], 1),
    "max": (ext.Max(), [], [X, X, X], 1),
    "axpy": (ext.Axpy(), [], [(2, 6, 1, 1), X, X], 1),
    "slice": (ext.Slice(axis=1, points=(1, 4)), [], [X], 3),
    "slice, equal": (ext.Slice(axis=1, parts=2), [], [X], 2),
    "tile": (ext.Tile(axis=2, tiles=3), [], [X], 1),
    "caffe crop": (ext.CaffeCrop(axis=1, offset=(1, 2, 3)), [], [X, (2, 4, 3, 5)], 1),
    "global average": (ext.GlobalPooling(), [], [X], 1),
    "global max": (ext.GlobalPooling(method="max"), [], [X], 1),
    "caffe pooling, average": (
        ext.CaffePooling(method="avg", poolSize=(3, 2), stride=(2, 3), pad=(1, 1, 0, 0)),
        [],
        [X],
        1,
    ),
    "caffe pooling, max": (ext.CaffePooling(poolSize=(2, 3), stride=(2, 2), pad=(1, 1, 1, 1)), [], [X], 1),
    "caffe pooling, gaps": (ext.CaffePooling(method="avg", poolSize=(2, 2), stride=(5, 3)), [], [X], 1),
    "caffe pooling, floor": (ext.CaffePooling(poolSize=(2, 2), stride=(3, 2), roundMode="floor"), [], [X], 1),
    "spp": (ext.SPP(pyramidHeight=2), [], [X], 1),
    "within-channel lrn": (ext.WithinChannelLRN(size=3, alpha=0.8), [], [X], 1),
    "mvn": (ext.MVN(), [], [X], 1),
    "mvn, all channels, mean alone": (ext.MVN(normalizeVariance=False, acrossChannels=True), [], [X], 1),
    "batch statistics": (ext.BatchStatNorm(), [], [X], 1),
    "normalize": (ext.Normalize(), [values(1, 1, 6)], [X], 1),
    "normalize, margin": (ext.Normalize(eps=0.0, margin=0.5), [values(1, 1, 6)], [X], 1),
    "normalize, all pixels": (ext.Normalize(acrossSpatial=True), [values(1, 1)], [X], 1),
    "reduction, mean": (ext.Reduction(operation="mean", axis=2, coeff=2), [], [X], 1),
    "reduction, sumsq": (ext.Reduction(operation="sumsq", axis=1), [], [X], 1),
    "reduction, asum": (ext.Reduction(operation="asum", axis=1), [], [X], 1),
    "reduction, sum": (ext.Reduction(axis=0), [], [X], 1),
    "argmax": (ext.ArgMax(), [], [X], 1),
    "argmax with value": (ext.ArgMax(outMaxVal=True), [], [X], 1),
    "argmax of channels": (ext.ArgMax(axis=1), [], [X], 1),
    "greatest of rows": (ext.ArgMax(axis=2, outMaxVal=True), [], [X], 1),
    "softmax of rows": (ext.SoftMaxTranspose(dim=1), [], [X], 1),
    "caffe flatten": (ext.CaffeFlatten(axis=1, endAxis=2), [], [X], 1),
    "caffe reshape": (ext.CaffeReshape(shape=(0, -1, 21), axis=0, numAxes=3), [], [X], 1),
    "flatten": (ext.Flatten(axis=3), [], [X], 1),
    "flatten to rows": (ext.Flatten(axis=1), [], [X], 1),
    "reshape": (ext.Reshape(shape=(11, 21, 2)), [], [X], 1),
    "permute": (ext.Permute(order=(3, 1, 2, 4)), [], [X], 1),
    "shuffle": (ext.ChannelShuffle(group=2), [], [X], 1),
    "reverse": (ext.Reverse(axis=(0, 2)), [], [X], 1),
    "reorg": (ext.Reorg(stride=2), [], [(2, 8, 4, 6)], 1),
    "reorg back": (ext.Reorg(stride=2, reverse=True), [], [(2, 8, 3, 5)], 1),
    "permute five axes": (ext.PermuteAxes(shape=(2, 2, 3, 7, 11), order=(0, 2, 4, 1, 3)), [], [X], 1),
    "upsample": (ext.Upsample(scale=(2, 3)), [], [X], 1),
    "interp to an input's size": (ext.Interp(), [], [X, (2, 1, 9, 16)], 1),
    "inner product": (ext.InnerProduct(), [values(5, 6 * 77), values(5, 1)], [X], 1),
    "inner product, axis 2": (ext.InnerProduct(axis=2, hasBias=False), [values(5, 77)], [X], 1),
    "interp": (ext.Interp(height=9, width=16), [], [X], 1),
    "interp, zoomed": (ext.Interp(zoomFactor=3, padBeg=-1, padEnd=-2), [], [X], 1),
}
