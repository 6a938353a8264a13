"""Download the files of a card: cache, mirrors, checksums, locks, and instructions if no link works."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matnet.errors import DownloadError, in_words, listing, program
from matnet.files import atomic_path, atomic_write, make_folder
from matnet.zoo.addresses import archived_copy, changeable_on_the_way, https_form
from matnet.zoo.archives import extract
from matnet.zoo.cache import OFFLINE, offline, place_of, present_file, present_mat
from matnet.zoo.cards import Card, RemoteFile
from matnet.zoo.checks import digests, mismatch, strongest
from matnet.zoo.download import LARGEST, NoSpaceError, ResumingDownloader
from matnet.zoo.locks import locked
from matnet.zoo.transfer import Patience

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """Downloads files.

    mirrors: addresses to try before the card's own; the file's name is appended to one that ends in `/`. carried: a
    folder with files that the user downloaded by hand. allow_unverified: whether to accept a file without a known
    checksum over http. largest: the limit in bytes if the card states no size. patience, progress: as for a download.
    """

    mirrors: Sequence[str] = ()
    carried: Path | None = None
    allow_unverified: bool = False
    largest: int = LARGEST
    patience: Patience = field(default_factory=Patience)
    progress: bool = True

    def __post_init__(self) -> None:
        if self.carried is not None and not self.carried.is_dir():
            raise DownloadError(f"{self.carried}: no such folder; give the folder with the downloaded files")

    def mat(self, card: Card) -> Path:
        """The model's .mat file, of any published generation. Raises DownloadError with manual instructions."""
        present = present_mat(card)
        if present is not None and present.parent == card.folder:
            return present
        return self._file(card, card.mat_file(), card.md5)

    def caffe(self, card: Card, roles: Sequence[str] | None = None) -> list[Path]:
        """The Caffe files of a card, or those of some roles. Raises DownloadError that lists all failed files."""
        return self.several(card, [file for file in card.files if roles is None or file.role in roles])

    def several(self, card: Card, files: Sequence[RemoteFile]) -> list[Path]:
        """Some of the Caffe files of a card. Raises DownloadError that lists all failed files."""
        found, failures, dead = [], [], set()
        for file in files:
            if file.archive is not None and file.archive.file in dead:
                continue  # already reported with an earlier file
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
                _trust_first(target)
        return target

    def _is_there(self, target: Path, file: RemoteFile, accepted: Mapping[str, str]) -> bool:
        """Whether the cache holds the right file; a wrong one is renamed, with a warning."""
        if not target.is_file():
            return False
        fault = self._fault(target, file, target, accepted)
        if fault is None:
            return True
        aside = target.with_name(f"{target.name}.bad")
        os.replace(target, aside)
        log.warning(f"{target}: {fault}; renamed to {aside.name}, downloading it again")
        return False

    def _carried_in(self, target: Path, file: RemoteFile, accepted: Mapping[str, str]) -> bool:
        """Copy the file from the carried folder, by name or checksum. Raises DownloadError if it is wrong."""
        if self.carried is None:
            return False
        source = self.carried / file.file
        if not source.is_file():
            found = self._called_otherwise(file, accepted)
            if found is None:
                return False
            log.warning(f"{found}: its checksum is that of {file.file}")
            source = found
        fault = self._fault(source, file, target, accepted)
        if fault:
            raise DownloadError(f"{source}: {fault}; not used")
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
        return True

    def _called_otherwise(self, file: RemoteFile, accepted: Mapping[str, str]) -> Path | None:
        """A carried file with the right checksum under another name, such as a browser's `NAME (1).mat`."""
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
        """Try every address in turn; a file gets its final name only with the right checksum."""
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
                        log.warning(f"{error}; trying {addresses[addresses.index(url) + 1]}")
        raise DownloadError(_by_hand(card, file, target, accepted, failures or ["no address is known"]))

    def _addresses(self, file: RemoteFile, accepted: Mapping[str, str]) -> list[str]:
        """The mirrors, the published addresses, their https forms, and the Internet Archive's copies.

        The Archive is used only with a known checksum, which shows whether its copy is right. Without a checksum, https
        forms come before http addresses, which would be refused.
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
            f"{url}: not downloaded: without a known checksum, tampering over http would go unnoticed; "
            f"{permission} accepts it"
        )

    def _from(self, url: str, file: RemoteFile, target: Path, accepted: Mapping[str, str]) -> None:
        """Download from one address; again from the start if a resumed file is wrong."""
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
                log.warning(f"{url}: {fault}; downloading it again from the start")
                downloader(url, os.fspath(temporary))
                fault = self._fault(temporary, file, target, accepted)
            if fault:
                raise DownloadError(f"{url}: {fault}")

    @staticmethod
    def _fault(found: Path, file: RemoteFile, target: Path, accepted: Mapping[str, str]) -> str | None:
        """Why `found` is not the file for `target`, by the card's checksums or the one recorded at first use."""
        return mismatch(found, file, accepted) or _differs_from_first(found, target)


def further_addresses(file: RemoteFile, accepted: Mapping[str, str]) -> list[str]:
    """Untested addresses derived from the published ones: https forms and the Archive's copies."""
    secure = [https_form(url) for url in file.urls]
    known = accepted or strongest(file.hashes)
    archived = [archived_copy(url, accepted) for url in file.urls] if known else []
    return [url for url in dict.fromkeys([*secure, *archived]) if url and url not in file.urls]


def _by_hand(card: Card, file: RemoteFile, target: Path, accepted: Mapping[str, str], failures: Sequence[str]) -> str:
    """The failures, and instructions for a manual download."""
    kind = strongest(file.hashes)
    what = "" if file.role == "mat" else " --what caffe"
    sums = [f"MD5 {digest} ({when})" for when, digest in accepted.items()]
    if kind:
        sums.append(f"{kind.upper()} {file.hashes[kind]}")
    addresses = " or ".join([*file.urls, *further_addresses(file, accepted)])
    lines = [
        *failures,
        f"by hand: download {file.file} from {addresses or card.page or 'any site that has it'}",
        f"its checksum: {' or '.join(sums) or 'none was published'}",
        f"put it at {target}, or anywhere and run `{program('zoo')} fetch {card.name}{what} --from FOLDER`",
    ]
    return listing(f"{file.file}: download failed:", lines)


# -- trust on first use: the SHA-256 of a file without a published checksum, beside it as NAME.sha256 -----


def _trust_first(target: Path) -> None:
    """Record the SHA-256 of a new file, and warn that it is unverified."""
    if _recorded(target) is not None:
        return
    found = digests(target, ["sha256"])["sha256"]
    with atomic_write(_beside(target)) as file:
        file.write(f"{found}  {target.name}\n".encode())
    log.warning(
        f"{target}: unverified, because no checksum was published; its SHA-256 {found} is now recorded in "
        f"{_beside(target).name}, and any other file will be refused"
    )


def _differs_from_first(found: Path, target: Path) -> str | None:
    """Why a file is not the one recorded for `target`; None if it is, or if nothing is recorded."""
    expected = _recorded(target)
    if expected is None:
        return None
    digest = digests(found, ["sha256"])["sha256"]
    if digest == expected:
        return None
    return f"its SHA-256 is {digest}, but was {expected} at first use: remove {_beside(target)} to accept another file"


def _recorded(target: Path) -> str | None:
    try:
        with _beside(target).open("rb") as file:
            start = file.read(65)
    except OSError:
        return None
    found = re.fullmatch(rb"([0-9a-f]{64})\s", start)
    return found[1].decode() if found else None


def _beside(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")
