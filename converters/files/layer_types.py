"""Layer type names: V0 strings -> V1 enum -> V2 strings, and the parameter message of each V2 type.

CROP = 40 (longjon's branch) and MULTI_STAGE_MEANFIELD = 42 (CRF-RNN) are forks' enum values.
"""

from __future__ import annotations

V0_TO_V1 = {
    "accuracy": "ACCURACY", "bnll": "BNLL", "concat": "CONCAT", "conv": "CONVOLUTION", "data": "DATA",
    "dropout": "DROPOUT", "euclidean_loss": "EUCLIDEAN_LOSS", "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA", "hdf5_output": "HDF5_OUTPUT", "im2col": "IM2COL", "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS", "innerproduct": "INNER_PRODUCT", "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS", "pool": "POOLING", "relu": "RELU",
    "sigmoid": "SIGMOID", "softmax": "SOFTMAX", "softmax_loss": "SOFTMAX_LOSS", "split": "SPLIT",
    "tanh": "TANH", "window_data": "WINDOW_DATA", "crop": "CROP",
}

V1_TO_V2 = {
    "NONE": "", "ACCURACY": "Accuracy", "BNLL": "BNLL", "CONCAT": "Concat", "CONVOLUTION": "Convolution",
    "DATA": "Data", "DROPOUT": "Dropout", "EUCLIDEAN_LOSS": "EuclideanLoss", "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data", "HDF5_OUTPUT": "HDF5Output", "IM2COL": "Im2col", "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss", "INNER_PRODUCT": "InnerProduct", "LRN": "LRN",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss", "POOLING": "Pooling", "RELU": "ReLU",
    "SIGMOID": "Sigmoid", "SOFTMAX": "Softmax", "SOFTMAX_LOSS": "SoftmaxWithLoss", "SPLIT": "Split",
    "TANH": "TanH", "WINDOW_DATA": "WindowData", "ELTWISE": "Eltwise", "ELTWISE_PRODUCT": "Eltwise",
    "POWER": "Power", "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss", "HINGE_LOSS": "HingeLoss",
    "MEMORY_DATA": "MemoryData", "ARGMAX": "ArgMax", "THRESHOLD": "Threshold", "DUMMY_DATA": "DummyData",
    "SLICE": "Slice", "MVN": "MVN", "ABSVAL": "AbsVal", "SILENCE": "Silence",
    "CONTRASTIVE_LOSS": "ContrastiveLoss", "EXP": "Exp", "DECONVOLUTION": "Deconvolution", "CROP": "Crop",
    "MULTI_STAGE_MEANFIELD": "MultiStageMeanfield", "MULTI_SOFTMAX": "MultiSoftmax", "UNPOOLING": "Unpooling",
    "NORM": "SurfaceNorm",  # registered as Norm, a name that other forks use for another function
}

