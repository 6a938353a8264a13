"""Model cards: the fields of `models/<name>/readme.md` as a frozen record, checked when read.

models/README.md describes the format, with a full example.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from matnet.errors import FileFormatError, listing, nearest
from matnet.files import models_folder
from matnet.zoo.front_matter import read_front_matter, read_yaml
from matnet.zoo.schema import CARD_FIELDS, FILE_FIELDS, HASHES, METRICS, REQUIRED, faults_of, file_name

log = logging.getLogger(__name__)

CARD = "readme.md"
COMMON_FILES = "common.yaml"


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file to download: its local name, its addresses and its checksums.

    urls: tried in order. hashes: algorithm -> hexadecimal digest; empty if none was published. size: bytes, or None.
    archive: the archive that contains the file, at the path `member`; `urls` is then empty.
    """

    file: str
    role: str = "other"
    urls: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    archive: RemoteFile | None = None
    member: str = ""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Published figures in percent, except images_per_s; tolerance: the difference that `eval --check` accepts.

    unmeasured: why `reproduce` has no row for them, or "".
    """

    source: str
    data: str = ""
    protocol: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    tolerance: float | None = None
    unmeasured: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One model of the zoo; fields missing in its readme.md are empty, or None.

    name: matnet's name of the model (its folder, or its variant). title: its authors' name. family: the folder that
    this variant shares with others, or "". mat: name of the .mat file. mat_urls: where it was published. md5: its
    checksum by date of publication. files: the Caffe files. prototxt: the definition beside the card, or None. convert:
    options of `convert_caffe`, with file names as in `files`. inputs: (channels, height, width) by input. parameters:
    number of learned values of the converted network.
    """

    name: str
    title: str
    folder: Path
    prose: str
    family: str = ""
    caffemodel: str = ""
    caffemodel_url: str = ""
    license: str = ""
    sha1: str = ""
    caffe_commit: str = ""
    gist_id: str = ""
    aliases: tuple[str, ...] = ()
    task: str = ""
    introduced: int | None = None
    page: str = ""
    citation: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    format: str = ""
    mat: str = ""
    mat_urls: tuple[str, ...] = ()
    mat_size: int | None = None
    md5: Mapping[str, str] = field(default_factory=dict)
    files: tuple[RemoteFile, ...] = ()
    definition: str = ""
    prototxt: Path | None = None
    convert: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    parameter_bytes: int | None = None
    layers: int | None = None
    published: tuple[Published, ...] = ()
    test_images: Path | None = None

    def file(self, role: str) -> RemoteFile | None:
        """The first file with a role (`caffemodel`, `mean`, ...), or None."""
        return next((file for file in self.files if file.role == role), None)

    def mat_file(self) -> RemoteFile:
        """The published .mat file, without hashes: any generation in `md5` is accepted."""
        return RemoteFile(file=self.mat, role="mat", urls=self.mat_urls, size=self.mat_size)


# -- reading --------------------------------------------------------------------------------------------


def all_cards() -> tuple[Card, ...]:
    """Every card, sorted by name: matnet's, then the user's own in `<home>/models`.

    Raises FileFormatError that lists all errors in matnet's own cards. A faulty card of the user is skipped with a
    warning, so that commands still work.
    """
    from matnet.zoo.cache import home

    return cards_in(models_folder()) + cards_in(home() / "models", skip_faulty=True)


@cache
def cards_in(models: Path, skip_faulty: bool = False) -> tuple[Card, ...]:
    """The cards of the folders in `models`, sorted by name; cached in the process.

    Raises FileFormatError that lists all errors, or logs them with `skip_faulty`.
    """
    cards: list[Card] = []
    faults: list[str] = []
    for readme in sorted(models.glob(f"*/{CARD}")):
        try:
            cards += read_cards(readme.parent)
        except FileFormatError as error:
            faults += str(error).splitlines()
    faults += _double_names(cards)
    if faults and skip_faulty:
        log.warning(listing(f"{models}: skipped faulty model cards:", faults))
    elif faults:
        raise FileFormatError(listing(f"{models}: errors in model cards:", faults, limit=100))
    return tuple(sorted(cards, key=lambda card: card.name))


