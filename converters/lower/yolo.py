"""The layers of YOLO v2 and v3: Reorg, Region, and both detection outputs; all are extensions."""

from __future__ import annotations

from typing import Any

from matnet.converters.graph.netdef import LayerDef
from matnet.converters.lower.builder import Builder, own_fields
from matnet.converters.lower.python_layers import lowers_python
from matnet.converters.lower.registry import lowers
from matnet.ops.extensions.reshape import Reorg
from matnet.ops.extensions.yolo import Region, YoloDetectionOutput


@lowers("Reorg")
def reorg(layer: LayerDef, net: Builder) -> None:
    """Move rows and columns to channels, in darknet's order."""
    net.finish(layer, Reorg(**own_fields(Reorg, layer.params.get("reorg_param"))))


@lowers_python("yolov2.darknet_reorg")
def python_reorg(layer: LayerDef, net: Builder, values: dict[str, Any]) -> None:
    """Reorg with a stride of 2, as a Python layer around darknet's function."""
    net.finish(layer, Reorg(stride=2))


@lowers("Region")
def region(layer: LayerDef, net: Builder) -> None:
    """Region; caffe_yolo_v2's version uses boxes_of_each_grid and reorders, other forks' versions keep the maps."""
    param = layer.params.get("region_param")
    rows = param.has("boxes_of_each_grid")
    op = Region(
        classes=param.get("classes"),
        coords=param.get("coords"),
        num=param.get("boxes_of_each_grid" if rows else "num"),
        layout="rows" if rows else "maps",
        softmax=param.get("softmax" if rows else "do_softmax"),
    )
    net.finish(layer, op)


@lowers("YoloDetectionOutput", bottoms=(1, 2))
def yolo_output(layer: LayerDef, net: Builder) -> None:
    """YOLO v2's detections; anchors in cells."""
    given = own_fields(YoloDetectionOutput, layer.params.get("yolo_detection_output_param"))
    net.finish(layer, YoloDetectionOutput(version=2, **given), rank=4)


@lowers("Yolov3DetectionOutput", bottoms=(1, None))
def yolov3_output(layer: LayerDef, net: Builder) -> None:
    """YOLO v3's detections; anchors in pixels, some for each map."""
    param = layer.params.get("yolov3_detection_output_param")
    groups = param.get("mask_group_num")
    mask = [int(number) for number in param.get("mask")]
    each, boxes = len(mask) // max(groups, 1), param.get("num_box")
    starts = [index * each for index in range(len(layer.inputs))]
    given = own_fields(YoloDetectionOutput, param)
    given["mask"] = tuple(number for start in starts for number in mask[start : start + boxes])
    net.finish(layer, YoloDetectionOutput(version=3, **given), rank=4)
