"""The sources of a Caffe network's data: Input and data layers, and the shapes of their tops."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from matnet.converters.files.message import Message
from matnet.converters.files.param_str import image_shape
from matnet.errors import FileFormatError

Shape = tuple["int | None", ...]

BVLC = ("Data", "ImageData", "WindowData")
"""The data layers of BVLC Caffe that read images."""
NO_IMAGES = ("Input", "DummyData", "MemoryData", "HDF5Data")
"""Data layers that state their sizes, or read arrays of any kind; all other data layers read images."""
CROPS = (
    ("crop_h", "crop_w"), ("crop_height", "crop_width"), ("crop_size", "crop_size"), ("crop_size_y", "crop_size_x"),
)  # fmt: skip
RESIZES = (("new_height", "new_width"), ("resize_height", "resize_width"))
"""Fields for the height and width of images in parameters of data layers, of BVLC Caffe and of forks."""


def is_source(layer: Message) -> bool:
    """Whether a layer is a data source: any layer without bottoms, of any fork, except Parameter."""
    return not layer.get("bottom") and bool(layer.get("top")) and layer.get("type") != "Parameter"


def input_shapes(layer: Message, notes: list[str]) -> dict[str, Shape | None]:
    """Top -> shape in the layer, None if it depends on data. Data layers add a note.

    Raises FileFormatError for a number of shapes that does not match the tops, and for sizes below 1.
    """
    tops, type = layer.get("top"), layer.get("type")
    if type in ("Input", "DummyData"):
        shapes = _stated_shapes(layer, tops)
    elif type == "MemoryData":
        memory = layer.get("memory_data_param")
        batch = memory.get("batch_size")
        image = (batch, memory.get("channels"), memory.get("height"), memory.get("width"))
        shapes = [image if all(image) else None, (batch,) if batch else None]
    elif type == "Python":
        shapes = [image_shape(layer.get("python_param").get("param_str"))]
    elif type == "ContinuationIndicator":
        shapes = [_marks_shape(layer)]
    elif type not in NO_IMAGES:
        shapes = _image_shapes(layer)
    else:
        shapes = []
    found = dict(zip(tops, [*shapes, *[None] * len(tops)], strict=False))
    _check(layer, found)
    if type != "Input":
        described = ", ".join(f"{top} ({_text(shape) if shape else 'size unknown'})" for top, shape in found.items())
        notes.append(f"layer {layer.get('name')!r} ({type}) becomes inputs: {described}")
    return found


def _stated_shapes(layer: Message, tops: list[str]) -> list[Shape | None]:
    """Input and DummyData: no shape, one for all tops, or one for each."""
    parameter = layer.get("input_param" if layer.get("type") == "Input" else "dummy_data_param")
    shapes: list[Shape | None] = [tuple(shape.get("dim")) for shape in parameter.get("shape")]
    if not shapes and layer.get("type") == "DummyData":
        sizes = [parameter.get(name) for name in ("num", "channels", "height", "width")]
        if len({len(values) for values in sizes}) > 1:
            counts = ", ".join(str(len(values)) for values in sizes)
            raise FileFormatError(f"{parameter.place()}: num, channels, height and width have {counts} "
                                  "values; expected the same number for all")
        shapes = list(zip(*sizes, strict=True))
    if not shapes:
        return []
    if len(shapes) not in (1, len(tops)):
        raise FileFormatError(f"{parameter.place()}: layer {layer.get('name')!r} has {len(shapes)} shapes "
                              f"for {len(tops)} tops; expected one shape, or one per top")
    return shapes * len(tops) if len(shapes) == 1 else shapes


def _image_shapes(layer: Message) -> list[Shape | None]:
    """The shapes of image and label of a data layer; the size comes from cropping or else from resizing."""
    size = cropped_size(layer) or resized_size(layer)
    batch = next(filter(None, (_count(message, "batch_size") for message in _messages(layer))), 1)
    return [(batch, _channels(layer), *size) if size else None, (batch,) if layer.get("type") in BVLC else None]


def cropped_size(layer: Message) -> tuple[int, int] | None:
    """Height and width to which a data layer crops its images; None if it states none."""
    return _stated_size(layer, CROPS)


def resized_size(layer: Message) -> tuple[int, int] | None:
    """Height and width to which a data layer resizes its images before cropping; None if it states none.

    `resize_param` (SSD fork) states the size unless it keeps the aspect ratio (mode FIT_SMALL_SIZE).
    """
    resize = layer.get("transform_param").get("resize_param")
    if resize.get("height") and resize.get("width") and resize.get("resize_mode") != "FIT_SMALL_SIZE":
        return resize.get("height"), resize.get("width")
    return _stated_size(layer, RESIZES)


def _stated_size(layer: Message, pairs: Iterable[tuple[str, str]]) -> tuple[int, int] | None:
    for message in _messages(layer):
        for pair in pairs:
            height, width = (_count(message, name) for name in pair)
            if height and width:
                return height, width
    return None


def _count(message: Message, name: str) -> int:
    """A field of a known or unknown message that holds a positive number; 0 for anything else."""
    value = message.get(name) if message.has(name) else 0
    return value if type(value) is int and value > 0 else 0


def _messages(layer: Message) -> list[Message]:
    """The parameter messages of a layer, known or unknown."""
    return [value for _, value in layer.items() if isinstance(value, Message)]


def _marks_shape(layer: Message) -> Shape | None:
    """T x N of the sequence markers in forks for text recognition (xmfbit's warpctc-caffe)."""
    parameter = layer.get("continuation_indicator_param") if layer.has("continuation_indicator_param") else layer
    names = ("time_step", "batch_size")
    return tuple(int(parameter.get(name)) for name in names) if all(map(parameter.has, names)) else None


def _channels(layer: Message) -> int | None:
    """One for grey images; else three for BVLC Caffe's layers, and unknown for others.

    Temporal segment networks stack colours, or both directions of flow, of new_length frames in num_segments places
    (yjxiong's fork, video_data_layer.cpp).
    """
    if layer.get("transform_param").get("force_gray") or not layer.get("image_data_param").get("is_color"):
        return 1
    for message in _messages(layer):
        if message.has("modality"):
            frames = prod(_count(message, name) or 1 for name in ("new_length", "num_segments"))
            return frames * (2 if message.get("modality") == "FLOW" else 3)
    return 3 if layer.get("type") in BVLC else None


def _check(layer: Message, shapes: dict[str, Shape | None]) -> None:
    for top, shape in shapes.items():
        if shape is not None and any(size is not None and size < 1 for size in shape):
            raise FileFormatError(f"{layer.place()}: input {top!r} has shape "
                                  f"{_text(shape)}; every size must be at least 1")


def _text(shape: Shape) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)
