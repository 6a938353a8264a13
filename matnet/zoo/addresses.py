"""Further addresses of a published file: its https form, and the Internet Archive's copy; none has been tested."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

ARCHIVE = "https://web.archive.org/web/{year}id_/{url}"
"""`id_` requests the original bytes, without the Archive's frame; the server sends the copy nearest to the year."""
ARCHIVED_YEAR = "2017"
"""The year if no date of publication is known: most of these files were still online then."""


def https_form(url: str) -> str | None:
    """The same address over https; None if it is not http, or not that of a public web server.

    >>> https_form("http://www.vlfeat.org/matconvnet/models/vgg-face.mat")
    'https://www.vlfeat.org/matconvnet/models/vgg-face.mat'
    """
    return f"https{url[4:]}" if url.lower().startswith("http:") and _public(url) else None


def archived_copy(url: str, generations: Mapping[str, str]) -> str | None:
    """The Internet Archive's copy of a public address from the year of the last generation; None for other addresses.

    generations: date (YYYY-MM-DD) -> checksum, as in `Card.md5`; may be empty.

    >>> archived_copy("http://www.vlfeat.org/x.mat", {"2015-12": "", "2016-09-30": ""})
    'https://web.archive.org/web/2016id_/http://www.vlfeat.org/x.mat'
    """
    year = max(generations, default=ARCHIVED_YEAR)[:4]
    return ARCHIVE.format(year=year, url=url) if _public(url) else None


def changeable_on_the_way(url: str) -> bool:
    """Whether a third party can alter the response: over http, unless the server is this machine."""
    host = _host(url)
    if url.lower().startswith("https:") or host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def _public(url: str) -> bool:
    """Whether the address has a public host name and the default port."""
    host = _host(url)
    try:
        ipaddress.ip_address(host)
        return False
    except ValueError:
        pass
    try:
        return urlsplit(url).port is None and "." in host
    except ValueError:
        return False


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
