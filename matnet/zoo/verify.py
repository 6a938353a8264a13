"""Identify files and their generation by MD5 and SHA-1, independent of their names, and check their integrity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matnet.errors import DataError, program
from matnet.zoo.cache import place_of, present_file, present_mat
from matnet.zoo.cards import Card, RemoteFile, all_cards
from matnet.zoo.checks import damage, digests, mismatch

OK, MISMATCH, UNKNOWN, ABSENT = "OK", "MISMATCH", "unknown", "absent"
MODEL_SUFFIXES = (".mat", ".caffemodel", ".binaryproto")
IN_PASSING = (".part", ".lock", ".json", ".bad", ".damaged", ".sha256")  # a download's files beside its target
OWN_HEADER = b"Created by: matnet"


@dataclass(frozen=True)
class FileIdentity:
    """The identity of one file. status: OK, MISMATCH, unknown, absent. generation: its publication date."""

    path: str
    status: str
    model: str = ""
    generation: str = ""
    detail: str = ""
    bytes: int | None = None
    md5: str = ""
    sha1: str = ""

    def record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Known:
    card: Card
    file: RemoteFile
    generation: str = ""


class Catalogue:
    """All files in the cards, by checksum and by name."""

    def __init__(self, cards: Iterable[Card]) -> None:
        self.by_hash: dict[str, _Known] = {}
        self.by_name: dict[str, _Known] = {}
        for card in cards:
            for when, digest in card.md5.items():
                self.by_hash.setdefault(digest, _Known(card, card.mat_file(), when))
            self.by_name.setdefault(card.mat.lower(), _Known(card, card.mat_file()))
            for file in _with_archives(card.files):
                for digest in file.hashes.values():
                    self.by_hash.setdefault(digest, _Known(card, file))
                self.by_name.setdefault(file.file.lower(), _Known(card, file))

    def identify(self, path: Path) -> FileIdentity:
        """Identify a file, reading it once."""
        if not path.is_file():
            return self._absent(path)
        sums = digests(path, ["md5", "sha1"])
        found: dict[str, Any] = {"path": str(path), "bytes": path.stat().st_size, **sums}
        match = self.by_hash.get(sums["md5"]) or self.by_hash.get(sums["sha1"])
        if match:
            detail = "" if path.name == match.file.file else f"is {match.file.file}"
            return FileIdentity(status=OK, model=match.card.name, generation=match.generation, detail=detail, **found)
        named = self.by_name.get(path.name.lower())
        if named is None:
            fault = damage(path) if path.suffix.lower() in MODEL_SUFFIXES else None
            return FileIdentity(status=MISMATCH if fault else UNKNOWN, detail=fault or "", **found)
        status, detail = _judged(path, named)
        return FileIdentity(status=status, model=named.card.name, detail=detail, **found)

    def _absent(self, path: Path) -> FileIdentity:
        named = self.by_name.get(path.name.lower())
        return FileIdentity(str(path), ABSENT, named.card.name if named else "")


def verify(paths: Iterable[Path] | None = None, cards: Iterable[Card] | None = None) -> Iterator[FileIdentity]:
    """The identity of each file, and of each file in each folder; without paths, of all files in the cards.

    These are every published `.mat` file, even if absent, and the Caffe files on this machine. Raises DataError if
    there are no files.
    """
    known = list(all_cards() if cards is None else cards)
    catalogue = Catalogue(known)
    files = list(dict.fromkeys(_published(known) if paths is None else _expanded(paths)))
    if not files:
        raise DataError("no files to verify; give files, or folders that contain files")
    for file in files:
        yield catalogue.identify(file)


def _judged(path: Path, named: _Known) -> tuple[str, str]:
    """The status, and its reason, of a file with a known name but an unknown checksum."""
    accepted: Mapping[str, str] = named.card.md5 if named.file.role == "mat" else {}
    fault = damage(path, named.file.size)
    if fault is None and named.file.role == "mat" and _made_here(path):
        return UNKNOWN, f"converted by matnet; compare its contents with `{program('diff')}`"
    fault = fault or mismatch(path, named.file, accepted)
    if fault:
        return MISMATCH, fault
    return (OK, "") if named.file.hashes else (UNKNOWN, "no checksum was published")


def _made_here(path: Path) -> bool:
    with path.open("rb") as file:
        return OWN_HEADER in file.read(128)


def _with_archives(files: Iterable[RemoteFile]) -> Iterator[RemoteFile]:
    for file in files:
        yield file
        if file.archive is not None:
            yield file.archive


def _published(cards: Iterable[Card]) -> Iterator[Path]:
    """The paths of the cards' files, including those of absent published `.mat` files."""
    for card in cards:
        mat = present_mat(card)
        if mat or card.mat_urls:
            yield mat or place_of(card, card.mat_file())
        yield from filter(None, (present_file(card, file) for file in _with_archives(card.files)))


def _expanded(paths: Iterable[Path]) -> Iterator[Path]:
    """The given files, and all files in folders, except hidden ones and temporary files of downloads."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for file in sorted(path.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            if file.is_file() and not hidden and file.suffix not in IN_PASSING:
                yield file
