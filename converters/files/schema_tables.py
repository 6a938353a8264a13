"""The schema of BVLC Caffe: NetParameter of generations V0, V1 and V2 and all messages in it (tables).

A field is `number label name type=default`; `;` separates fields. Labels: `+` repeated, `++` repeated and packed when
written, `!` required, none optional. Types: i32 i64 u32 f32 f64 bool str bytes, an enum or a message.
"""

from __future__ import annotations

_CORE = {
    "BlobShape": "1 ++dim i64",
    "BlobProto": """
        1 num i32; 2 channels i32; 3 height i32; 4 width i32; 5 ++data f32; 6 ++diff f32;
        7 shape BlobShape; 8 ++double_data f64; 9 ++double_diff f64""",
    "FillerParameter": """
        1 type str=constant; 2 value f32; 3 min f32; 4 max f32=1; 5 mean f32; 6 std f32=1;
        7 sparse i32=-1; 8 variance_norm VarianceNorm""",
    "NetParameter": """
        1 name str; 2 +layers V1LayerParameter; 3 +input str; 4 +input_dim i32; 5 force_backward bool;
        6 state NetState; 7 debug_info bool; 8 +input_shape BlobShape; 100 +layer LayerParameter""",
    "NetState": "1 phase Phase=TEST; 2 level i32; 3 +stage str",
    "NetStateRule": "1 phase Phase; 2 min_level i32; 3 max_level i32; 4 +stage str; 5 +not_stage str",
    "ParamSpec": "1 name str; 2 share_mode DimCheckMode; 3 lr_mult f32=1; 4 decay_mult f32=1",
    "TransformationParameter": """
        1 scale f32=1; 2 mirror bool; 3 crop_size u32; 4 mean_file str; 5 +mean_value f32;
        6 force_color bool; 7 force_gray bool""",
    "LossParameter": "1 ignore_label i32; 2 normalize bool; 3 normalization NormalizationMode=VALID",
}

