"""Reading the conventions of `meta`: input sizes, class names, preprocessing.

Files carry meta in many shapes, and no network needs it to run; so these functions return what can be
read and leave out the rest, whatever they meet. Values are those of matnet.formats.mat.values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.formats.mat.values import Cell, CharArray, StructArray
from matnet.ops.activation import DropOut, ReLU, Sigmoid, SoftMax
from matnet.ops.base import Op
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.normalization import LRN, BatchNorm, NormOffset, SpatialNorm
from matnet.ops.pooling import Pooling
from matnet.shapes import Shape, to_4d

if TYPE_CHECKING:
    from matnet.network import Network

LARGEST_SIZE = 1 << 31  # sizes beyond this are damage, not images
USUAL_INPUTS = ("data", "input")  # what the Caffe importer and MatConvNet's canonical names call the image
CHANNEL_KEEPERS = (DropOut, LRN, NormOffset, Pooling, ReLU, Sigmoid, SoftMax, SpatialNorm)
Size = tuple[int | None, int | None, int | None, int | None]  # H W C N, None where unknown
UNKNOWN_SIZE: Size = (None, None, None, None)


# -- inputs -----------------------------------------------------------------------------------------


def declared_input_shapes(net: Network) -> dict[str, Shape]:
    """The shapes N x C x H x W of the data inputs whose size the network declares; N is 1 unless declared.

    Looked up in this order: `net.input_shapes`; `meta.inputs` by name (the first entry, whatever its name,
    for a network with one data input); `meta.inputSize`; `meta.normalization.imageSize`. The channels
    that none of them tells come from the first filters. An input of unknown height or width is left out.
    """
    names = net.data_inputs()
    image = image_input(net)
    entries = _inputs_by_variable(net, names)
    shapes: dict[str, Shape] = {}
    for name in names:
        if name in net.input_shapes:
            shapes[name] = net.input_shapes[name]
            continue
        size = entries.get(name, UNKNOWN_SIZE)
        if name == image:
            size = _merged(size, *_image_sizes(net.meta))
        height, width, channels, batch = size
        channels = channels or input_channels(net, name)
        if height and width and channels:
            shapes[name] = (batch or 1, channels, height, width)
    return shapes


def image_input(net: Network) -> str | None:
    """The input that `meta.inputSize` and `meta.normalization` speak of: `data` or `input`, else the first."""
    names = net.data_inputs()
    called = [name for name in USUAL_INPUTS if name in names]
    return called[0] if called else next(iter(names), None)


def input_channels(net: Network, variable: str) -> int | None:
    """The channels that `variable` must have, from the first filters or moments that read it; None: any number.

    Filters are taken as ungrouped, as first layers are. Layers without params in between (ReLU, pooling,
    dropout) keep the number of channels.
    """
    waiting, seen = [variable], {variable}
    for name in waiting:
        for layer in net.layers.values():
            if layer.inputs[:1] != [name]:
                continue
            if layer.params:
                channels = _channels_read(layer.op, net.param_shapes(layer)[0])
                if channels:
                    return channels
            elif isinstance(layer.op, CHANNEL_KEEPERS):
                waiting += [output for output in layer.outputs if output not in seen]
                seen.update(layer.outputs)
    return None


def _channels_read(op: Op, shape: Shape) -> int | None:
    """Input channels from the shape of a layer's first param: filters h x w x c x K, transposed ones h x w x K x c."""
    if not shape or math.prod(shape) == 0 or math.prod(shape[4:]) != 1:
        return None
    if isinstance(op, (Conv, ConvTranspose)):
        return to_4d(shape)[2 if isinstance(op, Conv) else 3]
    return math.prod(shape) if isinstance(op, BatchNorm) else None


def _inputs_by_variable(net: Network, names: list[str]) -> dict[str, Size]:
    """The sizes of `meta.inputs` under the variables that they belong to."""
    found: dict[str, Size] = {}
    entries = list(_structs(net.meta.get("inputs")))
    for entry in entries:
        name = _text(entry.get("name")) or ""
        variable = name if name in names else net.aliases.get(name, "")
        if variable in names:
            found.setdefault(variable, _size(entry.get("size")))
    if not found and entries and len(names) == 1:
        found[names[0]] = _size(entries[0].get("size"))
    return found


def _image_sizes(meta: dict[str, Any]) -> list[Size]:
    return [_size(meta.get("inputSize")), _size(normalization(meta).get("imageSize"))]


def _size(value: Any) -> Size:
    """`[H W C N]` with missing or unreadable elements as None; one number is the side of a square."""
    found = [_whole(number) for number in _numbers(value)]
    if len(found) == 1:
        found *= 2
    height, width, channels, batch = (found + [None] * 4)[:4]
    return height, width, channels, batch


def _merged(*sizes: Size) -> Size:
    """Height and width from the first size that has both; channels and batch from the first that has them."""
    height, width = next(((h, w) for h, w, _, _ in sizes if h and w), (None, None))
    channels = next((size[2] for size in sizes if size[2]), None)
    batch = next((size[3] for size in sizes if size[3]), None)
    return height, width, channels, batch


