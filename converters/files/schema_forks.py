"""The schema of Caffe's forks: their additional fields of shared messages, and their own messages (tables).

Notation as in schema_tables.py; the number `-` marks a field that is read only from text, because forks
give it different numbers. Sources: the SSD fork (Permute, PriorBox, DetectionOutput, Normalize), DeepLab and
PSPNet (Interp, BN, hole), ParseNet (filter_stride), SegNet (bn_mode), Fast R-CNN (ROIPooling), CRF-RNN
(MultiStageMeanfield), CCNN and DeepLab (DenseCRF), ShuffleNet, NVIDIA's fork (raw blobs), VGG's V0-era fork, Synopsys'
(relu6, pad_l, pad_r, pad_t, pad_b, AVE_EXC_PAD, DIV), MS-CNN (pad_ratio).
"""

from __future__ import annotations

FIELDS: dict[str, str] = {
    "BlobProto": """
        10 raw_data_type RawDataType; 11 raw_diff_type RawDataType; 12 raw_data bytes; 13 raw_diff bytes""",
    "NetParameter": """
        - default_forward_type RawDataType; - default_backward_type RawDataType;
        - default_forward_math RawDataType; - default_backward_math RawDataType""",
    "LayerParameter": """
        - forward_type RawDataType; - backward_type RawDataType; - forward_math RawDataType;
        - backward_math RawDataType; - interp_param InterpParameter; - norm_param NormalizeParameter;
        - bn_param BNParameter; - roi_pooling_param ROIPoolingParameter;
        - permute_param PermuteParameter; - prior_box_param PriorBoxParameter;
        - detection_output_param DetectionOutputParameter;
        - shuffle_channel_param ShuffleChannelParameter;
        - multi_stage_meanfield_param MultiStageMeanfieldParameter; - densecrf_param DenseCRFParameter;
        - dense_crf_param DeepLabCRFParameter; - proposal_param ProposalParameter;
        - psroi_pooling_param PSROIPoolingParameter; - box_output_param BoxOutputParameter;
        - box_group_output_param BoxGroupOutputParameter; - frcnn_output_param FrcnnOutputParameter;
        - bbox_reg_param BBoxRegParameter; - upsample_param UpsampleParameter;
        - unpooling_param UnpoolingParameter; - reorg_param ReorgParameter; - region_param RegionParameter;
        - yolo_detection_output_param YoloDetectionOutputParameter;
        - yolov3_detection_output_param Yolov3DetectionOutputParameter; - lstm_param LstmParameter;
        - reverse_param ReverseParameter; - transpose_param TransposeParameter; - flip_param FlipParameter;
        - squeeze_param SqueezeParameter; - ctc_decoder_param CTCDecoderParameter;
        - normalize_param UnitNormalizeParameter; - mergecrop_param MergeCropParameter""",
    "V1LayerParameter": """
        44 multi_stage_meanfield_param MultiStageMeanfieldParameter; - unpooling_param UnpoolingParameter""",
    "V0LayerParameter": """
        116 vgg_k f32=1; - img_aug_type u32; - img_sampling_type u32; - vis_label i32; - channels i32;
        - save_dir str; - label_rank u32; - +top_k u32; - margin f32=1; - root_img_dir str;
        - crop_meanfile str""",
    "FillerParameter": "- model_path str; - model_layer_name str",
    "TransformationParameter": "- crop_h u32; - crop_w u32; - resize_param ResizeParameter",
    "ConvolutionParameter": """
        - hole u32=1; - hole_h u32=1; - hole_w u32=1; - filter_stride u32=1;
        - pad_l u32; - pad_r u32; - pad_t u32; - pad_b u32""",
    "PoolingParameter": "- ceil_mode bool=true; - pad_l u32; - pad_r u32; - pad_t u32; - pad_b u32",
    "ReLUParameter": "- relu6 bool",
    "DropoutParameter": "2 sample_weights_test bool; 3 scale_train bool=true",
    "InterpParameter": """
        1 height i32; 2 width i32; 3 zoom_factor i32=1; 4 shrink_factor i32=1; 5 pad_beg i32;
        6 pad_end i32; - use_blob_size bool; - full_zoom_factor u32""",
    "BatchNormParameter": """
        - scale_bias bool; - scale_filler FillerParameter; - bias_filler FillerParameter""",
    "UpsampleParameter": """
        1 scale u32=2; 2 scale_h u32; 3 scale_w u32; 4 pad_out_h bool; 5 pad_out_w bool; 6 upsample_h u32;
        7 upsample_w u32""",
    "UnpoolingParameter": """
        - unpool UnpoolMethod; - pad u32; - pad_h u32; - pad_w u32; - kernel_size u32; - kernel_h u32;
        - kernel_w u32; - stride u32=1; - stride_h u32; - stride_w u32; - unpool_size u32; - unpool_h u32;
        - unpool_w u32""",
    "ReorgParameter": "1 stride u32; 2 reverse bool",
    "RegionParameter": """
        1 classes u32=20; 2 coords u32=4; - num u32=5; - boxes_of_each_grid u32=5; - softmax bool;
        - anchors str; - +biases f32; - do_softmax bool=true""",
    "YoloDetectionOutputParameter": """
        1 side u32=13; 2 num_classes u32=20; 3 num_box u32=5; 4 coords u32=4; 5 confidence_threshold f32=0.01;
        6 nms_threshold f32=0.45; 7 +biases f32; 8 label_map_file str""",
    "Yolov3DetectionOutputParameter": """
        1 num_classes u32=20; 2 num_box u32=3; 3 confidence_threshold f32=0.01; 4 nms_threshold f32=0.45;
        5 +biases f32; 6 +anchors_scale u32; 7 mask_group_num u32=2; 8 +mask u32""",
    "LstmParameter": """
        1 num_output u32; 2 clipping_threshold f32; 3 weight_filler FillerParameter;
        4 bias_filler FillerParameter; 5 batch_size u32=1""",
    "ReverseParameter": "1 +axis i32",
    "TransposeParameter": "1 +dim i32",
    "MergeCropParameter": "- +forward bool; - +backward bool; - operation MergeOp",
    "FlipParameter": "1 flip_width bool=true; 2 flip_height bool",
    "SqueezeParameter": "1 +axis i32",
    "CTCDecoderParameter": "1 blank_index i32=-1; 2 ctc_merge_repeated bool=true",
    "UnitNormalizeParameter": "- normalize_type str=L2; - fix_gradient bool; - bp_norm bool; - rescale bool",
    "NormalizeParameter": """
        1 across_spatial bool=true; 2 scale_filler FillerParameter; 3 channel_shared bool=true;
        4 eps f32=1e-10; - fix_scale bool=true""",
    "BNParameter": """
        4 eps f32=1e-5; - slope_filler FillerParameter; - bias_filler FillerParameter;
        - scale_filler FillerParameter; - shift_filler FillerParameter; - momentum f32=0.9;
        - frozen bool; - engine Engine; - bn_mode BNMode; - var_eps f32=1e-10; - moving_average bool;
        - decay f32=0.05; - axis i32=1""",
    "ROIPoolingParameter": "1 pooled_h u32; 2 pooled_w u32; 3 spatial_scale f32=1; - pad_ratio f32",
    "ProposalParameter": """
        1 feat_stride u32=16; 2 base_size u32=16; 3 min_size u32=16; 4 +ratio f32; 5 +scale f32;
        6 pre_nms_topn u32=6000; 7 post_nms_topn u32=300; 8 nms_thresh f32=0.7""",
    "PSROIPoolingParameter": "1 spatial_scale f32; 2 output_dim i32; 3 group_size i32",
    "BoxOutputParameter": """
        1 fg_thr f32; 2 iou_thr f32=0.5; 3 nms_type str=IOU; 4 +field_h u32; 5 +field_w u32;
        6 +downsample_rate u32; 7 field_whr f32=2; 8 field_xyr f32=2; 9 max_nms_num u32;
        10 max_post_nms_num u32; 11 min_size f32=15""",
    "BBoxRegParameter": "1 +bbox_mean f32; 2 +bbox_std f32; 3 cls_aware bool=true",
    "BoxGroupParameter": "1 +field_h u32; 2 +field_w u32; 3 stride u32",
    "BoxGroupOutputParameter": """
        1 fg_thr f32; 2 iou_thr f32=0.5; 3 nms_type str=IOU; 4 +box_group_param BoxGroupParameter;
        5 field_whr f32=2; 6 field_xyr f32=2; 7 max_nms_num u32; 8 max_post_nms_num u32; 9 min_size f32=15""",
    "FrcnnOutputParameter": """
        1 conf_thr f32; 2 iou_thr f32=0.5; 3 nms_type str=IOU; 4 max_det_num u32;
        5 save_output_param SaveOutputParameter""",
    "PermuteParameter": "1 +order u32",
    "PriorBoxParameter": """
        1 +min_size f32; 2 +max_size f32; 3 +aspect_ratio f32; 4 flip bool=true; 5 clip bool;
        6 +variance f32; 7 img_size u32; 8 img_h u32; 9 img_w u32; 10 step f32; 11 step_h f32;
        12 step_w f32; 13 offset f32=0.5""",
    "DetectionOutputParameter": """
        1 num_classes u32; 2 share_location bool=true; 3 background_label_id i32;
        4 nms_param NonMaximumSuppressionParameter; 5 save_output_param SaveOutputParameter;
        6 code_type PriorBoxCodeType=CORNER; 7 keep_top_k i32=-1; 8 variance_encoded_in_target bool;
        9 confidence_threshold f32; 10 visualize bool; 11 visualize_threshold f32; 12 save_file str;
        - objectness_score f32""",
    "NonMaximumSuppressionParameter": "1 nms_threshold f32=0.3; 2 top_k i32; 3 eta f32=1",
    "SaveOutputParameter": """
        1 output_directory str; 2 output_name_prefix str; 3 output_format str; 4 label_map_file str;
        5 name_size_file str; 6 num_test_image u32; 7 resize_param ResizeParameter""",
    "ResizeParameter": """
        1 prob f32=1; 2 resize_mode ResizeMode=WARP; 3 height u32; 4 width u32;
        5 pad_mode ResizePadMode=CONSTANT; 6 +pad_value f32; 7 +interp_mode ResizeInterpMode;
        8 height_scale u32; 9 width_scale u32""",
    "ShuffleChannelParameter": "1 group u32=1",
    "MultiStageMeanfieldParameter": """
        1 compatibility_mode MeanfieldMode; 2 threshold f32; 3 theta_alpha f32=10; 4 theta_beta f32=10;
        5 theta_gamma f32=10; 6 num_iterations u32=1; 7 spatial_filter_weight f32=1;
        8 bilateral_filter_weight f32=1; 9 forced_spatial_filter_weight f32;
        10 forced_bilateral_filter_weight f32; 11 is_reshape bool; - spatial_filter_weights_str str;
        - bilateral_filter_weights_str str""",
    "DeepLabCRFParameter": """
        1 max_iter u32=10; 2 +pos_w f32; 3 +pos_xy_std f32; 4 +bi_w f32; 5 +bi_xy_std f32; 6 +bi_rgb_std f32;
        7 output_probability bool=true""",
    "DenseCRFParameter": """
        - x_gauss f32; - y_gauss f32; - wt_gauss f32; - x_bilateral f32; - y_bilateral f32;
        - r_bilateral f32; - g_bilateral f32; - b_bilateral f32; - wt_bilateral f32""",
}

ENUMS: dict[str, str] = {
    "RawDataType": "DOUBLE=0 FLOAT=1 FLOAT16=2 INT=3 UINT=4",
    "MergeOp": "STACK=0 ADD=1",
    "UnpoolMethod": "MAX=0 AVE=1 TILE=2",
    "BNMode": "LEARN=0 INFERENCE=1",
    "PriorBoxCodeType": "CORNER=1 CENTER_SIZE=2 CORNER_SIZE=3",
    "MeanfieldMode": "POTTS=0",
    "ResizeMode": "WARP=1 FIT_SMALL_SIZE=2 FIT_LARGE_SIZE_AND_PAD=3",
    "ResizePadMode": "CONSTANT=1 MIRRORED=2 REPEAT_NEAREST=3",
    "ResizeInterpMode": "LINEAR=1 AREA=2 NEAREST=3 CUBIC=4 LANCZOS4=5",
}
