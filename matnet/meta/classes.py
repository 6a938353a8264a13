"""Class names from `meta.classes`, in every form found in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matnet.formats.mat.values import Cell, CharArray, StructArray
from matnet.meta.values import text_of

if TYPE_CHECKING:
    from matnet.network import Network


def class_names(net: Network) -> list[str] | None:
    """Class names (WNIDs or words) in the order of the output channels, or None.

    Read from `meta.classes`: a struct with `name`, a struct array, a cell of char, a char array with one row per class,
    or a string of lines or comma-separated words. A string with as many characters as the last convolution has filters
    is one character per class ('abc...z').
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
    """Class descriptions (`meta.classes.description`) in the order of the output channels, or None.

    Returns None for the importer's placeholder, a cell with an integer 0.
    """
    classes = net.meta.get("classes")
    if isinstance(classes, dict):
        return _names(classes.get("description"))
    if isinstance(classes, StructArray):
        return _names(Cell(item.get("description") for item in classes))
    return None


def _names(value: Any) -> list[str] | None:
    """Text of any form as a list, with '' for an element that is not text; None if nothing is text."""
    if isinstance(value, str):
        separator = "\n" if "\n" in value.strip() else ","
        return [part.strip() for part in value.strip().split(separator)] if value.strip() else None
    if isinstance(value, CharArray):
        return [line.strip() for line in value.rows] or None
    if not isinstance(value, Cell):
        return None
    found = [text_of(item) for item in value]
    return [item or "" for item in found] if any(found) else None


def _last_filters(net: Network) -> int | None:
    """The number of filters of the last convolution: the number of classes of a classifier."""
    from matnet.ops.convolution import Conv  # lazy: only once a network exists

    for layer in reversed(net.layers.values()):
        if isinstance(layer.op, Conv) and layer.params:
            return (*net.param_shapes(layer)[0], 1, 1, 1, 1)[3]
    return None
