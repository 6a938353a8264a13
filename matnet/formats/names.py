"""Names as MATLAB identifiers: converted when saving, restored from `meta.matnet` when loading."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from matnet.errors import FileFormatError
from matnet.formats.mat.values import Cell, row
from matnet.formats.plain import as_names, describe, is_empty, to_matlab
from matnet.meta.values import LARGEST_SIZE, numbers, renamed_inputs, whole
from matnet.network import Network

META_FIELD = "matnet"
MAX_LENGTH = 63  # MATLAB's namelengthmax
# From MATLAB's iskeyword().
KEYWORDS = {
    "break", "case", "catch", "classdef", "continue", "else", "elseif", "end", "for", "function", "global", "if",
}  # fmt: skip
KEYWORDS |= {"otherwise", "parfor", "persistent", "return", "spmd", "switch", "try", "while"}


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Map names to distinct MATLAB identifiers, `[A-Za-z][A-Za-z0-9_]*` of at most 63 characters.

    >>> identifiers(["conv1/7x7", "conv1_7x7", "1a"])
    {'conv1/7x7': 'conv1_7x7_', 'conv1_7x7': 'conv1_7x7', '1a': 'x1a'}
    """
    names = list(dict.fromkeys(names))
    taken = {name for name in names if _valid(name)}
    mapping = {}
    counts: dict[str, int] = {}  # stem -> last suffix, for linear time with many equal stems
    for name in names:
        fitted = name
        if not _valid(name):
            fitted = re.sub(r"[^A-Za-z0-9_]", "_", name)
            fitted = (fitted if re.match(r"[A-Za-z]", fitted) and name not in KEYWORDS else f"x{fitted}")[:MAX_LENGTH]
            stem = fitted
            while fitted in taken:
                counts[stem] = count = counts.get(stem, 0) + 1
                suffix = "_" if count == 1 else f"_{count}"
                fitted = stem[: MAX_LENGTH - len(suffix)] + suffix
            taken.add(fitted)
        mapping[name] = fitted
    return mapping


def _valid(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", name) is not None and name not in KEYWORDS


def written_meta(net: Network, variables: Mapping[str, str]) -> dict[str, Any]:
    """meta as MATLAB values; names of inputs (`inputs`, `caffe.flipped`) become those in the file."""
    return renamed_inputs({name: to_matlab(value) for name, value in net.meta.items()}, variables)


def remember(net: Network, renamed: dict[str, dict[str, str]]) -> dict[str, Any] | None:
    """The `meta.matnet` struct for a saved file, or None if it is not needed.

    renamed: per kind (layers, params, variables), original name -> written name.
    """
    kept: dict[str, Any] = {}
    for kind, mapping in renamed.items():
        changed = {old: new for old, new in mapping.items() if old != new}
        if changed:
            kept[kind] = {"written": Cell(changed.values()), "original": Cell(changed)}
    variable = renamed.get("variables", {})
    if net.aliases:
        targets = [variable.get(name, name) for name in net.aliases.values()]
        kept["aliases"] = {"name": Cell(net.aliases), "variable": Cell(targets)}
    if net.blob_ranks:
        ranked = {variable.get(name, name): rank for name, rank in net.blob_ranks.items()}
        kept["ranks"] = {"variable": Cell(ranked), "rank": row(ranked.values())}
    if net.input_shapes:
        shapes = [row(shape) for shape in net.input_shapes.values()]
        kept["inputs"] = {"name": Cell(variable.get(n, n) for n in net.input_shapes), "shape": Cell(shapes)}
    return kept or None


def recall(net: Network) -> None:
    """Restore names and blobs of a loaded network from `meta.matnet`, and remove it from meta."""
    kept = net.meta.get(META_FIELD)
    if not isinstance(kept, dict):
        return
    del net.meta[META_FIELD]
    net.aliases.update(_pairs(kept.get("aliases"), "name", "variable"))
    ranks = kept.get("ranks")
    if isinstance(ranks, dict):
        place = "meta.matnet.ranks"
        names = as_names(ranks.get("variable"), place)
        net.blob_ranks.update(zip(names, _sizes(ranks.get("rank"), place, least=0), strict=False))
    inputs = kept.get("inputs")
    if isinstance(inputs, dict) and isinstance(inputs.get("shape"), Cell):
        place = "meta.matnet.inputs"
        shapes = (_sizes(shape, place, count=4) for shape in inputs["shape"])
        net.input_shapes.update(zip(as_names(inputs.get("name"), place), shapes, strict=False))
    _restore_layers(net, _pairs(kept.get("layers"), "written", "original"))
    _restore_params(net, _pairs(kept.get("params"), "written", "original"))
    variables = _pairs(kept.get("variables"), "written", "original")
    if net.source.format == "simplenn":
        net.aliases.update({original: written for written, original in variables.items()})
    else:
        net.rename(variables)


def _sizes(value: Any, place: str, count: int | None = None, least: int = 1) -> tuple[int, ...]:
    """Integers >= `least`, exactly `count` of them if given. (The rank of a scalar blob is 0.)"""
    found = [whole(number, least) for number in numbers(value)]
    if None in found or count not in (None, len(found)):
        expected = "integers" if count is None else f"{count} integers"
        raise FileFormatError(f"{place}: expected {expected} from {least} to {LARGEST_SIZE}, found {describe(value)}")
    return tuple(size for size in found if size is not None)


def _pairs(kept: Any, key: str, value: str) -> dict[str, str]:
    if not isinstance(kept, dict) or is_empty(kept.get(key)):
        return {}
    keys = as_names(kept[key], f"meta.matnet.{key}")
    return dict(zip(keys, as_names(kept.get(value), f"meta.matnet.{value}"), strict=False))


def _restore_layers(net: Network, original: dict[str, str]) -> None:
    for layer in net.layers.values():
        layer.name = original.get(layer.name, layer.name)
    net.layers = {layer.name: layer for layer in net.layers.values()}


def _restore_params(net: Network, original: dict[str, str]) -> None:
    """Rename params, unless the new name is already used."""
    named = {name for layer in net.layers.values() for name in layer.params}
    original = {old: new for old, new in original.items() if new not in named or new in original}
    net.params = {original.get(name, name): param for name, param in net.params.items()}
    for layer in net.layers.values():
        layer.params = [original.get(name, name) for name in layer.params]
