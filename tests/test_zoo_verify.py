"""Files recognised by their checksums, and what is said of the others. Checksums are computed here with hashlib."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matnet.errors import DataError
from matnet.files import models_folder
from matnet.formats.mat import write_mat
from matnet.zoo.__main__ import main
from matnet.zoo.cards import Card, RemoteFile
from matnet.zoo.checks import mat5_size
from matnet.zoo.verify import FileIdentity, verify

OLD, NEW, WEIGHTS = b"old weights" * 99, b"new weights" * 99, b"caffe weights" * 99
ARCHIVE = RemoteFile(file="all.tgz", role="archive", hashes={"md5": hashlib.md5(b"archive").hexdigest()})
CARD = Card(
    name="a-model",
    title="A model",
    folder=Path("nowhere"),
    prose="",
    mat="a-model.mat",
    mat_urls=("http://somewhere/a-model.mat",),
    md5={"2016-09-30": hashlib.md5(NEW).hexdigest(), "2015-12": hashlib.md5(OLD).hexdigest()},
    files=(
        RemoteFile(
            file="a.caffemodel", role="caffemodel", hashes={"sha1": hashlib.sha1(WEIGHTS).hexdigest()}, size=1287
        ),
        RemoteFile(file="mean.binaryproto", role="mean"),
        RemoteFile(file="big.bin", hashes={"sha384": hashlib.sha384(WEIGHTS).hexdigest()}),
        RemoteFile(file="labels.txt", role="labels", member="labels.txt", archive=ARCHIVE),
    ),
)
HTML = b"<!DOCTYPE html><html>gone</html>"
NEW_MD5, OLD_MD5 = CARD.md5["2016-09-30"], CARD.md5["2015-12"]
JUNK_MD5 = hashlib.md5(b"junk").hexdigest()

CASES: dict[str, tuple[str, bytes, str, str, str, str]] = {
    # name, content -> status, model, generation, detail
    "under its own name": ("a-model.mat", NEW, "OK", "a-model", "2016-09-30", ""),
    "an older generation": ("a-model.mat", OLD, "OK", "a-model", "2015-12", ""),
    "under another name": ("x.bin", OLD, "OK", "a-model", "2015-12", "is a-model.mat"),
    "by SHA-1": ("x", WEIGHTS, "OK", "a-model", "", "is a.caffemodel"),
    "by a hash that only its name leads to": ("big.bin", WEIGHTS, "OK", "a-model", "", "is a.caffemodel"),
    "an archive": ("x.tgz", b"archive", "OK", "a-model", "", "is all.tgz"),
    "wrong bytes": (
        "a-model.mat",
        b"junk",
        "MISMATCH",
        "a-model",
        "",
        f"its MD5 is {JUNK_MD5}; published: {NEW_MD5}, {OLD_MD5}",
    ),
    "wrong bytes, upper case": ("A-Model.MAT", b"junk", "MISMATCH", "a-model", "", "its MD5 is"),
    "cut": ("a.caffemodel", WEIGHTS[:-1], "MISMATCH", "a-model", "", "truncated at 1,286 of 1,287 bytes"),
    "empty": ("a-model.mat", b"", "MISMATCH", "a-model", "", "empty"),
    "a web page": ("a-model.mat", HTML, "MISMATCH", "a-model", "", "a web page of 32 bytes"),
    "nobody's empty file": ("other.mat", b"", "MISMATCH", "", "", "empty"),
    "nobody's web page": ("other.caffemodel", HTML, "MISMATCH", "", "", "a web page of 32 bytes"),
    "nobody's file": ("other.mat", b"junk", "unknown", "", "", ""),
    "nobody's notes": ("notes.html", HTML, "unknown", "", "", ""),
    "without a checksum": ("mean.binaryproto", b"junk", "unknown", "a-model", "", "no checksum was published"),
}


def one(path: Path) -> FileIdentity:
    (finding,) = verify([path], [CARD])
    return finding


@pytest.mark.parametrize("case", CASES)
def test_one_file(case: str, tmp_path: Path) -> None:
    name, content, status, model, generation, detail = CASES[case]
    (tmp_path / name).write_bytes(content)
    found = one(tmp_path / name)
    assert (found.status, found.model, found.generation) == (status, model, generation)
    assert found.detail.startswith(detail) and bool(found.detail) == bool(detail)
    assert (found.md5, found.sha1) == (hashlib.md5(content).hexdigest(), hashlib.sha1(content).hexdigest())


def test_an_absent_file(tmp_path: Path) -> None:
    assert one(tmp_path / "a-model.mat") == FileIdentity(str(tmp_path / "a-model.mat"), "absent", "a-model")


def mat_file(path: Path, compress: bool) -> bytes:
    write_mat(path, {"first": np.ones((3, 50)), "second": np.arange(999.0).reshape(1, -1)}, compress=compress)
    return path.read_bytes()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("removed", [1, 8, 700])
def test_a_cut_mat_file_tells_its_whole_size(compress: bool, removed: int, tmp_path: Path) -> None:
    whole = mat_file(tmp_path / "a-model.mat", compress)
    assert mat5_size(tmp_path / "a-model.mat") == len(whole)
    left = whole[:-removed]
    (tmp_path / "a-model.mat").write_bytes(left)
    assert one(tmp_path / "a-model.mat").detail == f"truncated at {len(left):,} of {len(whole):,} bytes"


def test_a_file_that_matnet_converted_is_no_mismatch(tmp_path: Path) -> None:
    mat_file(tmp_path / "a-model.mat", compress=False)
    found = one(tmp_path / "a-model.mat")
    assert (found.status, found.model) == ("unknown", "a-model")
    assert found.detail.startswith("converted by matnet")


def test_a_folder_and_what_downloads_leave_in_it(tmp_path: Path) -> None:
    for name in ("a-model.mat", "sub/x", ".hidden/y", "a-model.mat.part", "a-model.mat.lock", "z.bad"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(OLD)
    assert [Path(found.path).name for found in verify([tmp_path], [CARD])] == ["a-model.mat", "x"]


def test_an_empty_folder_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no files to verify"):
        list(verify([tmp_path], [CARD]))


def test_without_paths_every_published_file_has_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATNET_HOME", str(tmp_path))
    (tmp_path / "caffe" / "a-model").mkdir(parents=True)
    (tmp_path / "caffe" / "a-model" / "a.caffemodel").write_bytes(WEIGHTS)
    assert [(Path(found.path).name, found.status) for found in verify(None, [CARD])] == [
        ("a-model.mat", "absent"),
        ("a.caffemodel", "OK"),
    ]


def records(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return list(json.loads(capsys.readouterr().out))


def test_the_command_and_its_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = models_folder() / "digits-lenet" / "digits-lenet.caffemodel"
    assert main(["verify", str(weights), "--json"]) == 0
    assert [(record["status"], record["model"]) for record in records(capsys)] == [("OK", "digits-lenet")]
    (tmp_path / "imagenet-vgg-f.mat").write_bytes(HTML)
    assert main(["verify", str(weights), str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "MISMATCH" in shown and "a web page of 32 bytes" in shown
    assert main(["verify", str(weights), str(tmp_path / "gone.mat")]) == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["OK", "absent"]
