"""In which module of ops the layer types of each name are, so that a network loads the modules of its own layers alone.

Making the classes of all ops takes as long as loading numpy. The tests compare these tables with what modules register.
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
"""Classes of DagNN files by module, without the `dagnn.` before each name."""

SIMPLENN = {
    "activation": "relu sigmoid softmax dropout",
    "combine": "concat scale SubP",
    "convolution": "conv convt",
    "normalization": "lrn normalize bnorm spnorm noffset normalize_lp",
    "pooling": "pool",
    "training": "softmaxloss loss pdist",
    "extensions.activation": "tanh",
}
"""Types of SimpleNN layers by module."""


def places(names: dict[str, str], prefix: str = "") -> dict[str, str]:
    """The module of each name, which begins with `prefix`."""
    return {prefix + name: f"matnet.ops.{module}" for module, found in names.items() for name in found.split()}
