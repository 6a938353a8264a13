"""Servers that send anything: each fault is one line and the next address; limits, http, first use, the Archive.

The answers are written here byte by byte (RFC 9110 and 9112 say what each breaks); checksums come from hashlib.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from matnet.errors import DownloadError
from matnet.zoo import locks
from matnet.zoo.addresses import ARCHIVE, archived_copy, https_form
from matnet.zoo.cards import Card, RemoteFile
from matnet.zoo.download import NoSpaceError, ResumingDownloader
from matnet.zoo.fetch import Fetcher
from matnet.zoo.transfer import Patience
from tests.helpers import logged
from tests.hostile_server import Behaviour, answering, serving

CONTENT = np.random.default_rng(2).bytes(70_000)
SHA1 = hashlib.sha1(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(connect=2, read=2, attempts=2, first_wait=0.01, longest_wait=0.02, window=0.5)
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MATNET_OFFLINE", raising=False)
    return tmp_path / "home"


def weights(*urls: str, **fields: Any) -> RemoteFile:
    return RemoteFile(file="a.caffemodel", role="caffemodel", urls=urls, **{"hashes": {"sha1": SHA1}, **fields})


def fetch(file: RemoteFile, said: list[str] | None = None, **options: Any) -> Path:
    card = Card(name="a-model", title="A model", folder=Path("nowhere"), prose="", files=(file,))
    lines = [] if said is None else said
    with logged(lines):
        return Fetcher(**{"patience": QUICK, "progress": False, **options}).file(card, file)


def endless(head: bytes, part: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: itertools.chain([head], itertools.repeat(part))


BOMB = gzip.compress(bytes(5_000_000))
FAULTS: dict[str, tuple[bytes | Callable[[], Iterable[bytes]], float]] = {
    "a length of 5,000 digits": (OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nab", 0),
    "a negative length": (OK + b"Content-Length: -5\r\n\r\nab", 0),
    "two lengths": (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 0),
    "digits of another script": (OK + "Content-Length: \u0663\r\n\r\nabc".encode(), 0),
    "an address that is none": (b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n", 0),
    "a port that is none": (b"HTTP/1.1 302 Found\r\nLocation: http://x:99999999/\r\nContent-Length: 0\r\n\r\n", 0),
    "a host label too long": (b"HTTP/1.1 302 Found\r\nLocation: http://" + b"x" * 70 + b".y/\r\n\r\n", 0),
    "bytes as an address": (b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe://\x80\r\nContent-Length: 0\r\n\r\n", 0),
    "a file of this machine": (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", 0),
    "redirects with a body without end": (endless(b"HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n", b"x" * 9999), 0),
    "a status line that is none": (b"\x00\xff\x00\xff" * 10 + b"\r\n\r\n", 0),
    "a status that is none": (b"HTTP/1.1 99999 What\r\n\r\n", 0),
    "escape characters": (b"HTTP/1.1 404 \x1b[2J\x1b]0;x\x07\r\nContent-Length: 0\r\n\r\n", 0),
    "a header of 200 KB": (OK + b"X: " + b"x" * 200_000 + b"\r\n\r\n", 0),
    "10,000 headers": (OK + b"X: y\r\n" * 10_000 + b"\r\n", 0),
    "a chunk without end": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 5000 + b"\r\nabc", 0),
    "chunks that are none": (OK + b"Transfer-Encoding: chunked\r\n\r\nnope\r\nabc\r\n", 0),
    "another encoding": (OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB, 0),
    "an unknown encoding": (OK + b"Content-Encoding: \xff\r\nContent-Length: 2\r\n\r\nab", 0),
    "a body without end": (endless(OK + b"\r\n", b"x" * 99_999), 0),
    "a head that drips": (endless(OK, b"X: y\r\n"), 0.2),
    "a body that drips": (endless(OK + b"Content-Length: 70000\r\n\r\n", b"x"), 0.2),
    "continue, continue": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), 0.01),
    "nothing": (b"", 0),
}


@pytest.mark.process
@pytest.mark.parametrize("case", FAULTS)
def test_every_fault_of_a_mirror_is_a_line_and_the_next_mirror(case: str, cache: Path) -> None:
    made, pause = FAULTS[case]
    said: list[str] = []
    answers = [made] if isinstance(made, bytes) else [made() for _ in range(30)]
    with answering(*answers, pause=pause) as bad, serving(Behaviour(content=CONTENT)) as good:
        assert fetch(weights(bad, good), said, largest=1 << 20).read_bytes() == CONTENT
    assert said, "a fault is said"
    assert said[-1].endswith(f"trying {good}")
    assert all(line.startswith(bad) and "\n" not in line and len(line) < 700 for line in said)
    assert [path.name for path in cache.rglob("*.*")] == ["a.caffemodel"], "nothing is left over"


@pytest.mark.parametrize("head", [b"bytes 1-", b"bytes " + b"9" * 5000 + b"-9/9", b"x"])
def test_an_absurd_range_begins_anew(head: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(CONTENT[:5])
    good = OK + b"Content-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT
    bad = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\nContent-Range: " + head + b"\r\n\r\nabcd"
    with answering(bad, good) as url:
        downloader = ResumingDownloader(part=tmp_path / "x.part", verifiable=True, patience=QUICK, progress=False)
        downloader(url, str(tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == CONTENT


@pytest.mark.parametrize("state", ["[" * 100_000, "1e999", '{"total": {}}', "\x00", '{"total": 1e999, "url": []}'])
def test_a_damaged_part_and_its_state_never_fail_the_next_try(state: str, cache: Path) -> None:
    part = cache / "caffe" / "a-model" / "a.caffemodel.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(3 * len(CONTENT)))
    part.with_name(f"{part.name}.json").write_text(state)
    with serving(Behaviour(content=CONTENT)) as url:
        assert fetch(weights(url)).read_bytes() == CONTENT
    assert not part.exists()


def test_nothing_is_fetched_where_the_disk_has_no_room(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr("matnet.zoo.download.RESERVE", 1 << 60)
    monkeypatch.setattr("matnet.zoo.download.LOOK", 1 << 15)
    told, untold = Behaviour(content=CONTENT), Behaviour(content=CONTENT, announced=-1)
    with serving(told) as one, serving(untold) as other:
        with pytest.raises(NoSpaceError, match=r"70,000 bytes.* 0 "):
            fetch(weights(one, other))
        with pytest.raises(NoSpaceError, match="bytes are free"):
            fetch(weights(other, one, hashes={}))
    assert (len(told.asked), len(untold.asked)) == (1, 1), "another mirror does not help"
    assert not list(cache.rglob("*.part"))


def answer_with(status: int, url: str, **headers: str) -> requests.Response:
    response = requests.Response()
    response.status_code, response.url, response.raw = status, url, io.BytesIO()
    response.headers.update(headers)
    return response


def test_https_stays_https(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def get(session: object, url: str, **options: object) -> requests.Response:
        asked.append(url)
        return answer_with(302, url, Location="http://elsewhere.example/file")

    monkeypatch.setattr(requests.Session, "get", get)
    with pytest.raises(DownloadError, match=r"https.*http://elsewhere\.example/file"):
        fetch(weights("https://here.example:1/file"))
    assert asked == ["https://here.example:1/file"]


# -- what no checksum vouches for -----------------------------------------------------------------------


def test_an_unverified_file_does_not_come_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def get(session: object, url: str, **options: object) -> requests.Response:
        asked.append(url)
        return answer_with(404, url)

    monkeypatch.setattr(requests.Session, "get", get)
    with pytest.raises(DownloadError, match="allow_unverified=True"):
        fetch(weights("http://here.example/file", hashes={}))
    assert asked == ["https://here.example/file"]
    with pytest.raises(DownloadError, match="404"):
        fetch(weights("http://here.example/file", hashes={}), allow_unverified=True)
    assert asked[1:] == ["https://here.example/file", "http://here.example/file"]


@pytest.mark.process
def test_the_first_file_that_came_is_the_right_one_from_then_on(cache: Path) -> None:
    said: list[str] = []
    with serving(Behaviour(content=CONTENT)) as url:
        target = fetch(weights(url, hashes={}), said)
        assert target.with_name("a.caffemodel.sha256").read_text() == f"{SHA256}  a.caffemodel\n"
        assert SHA256 in said[-1]
        target.unlink()
        assert fetch(weights(url, hashes={})).read_bytes() == CONTENT
    target.unlink()
    with serving(Behaviour(content=CONTENT[::-1])) as url, pytest.raises(DownloadError, match=SHA256):
        fetch(weights(url, hashes={}))
    assert not target.exists()


# -- the Internet Archive -------------------------------------------------------------------------------


def test_addresses_follow_from_the_published_one() -> None:
    """`YEARid_` in an address of the Wayback Machine gives the bytes as they were archived."""
    published = "http://www.vlfeat.org/matconvnet/models/imagenet-vgg-f.mat"
    assert https_form(published) == "https://www.vlfeat.org/matconvnet/models/imagenet-vgg-f.mat"
    assert (
        archived_copy(published, {"2015-12": "", "2016-05-02": ""})
        == f"https://web.archive.org/web/2016id_/{published}"
    )
    assert ARCHIVE.startswith("https://web.archive.org/")
    for local in ("http://127.0.0.1/x", "http://[::1]/x", "http://localhost/x", "http://host.example:8080/x"):
        assert (https_form(local), archived_copy(local, {})) == (None, None)


@pytest.mark.parametrize("right", [True, False])
def test_where_all_addresses_fail_the_archive_is_asked(right: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    behaviour = Behaviour(content=CONTENT if right else CONTENT[::-1])
    with serving(Behaviour(statuses=[404])) as gone, serving(behaviour) as copy:
        monkeypatch.setattr("matnet.zoo.fetch.archived_copy", lambda url, generations: copy)
        if right:
            assert fetch(weights(gone), said).read_bytes() == CONTENT
        else:
            with pytest.raises(DownloadError, match="its SHA1 is"):
                fetch(weights(gone), said)
    with serving(Behaviour(statuses=[404])) as gone, pytest.raises(DownloadError, match="404"):
        fetch(replace(weights(gone, hashes={}), file="b.caffemodel"))
    assert said[0].endswith(f"trying {copy}")
    assert len(behaviour.asked) == 1, "without a checksum no copy is asked for"


# -- locks ----------------------------------------------------------------------------------------------


@pytest.mark.process
def test_a_lock_of_a_living_process_is_never_stale(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    started = Path("/proc/self/stat")
    if not started.exists():
        pytest.skip("the system does not say when a process started")
    ticks = started.read_text().rpartition(")")[2].split()[19]
    lock.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": ticks, "id": "x"}))
    os.utime(lock, (time.time() - 100_000,) * 2)
    released = threading.Timer(0.5, lock.unlink)
    released.start()
    with locks.locked(tmp_path / "x"):
        assert not released.is_alive()


def test_a_held_lock_is_touched_without_bytes_coming_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT", 0.05)
    with locks.locked(tmp_path / "x"):
        os.utime(tmp_path / "x.lock", (0, 0))
        until = time.monotonic() + 10
        while (tmp_path / "x.lock").stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.02)
        assert (tmp_path / "x.lock").stat().st_mtime > 0
