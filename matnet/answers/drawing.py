"""`net.draw()` and `net.summary()`: a network as SVG, and as text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from matnet.files import atomic_write

if TYPE_CHECKING:
    from matnet.network import Network


class Drawing:
    """The graph of a network as an SVG document; notebooks show it, `save` writes it."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<Drawing: SVG of {len(self.svg):,} characters; save(path) writes it>"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the SVG file. Raises FileFormatError if its folder does not exist."""
        with atomic_write(path) as file:
            file.write(self.svg.encode("utf-8", "replace"))
        return Path(path)


def draw(net: Network) -> Drawing:
    """The graph, with layers as boxes and variables as lines."""
    from matnet.display.svg import network_svg
    from matnet.display.table import network_table
    from matnet.meta import display_name

    return Drawing(network_svg(network_table(net), display_name(net)))


def summary(net: Network) -> str:
    """The output of `matnet show`: facts about the network, a row per layer, and totals."""
    from matnet.display.markup import printable
    from matnet.display.summary import summary as described
    from matnet.display.table import network_table
    from matnet.display.text import table_text, totals

    table = network_table(net)
    lines = [f"{label:17} {text}" for label, text in described(net, table)]
    lines += ["", *table_text(table).splitlines(), ""]
    lines += [f"{label:17} {text}" for label, text in totals(table)]
    return "\n".join(printable(line) for line in lines)