def _double_names(cards: Iterable[Card]) -> list[str]:
    owners: dict[str, str] = {}
    faults = []
    for card in cards:
        for name in dict.fromkeys((card.name, *card.aliases)):
            if owners.setdefault(name, card.name) != card.name:
                faults.append(f"{name!r} is a name of both {owners[name]} and {card.name}")
    return faults


def read_cards(folder: str | os.PathLike[str]) -> list[Card]:
    """The card in a folder, or one card per variant. Raises FileFormatError that lists every error."""
    readme = Path(folder) / CARD
    fields, prose = read_front_matter(readme)
    variants = fields.pop("variants", None)
    faults: list[str] = []
    if variants is None:
        named = {readme.parent.name: fields}
    elif isinstance(variants, dict) and variants and all(isinstance(own, dict) for own in variants.values()):
        named = {str(name): {**fields, **own} for name, own in variants.items()}
    else:
        raise FileFormatError(f"{readme}: `variants` must map each name to the fields that differ")
    cards = []
    for name, own in named.items():
        where = f"{name}: " if variants else ""
        found = [f"{where}{fault}" for fault in _faults(own, readme.parent)]
        faults += found
        if not found:
            cards.append(_card(name, own, prose, readme.parent, readme.parent.name if variants else ""))
    if faults:
        different = dict.fromkeys(faults)
        raise FileFormatError(listing(f"{readme}: errors in the card ({len(different)}):", different, limit=100))
    return cards


def _faults(fields: dict[str, Any], folder: Path) -> list[str]:
    """The errors in a card's fields, and the contradictions between them."""
    faults = list(faults_of(fields, CARD_FIELDS, REQUIRED))
    if faults:
        return faults
    prototxt = folder / (fields.get("prototxt") or "deploy.prototxt")
    if fields["definition"] == "unknown" and prototxt.exists():
        faults.append(f"definition is unknown, but {prototxt.name} exists")
    if fields["definition"] != "unknown" and not prototxt.is_file():
        faults.append(f"definition is {fields['definition']!r}, but there is no {prototxt.name}")
    count, size = fields.get("parameters"), fields.get("parameter_bytes")
    if count is not None and size is not None and size != 4 * count:
        faults.append(f"parameter_bytes is {size:,}, but {count:,} parameters of 4 bytes are {4 * count:,}")
    if fields.get("caffemodel_url") and not fields.get("caffemodel"):
        faults.append("caffemodel_url is given, but caffemodel (the file's name) is missing")
    for entry in fields.get("caffe_files") or ():
        faults += _file_faults(entry, fields, folder)
    known = {entry.get("file") or entry.get("common") for entry in fields.get("caffe_files") or ()}
    for option in ("mean", "labels"):
        wanted = (fields.get("convert") or {}).get(option)
        if wanted is None:
            continue
        if fault := file_name(wanted):
            faults.append(f"convert.{option} {fault}")
        elif wanted not in known and not (folder / wanted).is_file():
            faults.append(f"convert.{option} is {wanted!r}, which is neither in caffe_files nor in the folder")
    return faults


def _file_faults(entry: dict[str, Any], fields: dict[str, Any], folder: Path) -> list[str]:
    name = entry.get("file") or entry.get("common") or (entry.get("role") == "caffemodel" and fields.get("caffemodel"))
    if not name:
        return ["caffe_files: an entry needs `file` or `common` (except the caffemodel named above)"]
    faults = []
    common, known = entry.get("common"), common_files(folder.parent)
    if common and common not in known:
        faults.append(f"{common!r} is not in {COMMON_FILES}{nearest(common, known)}")
    if common and len(entry.keys() - {"role", "common"}):
        faults.append(f"{name}: `common` allows no other field except `role`")
    if bool(entry.get("archive")) != bool(entry.get("member")):
        faults.append(f"{name}: `archive` and `member` must be given together")
    return faults