_LAYERS = {
    "LayerParameter": """
        1 name str; 2 type str; 3 +bottom str; 4 +top str; 5 +loss_weight f32; 6 +param ParamSpec;
        7 +blobs BlobProto; 8 +include NetStateRule; 9 +exclude NetStateRule; 10 phase Phase;
        11 +propagate_down bool; 100 transform_param TransformationParameter;
        101 loss_param LossParameter; 102 accuracy_param AccuracyParameter;
        103 argmax_param ArgMaxParameter; 104 concat_param ConcatParameter;
        105 contrastive_loss_param ContrastiveLossParameter; 106 convolution_param ConvolutionParameter;
        107 data_param DataParameter; 108 dropout_param DropoutParameter;
        109 dummy_data_param DummyDataParameter; 110 eltwise_param EltwiseParameter;
        111 exp_param ExpParameter; 112 hdf5_data_param HDF5DataParameter;
        113 hdf5_output_param HDF5OutputParameter; 114 hinge_loss_param HingeLossParameter;
        115 image_data_param ImageDataParameter; 116 infogain_loss_param InfogainLossParameter;
        117 inner_product_param InnerProductParameter; 118 lrn_param LRNParameter;
        119 memory_data_param MemoryDataParameter; 120 mvn_param MVNParameter;
        121 pooling_param PoolingParameter; 122 power_param PowerParameter;
        123 relu_param ReLUParameter; 124 sigmoid_param SigmoidParameter;
        125 softmax_param SoftmaxParameter; 126 slice_param SliceParameter;
        127 tanh_param TanHParameter; 128 threshold_param ThresholdParameter;
        129 window_data_param WindowDataParameter; 130 python_param PythonParameter;
        131 prelu_param PReLUParameter; 132 spp_param SPPParameter; 133 reshape_param ReshapeParameter;
        134 log_param LogParameter; 135 flatten_param FlattenParameter;
        136 reduction_param ReductionParameter; 137 embed_param EmbedParameter;
        138 tile_param TileParameter; 139 batch_norm_param BatchNormParameter;
        140 elu_param ELUParameter; 141 bias_param BiasParameter; 142 scale_param ScaleParameter;
        143 input_param InputParameter; 144 crop_param CropParameter;
        145 parameter_param ParameterParameter; 146 recurrent_param RecurrentParameter;
        147 swish_param SwishParameter; 148 clip_param ClipParameter""",
    "V1LayerParameter": """
        1 layer V0LayerParameter; 2 +bottom str; 3 +top str; 4 name str; 5 type V1LayerType;
        6 +blobs BlobProto; 7 +blobs_lr f32; 8 +weight_decay f32; 32 +include NetStateRule;
        33 +exclude NetStateRule; 35 +loss_weight f32; 1001 +param str;
        1002 +blob_share_mode DimCheckMode; 9 concat_param ConcatParameter;
        10 convolution_param ConvolutionParameter; 11 data_param DataParameter;
        12 dropout_param DropoutParameter; 13 hdf5_data_param HDF5DataParameter;
        14 hdf5_output_param HDF5OutputParameter; 15 image_data_param ImageDataParameter;
        16 infogain_loss_param InfogainLossParameter; 17 inner_product_param InnerProductParameter;
        18 lrn_param LRNParameter; 19 pooling_param PoolingParameter;
        20 window_data_param WindowDataParameter; 21 power_param PowerParameter;
        22 memory_data_param MemoryDataParameter; 23 argmax_param ArgMaxParameter;
        24 eltwise_param EltwiseParameter; 25 threshold_param ThresholdParameter;
        26 dummy_data_param DummyDataParameter; 27 accuracy_param AccuracyParameter;
        29 hinge_loss_param HingeLossParameter; 30 relu_param ReLUParameter;
        31 slice_param SliceParameter; 34 mvn_param MVNParameter;
        36 transform_param TransformationParameter; 37 tanh_param TanHParameter;
        38 sigmoid_param SigmoidParameter; 39 softmax_param SoftmaxParameter;
        40 contrastive_loss_param ContrastiveLossParameter; 41 exp_param ExpParameter;
        42 loss_param LossParameter""",
    "V0LayerParameter": """
        1 name str; 2 type str; 3 num_output u32; 4 biasterm bool=true; 5 weight_filler FillerParameter;
        6 bias_filler FillerParameter; 7 pad u32; 8 kernelsize u32; 9 group u32=1; 10 stride u32=1;
        11 pool PoolMethod; 12 dropout_ratio f32=0.5; 13 local_size u32=5; 14 alpha f32=1;
        15 beta f32=0.75; 22 k f32=1; 16 source str; 17 scale f32=1; 18 meanfile str; 19 batchsize u32;
        20 cropsize u32; 21 mirror bool; 50 +blobs BlobProto; 51 +blobs_lr f32; 52 +weight_decay f32;
        53 rand_skip u32; 54 det_fg_threshold f32=0.5; 55 det_bg_threshold f32=0.5;
        56 det_fg_fraction f32=0.25; 58 det_context_pad u32; 59 det_crop_mode str=warp; 60 new_num i32;
        61 new_channels i32; 62 new_height i32; 63 new_width i32; 64 shuffle_images bool;
        65 concat_dim u32=1; 1001 hdf5_output_param HDF5OutputParameter""",
}

