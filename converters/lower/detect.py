"""Detection and segmentation layers of forks: PriorBox, DetectionOutput, Interp, MultiStageMeanfield, DenseCRF."""

from __future__ import annotations

from typing import Any

from matnet.converters.files.message import Message
from matnet.converters.graph.netdef import LayerDef
from matnet.converters.lower.builder import Builder, own_fields
from matnet.converters.lower.registry import lowers
from matnet.errors import NetworkError, UnsupportedLayersError
from matnet.layout import nchw_to_hwcn
from matnet.ops.extensions.boxes import PriorBox
from matnet.ops.extensions.constant import Parameter
from matnet.ops.extensions.crf import DenseCRF, MultiStageMeanfield
from matnet.ops.extensions.detection import DetectionOutput
from matnet.ops.extensions.interp import Interp


@lowers("PriorBox", bottoms=2)
def prior_box(layer: LayerDef, net: Builder) -> None:
    """An extension (SSD fork); output 1 x 2 x 4K."""
    param = layer.params.get("prior_box_param")
    fields: dict[str, Any] = {"clip": param.get("clip"), "offset": param.get("offset")}
    if param.has("variance"):
        fields["variance"] = param.get("variance")
    step = _pair(param, "step")
    if step is not None:
        fields["pixelStep"] = step
    size = _pair(param, "img")
    if size is not None:
        fields["imageSize"] = size
    op = PriorBox.from_ssd(
        param.get("min_size"), param.get("max_size"), param.get("aspect_ratio"), flip=param.get("flip"), **fields
    )
    net.finish(layer, op, rank=3)


def _pair(param: Message, stem: str) -> tuple[float, float] | None:
    """(vertical, horizontal) from `<stem>_h` and `<stem>_w`, or one number for both; None without either."""
    one = "img_size" if stem == "img" else stem
    if param.has(f"{stem}_h") or param.has(f"{stem}_w"):
        return param.get(f"{stem}_h"), param.get(f"{stem}_w")
    return (param.get(one), param.get(one)) if param.has(one) else None


@lowers("DetectionOutput", bottoms=(1, None))
def detection_output(layer: LayerDef, net: Builder) -> None:
    """An extension (SSD fork; RefineDet's, with five bottoms); output 1 x 1 x detections x 7."""
    param = layer.params.get("detection_output_param")
    suppression = param.get("nms_param")
    fields: dict[str, Any] = {}
    if len(layer.inputs) not in (3, 5):
        raise NetworkError(f"has {len(layer.inputs)} bottoms; expected 3, as in SSD, or 5, as in RefineDet")
    if len(layer.inputs) == 5:
        if not param.has("objectness_score"):
            raise NetworkError("has 5 bottoms, as in RefineDet, but no objectness_score; add it")
        fields["objectnessScore"] = param.get("objectness_score")
    elif param.has("objectness_score"):
        raise NetworkError("has objectness_score, as in RefineDet, with 3 bottoms; expected 5")
    if param.has("confidence_threshold"):
        fields["confidenceThreshold"] = param.get("confidence_threshold")
    if suppression.has("top_k"):
        fields["nmsTopK"] = suppression.get("top_k")
    if param.get("save_output_param").get("output_format") == "COCO":
        fields["firstPixel"] = 0
    op = DetectionOutput(
        numClasses=param.get("num_classes"),
        shareLocation=param.get("share_location"),
        backgroundLabel=param.get("background_label_id"),
        codeType=param.get("code_type"),
        varianceEncodedInTarget=param.get("variance_encoded_in_target"),
        nmsThreshold=suppression.get("nms_threshold"),
        nmsEta=suppression.get("eta"),
        keepTopK=param.get("keep_top_k"),
        **fields,
    )
    net.finish(layer, op, rank=4)


@lowers("Interp", bottoms=(1, 2))
def interp(layer: LayerDef, net: Builder) -> None:
    """An extension (DeepLab and PSPNet); a second bottom gives the size if the layer has none.

    As in the fork, a single factor takes precedence over height and width, and these over two factors.
    """
    param = layer.params.get("interp_param")
    if param.get("full_zoom_factor"):
        raise UnsupportedLayersError("full_zoom_factor is not supported")
    stated = any(param.has(name) for name in ("height", "width", "zoom_factor", "shrink_factor"))
    if len(layer.inputs) == 2 and (param.get("use_blob_size") or not stated):
        op = Interp(padBeg=param.get("pad_beg"), padEnd=param.get("pad_end"))
        net.finish(layer, op)
        return
    given = own_fields(Interp, param)
    if param.has("shrink_factor") != param.has("zoom_factor"):
        given |= {"height": 0, "width": 0}
    net.finish(layer, Interp(**given), net.operands(layer)[:1])


@lowers("MultiStageMeanfield", bottoms=3)
def multi_stage_meanfield(layer: LayerDef, net: Builder) -> None:
    """An extension (CRF-RNN); its blobs weight the spatial and the bilateral filter, and the labels."""
    param = layer.params.get("multi_stage_meanfield_param")
    classes = net.channels(layer)
    params = []
    for index, suffix in enumerate(("spatial_matrix", "bilateral_matrix", "compatibility_matrix")):
        weight = net.weight(layer, index, (1, 1, classes, classes))
        params.append(net.param(layer, suffix, weight.array.reshape(weight.array.shape[2:]), weight))
    net.finish(layer, MultiStageMeanfield(**own_fields(MultiStageMeanfield, param)), params=params)


@lowers("DenseCRF", bottoms=(2, 3))
def dense_crf(layer: LayerDef, net: Builder) -> None:
    """An extension (CCNN; DeepLab, with the image as third bottom)."""
    if layer.params.has("dense_crf_param"):
        _deeplab_crf(layer, net)
        return
    param = layer.params.get("densecrf_param")
    names = {"x_gauss": "xGauss", "y_gauss": "yGauss", "wt_gauss": "wtGauss"}
    names |= {f"{letter}_bilateral": f"{letter}Bilateral" for letter in "xyrgb"}
    names["wt_bilateral"] = "wtBilateral"
    fields = {field: param.get(name) for name, field in names.items() if param.has(name)}
    net.finish(layer, DenseCRF(**fields))


def _deeplab_crf(layer: LayerDef, net: Builder) -> None:
    """One standard deviation for rows and columns, one for all colours, which are not rounded to bytes; no labels."""
    param = layer.params.get("dense_crf_param")
    if len(layer.inputs) != 3:
        raise NetworkError(f"has {len(layer.inputs)} bottoms; expected 3: scores, image sizes and images")
    places, near, colours = (tuple(param.get(name)) for name in ("pos_xy_std", "bi_xy_std", "bi_rgb_std"))
    op = DenseCRF(
        iterations=param.get("max_iter"),
        wtGauss=tuple(param.get("pos_w")),
        xGauss=places,
        yGauss=places,
        wtBilateral=tuple(param.get("bi_w")),
        xBilateral=near,
        yBilateral=near,
        rBilateral=colours,
        gBilateral=colours,
        bBilateral=colours,
        byteImage=False,
        output="probability" if param.get("output_probability") else "log",
    )
    net.finish(layer, op)


@lowers("Parameter", bottoms=0)
def parameter(layer: LayerDef, net: Builder) -> None:
    """An extension that outputs its blob."""
    shape = tuple(layer.params.get("parameter_param").get("shape").get("dim"))
    weight = net.weight(layer, 0, shape)
    value = nchw_to_hwcn(weight.array.reshape(shape + (1,) * (4 - len(shape))))
    net.finish(layer, Parameter(), [], [net.param(layer, "value", value, weight)], rank=len(shape))
