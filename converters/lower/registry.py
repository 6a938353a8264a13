"""The lowering function of each Caffe layer type, and the allowed numbers of bottoms and tops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from matnet.converters.graph.netdef import LayerDef
from matnet.errors import NetworkError
from matnet.lazy import LazyTable

if TYPE_CHECKING:
    from matnet.converters.lower.builder import Builder

Function = Callable[[LayerDef, "Builder"], None]
Count = int | tuple[int, int | None]
"""An exact number, or a range (None: no upper limit)."""


class Lowering(NamedTuple):
    """The lowering of one Caffe type."""

    function: Function
    bottoms: Count
    tops: Count

    def __call__(self, layer: LayerDef, net: Builder) -> None:
        """Add the layer to the network. Raises NetworkError for a wrong number of bottoms or tops."""
        _refuse_count("bottoms", layer.bottoms, self.bottoms)
        _refuse_count("tops", layer.tops, self.tops)
        self.function(layer, net)


MODULES = {
    "activation": (
        "BNLL Clip ELU Exp HardSwish Log Mish Threshold Sigmoid ReLU PReLU TanH AbsVal Power Swish ReLU6 Dropout"
    ),
    "combine": "Eltwise Axpy Concat Crop MergeCrop",
    "conv": "Convolution DepthwiseConvolution ConvolutionDepthwise Deconvolution InnerProduct Im2col",
    "detect": "PriorBox DetectionOutput Interp MultiStageMeanfield DenseCRF Parameter",
    "norm": "LRN BatchNorm BN Scale Bias MVN Normalize L2Normalization L2Normalize SimpleNormalize SurfaceNorm",
    "pool": "Pooling SPP ROIPooling",
    "proposals": "Proposal PSROIPooling ROIAlign BoxOutput BoxGroupOutput FrcnnOutput DecodeBBox",
    "python_layers": "Python",
    "recurrent": "Embed LSTM RNN Lstm CTCGreedyDecoder",
    "reduce": "Softmax Reduction MultiSoftmax ArgMax",
    "shape": (
        "Flatten Reshape SharedStorage Permute Transpose Squeeze Reverse Flip Split Slice Tile ShuffleChannel "
        "BatchReindex Filter"
    ),
    "upsample": "Upsample Unpooling",
    "yolo": "Reorg Region YoloDetectionOutput Yolov3DetectionOutput",
}
"""Caffe types (V2 names) by module."""


def places(names: Mapping[str, str]) -> dict[str, str]:
    """Name -> module."""
    return {name: f"matnet.converters.lower.{module}" for module, found in names.items() for name in found.split()}


LOWERINGS: LazyTable[Lowering] = LazyTable(places(MODULES))
"""Caffe type (V2 name) -> its lowering."""


def lowers(*types: str, bottoms: Count = 1, tops: Count = 1) -> Callable[[Function], Function]:
    """Decorator: register a lowering function for these Caffe types."""

    def enter(function: Function) -> Function:
        for name in types:
            assert not dict.__contains__(LOWERINGS, name), f"Caffe type {name!r} is registered twice"
            LOWERINGS[name] = Lowering(function, bottoms, tops)
        return function

    return enter


def _refuse_count(what: str, blobs: Sequence[str], allowed: Count) -> None:
    fewest, most = (allowed, allowed) if isinstance(allowed, int) else allowed
    if len(blobs) < fewest or (most is not None and len(blobs) > most):
        wanted = str(fewest) if most == fewest else f"{fewest} or more" if most is None else f"{fewest} to {most}"
        raise NetworkError(f"has {len(blobs)} {what} ({', '.join(blobs) or 'none'}); expected {wanted}")
