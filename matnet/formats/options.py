"""`opts` of MatConvNet's layers: the last arguments of a vl_nn function, which override earlier ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from matnet.errors import in_words
from matnet.formats.mat.values import Cell
from matnet.formats.plain import as_array, as_text, is_empty, means, op_fields
from matnet.network import Layer, Network
from matnet.ops.base import Op
from matnet.params import Param, owned

# Options without a value (SWITCHES) and with one (INERT) that have no effect in test mode.
SWITCHES = frozenset({"cudnn", "nocudnn", "verbose", "noderdata", "noderfilters", "noderbiases"})
INERT = frozenset({"cudnnworkspacelimit"})


class LayerOptions(NamedTuple):
    """The settings in `opts` of one layer."""

    fields: dict[str, Any]  # field of the op -> value in the file
    params: dict[int, Any]  # index of the layer's param -> array in the file
    unknown: list[str]  # options unknown to the layer's vl_nn function


NONE = LayerOptions({}, {}, [])


def read_options(op: type[Op], opts: Any, where: str) -> LayerOptions:
    """Read `opts`, a cell of names and values. Names are case-insensitive; the last value of a name wins.

    A layer without `opts_fields` ignores them. Raises FileFormatError if a name is not text.
    """
    if op.opts_fields is None or is_empty(opts):
        return NONE
    found = LayerOptions({}, {}, [])
    for name, value in _pairs(opts, where):
        target = op.opts_fields.get(name.lower())
        if target is not None and value is None:
            found.unknown.append(f"{name} (without a value)")
        elif isinstance(target, int):
            found.params[target] = value
        elif target is not None:
            found.fields[target] = value
        elif name.lower() not in SWITCHES | INERT and "opts" not in op.__dataclass_fields__:
            found.unknown.append(name)
    return found


def written_fields(op: Op, original: Mapping[str, Any], spelling: Mapping[str, str]) -> dict[str, Any]:
    """Like `op_fields`, but without outdated options in the `opts` of `original`.

    An option is outdated if the op has a different value now, or if it sets params, which the file stores separately.
    """
    options = read_options(type(op), original.get("opts"), "layer")
    valid = {name for name, value in options.fields.items() if means(op, name, value)}
    written = op_fields(op, original, spelling, valid)
    outdated: set[str | int] = {*(options.fields.keys() - valid), *options.params}
    if outdated:
        written["opts"] = _without(type(op), original["opts"], outdated)
    return written


def _without(op: type[Op], opts: Any, targets: Collection[str | int]) -> Cell:
    """`opts` without the options that set one of `targets` (fields, or indices of params)."""
    kept: list[Any] = []
    for name, value in _pairs(opts, "layer"):
        if (op.opts_fields or {}).get(name.lower()) not in targets:
            kept += [name] if value is None else [name, value]
    return Cell(kept)


def _pairs(opts: Any, where: str) -> list[tuple[str, Any]]:
    """Names with their values; a switch has the value None."""
    items = list(opts) if isinstance(opts, list) else [opts]
    pairs = []
    while items:
        name = as_text(items.pop(0), f"{where}.opts")
        has_value = bool(items) and not (name.lower() in SWITCHES and isinstance(items[0], str))
        pairs.append((name, items.pop(0) if has_value else None))
    return pairs


def judge_unknown(net: Network, layer: Layer, fields: Sequence[str], options: Sequence[str], lenient: bool) -> None:
    """Record properties and options unknown to MatConvNet as faults, or with `lenient` as notes; note unused `opts`."""
    if "opts" in fields:
        net.source.notes.append(f"layer {layer.name!r}: {layer.type_name} does not use `opts`; ignored")
    named = [f"property {name!r}" for name in fields if name != "opts"] + [f"option {name!r}" for name in options]
    if named and lenient:
        layer.extra["ignored"] = named
        net.source.notes.append(f"layer {layer.name!r} ({layer.type_name}): ignored unknown {', '.join(named)}")
    elif named:
        layer.faults.append(
            f"MatConvNet's class has no {', '.join(named)}, which may change the result; "
            f"use {in_words('lenient=True', '--lenient')} to ignore it"
        )


def set_params(net: Network, layer: Layer, options: LayerOptions) -> None:
    """Replace the params that the layer's options set by params of its own."""
    for place, value in options.params.items():
        name = f"{layer.name}_opts{place + 1}"
        net.params[name] = Param(owned(as_array(value, f"{net.source}, layer {layer.name!r}, opts")))
        layer.params[place : place + 1] = [name]
