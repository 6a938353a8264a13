"""Accept only requests of the page's own visitors, of limited size; respond with strict headers."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from matnet.demo.limits import MB
from matnet.errors import DataError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page loads only from this server."""
FRAME_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "frame-ancestors 'self'"
)
"""The drawing's page has an inline script, and runs without access to the main page."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
JSON_BODY = 64 * 1024


class JsonResponse(JSONResponse):
    """JSON in ASCII: names in requests and files may contain lone surrogates, which UTF-8 cannot encode."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


ENDED = "the page is being closed"


class Guard:
    """Refuses requests from other sites' pages, and adds HEADERS to every response.

    Against DNS rebinding, the header Host must be an address, `localhost`, this machine's name or one of `names`.
    Against posts from other sites, Origin and Sec-Fetch-Site are checked. Requests that the server cancels at its end
    get the message ENDED.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self.app = app
        self.names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        begun = False

        async def with_headers(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, "Content-Security-Policy": POLICY}.items():
                    headers.setdefault(name, value)
            await send(message)

        fault = self.fault(Request(scope))
        if fault:
            await JsonResponse({"error": fault}, status_code=403)(scope, receive, with_headers)
            return
        try:
            await self.app(scope, receive, with_headers)
        except asyncio.CancelledError:
            if begun:
                raise
            await JsonResponse({"error": ENDED}, status_code=503)(scope, receive, with_headers)

    def fault(self, request: Request) -> str:
        """Why the request is refused; "" if it is accepted."""
        host = request.headers.get("host", "")
        if not self._is_served(host):
            return f"this page is not served for host {host[:80]!r}; open it by its address, or start it with --host"
        if request.method in ("GET", "HEAD"):
            return ""
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return "the request comes from a page of another site"
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "the request comes from a page of another site"
        return ""

    def _is_served(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self.names
        return True


class TooLargeError(DataError):
    """A body exceeds the size limit."""


class StalledError(DataError):
    """The upload of a body stalled."""


def check_length(request: Request, most: int, what: str) -> None:
    """Raises TooLargeError, before reading, if Content-Length exceeds the limit or is missing."""
    stated = request.headers.get("content-length", "")
    if not stated.isdecimal():
        raise TooLargeError(f"{what}: the request has no Content-Length")
    if int(stated) > most:
        raise TooLargeError(f"{what}: {int(stated) / MB:,.1f} MB exceeds the page's limit of {most / MB:,.0f} MB")
