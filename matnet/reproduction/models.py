"""The model of a row: the user's file, a cached or downloaded file, or random weights; and its identity."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from matnet.errors import DownloadError, MatnetError, program
from matnet.reproduction.expected import Expected
from matnet.zoo.cache import present_mat
from matnet.zoo.cards import all_cards
from matnet.zoo.fetch import Fetcher
from matnet.zoo.random_weights import random_network
from matnet.zoo.verify import ABSENT, Catalogue, FileIdentity

if TYPE_CHECKING:
    from matnet.network import Network

log = logging.getLogger(__name__)


class AbsentModelError(MatnetError):
    """A model that is not on this machine and cannot be downloaded."""


@dataclass(frozen=True)
class ModelSource:
    """The source of models. offline: download nothing. random: use random weights with `seed`, and no files."""

    fetcher: Fetcher = field(default_factory=Fetcher)
    offline: bool = False
    random: bool = False
    seed: int = 0

    def present(self, row: Expected) -> Path | None:
        """The row's file on this machine; None if there is none, and with random weights."""
        return None if self.random else row.file or present_mat(row.card)

    def find(self, row: Expected) -> Path | None:
        """The row's file, downloaded if possible; None with random weights. Raises AbsentModelError with the reason."""
        card, present = row.card, self.present(row)
        if present is not None or self.random:
            return present
        if not card.mat_urls:
            raise AbsentModelError(f"no .mat file was published; `{program('convert')} {card.name}` makes one")
        if self.offline:
            raise AbsentModelError(
                f"not on this machine, and --offline downloads nothing; `{program('zoo')} fetch {card.name}` gets it"
            )
        try:
            return self.fetcher.mat(card)
        except DownloadError as error:
            log.warning("%s", error)
            raise AbsentModelError(f"download failed; {_by_hand(str(error))}") from error

    def load(self, row: Expected, path: Path | None) -> Network:
        """The network of a row."""
        from matnet.formats import load_network

        return random_network(row.card.name, self.seed) if path is None else load_network(path)

    def identity(self, row: Expected, path: Path | None) -> str:
        """The identity of the row's weights: the file's SHA-256, or the seed of random weights."""
        from matnet.evaluation.record import file_sha256

        return f"random weights, seed {self.seed}, {row.card.name}" if path is None else file_sha256(path)


def _by_hand(error: str) -> str:
    """The line of a failed download's message that says which file to download by hand."""
    lines = [line.strip() for line in error.splitlines()]
    return next((line for line in lines if line.startswith("by hand: ")), lines[0])


class Checksums:
    """Identifies files by their MD5, as `matnet zoo verify` does."""

    def __init__(self) -> None:
        self._catalogue = Catalogue(all_cards())

    def of(self, row: Expected, path: Path | None) -> FileIdentity:
        """The identity of the row's file; absent if there is none."""
        return self._catalogue.identify(path) if path is not None else FileIdentity(row.card.mat, ABSENT, row.card.name)
