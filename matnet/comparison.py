"""Comparison of two networks: structure, largest difference of each param, meta."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from matnet.formats.mat.values import Cell, StructArray, equal
from matnet.network import Layer, Network
from matnet.ops.base import Op

AT_ONCE = 1 << 22  # values compared at a time, to bound the memory
MISSING = object()


@dataclass(frozen=True)
class ParamDifference:
    """One param of both networks. largest: max |a - b|, infinite if only one is NaN, None if shapes differ."""

    name: str
    shape_a: tuple[int, ...]
    shape_b: tuple[int, ...]
    largest: float | None
    scale: float

    def within(self, tolerance: float) -> bool:
        return self.largest is not None and self.largest <= tolerance


@dataclass(frozen=True)
class Comparison:
    """Differences of network `b` from `a`: text lines for structure and meta, and all params that both have.

    derived: lines for what is not compared, because one of the files does not hold it.
    """

    structure: tuple[str, ...]
    params: tuple[ParamDifference, ...]
    meta: tuple[str, ...]
    derived: tuple[str, ...] = ()

    def same(self, tolerance: float = 0.0, with_meta: bool = True) -> bool:
        """Whether structure and meta are equal and all params differ by at most `tolerance`."""
        return not self.structure and not (with_meta and self.meta) and all(p.within(tolerance) for p in self.params)

    def record(self) -> dict[str, Any]:
        """The comparison as JSON values; an infinite difference is the string "inf"."""
        return {
            "same": self.same(),
            "structure": list(self.structure),
            "params": [
                {
                    "name": param.name,
                    "shape_a": list(param.shape_a),
                    "shape_b": list(param.shape_b),
                    "largest_difference": "inf" if param.largest == np.inf else param.largest,
                    "largest_value": param.scale,
                }
                for param in self.params
            ],
            "meta": list(self.meta),
            "derived": list(self.derived),
        }


def compare(a: Network, b: Network) -> Comparison:
    """Compare layers and params by name, without running the networks.

    If layers of the same name use different names for variables or params, one line reports it, and the comparison
    continues with the first network's names. It is no difference if one is a SimpleNN file, which does not name
    variables and params. Names in `meta.matnet` are not compared.
    """
    b, lines = _renamed_as(a, b)
    nameless = "simplenn" in (a.source.format, b.source.format)
    renamed = [] if nameless else lines
    derived = [f"{line}; a SimpleNN file holds no such names" for line in lines if nameless]
    structure = [*renamed, *_sets("layer", a.layers, b.layers), *_sets("param", a.params, b.params)]
    for name in a.layers:
        if name in b.layers:
            structure += _layer_differences(a.layers[name], b.layers[name])
    if not structure and list(a.layers) != list(b.layers):
        structure.append("the layers are in a different order")
    params = [_param_difference(name, a, b) for name in a.params if name in b.params]
    return Comparison(tuple(structure), tuple(params), tuple(_meta_differences("meta", a.meta, b.meta)), tuple(derived))


def _renamed_as(a: Network, b: Network) -> tuple[Network, list[str]]:
    """`b` with variables and params renamed as in the same layers of `a`, and lines that report the renames."""
    variables: dict[str, str] = {}
    params: dict[str, str] = {}
    for name, first in a.layers.items():
        second = b.layers.get(name, first)
        for found, ours, theirs in (
            (variables, first.inputs, second.inputs),
            (variables, first.outputs, second.outputs),
            (params, first.params, second.params),
        ):
            if len(ours) == len(theirs):
                found.update({new: old for old, new in zip(ours, theirs, strict=True) if new not in found})
    variables, params = _new_names(variables, b.variables), _new_names(params, b.params)
    lines = [
        f"{len(new)} {what} have different names: {next(iter(new.values()))!r} in the first is "
        f"{next(iter(new))!r} in the second"
        for what, new in (("variables", variables), ("params", params))
        if new
    ]
    if variables or params:
        b = b.copy()
        b.rename(variables)
        b.params = {params.get(name, name): param for name, param in b.params.items()}
        for layer in b.layers.values():
            layer.params = [params.get(name, name) for name in layer.params]
    return b, lines


def _new_names(found: Mapping[str, str], taken: Iterable[str]) -> dict[str, str]:
    """The pairs new -> old that differ, are one to one, and do not clash with unchanged names."""
    olds = Counter(found.values())
    changed = {new: old for new, old in found.items() if new != old and olds[old] == 1}
    staying = set(taken) - changed.keys()
    return {new: old for new, old in changed.items() if old not in staying}


def _sets(what: str, a: Mapping[str, object], b: Mapping[str, object]) -> Iterator[str]:
    yield from (f"{what} {name!r} is only in the first" for name in a if name not in b)
    yield from (f"{what} {name!r} is only in the second" for name in b if name not in a)


def _layer_differences(a: Layer, b: Layer) -> Iterator[str]:
    where = f"layer {a.name!r}"
    if type(a.op) is not type(b.op) or a.type_name != b.type_name:
        yield f"{where}: is {a.type_name} in the first, {b.type_name} in the second"
    else:
        yield from (f"{where}: {line}" for line in _op_differences(a.op, b.op))
    for what in ("inputs", "outputs", "params"):
        first, second = getattr(a, what), getattr(b, what)
        if first != second:
            shown = [", ".join(names) or "none" for names in (first, second)]
            yield f"{where}: {what} are {shown[0]} in the first, {shown[1]} in the second"


def _op_differences(a: Op, b: Op) -> Iterator[str]:
    for field in fields(a):
        first, second = getattr(a, field.name), getattr(b, field.name)
        if field.compare and not equal(first, second):
            yield f"{field.name} is {first} in the first, {second} in the second"


def _param_difference(name: str, a: Network, b: Network) -> ParamDifference:
    first, second = a.params[name].value, b.params[name].value
    same_shape = first.shape == second.shape
    largest = largest_difference(first, second) if same_shape else None
    return ParamDifference(name, first.shape, second.shape, largest, _largest_value(first))


def largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest |a - b| of two arrays of the same shape. NaN equals NaN; NaN against a number is infinite.

    >>> largest_difference(np.array([1.0, np.nan]), np.array([3.0, np.nan]))
    2.0
    """
    largest = 0.0
    for first, second in _slices(a, b):
        with np.errstate(invalid="ignore"):
            apart = np.abs(np.subtract(first, second, dtype=np.float64))
        apart[(first == second) | (np.isnan(first) & np.isnan(second))] = 0
        apart[np.isnan(apart)] = np.inf
        largest = max(largest, float(apart.max(initial=0)))
    return largest


