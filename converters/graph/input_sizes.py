"""The sizes of the inputs: from the file, the user, the weights and a mean image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matnet.converters.graph.axes import Axes, reaches_filters
from matnet.converters.graph.inputs import NO_IMAGES
from matnet.converters.graph.netdef import LayerDef, NetDef
from matnet.converters.lower.sizes import UNKNOWN, Sizes, text
from matnet.converters.options import ConversionOptions
from matnet.errors import NetworkError, in_words, nearest

KEEP_CHANNELS = ("ReLU", "Dropout", "Pooling", "LRN", "BatchNorm", "Scale", "Bias", "Power", "Split", "Sigmoid", "TanH")
USUAL_NAME = "data"


def image_input(net: NetDef, layers: Sequence[LayerDef]) -> str | None:
    """The input blob that is the image, by its readers.

    Of the inputs with four axes or of unknown shape: one that reaches filters (`data` if it does, else the first), or
    if none does, `data`, else the first. layers: those kept for inference.
    """
    axes = Axes(net, layers)
    used = used_inputs(net, layers)
    candidates = [blob for blob in used if len(_stated(net, blob)) == 4 and not axes.is_sequence(blob)]
    filtered = [blob for blob in candidates if reaches_filters(layers, net.input_variables[blob])]
    for blobs in (filtered, candidates):
        if blobs:
            return USUAL_NAME if USUAL_NAME in blobs else blobs[0]
    return None


def _is_image(net: NetDef, layers: Sequence[LayerDef], blob: str) -> bool:
    """Whether filters read an input with four axes or of unknown shape, and no layer shows that it is not an image."""
    variable = net.input_variables[blob]
    return len(_stated(net, blob)) == 4 and _usual_shape(layers, variable) is None and reaches_filters(layers, variable)


USUAL_SHAPES: tuple[tuple[str, int, Sizes], ...] = (
    ("ROIPooling", 1, (1, 5)),
    ("ROIAlign", 1, (1, 5)),
    ("PSROIPooling", 1, (1, 5)),
    ("Proposal", 2, (1, 3)),
    ("FrcnnOutput", 3, (1, 2)),
    ("Python", 2, (1, 3)),
    ("LSTM", 1, (None, None)),
    ("RNN", 1, (None, None)),
    ("Lstm", 1, (None, None)),
)
"""Caffe type, index of the bottom, and its shape; None: the size of the first bottom."""


def _stated(net: NetDef, blob: str) -> Sizes:
    """The shape of an input in the file: () is a single number; without a shape, the input is an image."""
    shape = net.inputs[blob]
    return UNKNOWN if shape is None else shape


def used_inputs(net: NetDef, layers: Sequence[LayerDef]) -> list[str]:
    """The input blobs that the kept layers read, in file order."""
    read = {variable for layer in layers for variable in layer.inputs}
    return [blob for blob in net.inputs if net.input_variables[blob] in read]


def input_sizes(
    net: NetDef,
    layers: Sequence[LayerDef],
    options: ConversionOptions,
    mean_size: tuple[int, int] | None,
    notes: list[str] | None = None,
) -> dict[str, Sizes]:
    """Input blob -> Caffe's shape, with None for unknown sizes.

    The user's size replaces the file's, except the batch size. The channels of data layers come from the first weights
    that read them. Unknown height and width come from the mean image (a data layer that crops states them). One pixel
    that larger filters read counts as unknown. Without
    weights, images of a data layer are assumed to have three channels, and one box is assumed for boxes of unknown
    number; both add a note. Raises NetworkError for invalid sizes.
    """
    wanted = _wanted(net, layers, options)
    image, axes = image_input(net, layers), Axes(net, layers)
    notes = [] if notes is None else notes
    found: dict[str, Sizes] = {}
    for blob in used_inputs(net, layers):
        variable, free = net.input_variables[blob], net.inputs[blob] is None
        usual = _usual_shape(layers, variable) if free else None
        if usual is not None and None not in usual and blob not in wanted:
            notes.append(f"input {blob!r} has no size; assumed {text(usual)}")
        is_image = blob == image or axes.is_map(blob) or axes.alike(blob, image) or reaches_filters(layers, variable)
        if free and usual is None and blob in wanted and _is_whole(wanted[blob], axes.is_sequence(blob), is_image):
            found[blob] = wanted[blob]
            continue
        stated = _stated(net, blob)
        if stated[2:] == (1, 1) and blob not in wanted and _is_read_by_larger_filters(layers, variable):
            stated = (*stated[:2], None, None)
            way = in_words("input_size=(height, width)", "--input-size HxW")
            notes.append(f"input {blob!r} is 1x1 in the file, less than its filters, so its size is unknown; use {way}")
        sizes = _replaced(f"{net.path}: input {blob!r}", usual or stated, wanted.get(blob, ()))
        if len(sizes) == 4 and (free or blob in _from_data_layers(net)):
            if mean_size is not None and blob == image and sizes[2:] == (None, None):
                sizes = (*sizes[:2], *mean_size)
            channels = _channels(layers, variable, sizes) if len(wanted.get(blob, ())) < 3 else None
            if channels is None and sizes[1] is None and is_image and _has_colours(net, layers, blob):
                channels = 3
                other = in_words("input_size=(channels, height, width)", "--input-size CxHxW")
                notes.append(f"assumed 3 channels for the images {blob!r}; give another number with {other}")
            sizes = (sizes[0] or 1, channels or sizes[1], *sizes[2:])
        found[blob] = sizes
    return found


def _is_read_by_larger_filters(layers: Sequence[LayerDef], variable: str) -> bool:
    """Whether filters larger than one pixel read an input, so that 1 x 1 stands for any size (OpenPose).

    A deconvolution enlarges its input, so one pixel is its real size (generators read a vector as 1 x 1).
    """
    readers = (layer for layer in layers if variable in layer.inputs[:1] and layer.type != "Deconvolution")
    params = [layer.params.get("convolution_param") for layer in readers]
    return any(max(*p.get("kernel_size"), p.get("kernel_h"), p.get("kernel_w")) > 1 for p in params)


def _is_whole(given: Sequence[int], is_sequence: bool, is_image: bool) -> bool:
    """Whether the given numbers are all axes of an input of unknown shape, instead of the last ones of N x C x H x W.

    Three numbers are C x H x W, unless a layer shows that the input is a sequence.
    """
    return is_sequence or (not is_image and len(given) != 3)


def _from_data_layers(net: NetDef) -> set[str]:
    """The blobs of data layers that read images."""
    return {top for layer in net.data_layers if layer.type not in NO_IMAGES for top in layer.tops}


def _has_colours(net: NetDef, layers: Sequence[LayerDef], blob: str) -> bool:
    """Whether an image comes from a data layer that reads images, and no weights show its number of channels."""
    return blob in _from_data_layers(net) and not any(layer.blobs for layer in layers)


def _usual_shape(layers: Sequence[LayerDef], variable: str) -> Sizes | None:
    """The shape of an input of unknown shape by its readers: a box, an image's size and scale, sequence markers."""
    for layer in layers:
        for type, position, shape in USUAL_SHAPES:
            if layer.type == type and variable in layer.inputs[position : position + 1]:
                return shape
    return None