PARAMETERS: dict[str, tuple[str, ...]] = {
    "AbsVal": (), "Accuracy": ("accuracy_param",), "ArgMax": ("argmax_param",),
    "BatchNorm": ("batch_norm_param",), "BatchReindex": (), "Bias": ("bias_param",), "BNLL": (),
    "Clip": ("clip_param",), "Concat": ("concat_param",), "ContrastiveLoss": ("contrastive_loss_param",),
    "Convolution": ("convolution_param",), "Crop": ("crop_param",), "Data": ("data_param",),
    "Deconvolution": ("convolution_param",), "Dropout": ("dropout_param",),
    "DummyData": ("dummy_data_param",), "Eltwise": ("eltwise_param",), "ELU": ("elu_param",),
    "Embed": ("embed_param",), "EuclideanLoss": (), "Exp": ("exp_param",), "Filter": (),
    "Flatten": ("flatten_param",), "HDF5Data": ("hdf5_data_param",), "HDF5Output": ("hdf5_output_param",),
    "HingeLoss": ("hinge_loss_param",), "Im2col": ("convolution_param",),
    "ImageData": ("image_data_param",), "InfogainLoss": ("infogain_loss_param",),
    "InnerProduct": ("inner_product_param",), "Input": ("input_param",), "Log": ("log_param",),
    "LRN": ("lrn_param",), "LSTM": ("recurrent_param",), "LSTMUnit": (),
    "MemoryData": ("memory_data_param",), "MultinomialLogisticLoss": (), "MVN": ("mvn_param",),
    "Parameter": ("parameter_param",), "Pooling": ("pooling_param",), "Power": ("power_param",),
    "PReLU": ("prelu_param",), "Python": ("python_param",), "Reduction": ("reduction_param",),
    "ReLU": ("relu_param",), "Reshape": ("reshape_param",), "RNN": ("recurrent_param",),
    "Scale": ("scale_param",), "Sigmoid": ("sigmoid_param",), "SigmoidCrossEntropyLoss": (),
    "Silence": (), "Slice": ("slice_param",), "Softmax": ("softmax_param",),
    "SoftmaxWithLoss": ("softmax_param",), "Split": (), "SPP": ("spp_param",), "Swish": ("swish_param",),
    "TanH": ("tanh_param",), "Threshold": ("threshold_param",), "Tile": ("tile_param",),
    "WindowData": ("window_data_param",),
}
"""The V2 types of BVLC Caffe and their parameter messages, besides transform_param and loss_param."""

FORK_PARAMETERS: dict[str, tuple[str, ...]] = {
    "Axpy": (), "BN": ("bn_param",), "BoxOutput": ("box_output_param", "bbox_reg_param"),
    "BoxGroupOutput": ("box_group_output_param", "bbox_reg_param"),
    "FrcnnOutput": ("frcnn_output_param", "bbox_reg_param"),
    "ConvolutionDepthwise": ("convolution_param",), "DecodeBBox": ("bbox_reg_param",),
    "DenseCRF": ("densecrf_param", "dense_crf_param"), "DepthwiseConvolution": ("convolution_param",),
    "DetectionOutput": ("detection_output_param",), "Interp": ("interp_param",), "MergeCrop": ("mergecrop_param",),
    "SurfaceNorm": (),
    "MultiStageMeanfield": ("multi_stage_meanfield_param",), "Normalize": ("normalize_param", "norm_param"),
    "Permute": ("permute_param",), "PriorBox": ("prior_box_param",), "Proposal": ("proposal_param",),
    "PSROIPooling": ("psroi_pooling_param",), "ReLU6": ("relu_param",), "ROIAlign": ("roi_pooling_param",),
    "ROIPooling": ("roi_pooling_param",), "ShuffleChannel": ("shuffle_channel_param",),
    "CTCGreedyDecoder": ("ctc_decoder_param",), "Flip": ("flip_param",), "HardSwish": (),
    "L2Normalization": (), "L2Normalize": (), "Lstm": ("lstm_param",), "Mish": (), "MultiSoftmax": (),
    "SimpleNormalize": (),
    "Region": ("region_param",), "Reorg": ("reorg_param",), "Reverse": ("reverse_param",),
    "Squeeze": ("squeeze_param",), "Transpose": ("transpose_param",), "Unpooling": ("unpooling_param",),
    "Upsample": ("upsample_param",), "YoloDetectionOutput": ("yolo_detection_output_param",),
    "Yolov3DetectionOutput": ("yolov3_detection_output_param",),
}
"""The same for the forks' types in the schema."""


WITHOUT_NAME = {"SurfaceNorm": "V1's NORM; forks name it Norm in V2, but some forks' Norm is another function"}
"""Types with an unambiguous name only in V1 -> why V2 files cannot be written with them."""


def is_known(v2_type: str) -> bool:
    """Whether the V2 layer type is in the schema, so that an unknown field in such a layer is an error."""
    return v2_type in PARAMETERS or v2_type in FORK_PARAMETERS


def why_left_out(v2_type: str) -> str:
    """Why a type is not supported, for appending to the layer's description; "" for other types."""
    return "; matnet's layers have at most two spatial dimensions" if v2_type.upper().endswith("3D") else ""
