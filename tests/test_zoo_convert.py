"""From a name to a converted file, Caffe's folders out and in, and the commands that do it; all with digits-lenet."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet.convert import main as convert_main
from matnet.errors import DownloadError, FileFormatError, NetworkError
from matnet.files import models_folder
from matnet.meta import class_names
from matnet.zoo import all_cards, cards, find_card, random_network
from matnet.zoo.__main__ import main
from matnet.zoo.cards import read_cards
from matnet.zoo.convert_named import convert_card, convert_named
from matnet.zoo.fetch import Fetcher
from matnet.zoo.front_matter import read_front_matter
from matnet.zoo.model_info import NEEDED_TO_DOWNLOAD, export_info, import_info
from tests.helpers import assert_line
from tests.hostile_server import Behaviour, serving

DIGITS = models_folder() / "digits-lenet"
WEIGHTS = DIGITS / "digits-lenet.caffemodel"


@pytest.fixture(autouse=True)
def home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    cards.cards_in.cache_clear()
    return home


def caffe_folder(folder: Path, readme: str, *prototxts: str) -> Path:
    folder.mkdir()
    (folder / "readme.md").write_text(readme)
    for name in prototxts:
        shutil.copyfile(DIGITS / "deploy.prototxt", folder / name)
    return folder


def fenced(**fields: str) -> str:
    lines = "\n".join(f"{name}: {value}" for name, value in fields.items())
    return f"---\n{lines}\n---\n\n# Tiny\n\nAbout it.\n"


SHA1 = hashlib.sha1(WEIGHTS.read_bytes()).hexdigest()
TINY = fenced(name="Tiny Model", caffemodel="tiny.caffemodel", sha1=SHA1, license="BSD")


# -- converting -----------------------------------------------------------------------------------------


@pytest.mark.process
def test_a_model_with_its_weights_beside_its_card(tmp_path: Path) -> None:
    conversion = convert_named("digits lenet", tmp_path / "out.mat")
    assert conversion.md5 == hashlib.md5((tmp_path / "out.mat").read_bytes()).hexdigest()
    assert conversion.published == DIGITS / "digits-lenet.mat"
    assert conversion.comparison is not None
    assert not conversion.comparison.structure
    assert all(param.within(0) for param in conversion.comparison.params)
    images = np.random.default_rng(3).random((2, 1, 8, 8), np.float32)
    np.testing.assert_array_equal(
        matnet.load(tmp_path / "out.mat")(images), matnet.load(DIGITS / "digits-lenet.mat")(images)
    )
    assert conversion.report()[0] == f"{tmp_path / 'out.mat'}: MD5 {conversion.md5}"


@pytest.mark.process
def test_a_fetched_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MATNET_OFFLINE")
    import_info(caffe_folder(tmp_path / "tiny", TINY, "deploy.prototxt"))
    with serving(Behaviour(content=WEIGHTS.read_bytes())) as url:
        conversion = convert_named("tiny", fetcher=Fetcher(mirrors=[url], progress=False))
    assert conversion.path == Path("tiny.mat")
    assert conversion.published is None
    assert_line(conversion.report(), "no checksum", ".mat")
    assert sum(param.value.size for param in matnet.load("tiny.mat").params.values()) == 13706


@pytest.mark.process
def test_a_file_is_not_compared_with_itself(tmp_path: Path, home: Path) -> None:
    folder = caffe_folder(tmp_path / "tiny", TINY, "deploy.prototxt")
    import_info(folder)
    shutil.copyfile(WEIGHTS, folder / "tiny.caffemodel")
    (home / "mat").mkdir()
    assert convert_named("tiny", home / "mat" / "tiny.mat", fetcher=Fetcher(carried=folder)).published is None
    assert convert_named("tiny").published == home / "mat" / "tiny.mat"


@pytest.mark.process
def test_wrong_weights_are_not_converted(tmp_path: Path) -> None:
    import_info(caffe_folder(tmp_path / "tiny", TINY, "deploy.prototxt"))
    (tmp_path / "tiny.caffemodel").write_bytes(WEIGHTS.read_bytes()[:-4])
    with pytest.raises(DownloadError, match=rf"its SHA1 is [0-9a-f]+; expected {SHA1}; not used"):
        convert_named("tiny", fetcher=Fetcher(carried=tmp_path))
    assert not (tmp_path / "tiny.mat").exists()


@pytest.mark.process
def test_all_files_that_are_missing_are_told_at_once() -> None:
    with pytest.raises(DownloadError) as caught:
        convert_named("caffe-alex", fetcher=Fetcher(progress=False))
    heads = [line for line in str(caught.value).splitlines() if line.endswith("download failed:")]
    assert [line.split()[0].rstrip(":") for line in heads] == ["caffe_alexnet_model", "caffe_ilsvrc12.tar.gz"]


@pytest.mark.process
def test_random_weights_need_no_file_and_take_no_published_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert convert_main(["nin-cifar10", "--random-weights", "--seed", "4"]) == 0
    assert capsys.readouterr().out.startswith("random weights, seed 4: ")
    expected = random_network("nin-cifar10", seed=4).params["conv1_filter"].value
    np.testing.assert_array_equal(matnet.load("nin-cifar10-random.mat").params["conv1_filter"].value, expected)
    assert convert_main(["NIN CIFAR10", "--random-weights", "--to-onnx", "nin.onnx"]) == 0
    assert Path("nin.onnx").stat().st_size > 4 * 966_986
    with pytest.raises(NetworkError, match="--random-weights"):
        convert_main(["deploy.prototxt", "--random-weights"])


@pytest.mark.process
def test_the_same_bytes_as_a_published_generation_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    md5 = convert_named("digits-lenet", tmp_path / "one.mat").md5
    known = replace(find_card("digits-lenet"), md5={"2016-09-30": md5})
    monkeypatch.setattr("matnet.zoo.convert_named.find_card", lambda name: known)
    again = convert_named("digits-lenet", tmp_path / "two.mat")
    assert again.generation == "2016-09-30"
    assert_line(again.report(), "same bytes", "2016-09-30")


@pytest.mark.process
def test_files_of_options_are_fetched_and_options_can_be_overridden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = tmp_path / "words.txt"
    labels.write_text("".join(f"digit {digit}\n" for digit in range(10)))
    known = find_card("digits-lenet")
    listed = cards.RemoteFile(file="words.txt", role="labels")
    monkeypatch.setattr(
        "matnet.zoo.convert_named.find_card",
        lambda name: replace(known, files=(*known.files, listed), convert={"labels": "words.txt"}),
    )
    convert_named("digits-lenet", "listed.mat", fetcher=Fetcher(carried=tmp_path))
    assert class_names(matnet.load("listed.mat"))[3] == "digit 3"  # type: ignore[index]
    convert_named("digits-lenet", "own.mat", options={"labels": None, "class_names": list("abcdefghij")})
    assert class_names(matnet.load("own.mat"))[3] == "d"  # type: ignore[index]


@pytest.mark.process
def test_what_has_no_weights_or_no_definition_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    known = replace(find_card("digits-lenet"), files=(), mat_urls=("http://there/x.mat",))
    monkeypatch.setattr("matnet.zoo.convert_named.find_card", lambda name: known)
    with pytest.raises(NetworkError, match=r"MatConvNet.*matnet[. ]zoo fetch digits-lenet"):
        convert_named("x")
    monkeypatch.setattr(
        "matnet.zoo.convert_named.find_card", lambda name: replace(known, prototxt=None, page="http://p")
    )
    with pytest.raises(NetworkError, match=r"give your own prototxt .*published at http://p"):
        convert_named("x")


# -- Caffe's folders ------------------------------------------------------------------------------------


@pytest.mark.process
def test_what_is_exported_is_what_caffes_script_reads(tmp_path: Path) -> None:
    assert export_info("digits-lenet", tmp_path / "out") == [
        tmp_path / "out" / "readme.md",
        tmp_path / "out" / "deploy.prototxt",
    ]
    fields, prose = read_front_matter(tmp_path / "out" / "readme.md")
    assert fields == {
        "name": "digits-lenet",
        "caffemodel": "digits-lenet.caffemodel",
        "license": "BSD-2-Clause",
        "sha1": SHA1,
    }
    assert list(fields)[-1] not in NEEDED_TO_DOWNLOAD, "the first versions of the script overlook the last line"
    assert prose.startswith("# digits-lenet")
    assert (tmp_path / "out" / "deploy.prototxt").read_bytes() == (DIGITS / "deploy.prototxt").read_bytes()
    with pytest.raises(FileFormatError, match="already exists"):
        export_info("digits-lenet", tmp_path / "out")


GIST = """
##Information

