"""Find networks in a MAT file; error messages for files without one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matnet.errors import FileFormatError, in_words, listing, nearest, program
from matnet.formats.mat.values import Cell, Opaque, StructArray
from matnet.formats.plain import describe
from matnet.kinds import MAT, kind_of

NETWORK_FIELDS = ("layers", "params", "vars", "meta", "normalization", "classes")
SHOWN = 8
MAX_DEPTH = 4  # nesting depth searched, such as `net.net` or `models{2}.net`

# Classes (or prefixes of classes) of other toolboxes, with advice.
OTHER_TOOLBOXES = {
    ("SeriesNetwork", "DAGNetwork", "dlnetwork", "nnet."): (
        "a network of MATLAB's Deep Learning Toolbox; export it with exportONNXNetwork(net, 'net.onnx')"
    ),
    ("network",): "a shallow network of MATLAB's Deep Learning Toolbox; export it as MATLAB code with genFunction",
    ("Layer", "Net"): "a network of autonn; load the original DagNN or SimpleNN",
}
AUTONN = (
    "is a network compiled by autonn, which stores function calls instead of layers; "
    "load the original DagNN or SimpleNN"
)


def find_network(file: Mapping[str, Any], path: Any, name: str | None = None) -> tuple[dict[str, Any], str]:
    """The fields and name of the network `name`, or of the only one.

    A name is the MATLAB expression for the network (`net`, `net.net`, `models{2}`), or "" for top-level fields. Raises
    FileFormatError, listing the networks, if `name` is missing or ambiguous; and FileFormatError, listing the content
    of the file, if it holds no network.
    """
    found = dict(_networks("", dict(file), 0))
    if not found:
        raise FileFormatError(f"{path}: {_what_instead(file)}")
    if name is not None:
        if name not in found:
            if list(found) == [""]:
                option = in_words("name=", "--net")
                raise FileFormatError(f"{path}: holds one network, without a name; omit {option} {name!r}")
            held = ", ".join(repr(known) for known in found)
            raise FileFormatError(f"{path}: holds no network {name!r}{nearest(name, found)}; it holds {held}")
        return found[name], name
    if len(found) > 1:
        option = in_words("name='NAME'", "--net NAME")
        what = f"{path}: holds {len(found)} networks; select one with {option}:"
        raise FileFormatError(listing(what, found))
    only = next(iter(found))
    return found[only], only


def refuse_to_replace_data(path: str | os.PathLike[str] | None) -> None:
    """Raise FileFormatError if the path is an existing .mat file that does not hold exactly one network."""
    if path is None or not Path(path).is_file() or kind_of(path) != MAT:
        return
    from matnet.formats.mat import read_mat

    try:
        held: Mapping[str, Any] = dict(read_mat(path))
    except FileFormatError as error:
        what = f"cannot be read ({error})"
    else:
        networks = list(_networks("", held, 0))
        others = other_variables(held, networks[0][0]) if len(networks) == 1 else list(held)
        if len(networks) == 1 and not others:
            return
        names = ", ".join([*others[:SHOWN], *(["..."] if len(others) > SHOWN else [])])
        besides = " besides a network" if len(networks) == 1 else ", not exactly one network"
        what = f"holds {names}{besides}"
    raise FileFormatError(f"{os.fspath(path)}: exists and {what}; give another name or remove it first")


def other_variables(file: Mapping[str, Any], name: str) -> list[str]:
    """The variables of a file that do not belong to the network `name`."""
    holder = name.partition(".")[0].partition("{")[0]
    own = (holder,) if holder else NETWORK_FIELDS
    return [variable for variable in file if variable not in own]


def _networks(place: str, value: Any, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, Cell) and _are_layers(value):  # the cell of layers itself
        yield place, {"layers": value}
    elif isinstance(value, dict) and _holds_layers(value):
        yield place, value
        if not place:
            others = {name: item for name, item in value.items() if name not in NETWORK_FIELDS}
            yield from _within(place, others, depth)
    elif depth < MAX_DEPTH:
        yield from _within(place, value, depth)


def _within(place: str, value: Any, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _networks(f"{place}.{name}" if place else name, item, depth + 1)
    elif isinstance(value, Cell):
        for number, item in enumerate(value, 1):
            yield from _networks(f"{place}{{{number}}}", item, depth + 1)
    elif isinstance(value, StructArray):
        for number, item in enumerate(value, 1):
            yield from _networks(f"{place}({number})", item, depth + 1)


def _holds_layers(fields: Mapping[str, Any]) -> bool:
    layers = fields.get("layers")
    if isinstance(layers, dict):
        return "type" in layers
    return isinstance(layers, StructArray) or (isinstance(layers, Cell) and any(map(_is_layer, layers)))


def _are_layers(items: Cell) -> bool:
    return bool(items) and all(map(_is_layer, items)) and any(isinstance(item, dict) for item in items)


def _is_layer(item: Any) -> bool:
    return (isinstance(item, dict) and "type" in item) or (isinstance(item, Opaque) and item.kind != "function_handle")


def _what_instead(file: Mapping[str, Any]) -> str:
    """The error for a file without a network: its content, and advice."""
    for name, value in {"": dict(file), **file}.items():
        found = _known_kind(name, value)
        if found:
            return f"{repr(name) if name else 'the file'} {found}"
    held = ", ".join(file) or "nothing"
    expected = "expected a cell or struct array `layers`, at the top level or in a struct such as `net`"
    return f"holds no network, only {held}; {expected}{_near_layers(file)}"


def _near_layers(file: Mapping[str, Any]) -> str:
    if "layers" in file:
        return f"; its `layers` is {describe(file['layers'])}"
    return nearest("layers", file)


def _known_kind(name: str, value: Any) -> str | None:
    if isinstance(value, Opaque):
        return _known_object(name, value)
    if not isinstance(value, dict):
        return None
    layers = value.get("layers")
    if isinstance(layers, Cell):
        what = f"cells with {describe(layers[0])}" if layers else "no cells"
        return f"holds a network without layers: `layers` has {what}; expected structs with a `type`"
    if {"forward", "backward", "inputs", "vars"} <= value.keys():
        return AUTONN
    if isinstance(value.get("images"), dict) and "data" in value["images"]:
        return f"is an image database (imdb), not a network; use it as input of `{program('run')}`"
    for field, item in value.items():
        if name and isinstance(item, Opaque) and item.kind != "function_handle":
            return _known_object(f"{name}.{field}", item)
    return None


def _known_object(name: str, value: Opaque) -> str | None:
    if value.kind == "function_handle":
        return None
    if value.class_name.startswith("dagnn."):
        return (
            f"is a MATLAB object ({value.class_name}); in MATLAB, save it as a plain struct: "
            f"s = {name}.saveobj(); save('plain.mat', '-struct', 's')"
        )
    for classes, meaning in OTHER_TOOLBOXES.items():
        if value.class_name in classes or value.class_name.startswith(tuple(c for c in classes if c.endswith("."))):
            return f"is {meaning}"
    return f"is a MATLAB object of class {value.class_name or value.kind}, not a network of MatConvNet"
