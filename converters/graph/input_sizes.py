"""How large the inputs are: what the file states, what the user says, what weights and a mean image tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matnet.converters.graph.netdef import LayerDef, NetDef
from matnet.converters.lower.sizes import Sizes, text
from matnet.converters.options import Options
from matnet.errors import NetworkError, in_words, nearest

NO_IMAGES = ("Input", "DummyData", "MemoryData", "HDF5Data")
"""Layers that bring data in and state its sizes, or bring in arrays of any kind; all others read images."""
KEEP_CHANNELS = ("ReLU", "Dropout", "Pooling", "LRN", "BatchNorm", "Scale", "Bias", "Power", "Split", "Sigmoid", "TanH")
FILTERING = ("Convolution", "Deconvolution", "ConvolutionDepthwise", "DepthwiseConvolution", "InnerProduct", "Im2col")
JOINING = ("Concat", "Eltwise")
USUAL_NAME = "data"


def image_input(net: NetDef, layers: Sequence[LayerDef]) -> str | None:
    """The input blob that is the image, found by what reads it.

    Of the inputs with four axes, or of unknown shape, one that reaches filters: `data` where it does, else the first.
    Where none does, `data`, else the first of them. layers: those that are kept for inference.
    """
    candidates = [blob for blob in used_inputs(net, layers) if len(_stated(net, blob)) == 4]
    filtered = [blob for blob in candidates if _reaches_filters(layers, net.input_variables[blob])]
    for blobs in (filtered, candidates):
        if blobs:
            return USUAL_NAME if USUAL_NAME in blobs else blobs[0]
    return None


def _is_image(net: NetDef, layers: Sequence[LayerDef], blob: str) -> bool:
    """Whether filters read an input of four axes, or of unknown shape, that nothing shows to be boxes or the like."""
    variable = net.input_variables[blob]
    return (
        len(_stated(net, blob)) == 4
        and _usual_shape(layers, variable) is None
        and _reaches_filters(layers, variable)
    )


def _reaches_filters(layers: Sequence[LayerDef], variable: str) -> bool:
    """Whether a variable's own values, joined with others or not, are what a layer with filters reads."""
    reached = {variable}
    for layer in layers:
        values = layer.inputs if layer.type in JOINING else layer.inputs[:1]
        if reached.intersection(values):
            if layer.type in FILTERING:
                return True
            reached.update(layer.outputs)
    return False


USUAL_SHAPES: tuple[tuple[str, int, Sizes], ...] = (
    ("ROIPooling", 1, (1, 5)),
    ("ROIAlign", 1, (1, 5)),
    ("PSROIPooling", 1, (1, 5)),
    ("Proposal", 2, (1, 3)),
    ("Python", 2, (1, 3)),
)
"""Caffe type, which of its bottoms, and that bottom's shape."""

UNKNOWN: Sizes = (None,) * 4


def _stated(net: NetDef, blob: str) -> Sizes:
    """What the file says of an input: () is a single number, no shape at all stands for an image."""
    shape = net.inputs[blob]
    return UNKNOWN if shape is None else shape


def used_inputs(net: NetDef, layers: Sequence[LayerDef]) -> list[str]:
    """The input blobs that the kept layers read, in file order."""
    read = {variable for layer in layers for variable in layer.inputs}
    return [blob for blob in net.inputs if net.input_variables[blob] in read]