name: The tiny gist

**caffemodel**: tiny.caffemodel

- caffemodel_url: `http://there/tiny.caffemodel`

gist_id: 0123abc

## Description
A model. Its license: none.
"""


@pytest.mark.process
@pytest.mark.parametrize(
    "readme, told",
    [
        (TINY, ("Tiny Model", "tiny.caffemodel", "", "", "BSD")),
        (GIST, ("The tiny gist", "tiny.caffemodel", "http://there/tiny.caffemodel", "0123abc", "unknown")),
    ],
    ids=["fenced", "unfenced"],
)
def test_a_folder_becomes_a_model(readme: str, told: tuple[str, ...], tmp_path: Path, home: Path) -> None:
    card = import_info(caffe_folder(tmp_path / "My tiny", readme, "deploy.prototxt", "solver.prototxt"), task="hashing")
    assert (card.title, card.caffemodel, card.caffemodel_url, card.gist_id, card.license) == told
    assert (card.name, card.task, card.folder) == ("My-tiny", "hashing", home / "models" / "My-tiny")
    assert find_card("my tiny") == card
    assert read_cards(card.folder) == [card]


@pytest.mark.process
@pytest.mark.parametrize("folder", ["034c6ac3865563b69e60", "sergeyk-034c6ac3865563b69e60", "0" * 32])
def test_a_folder_that_is_called_by_a_gists_id_is_called_as_its_authors_do(folder: str, tmp_path: Path) -> None:
    assert import_info(caffe_folder(tmp_path / folder, TINY, "deploy.prototxt")).name == "tiny-model"


def zipped(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), text)
    return path


@pytest.mark.process
def test_the_zip_file_of_a_gist_becomes_a_model(tmp_path: Path, home: Path) -> None:
    prototxt = (DIGITS / "deploy.prototxt").read_text()
    path = zipped(tmp_path / "0123abc-master.zip", tiny__readme_md=TINY, tiny__deploy_prototxt=prototxt, x__solve_py="")
    card = import_info(path, "tiny")
    assert (card.title, card.prototxt) == ("Tiny Model", home / "models" / "tiny" / "deploy.prototxt")
    assert sorted(file.name for file in card.folder.iterdir()) == ["deploy.prototxt", "readme.md"]
    twice = zipped(tmp_path / "twice.zip", a__readme_md=TINY, b__readme_md=TINY)
    with pytest.raises(DownloadError, match="files with the same name"):
        import_info(twice)
    with pytest.raises(FileFormatError, match=r"no\.zip.*no such"):
        import_info(tmp_path / "no.zip")


REFUSED = {
    "no readme": (lambda folder: folder.mkdir(), "no readme.md"),
    "no info": (lambda folder: caffe_folder(folder, "# A title\n"), "has none of name, caffemodel"),
    "two definitions": (lambda folder: caffe_folder(folder, TINY, "a.prototxt", "b.prototxt"), "several prototxt"),
    "no good file name": (lambda folder: caffe_folder(folder, fenced(caffemodel="../../x")), "expected a file name"),
}


@pytest.mark.process
@pytest.mark.parametrize("case", REFUSED)
def test_folders_that_are_refused(case: str, tmp_path: Path, home: Path) -> None:
    make, reason = REFUSED[case]
    make(tmp_path / "tiny")
    with pytest.raises(FileFormatError, match=reason):
        import_info(tmp_path / "tiny")
    assert not (home / "models" / "tiny").exists()


@pytest.mark.process
def test_a_known_name_is_refused(tmp_path: Path) -> None:
    folder = caffe_folder(tmp_path / "tiny", TINY)
    with pytest.raises(FileFormatError, match="'Digits_LeNet' already exists"):
        import_info(folder, "Digits_LeNet")


# -- commands -------------------------------------------------------------------------------------------


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.mark.process
def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(command(capsys, "list", "--task", "classification", "--json"))
    assert {record["task"] for record in listed} == {"classification"}
    assert {record["name"] for record in listed} == {card.name for card in all_cards() if card.task == "classification"}
    lines = command(capsys, "list").splitlines()
    assert len(lines) == len(all_cards()) + 2
    (alex,) = [line for line in lines if line.startswith("imagenet-caffe-alex ")]
    words = "imagenet-caffe-alex classification 2012 60,965,224 top-1 error 42.6, top-5 error 19.6 mat, caffe"
    assert " ".join(alex.split()) == words


@pytest.mark.process
def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    text = command(capsys, "show", "caffe-alex")
    for fact in (
        "60,965,224 (243,860,896 bytes)",
        "ed49ef44caf18496291ce0c3257b0596  published 2016-05-02",
        "## License",
    ):
        assert fact in text
    record: dict[str, Any] = json.loads(command(capsys, "show", "caffe-alex", "--json"))
    assert record["published"][0]["figures"]["top5_error"] == 19.6


@pytest.mark.process
def test_fetch(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command(capsys, "fetch", "digits-lenet") == f"{DIGITS / 'digits-lenet.mat'}\n"
    import_info(caffe_folder(tmp_path / "tiny", TINY, "deploy.prototxt"))
    shutil.copyfile(WEIGHTS, tmp_path / "tiny.caffemodel")
    fetched = command(capsys, "fetch", "tiny", "--what", "caffe", "--from", str(tmp_path)).split()
    assert [Path(line).name for line in fetched] == ["deploy.prototxt", "tiny.caffemodel"]
    assert Path(fetched[1]).read_bytes() == WEIGHTS.read_bytes()
    with pytest.raises(DownloadError, match=r"\.mat.*matnet[. ]convert tiny"):
        main(["fetch", "tiny"])


@pytest.mark.process
def test_info(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command(capsys, "info", "export", "digits-lenet", str(tmp_path / "out")).split() == [
        str(tmp_path / "out" / name) for name in ("readme.md", "deploy.prototxt")
    ]
    assert "mine: digits-lenet" in command(capsys, "info", "gist", "import", str(tmp_path / "out"), "--name", "mine")
    assert find_card("mine").prototxt is not None
    main(["info", "gist", "export", "ccnn-fcn8s", str(tmp_path / "more")])
    assert_line(capsys.readouterr().err, "caffemodel, caffemodel_url, sha1")


def test_what_a_person_gives_replaces_either_form_of_a_cards_option(tmp_path: Path) -> None:
    """The card of digits-lenet states class_names and mean_values."""
    names = [f"digit {chr(ord('a') + number)}" for number in range(10)]
    (tmp_path / "ten.txt").write_text("\n".join(names))
    net = convert_card(find_card("digits-lenet"), options={"labels": tmp_path / "ten.txt"})
    assert list(net.meta["classes"]["description"]) == names
    for name in ("readme.md", "deploy.prototxt", "digits-lenet.caffemodel"):
        shutil.copy(DIGITS / name, tmp_path / name)
    assert list(matnet.load(tmp_path, labels=tmp_path / "ten.txt").meta["classes"]["description"]) == names
