"""Names in a graph: name resolution, names of inputs and flattened blobs, free names."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from matnet.errors import NetworkError, nearest, where_names_are

if TYPE_CHECKING:
    from matnet.network import Network

IN_PLACE = "_before_"
"""Separator in `<blob>_before_<layer>`, the name of a Caffe blob's value before an in-place layer."""

RESTORED = "_in_caffe_order"
"""Suffix of convolutions added by a conversion to restore Caffe's channel order."""


def resolved(net: Network, names: Iterable[str]) -> list[str]:
    """Resolve names to variables: each is a variable, a layer (its first output), or an alias.

    A text is one name. Raises NetworkError, with the nearest names, for an unknown name.
    """
    variables = net.variables
    known = set(variables)
    found = []
    for name in [names] if isinstance(names, str) else names:
        if name in known:
            found.append(name)
        elif net.aliases.get(name) in known:
            found.append(net.aliases[name])
        elif name in net.layers and net.layers[name].outputs:
            found.append(net.layers[name].outputs[0])
        else:
            hint = nearest(name, [*variables, *net.layers, *net.aliases])
            raise NetworkError(f"{net.source}: no variable or layer {name!r}{hint}; {where_names_are()}")
    return found


def with_blobs(net: Network, names: Iterable[str] | None) -> Network:
    """See `Network.with_blobs`.

    A conversion drops a Flatten that another layer reads. Its blob becomes an alias of the unflattened variable.
    """
    merged = {
        name: net.aliases[name]
        for name in ([names] if isinstance(names, str) else names or ())
        if name in net.aliases and 0 < net.blob_ranks.get(name, 4) < net.blob_ranks.get(net.aliases[name], 4)
    }
    if not merged:
        return net
    from matnet.network import Layer
    from matnet.ops.extensions.reshape import CaffeFlatten

    twin, variables = net.copy(), net.variables
    for blob, variable in merged.items():
        if blob in variables or variable not in variables:
            continue
        layer = free_name(blob, twin.layers, {})
        twin.add(Layer(layer, CaffeFlatten(axis=net.blob_ranks[blob] - 1), [variable], [blob]))
        del twin.aliases[blob]
    return twin


def names_of_input(net: Network, variable: str) -> list[str]:
    """See `Network.names_of_input`.

    If layers change an input blob in place, the blob's name means the final value, and the input is the variable
    `<blob>_before_<layer>`.
    """
    own = [variable, *(alias for alias, target in net.aliases.items() if target == variable)]
    blobs = [name.partition(IN_PLACE)[0] for name in own if IN_PLACE in name]
    variables = net.variables
    return [*own, *(blob for blob in blobs if blob in net.aliases or blob in variables)]


MOST_X = 16


def free_name(name: str, taken: Container[str], repeats: dict[str, int]) -> str:
    """`name`, with `x` appended until it is free, as MatConvNet's importer does.

    After `MOST_X` times a number is appended instead, so that thousands of equal names stay short. repeats: the last
    number of each name.

    >>> free_name("a", {"a", "ax"}, {})
    'axx'
    """
    if name not in taken:
        return name
    for count in range(1, MOST_X + 1):
        longer = name + "x" * count
        if longer not in taken:
            return longer
    while True:
        repeats[name] = number = repeats.get(name, MOST_X) + 1
        if f"{name}_{number}" not in taken:
            return f"{name}_{number}"


def with_unique_names(layers: Iterable[Any]) -> list[Any]:
    """Copies of dataclass instances with a `name`; repeated names are changed by `free_name`."""
    repeats: dict[str, int] = {}
    unique: dict[str, Any] = {}
    for layer in layers:
        name = free_name(layer.name, unique, repeats)
        unique[name] = replace(layer, name=name)
    return list(unique.values())
