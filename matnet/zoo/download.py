"""One file over HTTP: resumed where a connection broke, retried with back-off, never taken for what it is not."""

from __future__ import annotations

import json
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matnet
from matnet.errors import DownloadError
from matnet.files import looks_like_html

if TYPE_CHECKING:
    import requests

CHUNK = 1 << 14  # bytes; at most so many are lost when a connection breaks
LARGEST = 16 << 30  # bytes of a file whose size no card tells; more is a fault of the server
WORTH_A_RETRY = frozenset((408, 425, 429, 500, 502, 503, 504))
PROGRESS = 1 << 20  # bytes beyond all that came before, which make up for a broken attempt


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for a server (seconds), and how often to come back to it.

    attempts: in a row without progress; one that got a mebibyte further than any before does not count.
    """

    connect: float = 15.0
    read: float = 60.0
    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 30.0


class BrokenTransfer(Exception):
    """A transfer that may be taken up again from what it brought. `wait`: seconds that the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True, kw_only=True)
class ResumingDownloader:
    """A downloader for pooch, with a `.part` file that outlives the process.

    part: where the bytes collect. size: of the whole file, if known. verifiable: whether a checksum will tell if the
    parts of two transfers belong together; otherwise only the server's validator (ETag, Last-Modified) can.
    signal: called as bytes come in. say: called with a line of text for every retry.
    """

    part: Path
    size: int | None = None
    verifiable: bool = False
    patience: Patience = Patience()
    progress: bool = True
    signal: Callable[[], None] = lambda: None
    say: Callable[[str], None] = lambda text: None

    def __call__(self, url: str, output_file: str, pooch: Any = None) -> None:
        """Fetch `url` into the part file, then move it to `output_file`; DownloadError when patience is at an end."""
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
        self.say(f"{url}: {error}; trying again in {wait:g} s, from byte {_size(self.part):,}")
        self.signal()
        time.sleep(wait)

    def discard(self) -> None:
        """Forget what earlier transfers brought."""
        self.part.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)

    # -- one attempt --------------------------------------------------------------------------------

    def _attempt(self, url: str) -> None:
        import requests

        try:
            with requests.Session() as session:
                session.max_redirects = 10
                self._transfer(session, url)
        except (requests.Timeout, requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            cause = _innermost(error)
            if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
                raise DownloadError(f"{url}: there is no such host, or no network here") from None
            raise BrokenTransfer(_reason(cause)) from None
        except requests.RequestException as error:
            raise DownloadError(f"{url}: {_reason(_innermost(error))}") from None

    def _transfer(self, session: requests.Session, url: str) -> None:
        offset, headers = self._resumption(url)
        if offset and offset == self._recall().get("total"):
            return
        timeout = (self.patience.connect, self.patience.read)
        with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
            if response.status_code == 416 and offset:
                self.discard()
                raise BrokenTransfer(f"the server has fewer than {offset + 1:,} bytes")
            _refuse_status(response, url)
            start = offset if response.status_code == 206 else 0
            if response.status_code == 206 and not self._continues(response, offset):
                self.discard()
                raise BrokenTransfer("the server continues another file than the one begun")
            chunks = response.iter_content(CHUNK)
            first = next(chunks, b"")
            if start == 0 and looks_like_html(first):
                raise DownloadError(f"{url}: a web page came instead of the file")
            total = _total(response, start)
            self._refuse_size(total, url)
            if start == 0:
                self._remember(url, response, total)
            self._write(chain([first], chunks), url, start, total)

    def _resumption(self, url: str) -> tuple[int, dict[str, str]]:
        """Where to go on, and the headers that ask for it; from 0 where the part may be of another file."""
        headers = {"Accept-Encoding": "identity", "User-Agent": f"matnet/{matnet.__version__}"}
        offset, state = _size(self.part), self._recall()
        validator = state.get("validator")
        same_source = validator and state.get("url") == url
        if not offset or not (same_source or self.verifiable):
            return 0, headers
        headers["Range"] = f"bytes={offset}-"
        if same_source:
            headers["If-Range"] = str(validator)
        return offset, headers

    def _continues(self, response: requests.Response, offset: int) -> bool:
        """Whether a 206 answer starts where the part ends, in a file of the same size."""
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        total = self._recall().get("total")
        return found is not None and int(found[1]) == offset and (total is None or found[2] in ("*", str(total)))

    def _refuse_size(self, total: int | None, url: str) -> None:
        """Before any byte is written: a size that cannot be right, or for which there is no room."""
        if total is None:
            return
        if self.size is not None and total != self.size:
            raise DownloadError(f"{url}: the server has {total:,} bytes; expected {self.size:,}")
        if total > LARGEST:
            raise DownloadError(f"{url}: the server has {total:,} bytes; expected at most {LARGEST:,}")
        free = shutil.disk_usage(self.part.parent).free
        if total - _size(self.part) > free:
            raise DownloadError(f"{self.part.parent}: {total:,} bytes are needed, {free:,} are free; set MATNET_HOME")

    def _write(self, chunks: Iterable[bytes], url: str, start: int, total: int | None) -> None:
        from tqdm import tqdm

        limit = total or self.size or LARGEST
        done = start
        bar = tqdm(
            desc=self.part.stem,
            total=total or self.size,
            initial=start,
            unit="B",
            unit_scale=True,
            disable=not self.progress,
        )
        with bar, self.part.open("ab" if start else "wb") as file:
            for chunk in chunks:
                done += len(chunk)
                if done > limit:
                    file.truncate(0)
                    raise DownloadError(f"{url}: more than {limit:,} bytes came; the server does not keep to its word")
                file.write(chunk)
                bar.update(len(chunk))
                self.signal()
        expected = total or self.size
        if expected is not None and done < expected:
            raise BrokenTransfer(f"the connection broke at {done:,} of {expected:,} bytes")

    # -- what is known of the part ------------------------------------------------------------------

    @property
    def _state(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    def _remember(self, url: str, response: requests.Response, total: int | None) -> None:
        etag = response.headers.get("ETag", "")
        strong = etag if etag and not etag.startswith("W/") else None
        state = {"url": url, "total": total, "validator": strong or response.headers.get("Last-Modified")}
        self._state.write_text(json.dumps(state), encoding="utf-8")

    def _recall(self) -> Mapping[str, Any]:
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}


def _refuse_status(response: requests.Response, url: str) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    reason = f"{status} {response.reason or ''}".strip()
    if status in WORTH_A_RETRY:
        asked = response.headers.get("Retry-After", "")
        raise BrokenTransfer(reason, float(asked) if asked.isdecimal() else 0.0)
    raise DownloadError(f"{url}: {reason}")


def _total(response: requests.Response, start: int) -> int | None:
    """The size of the whole file, by the answer's headers."""
    length = response.headers.get("Content-Length", "")
    encoded = response.headers.get("Content-Encoding", "identity") != "identity"
    return start + int(length) if length.isdecimal() and not encoded else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _innermost(error: Exception) -> BaseException:
    """What went wrong at last: requests wraps it three times."""
    cause: BaseException = error
    while cause.__cause__ or cause.__context__ or (cause.args and isinstance(cause.args[0], BaseException)):
        inner = cause.args[0] if cause.args and isinstance(cause.args[0], BaseException) else None
        cause = inner or cause.__cause__ or cause.__context__ or cause
    return cause


def _reason(cause: BaseException) -> str:
    """An error in a line."""
    kind, said = type(cause).__name__, str(cause).splitlines()[0] if str(cause) else "no answer"
    return said if said.startswith(kind) else f"{kind}: {said}"
