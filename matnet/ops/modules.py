"""Layer type -> module of ops, so that a network imports only the modules of its own layers.

Importing all ops takes as long as importing numpy. Tests compare these tables with the registered ops.
"""

from __future__ import annotations

DAGNN = {
    "activation": "ReLU Sigmoid SoftMax DropOut",
    "combine": "Sum Concat ConcatMap Scale Crop SubP",
    "convolution": "Conv ConvTranspose",
    "normalization": "LRN BatchNorm SpatialNorm NormOffset",
    "pooling": "Pooling",
    "roi": "ROIPooling",
    "sampling": "BilinearSampler AffineGridGenerator UniformScalingGridGenerator",
    "training": "Loss LossSmoothL1 PDist",
    "extensions.activation": "PReLU ELU TanH Tanh BNLL AbsVal Power Exp Log Threshold Clip Swish Mish HardSwish",
    "extensions.boxes": "PriorBox",
    "extensions.combine": "Eltwise Max Axpy Slice Tile CaffeCrop BatchReindex Filter",
    "extensions.constant": "Parameter DummyData",
    "extensions.crf": "MultiStageMeanfield DenseCRF",
    "extensions.ctc": "CTCGreedyDecoder",
    "extensions.detection": "DetectionOutput",
    "extensions.interp": "Interp",
    "extensions.linear": "InnerProduct Embed",
    "extensions.mscnn": "BoxOutput BoxGroupOutput FrcnnOutput DecodeBBox",
    "extensions.normalize": "WithinChannelLRN MVN BatchStatNorm Normalize",
    "extensions.pooling": "CaffePooling GlobalPooling SPP",
    "extensions.proposal": "Proposal",
    "extensions.recurrent": "LSTM RNN",
    "extensions.reduce": "Reduction ArgMax SoftMaxTranspose",
    "extensions.reshape": (
        "CaffeFlatten CaffeReshape ChannelShuffle Im2col Permute PermuteAxes Reverse Reorg Flatten Reshape"
    ),
    "extensions.roi": "PSROIPooling ROIAlign",
    "extensions.upsampling": "Upsample Unpooling",
    "extensions.yolo": "Region YoloDetectionOutput",
}
"""DagNN classes by module, without the prefix `dagnn.`."""

SIMPLENN = {
    "activation": "relu sigmoid softmax dropout",
    "combine": "concat scale SubP",
    "convolution": "conv convt",
    "normalization": "lrn normalize bnorm spnorm noffset normalize_lp",
    "pooling": "pool",
    "training": "softmaxloss loss pdist",
    "extensions.activation": "tanh",
}
"""SimpleNN types by module."""


def places(names: dict[str, str], prefix: str = "") -> dict[str, str]:
    """Prefixed name -> module."""
    return {prefix + name: f"matnet.ops.{module}" for module, found in names.items() for name in found.split()}
