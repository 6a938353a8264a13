"""Match class folders to the classes of a network: by name, WordNet id, synonym, or position."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from matnet.errors import DataError, in_words, listing, nearest

IMAGENET = 1000  # classes; two orders of them have names
WNID = re.compile(r"n\d{8}(?!\d)")


def how_to_state(outputs: int | None) -> str:
    """The advice to give the class order of a network with `outputs` classes (None: unknown)."""
    ways = in_words("classes=", "--classes FILE,")
    if outputs in (None, IMAGENET):
        named = in_words("classes='ilsvrc12', classes='devkit', or", "--classes ilsvrc12, --classes devkit, or")
        ways = f"{named} {ways}"
    return f"give the class order with {ways} a list with one name or WordNet id per output"


class Match(NamedTuple):
    """The class of each folder, notes on the matching, and the reason for doubt if the class order is unknown."""

    position: list[int]
    notes: tuple[str, ...] = ()
    doubt: str = ""


def matched(
    folders: Sequence[str], classes: Sequence[str], descriptions: Sequence[str], outputs: int | None = None
) -> Match:
    """The class of each folder. outputs: the number of classes, if the network has no class names.

    Raises DataError for folders that match no class or several, and if no name matches and the number of folders is not
    the number of classes.
    """
    found = places_by_name(folders, classes, descriptions)
    if not any(found):
        return _by_position(folders, classes, outputs)
    problems = [
        f"{folder}: no such class{nearest(folder, [*classes, *descriptions])}"
        if not matches
        else f"{folder}: could be any of classes {', '.join(f'{k} ({classes[k]})' for k in sorted(matches))}"
        for folder, matches in zip(folders, found, strict=True)
        if len(matches) != 1
    ]
    position = [min(matches, default=-1) for matches in found]
    for k in sorted({k for k in position if k >= 0 and position.count(k) > 1}):
        same = [folder for folder, place in zip(folders, position, strict=True) if place == k]
        problems.append(f"{', '.join(same)}: all are class {k} ({classes[k]})")
    if problems:
        raise DataError(listing(f"class folders that do not match the network's classes ({len(problems)}):", problems))
    return Match(position)


def places_by_name(folders: Sequence[str], classes: Sequence[str], descriptions: Sequence[str]) -> list[set[int]]:
    """The classes that each folder's name matches, by the strictest rule with a match."""
    tables: list[dict[str, set[int]]] = [{}, {}, {}]
    for k, name in enumerate(classes):
        text = [name, descriptions[k]] if k < len(descriptions) else [name]
        for table, keys in zip(tables, ([name], _wnids(text), _synonyms(text)), strict=True):
            for key in keys:
                table.setdefault(key, set()).add(k)
    exact, wnid, synonym = tables
    found = []
    for folder in folders:
        by_id = set().union(*(wnid.get(key, set()) for key in _wnids([folder])))
        found.append(exact.get(folder) or by_id or synonym.get(_plain(folder)) or set())
    return found


def _wnids(texts: Sequence[str]) -> set[str]:
    """The WordNet ids at the start of texts: `n01440764_tench`, `n01440764 tench, Tinca tinca`."""
    return {match.group() for match in map(WNID.match, texts) if match}


def _synonyms(texts: Sequence[str]) -> set[str]:
    """Each whole text, and each of its comma-separated terms, without a leading WordNet id."""
    terms: set[str] = set()
    for text in texts:
        words = _plain(WNID.sub("", text, count=1) if WNID.match(text) else text)
        terms.update([words, *(term.strip() for term in words.split(","))])
    return terms - {""}


def _plain(text: str) -> str:
    return " ".join(re.split(r"[\s_-]+", text)).strip().casefold()


def _by_position(folders: Sequence[str], classes: Sequence[str], outputs: int | None) -> Match:
    """Classes by number if the folders are numbers; else in sorted order if there are as many folders as classes."""
    count = len(classes) or outputs
    if all(folder.isascii() and folder.isdigit() for folder in folders):
        numbers = [int(folder[-9:]) for folder in folders]
        first = 1 if count and min(numbers) >= 1 and max(numbers) == count else 0
        note = f"class folders are read as class numbers from {first}"
        return Match([number - first for number in numbers], (note,), "" if first else from_one(numbers))
    shown = ", ".join(folders[:3])
    if count and len(folders) != count:
        if classes:
            raise DataError(
                f"none of the {len(folders)} class folders ({shown}, ...) is one of the "
                f"network's {count} classes ({', '.join(classes[:3])}, ...); rename them, or {how_to_state(count)}"
            )
        raise DataError(
            f"the network has {count} classes without names, but the data has {len(folders)} ({shown}, ...), so they "
            f"cannot be matched by position; {how_to_state(count)}"
        )
    reason = "their names match no class" if classes else "the network has no class names"
    note = f"the images' classes are numbered in sorted order, because {reason}"
    return Match(list(range(len(folders))), (note,), f"the class order is unknown; {how_to_state(count)}")


def from_one(labels: Sequence[int]) -> str:
    """A reason for doubt if labels are 1, 2, ..., N without 0, as if they were 1-based; else ""."""
    different = sorted(set(labels))
    if len(different) > 1 and different == list(range(1, len(different) + 1)):
        return f"the labels are 1 to {different[-1]} and seem to be 1-based; class numbers start at 0"
    return ""
