"""Extension ops, which MatConvNet does not have: layers of Caffe and its forks.

They have the names of equivalent contributed MATLAB modules, if any. A field `axis` is a 0-based axis of N x C x H x W,
as in Caffe; a field `dim` or `order` has 1-based MATLAB dimensions H, W, C, N. Blobs of fewer axes are padded with ones
on the right, so that axes keep their numbers. Params are matrices (outputs x inputs) and vectors in Caffe's order, or
1 x 1 x C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matnet.lazy import lazy

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

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "activation": "BNLL ELU AbsVal Clip Exp HardSwish Log Mish Power PReLU Swish TanH Tanh Threshold",
        "boxes": "PriorBox",
        "combine": "Axpy BatchReindex CaffeCrop Eltwise Filter Max Slice Tile",
        "constant": "DummyData Parameter",
        "crf": "DenseCRF MultiStageMeanfield",
        "ctc": "CTCGreedyDecoder",
        "detection": "DetectionOutput",
        "interp": "Interp",
        "linear": "Embed InnerProduct",
        "mscnn": "BoxGroupOutput BoxOutput DecodeBBox FrcnnOutput",
        "normalize": "MVN BatchStatNorm Normalize WithinChannelLRN",
        "pooling": "SPP CaffePooling GlobalPooling",
        "proposal": "Proposal",
        "recurrent": "LSTM RNN",
        "reduce": "ArgMax Reduction SoftMaxTranspose",
        "reshape": "CaffeFlatten CaffeReshape ChannelShuffle Flatten Im2col Permute PermuteAxes Reorg Reshape Reverse",
        "roi": "PSROIPooling ROIAlign",
        "upsampling": "Unpooling Upsample",
        "yolo": "Region YoloDetectionOutput",
    },
)
