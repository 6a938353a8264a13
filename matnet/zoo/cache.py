"""The location of downloaded files: `MATNET_HOME`, or matnet's folder in the platform's user cache."""

from __future__ import annotations

import os
from pathlib import Path

from matnet.files import HOME
from matnet.files import cache_folder as home
from matnet.zoo.cards import Card, RemoteFile

OFFLINE = "MATNET_OFFLINE"

__all__ = ["HOME", "OFFLINE", "home", "offline", "place_of", "present_file", "present_mat"]


def offline() -> bool:
    """Whether `MATNET_OFFLINE` (set, and neither empty nor 0) forbids all downloads."""
    return os.environ.get(OFFLINE, "") not in ("", "0")


def place_of(card: Card, file: RemoteFile) -> Path:
    """The path for a file of a card: .mat files together, archives together, Caffe files by model.

    A card of the user may name a file as another model does, so it keeps such a file in a folder of its own.
    """
    own = card.folder.parent == home() / "models" and Path(file.file).stem != card.name
    folder = card.name if own else ""
    if file.role == "mat":
        return home() / "mat" / folder / file.file
    if file.role == "archive":
        return home() / "archives" / folder / file.file
    return home() / "caffe" / card.name / file.file


def present_mat(card: Card) -> Path | None:
    """The model's .mat file beside its card or in the cache, or None."""
    return next((path for path in (card.folder / card.mat, place_of(card, card.mat_file())) if path.is_file()), None)


def present_file(card: Card, file: RemoteFile) -> Path | None:
    """A Caffe file beside its card or in the cache, or None."""
    return next((path for path in (card.folder / file.file, place_of(card, file)) if path.is_file()), None)