def input_sizes(
    net: NetDef,
    layers: Sequence[LayerDef],
    options: Options,
    mean_size: tuple[int, int] | None,
    notes: list[str] | None = None,
) -> dict[str, Sizes]:
    """Input blob -> Caffe's shape, None where a size is not known.

    A size that the user gives replaces the file's; the batch size stays. The channels of data layers come
    from the first weights that read them, and where the file does not tell height and width those of the mean
    image are taken (a data layer that crops tells them). Without weights the images of a data layer are taken to have
    three channels, and boxes of unknown number to be one; both are notes. Raises NetworkError for sizes that make no
    sense.
    """
    wanted = _wanted(net, layers, options)
    image = image_input(net, layers)
    from_data_layers = {top for layer in net.data_layers if layer.type not in NO_IMAGES for top in layer.tops}
    found: dict[str, Sizes] = {}
    for blob in used_inputs(net, layers):
        usual = _usual_shape(layers, net.input_variables[blob]) if net.inputs[blob] is None else None
        stated = _stated(net, blob) if usual is None else usual
        if usual is not None and blob not in wanted and notes is not None:
            notes.append(f"input {blob!r} has no stated size and is taken to be {text(usual)}")
        no_image = blob != image and not _reaches_filters(layers, net.input_variables[blob])
        if net.inputs[blob] is None and usual is None and blob in wanted and no_image:
            found[blob] = wanted[blob]  # what is given is all of its shape
            continue
        guessed = net.inputs[blob] is None or blob in from_data_layers
        sizes = _replaced(stated, wanted.get(blob, ()))
        if guessed and len(sizes) == 4:
            if mean_size is not None and blob == image and sizes[2:] == (None, None):
                sizes = (*sizes[:2], *mean_size)
            channels = _channels(layers, net.input_variables[blob], sizes) if len(wanted.get(blob, ())) < 3 else None
            unweighted = not any(layer.blobs for layer in layers)
            if channels is None and sizes[1] is None and unweighted and blob in from_data_layers and not no_image:
                channels = 3
                if notes is not None:
                    other = in_words("input_size=(channels, height, width)", "--input-size CxHxW")
                    notes.append(f"the images {blob!r} are taken to have 3 channels; {other} states others")
            sizes = (sizes[0] or 1, channels or sizes[1], *sizes[2:])
        found[blob] = sizes
    return found


def _usual_shape(layers: Sequence[LayerDef], variable: str) -> Sizes | None:
    """What an input of unknown shape is by what reads it: a box (image, corners), or an image's size and scale."""
    for layer in layers:
        for type, position, shape in USUAL_SHAPES:
            if layer.type == type and variable in layer.inputs[position : position + 1]:
                return shape
    return None


def _wanted(net: NetDef, layers: Sequence[LayerDef], options: Options) -> dict[str, tuple[int, ...]]:
    """The sizes that the user gives, by input blob."""
    given = options.input_size
    if given is None:
        return {}
    image = image_input(net, layers)
    inputs = used_inputs(net, layers)
    named: Mapping[str, Sequence[int]] = given if isinstance(given, Mapping) else {image or "": given}
    if not isinstance(given, Mapping):  # other images of unknown size take its height and width
        others = [blob for blob in inputs if net.inputs[blob] is None and _is_image(net, layers, blob)]
        named = {**dict.fromkeys(others, given[-2:]), **named}
    for blob, sizes in named.items():
        known = f"its inputs: {', '.join(inputs) or 'none'}"
        if not blob:
            way = in_words("by name", "as NAME=AxBx...")
            raise NetworkError(f"{net.path}: a size is given, and no input is an image; give it {way}; {known}")
        if blob not in net.inputs:
            near = nearest(blob, inputs)
            raise NetworkError(f"{net.path}: a size is given for {blob!r}, which is no input{near}; {known}")
        if any(size < 1 for size in sizes):
            raise NetworkError(f"{net.path}: the given size {'x'.join(map(str, sizes))} has a number below 1")
    return {blob: tuple(sizes) for blob, sizes in named.items() if blob in inputs}


def _replaced(stated: Sizes, wanted: Sequence[int]) -> Sizes:
    """`stated` with its last axes replaced by `wanted`: H W, C H W or all four."""
    if not wanted:
        return stated
    if len(wanted) > len(stated) or len(wanted) < 2 < len(stated):
        raise NetworkError(
            f"the given size has {len(wanted)} numbers for an input of {text(stated)}; expected HxW, CxHxW or NxCxHxW"
        )
    return (*stated[: len(stated) - len(wanted)], *wanted)


def _channels(layers: Sequence[LayerDef], variable: str, sizes: Sizes) -> int | None:
    """The channels that the first weights reading `variable` take, looked for behind layers that keep channels."""
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
