"""Convert a model of the zoo from Caffe by name: download, check, convert with the card's options, compare."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matnet.comparison import Comparison, compare
from matnet.errors import NetworkError, in_words, program
from matnet.files import check_outputs
from matnet.formats import load_network, save_network
from matnet.formats.find import refuse_to_replace_data
from matnet.kinds import MAT
from matnet.network import Network
from matnet.zoo.cache import present_mat
from matnet.zoo.cards import Card, RemoteFile
from matnet.zoo.checks import digests
from matnet.zoo.fetch import Fetcher
from matnet.zoo.names import find_card
from matnet.zoo.random_weights import FROM_FILES, definition

SHOWN = 5
"""The most listed differences from the published file."""


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion: the file, its MD5, and the conversion's notes.

    It also holds the published generation with the same MD5 ("" for none), and the comparison with the published file
    if that is on this machine.
    """

    card: Card
    path: Path
    md5: str
    generation: str
    notes: tuple[str, ...]
    published: Path | None
    comparison: Comparison | None

    def report(self) -> list[str]:
        """The checksum and the comparison with the published file, as lines of text."""
        lines = [f"{self.path}: MD5 {self.md5}"]
        if self.generation:
            lines.append(f"the same bytes as the file published {self.generation}")
        elif self.card.md5:
            lines.append(f"published: {', '.join(f'{md5} ({when})' for when, md5 in self.card.md5.items())}")
        else:
            lines.append("no checksum of a .mat file of this model was published")
        if self.comparison is not None:
            same = sum(param.within(0) for param in self.comparison.params)
            differing = len(self.comparison.structure), len(self.comparison.meta)
            lines.append(
                f"contents against {self.published}: {same} of {len(self.comparison.params)} params are the same, "
                f"{differing[0]} differences of structure, {differing[1]} of meta"
            )
            lines += self._differences()
        elif self.card.md5 and not self.generation:
            lines.append(
                f"MD5 sums differ where headers do; `{program('zoo')} fetch {self.card.name}` to compare contents"
            )
        return lines

    def _differences(self) -> list[str]:
        """The first differences from the published file, one per line, and the command that lists all."""
        assert self.comparison is not None
        found = [*self.comparison.structure, *self.comparison.meta]
        if not found:
            return []
        shown = [f"  {line}" for line in found[:SHOWN]]
        every = f"{program('diff')} {self.published} {self.path}"
        return [*shown, f"  (first: the published file; second: {self.path}; `{every}` lists all)"]


def convert_named(
    name: str,
    out: str | os.PathLike[str] | None = None,
    *,
    prototxt: str | os.PathLike[str] | None = None,
    caffemodel: str | os.PathLike[str] | None = None,
    fetcher: Fetcher | None = None,
    options: Mapping[str, Any] | None = None,
    format: str = "auto",
    version: str = "5",
) -> Conversion:
    """Convert a model of the zoo and write it, by default to its .mat file's name in the current folder.

    prototxt, caffemodel: the user's own definition and weights, instead of the card's. fetcher: downloads the files.
    options: keywords of `convert_caffe` that override the card's. format: `auto` is the card's. version: of the MAT
    file. Raises UnknownModelError, DownloadError with instructions for a manual download, NetworkError if the card has
    no definition or weights, and what the conversion raises.
    """
    card = find_card(name)
    net = convert_card(card, fetcher, options, prototxt, caffemodel)
    target = Path(out if out is not None else card.mat)
    check_outputs([(target, MAT)], [*net.source.files, present_mat(card)])
    refuse_to_replace_data(target)
    save_network(net, target, format=card.format if format == "auto" else format, version=version)
    return _compared(card, target, tuple(net.source.notes))


ALTERNATIVES = ({"labels", "class_names"}, {"mean", "mean_values"})
"""Options that state the same thing: what a person gives replaces both of a card."""


def convert_card(
    card: Card,
    fetcher: Fetcher | None = None,
    options: Mapping[str, Any] | None = None,
    prototxt: str | os.PathLike[str] | None = None,
    caffemodel: str | os.PathLike[str] | None = None,
) -> Network:
    """The network of a card, converted from its Caffe files, or from the user's own definition and weights.

    The card's files are downloaded if necessary. Raises the errors of `convert_named`.
    """
    from matnet.converters import convert_caffe

    definition_file = Path(prototxt) if prototxt is not None else definition(card)
    own = own_options(card, options or {})
    needed: dict[str, RemoteFile | Path] = {} if caffemodel is not None else {"caffemodel": _weights(card)}
    needed |= {name: _listed(card, own[name]) for name in FROM_FILES if own.get(name) is not None}
    remote = {name: file for name, file in needed.items() if isinstance(file, RemoteFile)}
    here = dict(zip(remote, (fetcher or Fetcher()).several(card, list(remote.values())), strict=True))
    own.update({name: here.get(name, file) for name, file in needed.items() if name != "caffemodel"})
    return convert_caffe(definition_file, here.get("caffemodel", caffemodel), **own, **(options or {}))


def own_options(card: Card, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a card's conversion that a person's options leave as they are."""
    given = set(options)
    given.update(*(pair for pair in ALTERNATIVES if given & pair))
    return {name: value for name, value in card.convert.items() if name not in given}


def _weights(card: Card) -> RemoteFile:
    """The card's caffemodel. Raises NetworkError if there is none."""
    weights = card.file("caffemodel")
    if weights is not None:
        return weights
    if card.mat_urls:
        why = f"it was trained in MatConvNet; `{program('zoo')} fetch {card.name}` gets its .mat file"
    else:
        page = f" (see {card.page})" if card.page else ""
        why = f"none were published{page}; give your own with {in_words('caffemodel=', '--caffemodel')}"
    raise NetworkError(f"{card.name}: no Caffe weights to convert: {why}")


def _listed(card: Card, named: str) -> RemoteFile | Path:
    """The file of a card's option: one to download, or one beside the card."""
    return next((file for file in card.files if file.file == named), card.folder / named)


def _compared(card: Card, path: Path, notes: tuple[str, ...]) -> Conversion:
    md5 = digests(path, ["md5"])["md5"]
    generation = next((when for when, digest in card.md5.items() if digest == md5), "")
    published = present_mat(card)
    if published is not None and published.resolve() == path.resolve():
        published = None
    comparison = compare(load_network(published), load_network(path)) if published is not None else None
    return Conversion(card, path, md5, generation, notes, published, comparison)