_COMPUTING = {
    "ConvolutionParameter": """
        1 num_output u32; 2 bias_term bool=true; 3 +pad u32; 4 +kernel_size u32; 5 group u32=1;
        6 +stride u32; 7 weight_filler FillerParameter; 8 bias_filler FillerParameter; 9 pad_h u32;
        10 pad_w u32; 11 kernel_h u32; 12 kernel_w u32; 13 stride_h u32; 14 stride_w u32;
        15 engine Engine; 16 axis i32=1; 17 force_nd_im2col bool; 18 +dilation u32""",
    "PoolingParameter": """
        1 pool PoolMethod; 2 kernel_size u32; 3 stride u32=1; 4 pad u32; 5 kernel_h u32; 6 kernel_w u32;
        7 stride_h u32; 8 stride_w u32; 9 pad_h u32; 10 pad_w u32; 11 engine Engine;
        12 global_pooling bool; 13 round_mode RoundMode""",
    "InnerProductParameter": """
        1 num_output u32; 2 bias_term bool=true; 3 weight_filler FillerParameter;
        4 bias_filler FillerParameter; 5 axis i32=1; 6 transpose bool""",
    "LRNParameter": """
        1 local_size u32=5; 2 alpha f32=1; 3 beta f32=0.75; 4 norm_region NormRegion; 5 k f32=1;
        6 engine Engine""",
    "ReLUParameter": "1 negative_slope f32; 2 engine Engine",
    "PReLUParameter": "1 filler FillerParameter; 2 channel_shared bool",
    "ELUParameter": "1 alpha f32=1",
    "SigmoidParameter": "1 engine Engine",
    "TanHParameter": "1 engine Engine",
    "SwishParameter": "1 beta f32=1",
    "ClipParameter": "1 !min f32; 2 !max f32",
    "PowerParameter": "1 power f32=1; 2 scale f32=1; 3 shift f32",
    "ExpParameter": "1 base f32=-1; 2 scale f32=1; 3 shift f32",
    "LogParameter": "1 base f32=-1; 2 scale f32=1; 3 shift f32",
    "ThresholdParameter": "1 threshold f32",
    "EltwiseParameter": "1 operation EltwiseOp=SUM; 2 +coeff f32; 3 stable_prod_grad bool=true",
    "ConcatParameter": "1 concat_dim u32=1; 2 axis i32=1",
    "SliceParameter": "1 slice_dim u32=1; 2 +slice_point u32; 3 axis i32=1",
    "FlattenParameter": "1 axis i32=1; 2 end_axis i32=-1",
    "ReshapeParameter": "1 shape BlobShape; 2 axis i32; 3 num_axes i32=-1",
    "CropParameter": "1 axis i32=2; 2 +offset u32",
    "ScaleParameter": """
        1 axis i32=1; 2 num_axes i32=1; 3 filler FillerParameter; 4 bias_term bool;
        5 bias_filler FillerParameter""",
    "BiasParameter": "1 axis i32=1; 2 num_axes i32=1; 3 filler FillerParameter",
    "BatchNormParameter": "1 use_global_stats bool; 2 moving_average_fraction f32=.999; 3 eps f32=1e-5",
    "SoftmaxParameter": "1 engine Engine; 2 axis i32=1",
    "DropoutParameter": "1 dropout_ratio f32=0.5",
    "MVNParameter": "1 normalize_variance bool=true; 2 across_channels bool; 3 eps f32=1e-9",
    "ReductionParameter": "1 operation ReductionOp=SUM; 2 axis i32; 3 coeff f32=1",
    "ArgMaxParameter": "1 out_max_val bool; 2 top_k u32=1; 3 axis i32",
    "TileParameter": "1 axis i32=1; 2 tiles i32",
    "EmbedParameter": """
        1 num_output u32; 2 input_dim u32; 3 bias_term bool=true; 4 weight_filler FillerParameter;
        5 bias_filler FillerParameter""",
    "SPPParameter": "1 pyramid_height u32; 2 pool PoolMethod; 6 engine Engine",
    "ParameterParameter": "1 shape BlobShape",
    "RecurrentParameter": """
        1 num_output u32; 2 weight_filler FillerParameter; 3 bias_filler FillerParameter;
        4 debug_info bool; 5 expose_hidden bool""",
    "PythonParameter": "1 module str; 2 layer str; 3 param_str str; 4 share_in_parallel bool",
}

