"""`convert_caffe`: convert a prototxt and a caffemodel to a Network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from matnet.converters.build import build
from matnet.converters.caffemodel import attach_weights, net_from_caffemodel, read_prototxt, read_weights
from matnet.converters.colour import reorder_inputs
from matnet.converters.export.provenance import META_FIELD, remember
from matnet.converters.graph.input_sizes import image_input
from matnet.converters.graph.netdef import NetDef
from matnet.converters.lower.builder import Builder
from matnet.converters.lower.sizes import Sizes
from matnet.converters.means import given_mean
from matnet.converters.options import ConversionOptions, options_from
from matnet.converters.preprocessing import classes_struct, inputs_struct, normalization_struct
from matnet.converters.transposition import swap_rows_and_columns
from matnet.errors import FileFormatError, NetworkError, in_words
from matnet.finite import warn_not_finite
from matnet.foreign import refuse_foreign
from matnet.kinds import HDF5, kind_of
from matnet.meta.transposed import transposition_notes
from matnet.network import Network

PathLike = str | os.PathLike[str]


def convert_caffe(
    prototxt: PathLike | None = None, caffemodel: PathLike | None = None, *, placeholders: bool = False, **options: Any
) -> Network:
    """A Network that computes the same as the Caffe net at test time; see `ConversionOptions` for the keywords.

    Without a prototxt, the graph comes from the caffemodel. Without a caffemodel, the params stay empty, or with
    `placeholders` are zeros of the right shapes that use no memory. Params are views of the mapped caffemodel; a
    warning lists those with NaN or infinite values. `net.source.notes` lists all decisions. Raises FileFormatError,
    NetworkError, ShapeError or UnsupportedLayersError, each with all problems.
    """
    chosen = options_from(options)
    net_def = _read(prototxt, caffemodel, chosen)
    mean = given_mean(chosen)
    size = None if mean is None or mean.shape[1:] == (1, 1) else (mean.shape[1], mean.shape[2])
    builder = build(net_def, chosen, with_weights=caffemodel is not None, mean_size=size)
    net = builder.net
    named = (prototxt, caffemodel, chosen.mean, chosen.labels)
    net.source.files = tuple(path for file in named if file is not None and (path := Path(file)).is_file())
    if builder.placeholders and not placeholders:
        net.source.notes.append(f"no caffemodel given: {len(builder.placeholders)} params have no values")
        for name in builder.placeholders:
            del net.params[name]
    image = _image_variable(net_def, builder)
    flipped = _flip_colours(builder, image)
    if not chosen.transpose:
        swap_rows_and_columns(net)
    _describe(builder, net_def, image, mean)
    if caffemodel is not None:
        warn_not_finite(net, str(caffemodel))
    net.meta[META_FIELD] = remember(builder, flipped)
    transposition_notes(net)
    return net


def _read(prototxt: PathLike | None, caffemodel: PathLike | None, options: ConversionOptions) -> NetDef:
    if prototxt is None and caffemodel is None:
        raise NetworkError("nothing to convert: give a prototxt, a caffemodel, or both")
    for file in (prototxt, caffemodel):
        if file is not None:
            refuse_foreign(Path(file))
    if prototxt is None:
        assert caffemodel is not None
        if Path(caffemodel).is_file() and kind_of(caffemodel) == HDF5:
            way = in_words("convert_caffe('net.prototxt', 'net.caffemodel.h5')", "NET.prototxt NET.caffemodel.h5")
            raise FileFormatError(f"{caffemodel}: {HDF5} holds weights, but no graph; give the prototxt too: {way}")
        net_def = net_from_caffemodel(caffemodel, options.lenient)
    else:
        net_def = read_prototxt(prototxt, options.phase, options.level, options.stages, options.lenient)
    if caffemodel is not None:
        attach_weights(net_def, read_weights(caffemodel))
    return net_def


def _image_blob(net_def: NetDef, builder: Builder) -> str | None:
    """The image input; the layers know it by its name in the network, which the option `names` may change."""
    return image_input(replace(net_def, input_variables=builder.graph.inputs), builder.graph.layers)


def _image_variable(net_def: NetDef, builder: Builder) -> str | None:
    blob = _image_blob(net_def, builder)
    variable = builder.graph.inputs.get(blob or "")
    held = builder.values.get(variable or "")
    return held.variable if held is not None and held.variable in builder.net.inputs else None


def _flip_colours(builder: Builder, image: str | None) -> Sequence[str]:
    """Make the net take R, G, B instead of Caffe's B, G, R. Returns the changed inputs; adds a note."""
    net = builder.net
    reason = _why_not_flipped(builder, image)
    if reason:
        net.source.notes.append(f"the input keeps the channel order of the Caffe net: {reason}")
        return []
    assert image is not None
    images = _images(net, image, builder.sizes)
    net.source.notes.append(f"takes R, G, B instead of the Caffe net's B, G, R: {', '.join(map(repr, images))}")
    net.source.notes += reorder_inputs(net, images, builder.sizes)
    return images


def _why_not_flipped(builder: Builder, image: str | None) -> str:
    options = builder.options
    if image is None:
        return "no input is an image"
    channels = builder.sizes[image][1] if image in builder.sizes else None
    if channels != 3:
        return f"the image {image!r} has {'an unknown number of' if channels is None else channels} channels, not 3"
    if options.color_format == "rgb":
        option = in_words("color_format='rgb'", "--color-format rgb")
        return f"{option} is for a net trained on R, G, B, so no filters are reversed"
    return "" if options.transpose else "without transposition, no filters are reversed"


def _images(net: Network, image: str, sizes: Mapping[str, Sizes]) -> Sequence[str]:
    """The image input, and others of three channels that share its first layer's weights (Siamese nets)."""
    shared = {param for layer in net.layers.values() if image in layer.inputs for param in layer.params}
    others = [
        layer.inputs[0]
        for layer in net.layers.values()
        if shared.intersection(layer.params) and layer.inputs[0] in net.inputs
    ]
    return list(dict.fromkeys([image, *(name for name in others if name in sizes and sizes[name][1] == 3)]))


def _describe(builder: Builder, net_def: NetDef, image: str | None, mean: np.ndarray | None) -> None:
    """Fill in `meta`."""
    net, options = builder.net, builder.options
    if net.input_shapes:
        net.meta["inputs"] = inputs_struct(net)
    shape = net.input_shapes.get(image or "")
    if shape is not None and shape[1] in (1, 3):
        blob = _image_blob(net_def, builder)
        source = next(layer.params for layer in net_def.data_layers if blob in layer.tops)
        net.meta["normalization"] = normalization_struct(net, source, shape, options, mean)
    elif options.mean is not None or options.mean_values is not None:
        raise NetworkError(f"{net_def.path}: a mean is given, but no image input has a known size and 1 or 3 channels")
    classes = classes_struct(net, options, net.infer_shapes(net.input_shapes, partial=True))
    if classes is not None:
        net.meta["classes"] = classes
