"""Fetching the files of a card: cache, mirrors, checksums, locks, and what to do by hand when no link is alive."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matnet.errors import DownloadError, in_words, listing, program
from matnet.files import atomic_path, make_folder
from matnet.zoo.addresses import archived_copy, changeable_on_the_way, https_form
from matnet.zoo.archives import extract
from matnet.zoo.cache import OFFLINE, offline, place_of, present_file, present_mat
from matnet.zoo.cards import Card, RemoteFile
from matnet.zoo.checks import mismatch, strongest
from matnet.zoo.download import LARGEST, NoSpaceError, ResumingDownloader
from matnet.zoo.first_use import differs_from_first, trust_first
from matnet.zoo.locks import locked
from matnet.zoo.transfer import Patience

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """How files are fetched.

    mirrors: addresses to try before the card's own; one that ends in `/` is a folder, to which the file's name is
    added. carried: a folder with files that were brought by hand. allow_unverified: whether a file without a known
    checksum may come over http. largest: bytes that a file may have whose size no card states. patience, progress: as
    for a download.
    """

    mirrors: Sequence[str] = ()
    carried: Path | None = None
    allow_unverified: bool = False
    largest: int = LARGEST
    patience: Patience = field(default_factory=Patience)
    progress: bool = True

    def __post_init__(self) -> None:
        if self.carried is not None and not self.carried.is_dir():
            raise DownloadError(f"{self.carried}: no such folder; expected the one with the files that were brought")

    def mat(self, card: Card) -> Path:
        """The model's .mat file, of any published generation; DownloadError saying what to do by hand."""
        present = present_mat(card)
        if present is not None and present.parent == card.folder:
            return present
        return self._file(card, card.mat_file(), card.md5)

    def caffe(self, card: Card, roles: Sequence[str] | None = None) -> list[Path]:
        """The Caffe files of a card, or those of some roles; DownloadError listing all that could not be fetched."""
        return self.several(card, [file for file in card.files if roles is None or file.role in roles])

    def several(self, card: Card, files: Sequence[RemoteFile]) -> list[Path]:
        """Some of the Caffe files of a card; DownloadError listing all that could not be fetched."""
        found, failures, dead = [], [], set()
        for file in files:
            if file.archive is not None and file.archive.file in dead:
                continue  # reported already, with the file before
            try:
                found.append(self.file(card, file))
            except DownloadError as error:
                failures.append(str(error))
                if file.archive is not None and not place_of(card, file.archive).is_file():
                    dead.add(file.archive.file)
        if failures:
            raise DownloadError("\n".join(failures))
        return found

    def file(self, card: Card, file: RemoteFile) -> Path:
        """One Caffe file, from beside the card, the cache, the carried files, its archive, or its addresses."""
        present = present_file(card, file)
        if present is not None and present.parent == card.folder:
            return present
        return self._file(card, file, {})

    # -- one file -----------------------------------------------------------------------------------

    def _file(self, card: Card, file: RemoteFile, accepted: Mapping[str, str]) -> Path:
        target = place_of(card, file)
        make_folder(target.parent)
        if self._is_there(target, file, accepted):
            return target
        with locked(target):
            if self._is_there(target, file, accepted):
                return target
            if not self._carried_in(target, file, accepted):
                if file.archive is not None:
                    self._unpack(card, file, target, accepted)
                else:
                    self._download(card, file, target, accepted)
            if not accepted and strongest(file.hashes) is None:
                trust_first(target)
        return target

    def _is_there(self, target: Path, file: RemoteFile, accepted: Mapping[str, str]) -> bool:
        """Whether the file is in the cache and right; one that is not is set aside, and said."""
        if not target.is_file():
            return False
        fault = self._fault(target, file, target, accepted)
        if fault is None:
            return True
        aside = target.with_name(f"{target.name}.bad")
        os.replace(target, aside)
        log.warning(f"{target}: {fault}; kept as {aside.name}, and fetched again")
        return False

    def _carried_in(self, target: Path, file: RemoteFile, accepted: Mapping[str, str]) -> bool:
        """Copy the file out of the carried folder, by its name or its checksum; DownloadError if it is wrong."""
        if self.carried is None:
            return False
        source = self.carried / file.file
        if not source.is_file():
            found = self._called_otherwise(file, accepted)
            if found is None:
                return False
            log.warning(f"{found} is {file.file}, by its checksum")
            source = found
        fault = self._fault(source, file, target, accepted)
        if fault:
            raise DownloadError(f"{source}: {fault}; not taken")
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
        return True

    def _called_otherwise(self, file: RemoteFile, accepted: Mapping[str, str]) -> Path | None:
        """A carried file of the same kind that has the right checksum, as browsers call it `NAME (1).mat`."""
        if not accepted and strongest(file.hashes) is None:
            return None
        assert self.carried is not None
        kind = Path(file.file).suffix.lower()
        alike = (path for path in sorted(self.carried.glob("*")) if path.suffix.lower() == kind and path.is_file())
        sized = (path for path in alike if file.size in (None, path.stat().st_size))
        return next((path for path in sized if mismatch(path, file, accepted) is None), None)

    def _unpack(self, card: Card, file: RemoteFile, target: Path, accepted: Mapping[str, str]) -> None:
        assert file.archive is not None
        archive = self._file(card, file.archive, {})
        with atomic_path(target) as temporary:
            extract(archive, file.member, temporary, file.size)
            fault = self._fault(temporary, file, target, accepted)
            if fault:
                raise DownloadError(f"{archive}, {file.member}: {fault}")

    def _download(self, card: Card, file: RemoteFile, target: Path, accepted: Mapping[str, str]) -> None:
        """Try every address in turn; a file gets its name when its checksum is right."""
        failures = []
        if offline():
            failures.append(f"{OFFLINE} is set")
        else:
            addresses = self._addresses(file, accepted)
            for url in addresses:
                try:
                    self._refuse_unverified(url, file, accepted)
                    self._from(url, file, target, accepted)
                    return
                except NoSpaceError:
                    raise
                except DownloadError as error:
                    failures.append(str(error))
                    if url != addresses[-1]:
                        log.warning(f"{error}; trying the next address, {addresses[addresses.index(url) + 1]}")
        raise DownloadError(_by_hand(card, file, target, accepted, failures or ["no address is known"]))

    def _addresses(self, file: RemoteFile, accepted: Mapping[str, str]) -> list[str]:
        """Chosen mirrors, the published addresses, their https forms, and the Internet Archive's copies of them.

        Only a checksum shows whether a copy is right, so that the Archive is asked where one is known. Without one an
        https form comes before its http address, which would be refused.
        """
        chosen = [f"{mirror}{file.file}" if mirror.endswith("/") else mirror for mirror in self.mirrors]
        further = further_addresses(file, accepted)
        listed = [*file.urls, *further] if accepted or strongest(file.hashes) else [*further, *file.urls]
        return list(dict.fromkeys([*chosen, *listed]))

    def _refuse_unverified(self, url: str, file: RemoteFile, accepted: Mapping[str, str]) -> None:
        if accepted or strongest(file.hashes) or self.allow_unverified or not changeable_on_the_way(url):
            return
        permission = in_words("allow_unverified=True", f"`{program('zoo')} fetch --allow-unverified`")
        raise DownloadError(
            f"{url}: not fetched, since no checksum is known and anybody on the way can change what comes over http; "
            f"{permission} takes it all the same"
        )

    def _from(self, url: str, file: RemoteFile, target: Path, accepted: Mapping[str, str]) -> None:
        """One address, twice if what came is wrong and its beginning was of an earlier transfer."""
        downloader = ResumingDownloader(
            part=target.with_name(f"{target.name}.part"),
            size=file.size,
            verifiable=bool(accepted or file.hashes),
            patience=self.patience,
            progress=self.progress,
            largest=self.largest,
        )

        with atomic_path(target) as temporary:
            resumed = downloader.part.exists()
            downloader(url, os.fspath(temporary))
            fault = self._fault(temporary, file, target, accepted)
            if fault and resumed:
                log.warning(f"{url}: {fault}; fetched again from the start")
                downloader(url, os.fspath(temporary))
                fault = self._fault(temporary, file, target, accepted)
            if fault:
                raise DownloadError(f"{url}: {fault}")

    @staticmethod
    def _fault(found: Path, file: RemoteFile, target: Path, accepted: Mapping[str, str]) -> str | None:
        """Why `found` is not what belongs at `target`, by what the card knows or by what was recorded at first use."""
        return mismatch(found, file, accepted) or differs_from_first(found, target)


