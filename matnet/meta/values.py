"""Converts values of `meta` to plain Python values: text, numbers, sizes and structs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.formats.mat.values import Cell, CharArray, StructArray

if TYPE_CHECKING:
    from matnet.network import Network

LARGEST_SIZE = 1 << 31  # larger sizes mean a damaged file
MEAN_FIELDS = ("averageImage", "rgbMean", "imageMean", "mean")
"""The names of the mean in `meta.normalization`; the first field with a mean counts."""


def structs(value: Any) -> Iterator[dict[str, Any]]:
    """The structs of a struct array, a single struct or a cell of structs; empty for anything else."""
    items = [value] if isinstance(value, dict) else value if isinstance(value, (StructArray, Cell)) else []
    return (item for item in items if isinstance(item, dict))


def text_of(value: Any) -> str | None:
    """The text of a char row, or of a cell or char array with exactly one; None for anything else."""
    if isinstance(value, Cell) and len(value) == 1:
        return text_of(value[0])
    if isinstance(value, CharArray) and len(value.rows) == 1:
        return value.rows[0]
    return value if isinstance(value, str) else None


def numbers(value: Any) -> list[float]:
    """A real numeric array, number or list of numbers as floats; empty for anything else."""
    try:
        array = np.asarray(value)
        return [float(number) for number in array.ravel(order="F")] if array.dtype.kind in "fiub" else []
    except (TypeError, ValueError):
        return []


def flag(value: Any) -> bool:
    """Whether a number, a logical value or any element of an array is nonzero; False for anything else."""
    return any(numbers(value))


def whole(number: float, least: int = 1) -> int | None:
    """A size in pixels; None unless it is an integer from `least` to `LARGEST_SIZE`."""
    return int(number) if least <= number <= LARGEST_SIZE and number == int(number) else None


def normalization(meta: Any) -> dict[str, Any]:
    """The struct `meta.normalization`, or an empty dict if there is none."""
    value = meta.get("normalization") if isinstance(meta, dict) else None
    return value if isinstance(value, dict) else {}


def first_array(fields: Mapping[str, Any], names: Iterable[str]) -> np.ndarray | None:
    """The first of the fields `names` that holds real numbers, as an array; None if none does."""
    arrays = (number_array(fields.get(name)) for name in names)
    return next((array for array in arrays if array is not None), None)


def number_array(value: Any) -> np.ndarray | None:
    """A real number or numeric array as an array; None if it is empty or anything else."""
    if not isinstance(value, (np.ndarray, np.generic, int, float)):
        return None
    array = np.asarray(value)
    return array if array.size and array.dtype.kind in "fiub" else None


def renamed_inputs(meta: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """meta with other names of the network's inputs, in `inputs` and `caffe.flipped`. variables: old name -> new."""
    found = dict(meta)
    inputs, caffe = meta.get("inputs"), meta.get("caffe")
    if isinstance(inputs, dict):
        found["inputs"] = _renamed_struct(inputs, variables)
    elif isinstance(inputs, StructArray):
        named = [_renamed_struct(struct, variables) for struct in inputs]
        found["inputs"] = StructArray(named, inputs.shape, inputs.fields)
    if isinstance(caffe, dict) and "flipped" in caffe:
        names = caffe["flipped"]
        if isinstance(names, Cell):
            names = Cell([_renamed(name, variables) for name in names], names.shape)
        found["caffe"] = {**caffe, "flipped": _renamed(names, variables)}
    return found


def _renamed_struct(struct: dict[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    return {**struct, "name": _renamed(struct["name"], variables)} if "name" in struct else struct


def _renamed(name: Any, variables: Mapping[str, str]) -> Any:
    return variables.get(name, name) if isinstance(name, str) else name


COMMON_NAMES = ("deploy", "train_val", "test", "net", "network", "model")


def display_name(net: Network) -> str:
    """The network's name in headings: `meta.name`, else its file's name, else `network`.

    Many Caffe models share file names such as `deploy.prototxt`; for these it is the folder's name.
    """
    named = text_of(net.meta.get("name"))
    if named or not net.source.path:
        return named or "network"
    path = net.source.path
    return path.absolute().parent.name or path.stem if path.stem.lower() in COMMON_NAMES else path.stem