def _wanted(net: NetDef, layers: Sequence[LayerDef], options: ConversionOptions) -> dict[str, tuple[int, ...]]:
    """The user's sizes by input blob."""
    given = options.input_size
    if given is None:
        return {}
    inputs = used_inputs(net, layers)
    known = f"its inputs: {', '.join(inputs) or 'none'}"
    image = image_input(net, layers)
    if not isinstance(given, Mapping) and image is None:
        way = in_words("by name", "as NAME=AxBx...")
        raise NetworkError(f"{net.path}: a size is given, but no input is an image; give it {way}; {known}")
    named = given if isinstance(given, Mapping) else _for_images(net, layers, image or "", given)
    for blob, sizes in named.items():
        if blob not in net.inputs:
            near = nearest(blob, inputs)
            raise NetworkError(f"{net.path}: a size is given for {blob!r}, which is not an input{near}; {known}")
        if any(size < 1 for size in sizes):
            raise NetworkError(f"{net.path}: the given size {'x'.join(map(str, sizes))} has a number below 1")
    return {blob: tuple(sizes) for blob, sizes in named.items() if blob in inputs}


def _for_images(net: NetDef, layers: Sequence[LayerDef], image: str, given: Sequence[int]) -> dict[str, Sequence[int]]:
    """A size without a name, by input: for the image, and for inputs of unknown shape that must have the same axes.

    Further images of unknown shape get its height and width.
    """
    axes = Axes(net, layers)
    free = [blob for blob in used_inputs(net, layers) if net.inputs[blob] is None]
    others = {blob: given[-2:] for blob in free if _is_image(net, layers, blob)}
    return {**others, **{blob: given for blob in free if axes.alike(blob, image)}, image: given}


def _replaced(where: str, stated: Sizes, wanted: Sequence[int]) -> Sizes:
    """`stated` with its last axes replaced by `wanted`: H W, C H W or all four."""
    if not wanted:
        return stated
    if len(wanted) > len(stated) or len(wanted) < 2 < len(stated):
        forms = "HxW, CxHxW or NxCxHxW" if len(stated) == 4 else f"{len(stated)}"
        raise NetworkError(f"{where} is {text(stated)}, but the given size has {len(wanted)} numbers; expected {forms}")
    return (*stated[: len(stated) - len(wanted)], *wanted)


def _channels(layers: Sequence[LayerDef], variable: str, sizes: Sizes) -> int | None:
    """The input channels of the first weights that read `variable`, also through layers that keep channels."""
    waiting, seen = [variable], {variable}
    for name in waiting:
        for layer in layers:
            if name not in layer.inputs[:1]:
                continue
            if layer.type == "Convolution" and layer.blobs and len(layer.blobs[0].shape) == 4:
                return layer.blobs[0].shape[1] * int(layer.params.get("convolution_param").get("group"))
            if layer.type == "InnerProduct" and layer.blobs and sizes[2] and sizes[3]:
                outputs = int(layer.params.get("inner_product_param").get("num_output")) or 1
                return layer.blobs[0].data.size // (outputs * sizes[2] * sizes[3]) or None
            if layer.type in KEEP_CHANNELS:
                new = [output for output in layer.outputs if output not in seen]
                waiting += new
                seen.update(new)
    return None
