"""ROI pooling, spatial transformers and bilinear interpolation in torch."""

from __future__ import annotations

from matnet.ops.extensions.interp import Interp
from matnet.ops.roi import CaffeROIPooling, ROIPooling
from matnet.ops.sampling import AffineGridGenerator, BilinearSampler, UniformScalingGridGenerator
from matnet.torch.registry import translation
from matnet.torch.writer import LayerWriter, call


@translation(ROIPooling, CaffeROIPooling)
def write_roi_pooling(writer: LayerWriter, op: ROIPooling) -> None:
    keywords = {"transform": repr(op.transform), "flatten": True if op.flatten else None}
    keywords["refuse"] = True if op.refuses_other_images else None
    writer.write(call("roi_pool", *writer.inputs, repr(op.method), op.subdivisions, **keywords))


@translation(BilinearSampler)
def write_bilinear_sampler(writer: LayerWriter, op: BilinearSampler) -> None:
    writer.write(call("sample", *writer.inputs))


@translation(AffineGridGenerator)
def write_affine_grid(writer: LayerWriter, op: AffineGridGenerator) -> None:
    writer.write(call("affine_grid", writer.x, op.Ho, op.Wo))


@translation(UniformScalingGridGenerator)
def write_scaling_grid(writer: LayerWriter, op: UniformScalingGridGenerator) -> None:
    writer.write(call("scaling_grid", writer.x, op.Ho, op.Wo))


@translation(Interp)
def write_interp(writer: LayerWriter, op: Interp) -> None:
    if len(writer.inputs) > 1:
        size = f"{writer.inputs[1]}.shape[2:]"
    elif op.height:
        size = repr((op.height, op.width))
    else:
        size = call("zoomed", writer.x, op.padBeg + op.padEnd, op.shrinkFactor, op.zoomFactor)
    value = writer.x
    if op.padBeg or op.padEnd:
        value = call("F.pad", writer.x, (op.padBeg, op.padEnd) * 2)
    writer.write(call("F.interpolate", value, size=size, mode='"bilinear"', align_corners=True))
