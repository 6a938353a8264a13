"""Layers of two-stage detectors: Proposal, PSROIPooling, ROIAlign, boxes of MS-CNN; all are extensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from matnet.converters.files.message import Message
from matnet.converters.graph.netdef import LayerDef
from matnet.converters.lower.builder import Builder, own_fields
from matnet.converters.lower.python_layers import lowers_python
from matnet.converters.lower.registry import lowers
from matnet.errors import NetworkError
from matnet.ops.extensions.mscnn import BoxGroupOutput, BoxOutput, DecodeBBox, FrcnnOutput
from matnet.ops.extensions.proposal import Proposal, anchors_of, half_up
from matnet.ops.extensions.roi import PSROIPooling, ROIAlign

USUAL_RATIOS = (0.5, 1.0, 2.0)
USUAL_SCALES = (8.0, 16.0, 32.0)


@lowers("Proposal", bottoms=3, tops=(1, 2))
def proposal(layer: LayerDef, net: Builder) -> None:
    """The C++ layer of PVANet's and OpenVINO's forks; boxes below min_size are kept, with score 0."""
    param = layer.params.get("proposal_param")
    op = Proposal(
        anchors=anchors_of(
            param.get("base_size"), param.get("ratio") or USUAL_RATIOS, param.get("scale") or USUAL_SCALES, half_up
        ),
        featStride=param.get("feat_stride"),
        minSize=param.get("min_size"),
        smallBoxes="zero",
        preNmsTopN=param.get("pre_nms_topn"),
        postNmsTopN=param.get("post_nms_topn"),
        nmsThreshold=param.get("nms_thresh"),
        withScores=len(layer.outputs) > 1,
    )
    _finish_proposal(layer, net, op)


@lowers_python("proposal_layer.ProposalLayer", "proposal_layer_cascade.ProposalLayer")
def python_proposal(layer: LayerDef, net: Builder, values: dict[str, Any]) -> None:
    """py-faster-rcnn's layer with test settings: 6000 boxes before and 300 after NMS at 0.7, sides from 16 pixels."""
    known = {"feat_stride", "scales", "ratios", "base_size", "num_classes"}
    if values.keys() - known:
        unknown = ", ".join(sorted(values.keys() - known))
        raise NetworkError(f"param_str has unknown fields {unknown}; known: {', '.join(sorted(known))}")
    anchors = anchors_of(
        values.get("base_size", 16), values.get("ratios", USUAL_RATIOS), values.get("scales", USUAL_SCALES)
    )
    op = Proposal(anchors=anchors, featStride=values.get("feat_stride", 16), withScores=len(layer.outputs) > 1)
    net.note(
        layer,
        "read as py-faster-rcnn's ProposalLayer with its test settings: the best 6000 boxes, "
        "NMS at an overlap of 0.7, the best 300 boxes of at least 16 pixels",
    )
    _finish_proposal(layer, net, op)


def _finish_proposal(layer: LayerDef, net: Builder, op: Proposal) -> None:
    net.finish(layer, op, rank=2)
    for variable in layer.outputs[1:]:
        net.give_rank(variable, 2)


@lowers("PSROIPooling", bottoms=2)
def psroi_pooling(layer: LayerDef, net: Builder) -> None:
    """R-FCN's pooling, each tile from its own channels."""
    net.finish(layer, PSROIPooling(**own_fields(PSROIPooling, layer.params.get("psroi_pooling_param"))), rank=4)


@lowers("ROIAlign", bottoms=2)
def roi_align(layer: LayerDef, net: Builder) -> None:
    """MS-CNN's ROIAlign, with samples at the corners of tiles."""
    param = layer.params.get("roi_pooling_param")
    tiles = param.get("pooled_h"), param.get("pooled_w")
    net.finish(layer, ROIAlign(subdivisions=tiles, **own_fields(ROIAlign, param)), rank=4)


@lowers("BoxOutput", bottoms=(1, None), tops=(1, 2))
def box_output(layer: LayerDef, net: Builder) -> None:
    """MS-CNN's proposals."""
    param = layer.params.get("box_output_param")
    op = BoxOutput(
        fieldW=tuple(param.get("field_w")),
        fieldH=tuple(param.get("field_h")),
        downsampleRate=tuple(param.get("downsample_rate")),
        **_head(layer, param),
    )
    net.finish(layer, op, rank=4)


@lowers("BoxGroupOutput", bottoms=(2, None), tops=(1, 2))
def box_group_output(layer: LayerDef, net: Builder) -> None:
    """Cascade R-CNN's proposals."""
    param = layer.params.get("box_group_output_param")
    groups = param.get("box_group_param")
    op = BoxGroupOutput(
        fieldW=tuple(size for group in groups for size in group.get("field_w")),
        fieldH=tuple(size for group in groups for size in group.get("field_h")),
        downsampleRate=tuple(group.get("stride") for group in groups),
        groups=tuple(len(group.get("field_w")) for group in groups),
        **_head(layer, param),
    )
    net.finish(layer, op, rank=4)


@lowers("FrcnnOutput", bottoms=4)
def frcnn_output(layer: LayerDef, net: Builder) -> None:
    """Cascade R-CNN's detections."""
    param = layer.params.get("frcnn_output_param")
    op = FrcnnOutput(
        confThreshold=param.get("conf_thr"),
        iouThreshold=param.get("iou_thr"),
        clsAware=layer.params.get("bbox_reg_param").get("cls_aware"),
        **own_fields(FrcnnOutput, param) | normalisation(layer.params),
    )
    net.finish(layer, op, rank=4)


def _head(layer: LayerDef, param: Message) -> dict[str, Any]:
    """The fields that both kinds of proposals share."""
    return {
        "fgThreshold": param.get("fg_thr"),
        "iouThreshold": param.get("iou_thr"),
        "nmsType": param.get("nms_type"),
        "fieldWHR": param.get("field_whr"),
        "fieldXYR": param.get("field_xyr"),
        "maxNmsNum": param.get("max_nms_num"),
        "maxPostNmsNum": param.get("max_post_nms_num"),
        "minSize": param.get("min_size"),
        "withScores": len(layer.outputs) > 1,
        **normalisation(layer.params),
    }


@lowers("DecodeBBox", bottoms=2)
def decode_bbox(layer: LayerDef, net: Builder) -> None:
    """Boxes moved by the predicted offsets of the object."""
    net.finish(layer, DecodeBBox(**normalisation(layer.params)), rank=4)


def normalisation(params: Message) -> dict[str, tuple[float, ...]]:
    """bboxMean and bboxStd of a layer; the forks ignore both if one is missing."""
    param = params.get("bbox_reg_param")
    if not (param.get("bbox_mean") and param.get("bbox_std")):
        return {}
    std = tuple(param.get("bbox_std"))
    if not np.all(np.asarray(std) > 0):
        raise NetworkError(f"bbox_std must be positive, found {list(std)}")
    return {"bboxMean": tuple(param.get("bbox_mean")), "bboxStd": std}