_DATA_AND_LOSS = {
    "InputParameter": "1 +shape BlobShape",
    "DummyDataParameter": """
        1 +data_filler FillerParameter; 2 +num u32; 3 +channels u32; 4 +height u32; 5 +width u32;
        6 +shape BlobShape""",
    "MemoryDataParameter": "1 batch_size u32; 2 channels u32; 3 height u32; 4 width u32",
    "DataParameter": """
        1 source str; 2 scale f32=1; 3 mean_file str; 4 batch_size u32; 5 crop_size u32; 6 mirror bool;
        7 rand_skip u32; 8 backend DB; 9 force_encoded_color bool; 10 prefetch u32=4""",
    "ImageDataParameter": """
        1 source str; 2 scale f32=1; 3 mean_file str; 4 batch_size u32=1; 5 crop_size u32;
        6 mirror bool; 7 rand_skip u32; 8 shuffle bool; 9 new_height u32; 10 new_width u32;
        11 is_color bool=true; 12 root_folder str""",
    "WindowDataParameter": """
        1 source str; 2 scale f32=1; 3 mean_file str; 4 batch_size u32; 5 crop_size u32; 6 mirror bool;
        7 fg_threshold f32=0.5; 8 bg_threshold f32=0.5; 9 fg_fraction f32=0.25; 10 context_pad u32;
        11 crop_mode str=warp; 12 cache_images bool; 13 root_folder str""",
    "HDF5DataParameter": "1 source str; 2 batch_size u32; 3 shuffle bool",
    "HDF5OutputParameter": "1 file_name str",
    "AccuracyParameter": "1 top_k u32=1; 2 axis i32=1; 3 ignore_label i32",
    "HingeLossParameter": "1 norm HingeNorm=L1",
    "InfogainLossParameter": "1 source str; 2 axis i32=1",
    "ContrastiveLossParameter": "1 margin f32=1; 2 legacy_version bool",
}

MESSAGES = {**_CORE, **_LAYERS, **_COMPUTING, **_DATA_AND_LOSS}

ENUMS = {
    "Phase": "TRAIN=0 TEST=1",
    "DimCheckMode": "STRICT=0 PERMISSIVE=1",
    "PoolMethod": "MAX=0 AVE=1 STOCHASTIC=2 AVE_EXC_PAD=-1",
    "RoundMode": "CEIL=0 FLOOR=1",
    "NormRegion": "ACROSS_CHANNELS=0 WITHIN_CHANNEL=1",
    "EltwiseOp": "PROD=0 SUM=1 MAX=2 DIV=-1",
    "ReductionOp": "SUM=1 ASUM=2 SUMSQ=3 MEAN=4",
    "NormalizationMode": "FULL=0 VALID=1 BATCH_SIZE=2 NONE=3",
    "HingeNorm": "L1=1 L2=2",
    "Engine": "DEFAULT=0 CAFFE=1 CUDNN=2",
    "VarianceNorm": "FAN_IN=0 FAN_OUT=1 AVERAGE=2",
    "DB": "LEVELDB=0 LMDB=1",
    "V1LayerType": """
        NONE=0 ACCURACY=1 BNLL=2 CONCAT=3 CONVOLUTION=4 DATA=5 DROPOUT=6 EUCLIDEAN_LOSS=7 FLATTEN=8
        HDF5_DATA=9 HDF5_OUTPUT=10 IM2COL=11 IMAGE_DATA=12 INFOGAIN_LOSS=13 INNER_PRODUCT=14 LRN=15
        MULTINOMIAL_LOGISTIC_LOSS=16 POOLING=17 RELU=18 SIGMOID=19 SOFTMAX=20 SOFTMAX_LOSS=21 SPLIT=22
        TANH=23 WINDOW_DATA=24 ELTWISE=25 ELTWISE_PRODUCT=25 POWER=26 SIGMOID_CROSS_ENTROPY_LOSS=27
        HINGE_LOSS=28 MEMORY_DATA=29 ARGMAX=30 THRESHOLD=31 DUMMY_DATA=32 SLICE=33 MVN=34 ABSVAL=35
        SILENCE=36 CONTRASTIVE_LOSS=37 EXP=38 DECONVOLUTION=39 CROP=40 MULTI_STAGE_MEANFIELD=42
        UNPOOLING=1001 MULTI_SOFTMAX=1002 NORM=1003""",
}
