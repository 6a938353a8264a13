"""Downloads from servers that cut, lie, stall and redirect; the cache, locks, mirrors, and files carried by hand.

The bytes served are made here, and their checksums computed with hashlib. Connections are cut at multiples of the
16 KiB that are written at a time, so that the offsets of the next requests are known.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import socket
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matnet.errors import DownloadError
from matnet.zoo import locks
from matnet.zoo.cards import Card, RemoteFile
from matnet.zoo.download import Patience, ResumingDownloader
from matnet.zoo.fetch import Fetcher
from tests.helpers import assert_line, logged
from tests.hostile_server import Behaviour, serving

CONTENT = np.random.default_rng(1).bytes(300_000)
SHA1 = hashlib.sha1(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()
QUICK = Patience(connect=2, read=0.3, attempts=3, first_wait=0.01, longest_wait=0.02)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MATNET_OFFLINE", raising=False)
    monkeypatch.setattr("matnet.zoo.fetch.archived_copy", lambda url, generations: None)
    return tmp_path / "home"


def card(*files: RemoteFile, **fields: Any) -> Card:
    return Card(
        name="a-model", title="A model", folder=Path("nowhere"), prose="", mat="a-model.mat", files=files, **fields
    )


def weights(*urls: str, **fields: Any) -> RemoteFile:
    return RemoteFile(file="a.caffemodel", role="caffemodel", urls=urls, **{"hashes": {"sha1": SHA1}, **fields})


def fetch(file: RemoteFile, said: list[str] | None = None, **options: Any) -> bytes:
    with logged([] if said is None else said):
        return Fetcher(patience=QUICK, progress=False, **options).file(card(file), file).read_bytes()


# -- one server -----------------------------------------------------------------------------------------

SURVIVED: dict[str, tuple[Behaviour, list[str | None]]] = {
    "a good server": (Behaviour(), [None]),
    "cut once": (Behaviour(cut_after=98_304, cuts=1), [None, "bytes=98304-"]),
    "cut twice": (Behaviour(cut_after=114_688, cuts=2), [None, "bytes=114688-", "bytes=229376-"]),
    "cut, then Range is ignored": (Behaviour(cut_after=98_304, cuts=1, ranges=False), [None, "bytes=98304-"]),
    "cut, then another file": (Behaviour(cut_after=98_304, cuts=1, etag=['"one"', '"two"']), [None, "bytes=98304-"]),
    "cut, no validator": (Behaviour(cut_after=98_304, cuts=1, etag=[""]), [None, "bytes=98304-"]),
    "a range that starts elsewhere": (
        Behaviour(cut_after=98_304, cuts=1, wrong_range=True),
        [None, "bytes=98304-", None],
    ),
    "a range of a file of another size": (
        Behaviour(cut_after=98_304, cuts=1, wrong_total=True),
        [None, "bytes=98304-", None],
    ),
    "busy, then well": (Behaviour(statuses=[503, 429]), [None, None, None]),
    "redirects": (Behaviour(redirects=3), [None]),
}


@pytest.mark.parametrize("case", SURVIVED)
def test_survived(case: str) -> None:
    behaviour, asked = SURVIVED[case]
    behaviour = replace(
        behaviour, content=CONTENT, etag=list(behaviour.etag), statuses=list(behaviour.statuses), asked=[]
    )
    with serving(behaviour) as url:
        assert fetch(weights(url)) == CONTENT
    assert behaviour.asked == asked


WRONG = bytes(len(CONTENT))
FATAL: dict[str, tuple[Behaviour, str, int]] = {
    "gone": (Behaviour(statuses=[404]), "404 Not Found", 1),
    "wrong bytes": (Behaviour(content=WRONG), f"its SHA1 is {hashlib.sha1(WRONG).hexdigest()}; expected {SHA1}", 1),
    "a page instead": (Behaviour(html=True), "received a web page instead of the file", 1),
    "another size": (Behaviour(content=CONTENT[:-1]), "the server's file has 299,999 bytes; expected 300,000", 1),
    "always busy": (Behaviour(statuses=[503] * 9), r"503 Service Unavailable \(attempts: 3\)", 3),
    "nothing ever comes": (Behaviour(stall=1.0), r"timed out \(attempts: 3\)", 3),
    "cut before the first byte": (Behaviour(content=CONTENT, cut_after=0), r"\(attempts: 3\)", 3),
    "an absurd size": (Behaviour(content=CONTENT, announced=1 << 50), "has 1,125,899,906,842,624 bytes", 1),
    "redirects without end": (Behaviour(redirects=99), "more than 10 redirects", 0),
}


@pytest.mark.process
@pytest.mark.parametrize("case", FATAL)
def test_fatal(case: str, cache: Path) -> None:
    behaviour, reason, requests = FATAL[case]
    file = weights(size=len(CONTENT))
    with serving(behaviour) as url, pytest.raises(DownloadError, match=reason) as caught:
        fetch(replace(file, urls=(url,)))
    assert len(behaviour.asked) == requests
    assert f"by hand: download a.caffemodel from {url}" in str(caught.value)
    assert f"its checksum: SHA1 {SHA1}" in str(caught.value)
    assert_line(str(caught.value), str(cache / "caffe" / "a-model" / "a.caffemodel"))
    assert not list(cache.rglob("a.caffemodel"))


def test_a_host_that_does_not_exist_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """EAI_NONAME is an answer; EAI_AGAIN, no name server to be had just now, is worth another try."""
    asked: list[int] = []

    def refuse(errno: int) -> Any:
        def getaddrinfo(*arguments: object, **options: object) -> None:
            asked.append(errno)
            raise socket.gaierror(errno, "no")

        return getaddrinfo

    for number, reason in ((socket.EAI_NONAME, "no such host"), (socket.EAI_AGAIN, r"\(attempts: 3\)")):
        monkeypatch.setattr(socket, "getaddrinfo", refuse(number))
        with pytest.raises(DownloadError, match=reason):
            fetch(weights("https://nowhere.example/a.caffemodel"))
    assert asked == [socket.EAI_NONAME] + [socket.EAI_AGAIN] * 3


def test_a_transfer_goes_on_in_another_process(tmp_path: Path) -> None:
    behaviour = Behaviour(content=CONTENT, cut_after=49_152, cuts=1)
    downloader = ResumingDownloader(part=tmp_path / "x.part", patience=replace(QUICK, attempts=1), progress=False)
    with serving(behaviour) as url:
        with pytest.raises(DownloadError, match=r"\(attempts: 1\)"):
            downloader(url, str(tmp_path / "x"))
        replace(downloader)(url, str(tmp_path / "x"))
    assert behaviour.asked == [None, "bytes=49152-"]
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_without_checksum_or_validator_nothing_is_resumed(tmp_path: Path) -> None:
    behaviour = Behaviour(content=CONTENT, cut_after=49_152, cuts=1, etag=[""])
    with serving(behaviour) as url:
        ResumingDownloader(part=tmp_path / "x.part", patience=QUICK, progress=False)(url, str(tmp_path / "x"))
    assert behaviour.asked == [None, None]
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_without_a_checksum_the_server_is_asked_whether_the_file_is_still_the_same(tmp_path: Path) -> None:
    behaviour = Behaviour(content=CONTENT, cut_after=49_152, cuts=1, etag=['"one"', '"two"'])
    with serving(behaviour) as url:
        ResumingDownloader(part=tmp_path / "x.part", patience=QUICK, progress=False)(url, str(tmp_path / "x"))
    assert list(zip(behaviour.asked, behaviour.conditions, strict=True)) == [(None, None), ("bytes=49152-", '"one"')]
    assert (tmp_path / "x").read_bytes() == CONTENT


@pytest.mark.process
def test_a_server_that_always_starts_anew_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matnet.zoo.download.PROGRESS", 16_384)
    behaviour = Behaviour(content=CONTENT, cut_after=(49_152, 98_304), ranges=False, cuts=20)
    downloader = ResumingDownloader(part=tmp_path / "x.part", patience=QUICK, progress=False)
    with serving(behaviour) as url, pytest.raises(DownloadError, match=r"attempts: 3"):
        downloader(url, str(tmp_path / "x"))
    assert len(behaviour.asked) == 5, "two brought more than before, three did not"


@pytest.mark.parametrize(
    "behaviour, size, reason",
    [
        (Behaviour(content=CONTENT, announced=1 << 50), None, r"limit is 4,294,967,296"),
        (Behaviour(content=CONTENT, announced=-1), 1000, r"received more than the expected 1,000 bytes"),
    ],
    ids=["announced", "unannounced"],
)
def test_a_flood_is_stopped(behaviour: Behaviour, size: int | None, reason: str, tmp_path: Path) -> None:
    downloader = ResumingDownloader(part=tmp_path / "x.part", size=size, patience=QUICK, progress=False)
    with serving(replace(behaviour, asked=[])) as url, pytest.raises(DownloadError, match=reason):
        downloader(url, str(tmp_path / "x"))
    assert sum(path.stat().st_size for path in tmp_path.glob("*.part")) == 0


def test_a_transfer_that_was_complete_is_not_repeated(tmp_path: Path) -> None:
    behaviour = Behaviour(content=CONTENT)
    downloader = ResumingDownloader(part=tmp_path / "x.part", patience=QUICK, progress=False)
    with serving(behaviour) as url:
        with pytest.raises(FileNotFoundError):
            downloader(url, str(tmp_path / "no such folder" / "x"))
        downloader(url, str(tmp_path / "x"))
    assert behaviour.asked == [None]
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_resumed_file_with_a_wrong_beginning_is_fetched_again(cache: Path) -> None:
    part = cache / "caffe" / "a-model" / "a.caffemodel.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(1000))
    behaviour = Behaviour(content=CONTENT)
    with serving(behaviour) as url:
        assert fetch(weights(url)) == CONTENT
    assert behaviour.asked == ["bytes=1000-", None]


def test_retry_after_is_heeded_within_reason(tmp_path: Path) -> None:
    said: list[str] = []
    behaviour = Behaviour(content=CONTENT, statuses=[503], headers={"Retry-After": "3600"})
    downloader = ResumingDownloader(part=tmp_path / "x.part", patience=QUICK, progress=False)
    with serving(behaviour) as url, logged(said):
        downloader(url, str(tmp_path / "x"))
    assert "trying again in 0.02 s" in said[0]


# -- mirrors, the cache, offline ------------------------------------------------------------------------


def test_mirrors_are_tried_in_turn_and_a_broken_transfer_goes_on_at_the_next() -> None:
    first, second = Behaviour(content=CONTENT, cut_after=98_304, statuses=[]), Behaviour(content=CONTENT)
    with serving(replace(first, ranges=True)) as one, serving(second) as two:
        said: list[str] = []
        fetcher = Fetcher(patience=replace(QUICK, attempts=1), progress=False)
        file = weights(one, two)
        with logged(said):
            assert fetcher.file(card(file), file).read_bytes() == CONTENT
    assert second.asked == ["bytes=98304-"]
    assert any(line.startswith(one) for line in said), "a failing mirror is said"


@pytest.mark.process
def test_a_mirror_of_the_command_line_comes_first() -> None:
    chosen, listed = Behaviour(content=CONTENT), Behaviour(content=CONTENT)
    with serving(chosen) as one, serving(listed) as two:
        assert fetch(weights(two), mirrors=[one.removesuffix("file")]) == CONTENT
    assert (len(chosen.asked), len(listed.asked)) == (1, 0)


@pytest.mark.process
def test_what_is_in_the_cache_is_not_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    behaviour = Behaviour(content=CONTENT)
    with serving(behaviour) as url:
        fetch(weights(url))
        monkeypatch.setenv("MATNET_OFFLINE", "1")
        assert fetch(weights(url)) == CONTENT
    assert len(behaviour.asked) == 1


def test_a_damaged_file_in_the_cache_is_set_aside(cache: Path) -> None:
    behaviour, said = Behaviour(content=CONTENT), []  # type: ignore[var-annotated]
    target = cache / "caffe" / "a-model" / "a.caffemodel"
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT[:1000])
    with serving(behaviour) as url:
        assert fetch(weights(url, size=len(CONTENT)), said) == CONTENT
    assert_line(said[0], "1,000 of 300,000 bytes", "a.caffemodel.bad")
    assert target.with_name("a.caffemodel.bad").read_bytes() == CONTENT[:1000]


def test_offline_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATNET_OFFLINE", "1")
    with pytest.raises(DownloadError, match="MATNET_OFFLINE is set"):
        fetch(weights("http://127.0.0.1:9/never"))


def test_without_a_checksum_the_file_is_said_to_be_unverified() -> None:
    said: list[str] = []
    with serving(Behaviour(content=CONTENT)) as url:
        fetch(weights(url, hashes={}), said)
    assert_line(said[-1], "unverified", hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize("generation", ["2015-12", "2016-09-30"])
def test_any_published_generation_of_a_mat_file_will_do(generation: str, cache: Path) -> None:
    sums = {"2015-12": "0" * 32, "2016-09-30": "1" * 32, generation: MD5}
    with serving(Behaviour(content=CONTENT)) as url:
        path = Fetcher(patience=QUICK, progress=False).mat(card(mat_urls=(url,), md5=sums))
    assert path == cache / "mat" / "a-model.mat"
    assert path.read_bytes() == CONTENT


@pytest.mark.process
def test_an_archive_is_fetched_once_for_all_its_files(tmp_path: Path, cache: Path) -> None:
    with tarfile.open(tmp_path / "all.tgz", "w:gz") as packed:
        for name, content in (("top/a.caffemodel", CONTENT), ("top/words.txt", b"one two")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    behaviour = Behaviour(content=(tmp_path / "all.tgz").read_bytes())
    with serving(behaviour) as url:
        archive = RemoteFile(file="all.tgz", role="archive", urls=(url,))
        files = (
            weights(archive=archive, member="top/a.caffemodel"),
            RemoteFile(file="words.txt", role="labels", archive=archive, member="words.txt"),
        )
        wrong = replace(files[1], file="wrong.txt", hashes={"md5": MD5})
        fetcher = Fetcher(patience=QUICK, progress=False)
        first, second = fetcher.caffe(card(*files))
        with pytest.raises(DownloadError, match=r"all\.tgz, words\.txt: its MD5 is"):
            fetcher.caffe(card(wrong))
    assert (first.read_bytes(), second.read_bytes()) == (CONTENT, b"one two")
    assert len(behaviour.asked) == 1
    assert sorted(path.name for path in cache.rglob("*.*")) == [
        "a.caffemodel",
        "all.tgz",
        "all.tgz.sha256",
        "words.txt",
        "words.txt.sha256",
    ]


def test_all_files_that_cannot_be_had_are_told_together() -> None:
    files = (weights(), RemoteFile(file="mean.binaryproto", role="mean"))
    with pytest.raises(DownloadError, match=r"(?s)a\.caffemodel: download failed.*mean\.binaryproto: download failed"):
        Fetcher(progress=False).caffe(card(*files))


# -- carried by hand ------------------------------------------------------------------------------------


def test_carried_files_are_taken_when_they_are_right(tmp_path: Path) -> None:
    (tmp_path / "a.caffemodel").write_bytes(CONTENT)
    assert fetch(weights(), carried=tmp_path) == CONTENT


def test_a_carried_file_is_known_by_its_checksum_too(tmp_path: Path) -> None:
    (tmp_path / "a (1).caffemodel").write_bytes(CONTENT)
    (tmp_path / "other.caffemodel").write_bytes(WRONG)
    said: list[str] = []
    assert fetch(weights(), said, carried=tmp_path) == CONTENT
    (line,) = said
    assert_line(line, str(tmp_path / "a (1).caffemodel"), "checksum", "a.caffemodel")


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="usb: no such folder"):
        Fetcher(carried=tmp_path / "usb")


@pytest.mark.parametrize("name, hashes", [("a.bin", {"sha1": SHA1}), ("b.caffemodel", {})], ids=["kind", "no checksum"])
def test_what_no_checksum_vouches_for_is_not_guessed_at(name: str, hashes: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(CONTENT)
    with pytest.raises(DownloadError, match="no address is known"):
        fetch(weights(hashes=hashes), carried=tmp_path)


def test_carried_files_are_refused_when_they_are_wrong(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.caffemodel").write_bytes(WRONG)
    with pytest.raises(DownloadError, match=r"a\.caffemodel: its SHA1 is .* not used"):
        fetch(weights(), carried=tmp_path)
    assert not list(cache.rglob("a.caffemodel"))


# -- locks ----------------------------------------------------------------------------------------------


@pytest.mark.process
def test_two_threads_that_want_one_file_fetch_it_once() -> None:
    behaviour = Behaviour(content=CONTENT)
    results: list[bytes] = []
    with serving(behaviour) as url:
        threads = [threading.Thread(target=lambda: results.append(fetch(weights(url)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [CONTENT] * 4
    assert len(behaviour.asked) == 1


def lock_text(pid: int, host: str) -> str:
    return json.dumps({"pid": pid, "host": host, "id": "x"})


STALE = {
    "its process is gone": (lock_text(2**22 + 1, socket.gethostname()), 0),
    "not touched for long": (lock_text(os.getpid(), "elsewhere"), 3600),
    "its number belongs to a later process": (
        json.dumps({"pid": os.getppid(), "host": socket.gethostname(), "started": "1", "id": "x"}),
        0,
    ),
    "a number that is none": ('{"pid": 1e999, "host": "x"}', 3600),
    "nested too deep": ("[" * 100_000, 3600),
    "no object": ("[1]", 3600),
    "old and empty": ("", 3600),
}
DAMAGED = ("a number that is none", "nested too deep", "no object")


@pytest.mark.parametrize("case", STALE)
def test_a_stale_lock_is_taken_over(case: str, tmp_path: Path) -> None:
    content, age = STALE[case]
    lock = tmp_path / "x.lock"
    lock.write_text(content)
    os.utime(lock, (time.time() - age,) * 2)
    said: list[str] = []
    with logged(said), locks.locked(tmp_path / "x"):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert [text.split(": ")[0] for text in said] == ([str(lock)] if case in DAMAGED else [])
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_lock_is_not_waited_for(tmp_path: Path) -> None:
    """It is nobody's: no process writes such a thing, and ten minutes of waiting would end in the same."""
    lock = tmp_path / "x.lock"
    lock.write_text('{"pid": 1e999}')
    os.utime(lock, (time.time() - 5,) * 2)
    assert locks._stale(lock, lock.read_text())
    lock.write_text("")
    assert not locks._stale(lock, ""), "its maker is about to write into it"


@pytest.mark.process
def test_a_living_lock_is_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    lock.write_text(lock_text(os.getpid(), socket.gethostname()))
    said: list[str] = []
    released = threading.Timer(0.3, lock.unlink)
    released.start()
    with logged(said), locks.locked(tmp_path / "x"):
        assert not released.is_alive()
    (line,) = said
    assert_line(line, str(os.getpid()), socket.gethostname(), str(lock))


def test_a_lock_that_somebody_took_over_is_theirs(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    with locks.locked(tmp_path / "x"):
        lock.write_text(lock_text(1, "elsewhere"))
    assert lock.read_text() == lock_text(1, "elsewhere")


def test_a_lock_that_cannot_be_written_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(DownloadError, match="No space left"), locks.locked(tmp_path / "x"):
        pass
