"""`opts` of MatConvNet's layers: arguments that a vl_nn function gets last, so that they override its other ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from matnet.errors import in_words
from matnet.formats.mat.values import Cell
from matnet.formats.plain import as_array, as_text, is_empty, means, op_fields
from matnet.network import Layer, Network
from matnet.ops.base import Op
from matnet.params import Param, owned

# Options without a value, and with one, that do not change what a layer computes in test mode.
SWITCHES = frozenset({"cudnn", "nocudnn", "verbose", "noderdata", "noderfilters", "noderbiases"})
INERT = frozenset({"cudnnworkspacelimit"})


class LayerOptions(NamedTuple):
    """What `opts` of one layer sets."""

    fields: dict[str, Any]  # field of the op -> value as in the file
    params: dict[int, Any]  # place among the layer's params -> array as in the file
    unknown: list[str]  # names that the layer's vl_nn function does not take


NONE = LayerOptions({}, {}, [])


def read_options(op: type[Op], opts: Any, where: str) -> LayerOptions:
    """The options that count in `opts`, a cell of names and values; names in any case, the last of one name wins.

    A layer without `opts_fields` makes no use of them. Raises FileFormatError where a name is not text.
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
        elif name.lower() not in SWITCHES | INERT and not _reads_opts(op):
            found.unknown.append(name)
    return found


def written_fields(op: Op, original: Mapping[str, Any], spelling: Mapping[str, str]) -> dict[str, Any]:
    """As `op_fields`; an option in the `opts` of `original` that no longer says what the op holds is left out.

    So are options that set params, as the file's params hold the values.
    """
    options = read_options(type(op), original.get("opts"), "layer")
    valid = {name for name, value in options.fields.items() if means(op, name, value)}
    written = op_fields(op, original, spelling, valid)
    outdated: set[str | int] = {*(options.fields.keys() - valid), *options.params}
    if outdated:
        written["opts"] = _without(type(op), original["opts"], outdated)
    return written


def _without(op: type[Op], opts: Any, targets: Collection[str | int]) -> Cell:
    """`opts` less the options that set one of `targets`, fields or places among the params."""
    kept: list[Any] = []
    for name, value in _pairs(opts, "layer"):
        if (op.opts_fields or {}).get(name.lower()) not in targets:
            kept += [name] if value is None else [name, value]
    return Cell(kept)


def _reads_opts(op: type[Op]) -> bool:
    """Whether the op has a field of that name, and judges the options itself."""
    return "opts" in op.__dataclass_fields__


def _pairs(opts: Any, where: str) -> list[tuple[str, Any]]:
    """Names with their values; None is the value of a switch."""
    items = list(opts) if isinstance(opts, list) else [opts]
    pairs = []
    while items:
        name = as_text(items.pop(0), f"{where}.opts")
        has_value = bool(items) and not (name.lower() in SWITCHES and isinstance(items[0], str))
        pairs.append((name, items.pop(0) if has_value else None))
    return pairs


def judge_unknown(net: Network, layer: Layer, fields: Sequence[str], options: Sequence[str], lenient: bool) -> None:
    """What MatConvNet refuses becomes a fault of the layer, or with `lenient` a note; unused `opts` always a note."""
    if "opts" in fields:
        net.source.notes.append(f"layer {layer.name!r}: {layer.type_name} makes no use of its `opts`")
    named = [f"property {name!r}" for name in fields if name != "opts"] + [f"option {name!r}" for name in options]
    if named and lenient:
        layer.extra["ignored"] = named
        net.source.notes.append(f"layer {layer.name!r} ({layer.type_name}): ignored unknown {', '.join(named)}")
    elif named:
        layer.faults.append(
            f"MatConvNet's class has no {', '.join(named)}, which may change what it computes; "
            f"{in_words('lenient=True', '--lenient')} ignores it"
        )


def set_params(net: Network, layer: Layer, options: LayerOptions) -> None:
    """Give the layer params of its own for those that its options set."""
    for place, value in options.params.items():
        name = f"{layer.name}_opts{place + 1}"
        net.params[name] = Param(owned(as_array(value, f"{net.source}, layer {layer.name!r}, opts")))
        layer.params[place : place + 1] = [name]
