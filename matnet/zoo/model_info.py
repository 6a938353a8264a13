"""Export and import folders in Caffe's model format: a readme.md with model info, a prototxt, a caffemodel."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from matnet.converters.files.text import LARGEST
from matnet.errors import FileFormatError, listing
from matnet.files import atomic_write, existing_file, make_folder, temporary_folder
from matnet.zoo.archives import unpack_flat
from matnet.zoo.cache import home, present_file
from matnet.zoo.cards import CARD, Card, all_cards, cards_in, read_cards
from matnet.zoo.checks import digests
from matnet.zoo.front_matter import FENCE, read_front_matter, text_of
from matnet.zoo.names import find_card, normalised

CAFFE_FIELDS = ("name", "caffemodel", "caffemodel_url", "sha1", "license", "caffe_commit", "gist_id")
NEEDED_TO_DOWNLOAD = ("caffemodel", "caffemodel_url", "sha1")  # by scripts/download_model_binary.py
GIST_FOLDER = re.compile(r"(?:[\w-]+-)?[0-9a-f]{20}(?:[0-9a-f]{12})?")  # the folders of download_model_from_gist.sh
UNFENCED = re.compile(rf"^[\s>*+-]*\**({'|'.join(CAFFE_FIELDS)})\**\s*:\**\s*(.*?)\s*$", re.MULTILINE)
DEFINITIONS = ("deploy.prototxt", "*deploy*.prototxt", "*.prototxt")


def export_info(name: str, folder: Path) -> list[Path]:
    """Write a model for Caffe's tools: `readme.md`, `deploy.prototxt`. Returns the files.

    Caffe's download script can then download the weights to the folder and check their SHA-1. Its first versions skip
    the last line of the info, so that line holds nothing they need. Raises UnknownModelError, and FileFormatError if
    the folder already holds a card.
    """
    card = find_card(name)
    readme = folder / CARD
    for name in (CARD, "deploy.prototxt"):
        if (folder / name).exists():
            raise FileFormatError(f"{folder / name}: already exists; choose another folder")
    make_folder(folder)
    written = [readme]
    if card.prototxt is not None:
        written.insert(0, folder / "deploy.prototxt")
        _write(written[0], card.prototxt.read_bytes())
    try:
        _write(readme, _readme(caffe_fields(card), card.prose).encode())
    except FileFormatError:
        (folder / "deploy.prototxt").unlink(missing_ok=True)
        raise
    return written[::-1]


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)


def caffe_fields(card: Card) -> dict[str, str]:
    """Caffe's fields in a card; if no SHA-1 was published, that of the weights on this machine."""
    values = {field: str(getattr(card, field)) for field in CAFFE_FIELDS} | {"name": card.title}
    weights = card.file("caffemodel")
    here = present_file(card, weights) if weights else None
    if here is not None and not card.sha1:
        values["sha1"] = digests(here, ["sha1"])["sha1"]
    return {field: value for field, value in values.items() if value}


def import_info(source: Path, name: str | None = None, task: str = "classification") -> Card:
    """Import a folder in Caffe's format, or a gist's .zip, into the user's zoo `<home>/models`. Returns its card.

    name: the model's name; by default the folder's, or the one in the info if the folder's name is a gist id. The info
    may be between fences, or in lines `name: ...` of the text, as in older gists. The prototxt is copied; the
    caffemodel stays in place. Raises FileFormatError if there is no info, not exactly one prototxt, or already a card
    with that name.
    """
    if source.is_dir():
        return _import_folder(source, name, task)
    with tempfile.TemporaryDirectory() as staging:
        folder = Path(staging) / source.stem
        folder.mkdir()
        packed = existing_file(source, "folder or .zip file")
        unpack_flat(packed, folder, lambda inner: inner.lower() == CARD or inner.endswith(".prototxt"))
        return _import_folder(folder, name, task)


def _import_folder(folder: Path, name: str | None, task: str) -> Card:
    readme = _readme_of(folder)
    info, prose = _caffe_info(readme)
    own = folder.resolve().name
    called = name or (info.get("name", own).lower() if GIST_FOLDER.fullmatch(own) else own)
    called = re.sub(r"[^A-Za-z0-9_.-]+", "-", called).strip("-.")
    if not called or any(normalised(called) == normalised(card.name) for card in all_cards()):
        raise FileFormatError(f"{folder}: the model {called!r} already exists; choose another name with --name")
    definition = _definition_in(folder)
    fields: dict[str, Any] = {
        **info,
        "name": info.get("name") or called,
        "license": info.get("license") or "unknown",
        "task": task,
        "format": "dagnn",
        "definition": "own" if definition else "unknown",
        "citation": ["see the text of the card"],
    }
    _install(_readme(fields, prose), definition, home() / "models" / called)
    cards_in.cache_clear()
    return read_cards(home() / "models" / called)[0]


def _install(readme: str, definition: Path | None, target: Path) -> None:
    """Install a card's folder only after reading it, so that a faulty card never gets into the zoo."""
    with temporary_folder(target) as staging:
        folder = staging / target.name
        folder.mkdir()
        _write(folder / CARD, readme.encode())
        if definition:
            if existing_file(definition, "prototxt").stat().st_size > LARGEST:
                raise FileFormatError(f"{definition}: more than {LARGEST:,} bytes; is it a prototxt?")
            _write(folder / "deploy.prototxt", definition.read_bytes())
        read_cards(folder)
        os.replace(folder, target)


def _readme_of(folder: Path) -> Path:
    found = [path for path in sorted(folder.glob("*")) if path.name.lower() == CARD]
    if not found:
        raise FileFormatError(f"{folder}: has no {CARD}; expected a folder in Caffe's model format")
    return found[0]


def _caffe_info(readme: Path) -> tuple[dict[str, str], str]:
    """Caffe's fields and the prose, with or without fences."""
    text = text_of(readme, errors="replace")
    if sum(line.strip() == FENCE for line in text.splitlines()) >= 2:
        fields, prose = read_front_matter(readme)
        found = {name: str(fields[name]) for name in CAFFE_FIELDS if fields.get(name) is not None}
    else:
        found = {name: value.strip("`\"' ") for name, value in UNFENCED.findall(text) if value}
        prose = text.strip()
    if not found:
        raise FileFormatError(f"{readme}: has none of {', '.join(CAFFE_FIELDS)}; expected Caffe's model info")
    return found, prose


def _definition_in(folder: Path) -> Path | None:
    """The deploy prototxt, or the only one; None if there is none."""
    for pattern in DEFINITIONS:
        found = [path for path in sorted(folder.glob(pattern)) if "solver" not in path.name]
        if len(found) == 1:
            return found[0]
        if found:
            names = [path.name for path in found]
            raise FileFormatError(
                listing(f"{folder}: several prototxt files; keep one, or rename one to deploy.prototxt:", names)
            )
    return None


def _readme(fields: dict[str, Any], prose: str) -> str:
    import yaml

    head = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, default_flow_style=False, width=10_000)
    return f"{FENCE}\n{head}{FENCE}\n\n{prose}\n"
