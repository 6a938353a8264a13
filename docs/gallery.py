"""The directive `gallery`: the first picture of every page in the toctree of its own page, as a link to that page."""

from __future__ import annotations

import copy
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive


class Gallery(Directive):
    """The place of the pictures of all examples."""

    def run(self) -> list[nodes.Node]:
        return [GalleryNode()]


class GalleryNode(nodes.General, nodes.Element):
    """Replaced by the pictures, when all pages have been read."""


def fill_gallery(app: Any, doctree: nodes.document, name: str) -> None:
    """The first picture of each example, with its title, as a link to it."""
    for place in list(doctree.findall(GalleryNode)):
        shown = nodes.container(classes=["gallery"])
        for page in app.env.toctree_includes.get(name, []):
            picture = next(iter(app.env.get_doctree(page).findall(nodes.image)), None)
            if picture is None:
                continue
            target = app.builder.get_relative_uri(name, page)
            title = app.env.titles[page].astext()
            picture = copy.deepcopy(picture)
            picture["alt"] = title
            link = nodes.reference("", "", picture, nodes.inline("", title), refuri=target, internal=True)
            shown += nodes.paragraph("", "", link)
        place.replace_self(shown)


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("gallery", Gallery)
    app.add_node(GalleryNode)
    app.connect("doctree-resolved", fill_gallery)
    return {"parallel_read_safe": True}