@cache
def common_files(models: Path) -> Mapping[str, RemoteFile]:
    """The files that several cards share, by name, from common.yaml. Raises FileFormatError that lists its errors."""
    path = models / COMMON_FILES
    if not path.is_file():
        return {}
    entries = read_yaml(path)
    if not isinstance(entries, list):
        raise FileFormatError(f"{path}: expected a list of files")
    faults = [fault for entry in entries for fault in faults_of(entry, FILE_FIELDS, ("file", "role"))]
    if faults:
        raise FileFormatError(listing(f"{path}: errors:", faults))
    return {entry["file"]: _remote_file(entry) for entry in entries}


# -- fields -> records ------------------------------------------------------------------------------------


def _card(name: str, fields: dict[str, Any], prose: str, folder: Path, family: str) -> Card:
    given = {key: value for key, value in fields.items() if value is not None}
    prototxt = folder / given.pop("prototxt", "deploy.prototxt")
    tests = given.pop("test_images", None)
    published = given.pop("published", ())
    given.update(
        title=given.pop("name"),
        mat=given.get("mat", f"{name}.mat"),
        mat_urls=tuple(given.pop("mat_url", ())),
        md5={str(when): digest for when, digest in given.get("md5", {}).items()},
        inputs={str(key): tuple(size) for key, size in given.get("inputs", {}).items()},
        files=tuple(_files(given, folder.parent)),
    )
    given.pop("caffe_files", None)
    for key in ("aliases", "citation", "evidence", "outputs"):
        given[key] = tuple(given.get(key, ()))
    return Card(
        name=name,
        folder=folder,
        prose=prose,
        family=family,
        prototxt=prototxt if prototxt.is_file() else None,
        published=tuple(_published(entry) for entry in published),
        test_images=folder / tests if tests else None,
        **given,
    )


def _files(fields: dict[str, Any], models: Path) -> list[RemoteFile]:
    """The Caffe files; Caffe's own three fields hold the caffemodel's name, first address and SHA-1."""
    entries = [dict(entry) for entry in fields.get("caffe_files", ())]
    named = fields.get("caffemodel")
    if named and not any(entry.get("role") == "caffemodel" for entry in entries):
        entries.insert(0, {"role": "caffemodel"})
    files = []
    for entry in entries:
        if entry.get("common"):
            files.append(common_files(models)[entry["common"]])
            continue
        if entry.get("role") == "caffemodel" and entry.get("file", named) == named:
            address = fields.get("caffemodel_url")
            entry["file"] = named
            if address and not entry.get("archive"):
                entry["urls"] = list(dict.fromkeys([address, *(entry.get("urls") or ())]))
            if fields.get("sha1"):
                entry.setdefault("sha1", fields["sha1"])
        files.append(_remote_file(entry))
    return files


def _remote_file(entry: Mapping[str, Any]) -> RemoteFile:
    archive = entry.get("archive")
    return RemoteFile(
        file=entry["file"],
        role=entry.get("role") or ("archive" if "role" not in entry else "other"),
        urls=tuple(entry.get("urls") or ()),
        hashes={kind: entry[kind] for kind in HASHES if entry.get(kind)},
        size=entry.get("size"),
        archive=_remote_file({"role": "archive", **archive}) if archive else None,
        member=entry.get("member") or "",
    )


def _published(entry: Mapping[str, Any]) -> Published:
    return Published(
        source=entry["source"],
        data=entry.get("data") or "",
        protocol=entry.get("protocol") or "",
        figures={metric: float(entry[metric]) for metric in METRICS if entry.get(metric) is not None},
        tolerance=entry.get("tolerance"),
        unmeasured=entry.get("unmeasured", ""),
    )