def _slices(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Both arrays in slices of about AT_ONCE values along the last axis."""
    if a.ndim == 0 or a.size <= AT_ONCE:
        yield np.atleast_1d(a), np.atleast_1d(b)
        return
    step = max(1, AT_ONCE * a.shape[-1] // a.size)
    for start in range(0, a.shape[-1], step):
        yield a[..., start : start + step], b[..., start : start + step]


def _largest_value(values: np.ndarray) -> float:
    """The largest finite absolute value, as the scale of a difference."""
    return max(
        (float(np.abs(piece[np.isfinite(piece)]).max(initial=0)) for piece, _ in _slices(values, values)), default=0.0
    )


def _meta_differences(where: str, a: Any, b: Any) -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for name in dict.fromkeys([*a, *b]):
            yield from _meta_differences(f"{where}.{name}", a.get(name, MISSING), b.get(name, MISSING))
    elif a is MISSING or b is MISSING:
        yield f"{where} is only in the {'second' if a is MISSING else 'first'}"
    elif not equal(a, b):
        yield f"{where}: {_described(a, b)}"


def _described(a: Any, b: Any) -> str:
    """The two values, or the largest difference of large arrays."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.shape == b.shape and a.dtype.kind in "biuf" and b.dtype.kind in "biuf" and a.size > 4:
            apart = largest_difference(a.astype(np.float64), b.astype(np.float64))
            return f"values differ by up to {apart:.6g} ({'x'.join(map(str, a.shape))} {a.dtype} and {b.dtype})"
        if a.shape == b.shape and np.array_equal(a, b):
            return f"class {a.dtype} in the first, {b.dtype} in the second"
    if isinstance(a, (Cell, StructArray)) and isinstance(b, (Cell, StructArray)) and a.shape == b.shape:
        changed = [index for index, (first, second) in enumerate(zip(a, b, strict=True)) if not equal(first, second)]
        return (
            f"{len(changed)} of {len(a)} elements differ, the first at {changed[0] + 1}" if changed else "fields differ"
        )
    return f"{_short(a)} in the first, {_short(b)} in the second"


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        inside = np.array2string(value.reshape(-1), threshold=4, edgeitems=2, separator=" ")
        return f"{'x'.join(map(str, value.shape))} {value.dtype} {inside}"
    shown = repr(value) if not isinstance(value, (Cell, StructArray)) else f"{len(value)} elements"
    return shown if len(shown) <= 60 else f"{shown[:56]}..."
