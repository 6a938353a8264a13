"""One HTTP response of an untrusted server: redirects, a minimum speed, and all failures as one of two errors."""

from __future__ import annotations

import queue
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import matnet
from matnet.errors import DownloadError

if TYPE_CHECKING:
    import requests

CHUNK = 1 << 14  # bytes; the most that a broken connection loses
REDIRECTS = 10
WORTH_A_RETRY = frozenset((408, 425, 429, 500, 502, 503, 504))
LONGEST_NUMBER = 18  # digits of a number in a header; Python refuses to parse thousands
_QUEUED = 16  # chunks between the reading and the writing thread
_END = object()


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for a server (seconds), how slow it may be, and how often to try again.

    attempts: the most failures in a row; an attempt that gained at least a mebibyte does not count. slowest: the lowest
    average rate in bytes/s in every `window` seconds; the first window includes the time until the response starts.
    """

    connect: float = 15.0
    read: float = 60.0
    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 30.0
    slowest: float = 1024.0
    window: float = 60.0


class BrokenTransfer(Exception):
    """A failed transfer that can be resumed. wait: seconds that the server asks to wait."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class HttpAnswer:
    """The status and headers of a response, and its unencoded body in chunks."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]

    def total(self, start: int) -> int | None:
        """The size of the whole file by Content-Length, for a body that starts at byte `start`; None if unknown."""
        length = number_in(self.headers.get("Content-Length", ""))
        return None if length is None else start + length


@contextmanager
def answer_of(url: str, headers: Mapping[str, str], patience: Patience) -> Iterator[HttpAnswer]:
    """The response to a GET request, status 200, 206 or 416.

    A thread reads it, so that a very slow server cannot block the caller. Raises BrokenTransfer if another attempt may
    help (no connection, a broken connection, too slow, a busy server), and DownloadError for all other failures; both
    may also be raised while reading `chunks`.
    """
    talk = _Talk(url, headers, patience)
    try:
        received = talk.received()
        status, head = next(received)
        yield HttpAnswer(status, head, received)
    finally:
        talk.hang_up()


class _Talk:
    """The thread that reads a response, and the queue of its parts."""

    def __init__(self, url: str, headers: Mapping[str, str], patience: Patience) -> None:
        self.url = url
        self.headers = {"Accept-Encoding": "identity", "User-Agent": f"matnet/{matnet.__version__}", **headers}
        self.patience = patience
        self.parts: queue.Queue[Any] = queue.Queue(_QUEUED)
        self.over = threading.Event()
        self.response: requests.Response | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def received(self) -> Iterator[Any]:
        """Yields (status, headers), then the chunks of the body. Raises the thread's errors."""
        since, came = time.monotonic(), 0
        while True:
            with suppress(queue.Empty):
                part = self.parts.get(timeout=min(1.0, self.patience.window))
                if part is _END:
                    return
                if isinstance(part, Exception):
                    raise part
                came += len(part) if isinstance(part, bytes) else 0
                yield part
            waited = time.monotonic() - since
            if self.parts.empty() and waited >= self.patience.window:
                if came < self.patience.slowest * waited:
                    least = f"{self.patience.slowest:,.0f} bytes/s"
                    raise BrokenTransfer(f"too slow: {came:,} bytes in {waited:.0f} s, expected at least {least}")
                since, came = time.monotonic(), 0

    def hang_up(self) -> None:
        """End the thread, even while it waits for data."""
        self.over.set()
        shutdown = getattr(getattr(self.response, "raw", None), "shutdown", None)
        if shutdown is not None:
            with suppress(Exception):
                shutdown()

    def _read(self) -> None:
        import requests

        try:
            with requests.Session() as session:
                self.response = response = self._final(session)
                with response:
                    _refuse_status(response)
                    _refuse_encoding(response)
                    self._give((response.status_code, response.headers))
                    for chunk in response.raw.stream(CHUNK, decode_content=False):
                        self._give(chunk)
            self._give(_END)
        except _HungUpError:
            return
        except Exception as error:  # any error here is caused by the server
            with suppress(_HungUpError):
                self._give(self._named(error))

    def _give(self, part: object) -> None:
        while not self.over.is_set():
            with suppress(queue.Full):
                self.parts.put(part, timeout=0.2)
                return
        raise _HungUpError

    def _final(self, session: requests.Session) -> requests.Response:
        """The response after all redirects; their bodies are not read, and redirects from https to http are refused."""
        from requests.utils import requote_uri

        url = self.url
        for _ in range(REDIRECTS + 1):
            timeout = (self.patience.connect, self.patience.read)
            response = session.get(url, headers=self.headers, stream=True, timeout=timeout, allow_redirects=False)
            location = session.get_redirect_target(response)
            if location is None:
                return response
            response.close()
            target = requote_uri(urljoin(url, location))
            if url.lower().startswith("https:") and not target.lower().startswith("https:"):
                raise DownloadError(f"refused a redirect from https to {target[:200]}")
            url = target
        raise DownloadError(f"more than {REDIRECTS} redirects")

    def _named(self, error: Exception) -> Exception:
        """The error as BrokenTransfer if another attempt may help, else as DownloadError, in one line."""
        import requests
        import urllib3

        if isinstance(error, BrokenTransfer):
            return error
        if isinstance(error, DownloadError):
            return DownloadError(f"{self.url}: {error}")
        cause = _innermost(error)
        if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
            return DownloadError(f"{self.url}: no such host, or no network")
        passing = (requests.Timeout, requests.ConnectionError, urllib3.exceptions.ProtocolError, TimeoutError)
        timeouts = (urllib3.exceptions.TimeoutError, ConnectionError)
        if isinstance(error, (*passing, *timeouts)):
            return BrokenTransfer(_reason(cause))
        return DownloadError(f"{self.url}: {_reason(cause)}")


class _HungUpError(Exception):
    """The caller no longer waits for the response."""


def number_in(text: str) -> int | None:
    """A number in a header; None if it is not a plain number, or has too many digits."""
    found = re.fullmatch(rf"[0-9]{{1,{LONGEST_NUMBER}}}", text.strip())
    return int(found[0]) if found else None


def _refuse_status(response: requests.Response) -> None:
    status = response.status_code
    if status in (200, 206, 416):
        return
    reason = f"{status} {response.reason or ''}".strip()[:200]
    if status in WORTH_A_RETRY:
        raise BrokenTransfer(reason, float(number_in(response.headers.get("Retry-After", "")) or 0))
    raise DownloadError(reason)


def _refuse_encoding(response: requests.Response) -> None:
    """Raises DownloadError for a body compressed only for the transfer; servers may also label .gz files as encoded."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower() or "identity"
    if encoding != "identity" and not re.search(r"gz(\?|$)", response.url):
        raise DownloadError(f"the server sends the file with encoding {encoding[:40]!r}, which was not requested")


def _innermost(error: Exception) -> BaseException:
    """The innermost cause: requests wraps it three times."""
    cause: BaseException = error
    for _ in range(20):
        inner = cause.args[0] if cause.args and isinstance(cause.args[0], BaseException) else None
        inner = inner or cause.__cause__ or cause.__context__
        if inner is None:
            break
        cause = inner
    return cause


def _reason(cause: BaseException) -> str:
    """An error as one line."""
    kind, said = type(cause).__name__, (str(cause).splitlines() or ["no answer"])[0][:300]
    return said if said.startswith(kind) else f"{kind}: {said}"
