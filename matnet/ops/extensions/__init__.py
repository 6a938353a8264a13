"""Ops that MatConvNet itself lacks: those of Caffe and its forks.

They carry the names of contributed MATLAB modules where these mean the same. A field called `axis` counts the
axes of N x C x H x W from 0, as Caffe does; one called `dim` or `order` counts MATLAB's dimensions H, W, C, N
from 1. Blobs of fewer axes are padded with ones on the right, so that an axis keeps its number. Params are
matrices (outputs x inputs) and vectors in Caffe's order, or 1 x 1 x C.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from matnet.ops.base import FAMILIES

if TYPE_CHECKING:
    from matnet.ops.extensions.activation import (
        BNLL,
        ELU,
        AbsVal,
        Clip,
        Exp,
        HardSwish,
        Log,
        Mish,
        Power,
        PReLU,
        Swish,
        TanH,
        Tanh,
        Threshold,
    )
    from matnet.ops.extensions.boxes import PriorBox
    from matnet.ops.extensions.combine import Axpy, BatchReindex, CaffeCrop, Eltwise, Filter, Max, Slice, Tile
    from matnet.ops.extensions.constant import DummyData, Parameter
    from matnet.ops.extensions.crf import DenseCRF, MultiStageMeanfield
    from matnet.ops.extensions.ctc import CTCGreedyDecoder
    from matnet.ops.extensions.detection import DetectionOutput
    from matnet.ops.extensions.interp import Interp
    from matnet.ops.extensions.linear import Embed, InnerProduct
    from matnet.ops.extensions.mscnn import BoxGroupOutput, BoxOutput, DecodeBBox, FrcnnOutput
    from matnet.ops.extensions.normalize import MVN, BatchStatNorm, Normalize, WithinChannelLRN
    from matnet.ops.extensions.pooling import SPP, CaffePooling, GlobalPooling
    from matnet.ops.extensions.proposal import Proposal
    from matnet.ops.extensions.recurrent import LSTM, RNN
    from matnet.ops.extensions.reduce import ArgMax, Reduction, SoftMaxTranspose
    from matnet.ops.extensions.reshape import (
        CaffeFlatten,
        CaffeReshape,
        ChannelShuffle,
        Flatten,
        Im2col,
        Permute,
        PermuteAxes,
        Reorg,
        Reshape,
        Reverse,
    )
    from matnet.ops.extensions.roi import PSROIPooling, ROIAlign
    from matnet.ops.extensions.upsampling import Unpooling, Upsample
    from matnet.ops.extensions.yolo import Region, YoloDetectionOutput

__all__ = [
    "BNLL",
    "ELU",
    "LSTM",
    "MVN",
    "RNN",
    "SPP",
    "AbsVal",
    "ArgMax",
    "Axpy",
    "BatchReindex",
    "BatchStatNorm",
    "BoxGroupOutput",
    "BoxOutput",
    "CTCGreedyDecoder",
    "CaffeCrop",
    "CaffeFlatten",
    "CaffePooling",
    "CaffeReshape",
    "ChannelShuffle",
    "Clip",
    "DecodeBBox",
    "DenseCRF",
    "DetectionOutput",
    "DummyData",
    "Eltwise",
    "Embed",
    "Exp",
    "Filter",
    "Flatten",
    "FrcnnOutput",
    "GlobalPooling",
    "HardSwish",
    "Im2col",
    "InnerProduct",
    "Interp",
    "Log",
    "Max",
    "Mish",
    "MultiStageMeanfield",
    "Normalize",
    "PReLU",
    "PSROIPooling",
    "Parameter",
    "Permute",
    "PermuteAxes",
    "Power",
    "PriorBox",
    "Proposal",
    "ROIAlign",
    "Reduction",
    "Region",
    "Reorg",
    "Reshape",
    "Reverse",
    "Slice",
    "SoftMaxTranspose",
    "Swish",
    "TanH",
    "Tanh",
    "Threshold",
    "Tile",
    "Unpooling",
    "Upsample",
    "WithinChannelLRN",
    "YoloDetectionOutput",
]


def __getattr__(name: str) -> Any:
    """A class of these modules, which are imported when it is asked for."""
    for family in FAMILIES if name in __all__ else ():
        module = import_module(f"{__name__}.{family}")
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
