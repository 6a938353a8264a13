"""Download one file over HTTP: resumes broken transfers, retries with growing waits, limits the size."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

from matnet.errors import DownloadError, in_words, program
from matnet.files import looks_like_html
from matnet.records import read_record, write_record
from matnet.zoo.transfer import BrokenTransfer, HttpAnswer, Patience, answer_of, number_in

log = logging.getLogger(__name__)
LARGEST = 4 << 30  # bytes of a file whose size no card states
PROGRESS = 1 << 20  # bytes of progress after which a failed attempt does not count
RESERVE = 64 << 20  # bytes of the disk that stay free
LOOK = 16 << 20  # bytes between checks of the free space


@dataclass(frozen=True, kw_only=True)
class ResumingDownloader:
    """A download with a `.part` file that survives the process.

    part: the partial file. size: of the whole file, if known. verifiable: whether a checksum will show if the parts of
    two transfers belong together; otherwise only the server's validator (ETag, Last-Modified) can. largest: the limit
    for a file of unknown size, in bytes.
    """

    part: Path
    size: int | None = None
    verifiable: bool = False
    patience: Patience = field(default_factory=Patience)
    progress: bool = True
    largest: int = LARGEST

    def __call__(self, url: str, output_file: str) -> None:
        """Download `url` to the part file, then move it to `output_file`. Raises DownloadError if all attempts fail."""
        failures, most = 0, _size(self.part)
        while True:
            try:
                self._attempt(url)
                break
            except BrokenTransfer as error:
                failures = 0 if _size(self.part) - most >= PROGRESS else failures + 1
                most = max(most, _size(self.part))
                if failures >= self.patience.attempts:
                    raise DownloadError(f"{url}: {error} (attempts: {failures})") from None
                self._wait(url, error, failures)
        self.part.replace(output_file)
        self._state.unlink(missing_ok=True)

    def _wait(self, url: str, error: BrokenTransfer, failures: int) -> None:
        backed_off = self.patience.first_wait * 2 ** max(failures - 1, 0)
        wait = min(max(error.wait, backed_off), self.patience.longest_wait)
        log.warning("%s: %s; trying again in %g s, from byte %s", url, error, wait, f"{_size(self.part):,}")
        time.sleep(wait)

    def discard(self) -> None:
        """Remove the partial file."""
        self.part.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)

    # -- one attempt --------------------------------------------------------------------------------

    def _attempt(self, url: str) -> None:
        if self.size is not None and _size(self.part) > self.size:
            self.discard()
        offset, headers = self._resumption(url)
        if offset and offset == self._recall().get("total"):
            return
        with answer_of(url, headers, self.patience) as answer:
            if answer.status == 416:
                self.discard()
                raise BrokenTransfer(f"the server's file has fewer than {offset + 1:,} bytes")
            start = offset if answer.status == 206 else 0
            if answer.status == 206 and not self._continues(answer, offset):
                self.discard()
                raise BrokenTransfer("the server's file has changed since the download started")
            first = next(answer.chunks, b"")
            if start == 0 and looks_like_html(first):
                raise DownloadError(f"{url}: received a web page instead of the file")
            total = answer.total(start)
            self._refuse_size(total, url)
            if start == 0:
                self._remember(url, answer, total)
            try:
                self._write(chain([first], answer.chunks), url, start, total)
            except _TooMuchError as error:
                self.discard()
                raise DownloadError(f"{url}: {error}") from None

    def _resumption(self, url: str) -> tuple[int, dict[str, str]]:
        """The offset to resume from, and the request headers; 0 if the part may belong to another file."""
        headers: dict[str, str] = {}
        offset, state = _size(self.part), self._recall()
        validator = state.get("validator")
        same_source = validator and state.get("url") == url
        if not offset or not (same_source or self.verifiable):
            return 0, headers
        headers["Range"] = f"bytes={offset}-"
        if same_source:
            headers["If-Range"] = str(validator)
        return offset, headers

    def _continues(self, answer: HttpAnswer, offset: int) -> bool:
        """Whether a 206 response starts at the end of the part, in a file of the same size."""
        found = re.fullmatch(r"bytes ([0-9]+)-[0-9]+/([0-9]+|\*)", answer.headers.get("Content-Range", "").strip())
        total = self._recall().get("total")
        return found is not None and number_in(found[1]) == offset and (total is None or found[2] in ("*", str(total)))

    def _refuse_size(self, total: int | None, url: str) -> None:
        """Raises DownloadError, before writing, for a wrong size or too little disk space."""
        if total is None:
            return
        if self.size is not None and total != self.size:
            raise DownloadError(f"{url}: the server's file has {total:,} bytes; expected {self.size:,}")
        if self.size is None and total > self.largest:
            more = in_words("largest=BYTES", f"`{program('zoo')} fetch --largest BYTES`")
            raise DownloadError(
                f"{url}: the server's file has {total:,} bytes; the limit is {self.largest:,} ({more} raises it)"
            )
        needed, free = total - _size(self.part), self._free()
        if needed > free:
            raise NoSpaceError(
                f"{self.part.parent}: needs {needed:,} bytes, but only {max(free, 0):,} are free; set MATNET_HOME to a "
                "folder on a larger disk"
            )

    def _free(self) -> int:
        return shutil.disk_usage(self.part.parent).free - RESERVE

    def _write(self, chunks: Iterable[bytes], url: str, start: int, total: int | None) -> None:
        from tqdm import tqdm

        limit = total or self.size or self.largest
        done = start
        look = start + LOOK
        bar = tqdm(
            desc=self.part.stem,
            total=total or self.size,
            initial=start,
            unit="B",
            unit_scale=True,
            disable=not self.progress,
        )
        with bar, self._opened("ab" if start else "wb") as file:
            for chunk in chunks:
                done += len(chunk)
                if done > limit:
                    raise _TooMuchError(f"received more than the expected {limit:,} bytes; download aborted")
                if done >= look:
                    look = done + LOOK
                    self._refuse_full_disk(total)
                file.write(chunk)
                bar.update(len(chunk))
        expected = total or self.size
        if expected is not None and done < expected:
            raise BrokenTransfer(f"the connection broke at {done:,} of {expected:,} bytes")

    @contextmanager
    def _opened(self, mode: str) -> Iterator[IO[bytes]]:
        """The open part file. Errors of writing become NoSpaceError, for which another address does not help."""
        try:
            with self.part.open(mode) as file:
                yield file
        except OSError as error:
            raise NoSpaceError(f"{self.part}: cannot be written: {error.strerror or error}") from None

    def _refuse_full_disk(self, total: int | None) -> None:
        if self._free() < 0:
            if total is None:
                self.discard()  # the body may have been endless
            raise NoSpaceError(
                f"{self.part.parent}: fewer than {RESERVE:,} bytes are free; set MATNET_HOME to a larger disk's folder"
            )

    # -- what is known of the part ------------------------------------------------------------------

    @property
    def _state(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    def _remember(self, url: str, answer: HttpAnswer, total: int | None) -> None:
        etag = answer.headers.get("ETag", "")
        strong = etag if etag and not etag.startswith("W/") else None
        state = {"url": url, "total": total, "validator": strong or answer.headers.get("Last-Modified")}
        write_record(self._state, state)

    def _recall(self) -> Mapping[str, Any]:
        return read_record(self._state, dict) or {}


class NoSpaceError(DownloadError):
    """The folder cannot hold a download; another address does not help."""


class _TooMuchError(Exception):
    """The server sent too many bytes."""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
