"""An HTTP server on 127.0.0.1 that serves files as badly as a test asks for."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HTML = b"<!DOCTYPE html><html><body>We have moved.</body></html>"


@dataclass
class Behaviour:
    """What the server does, and what it saw.

    cut_after: bytes after which it closes the connection, on the first `cuts` answers; of several numbers each answer
    takes the next, round and round. ranges: whether it honours Range. etag: its validator; each answer takes the next
    one, the last one for ever. statuses: answers to give before the file. announced: a false Content-Length, or none
    where it is negative. asked, conditions: the Range and If-Range headers of every request.
    """

    content: bytes = b""
    cut_after: int | tuple[int, ...] | None = None
    cuts: int = 1 << 30
    ranges: bool = True
    etag: list[str] = field(default_factory=lambda: ['"one"'])
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    html: bool = False
    redirects: int = 0
    stall: float = 0.0
    announced: int | None = None
    wrong_range: bool = False
    wrong_total: bool = False
    asked: list[str | None] = field(default_factory=list)
    conditions: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """Answers as `behaviours` says of the path that is asked for, or "" of any other."""

    behaviours: Mapping[str, Behaviour]

    @property
    def behaviour(self) -> Behaviour:
        return self.behaviours.get(self.path) or self.behaviours.get("") or Behaviour(statuses=[404])

    def do_GET(self) -> None:
        how = self.behaviour
        if how.redirects:
            how.redirects -= 1
            self.answer(302, b"", {"Location": f"/again{how.redirects}"})
            return
        how.asked.append(self.headers.get("Range"))
        how.conditions.append(self.headers.get("If-Range"))
        if how.statuses:
            self.answer(how.statuses.pop(0), HTML, how.headers)
        elif how.html:
            self.answer(200, HTML, {"Content-Type": "text/html"})
        elif how.stall:
            time.sleep(how.stall)
        else:
            self.serve(how)

    def serve(self, how: Behaviour) -> None:
        etag = how.etag.pop(0) if len(how.etag) > 1 else how.etag[0]
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        begin = 0
        if asked and how.ranges and condition in (None, etag):
            begin = int(asked.removeprefix("bytes=").rstrip("-"))
        if begin and begin >= len(how.content):
            self.answer(416, b"", {"Content-Range": f"bytes */{len(how.content)}"})
            return
        told = begin + 1 if how.wrong_range else begin
        headers = {"ETag": etag} if etag else {}
        if begin:
            total = len(how.content) + how.wrong_total
            headers["Content-Range"] = f"bytes {told}-{len(how.content) - 1}/{total}"
        self.answer(206 if begin else 200, how.content[begin:], headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        how = self.behaviour
        cut = self.next_cut() if status in (200, 206) and how.cuts > 0 else None
        self.send_response(status)
        announced = how.announced if how.announced is not None and status == 200 else len(body)
        if announced >= 0:
            self.send_header("Content-Length", str(announced))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if cut is not None and cut < len(body):
            how.cuts -= 1
            body = body[:cut]
            self.close_connection = True
        self.wfile.write(body)

    def next_cut(self) -> int | None:
        how = self.behaviour
        if not isinstance(how.cut_after, tuple):
            return how.cut_after
        how.cut_after = (*how.cut_after[1:], how.cut_after[0])
        return how.cut_after[-1]

    def log_message(self, format: str, *arguments: object) -> None:
        """Tests are quiet."""


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """The address of a file that is served so."""
    with serving_files({"": behaviour}) as address:
        yield f"{address}/file"


@contextmanager
def serving_files(behaviours: Mapping[str, Behaviour]) -> Iterator[str]:
    """The address, without a path, of a server of these files by path; others are not found."""
    handler = type("OneHandler", (Handler,), {"behaviours": behaviours})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def answering(*answers: bytes | Iterable[bytes], pause: float = 0.0) -> Iterator[str]:
    """The address of a server that sends these bytes, whatever it is asked: one answer a connection, the last for ever.

    An answer of several parts is sent part by part, `pause` seconds apart, until the client hangs up.
    """
    left = list(answers)

    class Raw(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            answer = left.pop(0) if len(left) > 1 else left[0]
            self.request.recv(1 << 16)
            with suppress(OSError):
                for part in [answer] if isinstance(answer, bytes) else answer:
                    self.request.sendall(part)
                    time.sleep(pause)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Raw)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/file"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
