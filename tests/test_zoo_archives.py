"""Archives by strangers: what is taken out of them, and what is refused. The standard library builds them here."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from matnet.errors import DownloadError
from matnet.zoo import archives
from matnet.zoo.archives import extract

Member = tuple[str, bytes]


def tar(path: Path, *members: Member | tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                file.addfile(info, io.BytesIO(member[1]))
    return path


def zipped(path: Path, *members: Member) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def special(kind: bytes, name: str, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.parametrize("stored, member", [("a/b.txt", "a/b.txt"), ("./a/b.txt", "a/b.txt"), ("top/a/b.txt", "b.txt")])
def test_a_member_comes_out_whole(make: Callable[..., Path], stored: str, member: str, tmp_path: Path) -> None:
    archive = make(tmp_path / "x", ("other", b"no"), (stored, b"yes" * 1000))
    extract(archive, member, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"yes" * 1000


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/../../../evil"])
@pytest.mark.parametrize("make", [tar, zipped])
def test_names_in_an_archive_never_say_where_bytes_go(make: Callable[..., Path], name: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    extract(make(folder / "x", (name, b"evil"), ("good", b"good")), "good", folder / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "out", "x"]
    assert (folder / "out").read_bytes() == b"good"


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a symbolic link": (lambda path: tar(path, special(tarfile.SYMTYPE, "wanted", "/etc/passwd")), "is a link"),
    "a hard link": (lambda path: tar(path, special(tarfile.LNKTYPE, "wanted", "/etc/passwd")), "is a link"),
    "a folder": (lambda path: tar(path, special(tarfile.DIRTYPE, "wanted")), "is a link or a folder"),
    "a device": (lambda path: tar(path, special(tarfile.CHRTYPE, "wanted")), "is a link or a folder"),
    "not there": (lambda path: tar(path, ("wantd", b"")), "no member 'wanted'; nearest: wantd"),
    "two of them": (
        lambda path: tar(path, ("a/wanted", b"1"), ("b/wanted", b"2")),
        "may be any of\n  a/wanted\n  b/wanted",
    ),
    "a bomb": (lambda path: zipped(path, ("wanted", bytes(5_000))), "unpacks to more than 100 bytes"),
    "no archive": (lambda path: path.write_bytes(b"<html>" * 99) and path, "cannot be unpacked"),  # type: ignore[func-returns-value,return-value]
    "cut": (lambda path: cut(tar(path, ("wanted", bytes(range(256)) * 20))), "cannot be unpacked"),
}


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-200])
    return path


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    make, reason = REFUSED[case]
    archive = make(tmp_path / "x.tgz")
    with pytest.raises(DownloadError, match=reason):
        extract(archive, "wanted", tmp_path / "out", size=100)
    assert not (tmp_path / "out").exists()


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        link = zipfile.ZipInfo("wanted")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    with pytest.raises(DownloadError, match="is a link"):
        extract(tmp_path / "x.zip", "wanted", tmp_path / "out")


@pytest.mark.process
def test_what_stands_before_a_member_may_not_be_a_bomb(tmp_path: Path) -> None:
    zeros = tarfile.TarInfo("zeros")
    zeros.size = 20 << 20
    with tarfile.open(tmp_path / "x.tgz", "w:xz") as file:
        file.addfile(zeros, io.BytesIO(bytes(zeros.size)))
        file.addfile(tarfile.TarInfo("wanted"))
    with pytest.raises(DownloadError, match="unpacks to more than"):
        extract(tmp_path / "x.tgz", "wanted", tmp_path / "out")


def test_an_archive_of_very_many_members_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 10)
    members = [(f"m{index}", b"") for index in range(11)]
    for make in (tar, zipped):
        with pytest.raises(DownloadError, match=r"members|more than"):
            extract(make(tmp_path / "x", *members), "m3", tmp_path / "out")


def test_all_members_together_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members of a .zip file may share their packed bytes, so that each of them is within the limit of one."""
    monkeypatch.setattr(archives, "LARGEST", 5000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for name in ("a.txt", "b.txt", "c.txt"):
            packed.writestr(name, bytes(2000))
    (tmp_path / "out").mkdir()
    with pytest.raises(DownloadError, match=r"a\.zip: 'c\.txt' unpacks to more than 1,000 bytes"):
        archives.unpack_flat(tmp_path / "a.zip", tmp_path / "out", lambda name: True)
    assert not (tmp_path / "out" / "c.txt").exists()
