"""How the names of class folders meet the classes of a network: exactly, by WordNet id, by synonym, by position."""

from __future__ import annotations

import re
from collections.abc import Sequence

from matnet.errors import DataError, listing, nearest

WNID = re.compile(r"n\d{8}(?!\d)")


def matched(folders: Sequence[str], classes: Sequence[str], descriptions: Sequence[str]) -> tuple[list[int], list[str]]:
    """The class of each folder, and notes on how it was found."""
    found = _by_name(folders, classes, descriptions)
    if not any(found):
        return _by_position(folders, classes)
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
        raise DataError(listing(f"{len(problems)} class folder(s) do not fit the network's classes:", problems))
    return position, []


def _by_name(folders: Sequence[str], classes: Sequence[str], descriptions: Sequence[str]) -> list[set[int]]:
    """The classes that each folder's name fits, by the strictest rule that fits any."""
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
    """The WordNet ids that the texts begin with: `n01440764_tench`, `n01440764 tench, Tinca tinca`."""
    return {match.group() for match in map(WNID.match, texts) if match}


def _synonyms(texts: Sequence[str]) -> set[str]:
    """Each text whole, and each of its comma-separated terms, without a leading WordNet id."""
    terms: set[str] = set()
    for text in texts:
        words = _plain(WNID.sub("", text, count=1) if WNID.match(text) else text)
        terms.update([words, *(term.strip() for term in words.split(","))])
    return terms - {""}


def _plain(text: str) -> str:
    return " ".join(re.split(r"[\s_-]+", text)).strip().casefold()


def _by_position(folders: Sequence[str], classes: Sequence[str]) -> tuple[list[int], list[str]]:
    """Classes by number, where the folders are numbers; else in sorted order, where there are as many."""
    if all(folder.isascii() and folder.isdigit() for folder in folders):
        numbers = [int(folder[-9:]) for folder in folders]
        first = 1 if classes and min(numbers) >= 1 and max(numbers) == len(classes) else 0
        note = f"class folders are taken as class numbers, counted from {first}"
        return [number - first for number in numbers], [note]
    if classes and len(folders) != len(classes):
        raise DataError(
            f"none of the {len(folders)} class folders ({', '.join(folders[:3])}, ...) is one of the "
            f"network's {len(classes)} classes ({', '.join(classes[:3])}, ...); rename them or give a list"
        )
    reason = "their names match no class" if classes else "the network names no classes"
    return list(range(len(folders))), [f"the classes of the images are counted in sorted order, because {reason}"]