def further_addresses(file: RemoteFile, accepted: Mapping[str, str]) -> list[str]:
    """Addresses that follow from the published ones and that nobody has tried: https forms, the Archive's copies."""
    secure = [https_form(url) for url in file.urls]
    known = accepted or strongest(file.hashes)
    archived = [archived_copy(url, accepted) for url in file.urls] if known else []
    return [url for url in dict.fromkeys([*secure, *archived]) if url and url not in file.urls]


def _by_hand(card: Card, file: RemoteFile, target: Path, accepted: Mapping[str, str], failures: Sequence[str]) -> str:
    """What happened, and what a person can do about it."""
    kind = strongest(file.hashes)
    what = "" if file.role == "mat" else " --what caffe"
    sums = [f"MD5 {digest} ({when})" for when, digest in accepted.items()]
    if kind:
        sums.append(f"{kind.upper()} {file.hashes[kind]}")
    addresses = " or ".join([*file.urls, *further_addresses(file, accepted)])
    lines = [
        *failures,
        f"by hand: get {file.file} from {addresses or card.page or 'wherever it still is'}",
        f"its checksum: {' or '.join(sums) or 'none was published'}",
        f"put it at {target}, or anywhere, with `{program('zoo')} fetch {card.name}{what} --from FOLDER`",
    ]
    return listing(f"{file.file} could not be fetched:", lines)
