"""Offsets of Caffe's automatic Crop: affine coordinate maps of layers, composed along the graph (longjon's branch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from matnet.converters.graph.netdef import LayerDef
from matnet.converters.graph.windows import Window, convolution_window, pooling_window
from matnet.errors import NetworkError

Size = tuple[int | None, int | None]

# fmt: off
POINTWISE = frozenset((
    "ReLU", "PReLU", "ELU", "Sigmoid", "TanH", "BNLL", "AbsVal", "Power", "Exp", "Log", "Threshold", "Clip",
    "Swish", "ReLU6", "Dropout", "Split", "Softmax", "LRN", "BatchNorm", "BN", "Scale", "Bias", "Eltwise", "Concat",
    "Slice", "Normalize", "SurfaceNorm", "MVN", "Axpy"
))
# fmt: on


class AxisMap(NamedTuple):
    """For one axis: output pixel `a * x + b` corresponds to input pixel `x` (0-based, exact fractions)."""

    a: Fraction = Fraction(1)
    b: Fraction = Fraction(0)

    def then(self, after: AxisMap) -> AxisMap:
        """The composition of this layer's map with the map of a layer that reads its output."""
        return AxisMap(after.a * self.a, after.a * self.b + after.b)

    def inverse(self) -> AxisMap:
        """The map from output pixels to input pixels."""
        return AxisMap(1 / self.a, -self.b / self.a)


CoordinateMap = tuple[AxisMap, AxisMap]
IDENTITY: CoordinateMap = (AxisMap(), AxisMap())


def crop_offsets(
    layers: Sequence[LayerDef], crop: LayerDef, known: Mapping[str, tuple[int, int]], sizes: Mapping[str, Size]
) -> tuple[int, int] | None:
    """The offsets (height, width) at which `crop` crops its first input to align it with its second.

    known: the offsets of earlier Crop layers by name. sizes: height and width of variables (for global pooling). Both
    inputs are followed back to the nearest common blob; a Crop is followed along its first input only. None if they
    have no common blob. Raises NetworkError if the maps differ in scale, or the offset is negative or not an integer.
    """
    producers = {variable: layer for layer in layers for variable in layer.outputs}
    first, second = (_ancestors(variable, producers, known, sizes) for variable in crop.inputs[:2])
    common = next((variable for variable in second if variable in first), None)
    if common is None:
        return None
    offsets = []
    for axis, name in enumerate(("height", "width")):
        relative = second[common][axis].inverse().then(first[common][axis])
        if relative.a != 1:
            raise NetworkError(
                f"its inputs have different scales ({float(relative.a):g} along the {name}) relative to their common "
                f"blob {common!r}; check strides and upsampling, or give crop_param {{ offset }}"
            )
        if relative.b.denominator != 1 or relative.b < 0:
            raise NetworkError(
                f"aligning its inputs needs an offset of {float(relative.b):g} along the {name}, expected an integer "
                ">= 0; check the pads, or give crop_param { offset }"
            )
        offsets.append(int(relative.b))
    return offsets[0], offsets[1]


def _ancestors(
    start: str, producers: Mapping[str, LayerDef], known: Mapping[str, tuple[int, int]], sizes: Mapping[str, Size]
) -> dict[str, CoordinateMap]:
    """The blobs from which `start` is computed, nearest first, with the map from their pixels to those of `start`."""
    found: dict[str, CoordinateMap] = {start: IDENTITY}
    waiting = [start]
    for variable in waiting:
        layer = producers.get(variable)
        own = layer_map(layer, known, sizes) if layer is not None else None
        if layer is None or own is None:
            continue
        for source in layer.inputs[:1] if layer.type == "Crop" else layer.inputs:
            if source not in found:
                above = found[variable]
                found[source] = (own[0].then(above[0]), own[1].then(above[1]))
                waiting.append(source)
    return found


def layer_map(layer: LayerDef, known: Mapping[str, tuple[int, int]], sizes: Mapping[str, Size]) -> CoordinateMap | None:
    """The map from a layer's input pixels to its output pixels; None for layers without such a map."""
    if layer.type in POINTWISE:
        return IDENTITY
    if layer.type == "Crop":
        offsets = known.get(layer.name)
        return None if offsets is None else (AxisMap(b=Fraction(-offsets[0])), AxisMap(b=Fraction(-offsets[1])))
    if layer.type in ("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "Im2col"):
        height, width = _filter_map(convolution_window(layer.params.get("convolution_param")))
        return height.inverse(), width.inverse()
    if layer.type == "Deconvolution":
        return _filter_map(convolution_window(layer.params.get("convolution_param")))
    if layer.type == "Pooling":
        param = layer.params.get("pooling_param")
        height, width = _filter_map(pooling_window(param, sizes.get(layer.inputs[0], (None, None))))
        return height.inverse(), width.inverse()
    return None


def _filter_map(window: Window) -> CoordinateMap:
    """The map from output pixels of a sliding window to the input pixels at its centres."""
    return (
        AxisMap(Fraction(window.stride[0]), window.centre(0)),
        AxisMap(Fraction(window.stride[1]), window.centre(1)),
    )
