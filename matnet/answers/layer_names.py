"""Resolve the names and patterns of variables, such as `conv5*`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from matnet.errors import NetworkError, listing, nearest, where_names_are

if TYPE_CHECKING:
    from matnet.network import Network


def named_layers(net: Network, asked: Sequence[str]) -> dict[str, str]:
    """Name -> variable for each name in `asked`: a variable, a layer, a blob, or a pattern.

    A pattern (`*`, `?`, `[...]`) yields each variable once, in the network's order, under its first matching name.
    Raises one NetworkError for all unknown names, with the nearest names.
    """
    found: dict[str, str] = {}
    wrong = []
    for name in asked:
        matching = dict(_matching(net, name))
        if not matching:
            hint = nearest(name, [*net.variables, *net.layers, *net.aliases])
            wrong.append(f"no variable or layer is called {name!r}{hint}; {where_names_are()}")
        found.update(matching)
    if wrong:
        raise NetworkError(
            f"{net.source}: {wrong[0]}" if len(wrong) == 1 else listing(f"{net.source}: no such layers:", wrong)
        )
    return found


def _matching(net: Network, name: str) -> Iterator[tuple[str, str]]:
    known = [*net.variables, *net.layers, *net.aliases]
    if name in known:
        yield name, net.with_blobs([name]).resolve(name)
    elif any(character in name for character in "*?["):
        from matnet.names import IN_PLACE

        seen = set()
        for candidate in known:
            if (IN_PLACE in candidate and IN_PLACE not in name) or not fnmatchcase(candidate, name):
                continue
            variable = net.resolve(candidate)
            if variable not in seen:
                seen.add(variable)
                yield candidate, variable
