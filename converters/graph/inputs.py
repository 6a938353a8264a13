"""The sources of a Caffe network's data: Input and data layers, and the shapes of their tops."""

from __future__ import annotations

from matnet.converters.files.message import Message
from matnet.converters.files.param_str import image_shape
from matnet.errors import FileFormatError

Shape = tuple[int, ...]

_IMAGE_LAYERS = {"Data": "data_param", "ImageData": "image_data_param", "WindowData": "window_data_param"}


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
    elif type in _IMAGE_LAYERS:
        shapes = _image_shapes(layer, layer.get(_IMAGE_LAYERS[type]))
    else:
        shapes = []
    found = dict(zip(tops, [*shapes, *[None] * len(tops)], strict=False))
    _check(layer, found)
    if type != "Input":
        described = ", ".join(f"{top} ({'x'.join(map(str, shape)) if shape else 'size unknown'})"
                              for top, shape in found.items())
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


def _image_shapes(layer: Message, parameter: Message) -> list[Shape | None]:
    """The shapes of image and label of a data layer; the size comes from crop_size or from resizing."""
    transform = layer.get("transform_param")
    height = transform.get("crop_h") or transform.get("crop_size") or parameter.get("crop_size")
    width = transform.get("crop_w") or transform.get("crop_size") or parameter.get("crop_size")
    if not height and layer.get("type") == "ImageData":
        height, width = parameter.get("new_height"), parameter.get("new_width")
    batch = parameter.get("batch_size") or 1
    image = (batch, _channels(layer, transform), height, width) if height and width else None
    return [image, (batch,)]


def _marks_shape(layer: Message) -> Shape | None:
    """T x N of the sequence markers in forks for text recognition (xmfbit's warpctc-caffe)."""
    parameter = layer.get("continuation_indicator_param") if layer.has("continuation_indicator_param") else layer
    names = ("time_step", "batch_size")
    return tuple(int(parameter.get(name)) for name in names) if all(map(parameter.has, names)) else None


def _channels(layer: Message, transform: Message) -> int:
    """Three, unless the layer requests grey images; the content of its database is unknown here."""
    grey = transform.get("force_gray") or not layer.get("image_data_param").get("is_color")
    return 1 if grey else 3


def _check(layer: Message, shapes: dict[str, Shape | None]) -> None:
    for top, shape in shapes.items():
        if shape is not None and any(size < 1 for size in shape):
            raise FileFormatError(f"{layer.place()}: input {top!r} has shape "
                                  f"{'x'.join(map(str, shape))}; every size must be at least 1")