# -- classes ----------------------------------------------------------------------------------------


def class_names(net: Network) -> list[str] | None:
    """The names of the classes in the order of the output channels (WNIDs or words), or None.

    Read from `meta.classes`: a struct with `name`, a struct array, a cell of char, a char array with a
    row per class, or one string: lines, words between commas, or, when it has as many characters as the
    last convolution has filters, a character per class ('abc...z').
    """
    classes = net.meta.get("classes")
    if isinstance(classes, dict):
        classes = classes.get("name")
    elif isinstance(classes, StructArray):
        classes = Cell(item.get("name") for item in classes)
    if isinstance(classes, str) and len(classes) == _last_filters(net):
        return list(classes)
    return _names(classes)


def class_descriptions(net: Network) -> list[str] | None:
    """The classes in words (`meta.classes.description`), in the order of the output channels, or None.

    The importer's placeholder for "none given", a cell with an integer 0, is None.
    """
    classes = net.meta.get("classes")
    if isinstance(classes, dict):
        return _names(classes.get("description"))
    if isinstance(classes, StructArray):
        return _names(Cell(item.get("description") for item in classes))
    return None


def _names(value: Any) -> list[str] | None:
    """Text of any shape as a list; an element without text keeps its place as ''. None where nothing is text."""
    if isinstance(value, str):
        separator = "\n" if "\n" in value.strip() else ","
        return [part.strip() for part in value.strip().split(separator)] if value.strip() else None
    if isinstance(value, CharArray):
        return [line.strip() for line in value.rows] or None
    if not isinstance(value, Cell):
        return None
    found = [_text(item) for item in value]
    return [item or "" for item in found] if any(found) else None


def _last_filters(net: Network) -> int | None:
    """The number of filters of the last convolution: the classes that a classifier tells apart."""
    for layer in reversed(net.layers.values()):
        if isinstance(layer.op, Conv) and layer.params:
            return (*net.param_shapes(layer)[0], 1, 1, 1, 1)[3]
    return None


# -- preprocessing and names ------------------------------------------------------------------------


def normalization(meta: dict[str, Any]) -> dict[str, Any]:
    """The struct `meta.normalization`, or an empty dict where there is none."""
    value = meta.get("normalization")
    return value if isinstance(value, dict) else {}


def preprocessing_summary(net: Network) -> str | None:
    """What `meta.normalization` asks for, in a line: size, mean, interpolation, crop; None where that is nothing."""
    fields = normalization(net.meta)
    height, width, _, _ = _merged(*_image_sizes({"normalization": fields}))
    parts = [f"size {height}x{width}"] if height and width else []
    parts += [part for part in (_mean_summary(fields.get("averageImage")), _text(fields.get("interpolation"))) if part]
    keep = _numbers(fields.get("keepAspect"))
    if keep:
        parts.append("keeps the aspect ratio" if keep[0] else "does not keep the aspect ratio")
    for name in ("cropSize", "border"):
        numbers = _numbers(fields.get(name))
        if numbers:
            parts.append(f"{name} {' '.join(f'{number:.4g}' for number in numbers)}")
    return ", ".join(parts) or None


def _mean_summary(value: Any) -> str:
    if not isinstance(value, np.ndarray) or value.size == 0 or value.dtype.kind not in "fiub":
        return ""
    if value.size <= 4:
        return "mean " + " ".join(f"{number:.6g}" for number in value.ravel(order="F"))
    return f"mean image {'x'.join(map(str, value.shape))} (average {float(np.mean(value, dtype=np.float64)):.4g})"


def display_name(net: Network) -> str:
    """What to call the network in a heading: `meta.name`, else its file's name, else `network`."""
    named = _text(net.meta.get("name"))
    if named:
        return named
    return net.source.path.stem if net.source.path else "network"


# -- plain values -----------------------------------------------------------------------------------


def _structs(value: Any) -> Iterator[dict[str, Any]]:
    """The structs of a struct array, a single struct, or a cell of structs; nothing for anything else."""
    items = [value] if isinstance(value, dict) else value if isinstance(value, (StructArray, Cell)) else []
    return (item for item in items if isinstance(item, dict))


def _text(value: Any) -> str | None:
    """A char row, or a cell or char array of exactly one; None for anything else."""
    if isinstance(value, Cell) and len(value) == 1:
        return _text(value[0])
    if isinstance(value, CharArray) and len(value.rows) == 1:
        return value.rows[0]
    return value if isinstance(value, str) else None


def _numbers(value: Any) -> list[float]:
    """A real numeric array, number or list of numbers as floats; empty for anything else."""
    try:
        array = np.asarray(value)
        return [float(number) for number in array.ravel(order="F")] if array.dtype.kind in "fiub" else []
    except (TypeError, ValueError):
        return []


def _whole(number: float) -> int | None:
    """A size in pixels; None unless it is a whole number from 1 to `LARGEST_SIZE`."""
    return int(number) if 1 <= number <= LARGEST_SIZE and number == int(number) else None
