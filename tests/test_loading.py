"""matnet.load: paths of every kind, pairs, folders, bytes, open files and names."""

from __future__ import annotations

import importlib
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import matnet
from matnet import convert, predict
from matnet.arguments import network_from
from matnet.command_line import run_command
from matnet.errors import DataError, DownloadError, FileFormatError, MatnetError, NetworkError
from matnet.network import Network
from matnet.show import parser as show_parser
from matnet.stated_options import parse_stated
from matnet.zoo import UnknownModelError, all_cards, find_card

DIGITS = find_card("digits-lenet").folder
MAT, PROTOTXT, CAFFEMODEL = DIGITS / "digits-lenet.mat", DIGITS / "deploy.prototxt", DIGITS / "digits-lenet.caffemodel"
X = np.random.default_rng(2).normal(0, 8, (2, 1, 8, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MATNET_OFFLINE", "1")
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "home"))


def assert_is_digits(net: Network) -> None:
    np.testing.assert_allclose(net(X), matnet.load(MAT)(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "kind", ["path", "text", "bytes", "open file", "memory", "name", "name.mat", "alias in capitals"]
)
def test_matconvnets_file_in_every_form(kind: str) -> None:
    if kind == "open file":
        with MAT.open("rb") as file:
            net = matnet.load(file)
        assert net.source.path == MAT
    else:
        source = {
            "path": MAT, "text": str(MAT), "bytes": MAT.read_bytes(), "memory": io.BytesIO(MAT.read_bytes()),
            "name": "digits-lenet", "name.mat": "digits-lenet.mat", "alias in capitals": "Digits LeNet",
        }[kind]  # fmt: skip
        net = matnet.load(source)
    assert_is_digits(net)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("form", ["arguments", "tuple", "list", "text"])
def test_caffes_pair(order: int, form: str) -> None:
    pair = [PROTOTXT, CAFFEMODEL][::order]
    joined: Any = {"tuple": tuple(pair), "list": [*map(str, pair)], "text": ",".join(map(str, pair))}
    net = matnet.load(*pair) if form == "arguments" else matnet.load(joined[form])
    assert net.source.format == "caffe"
    assert_is_digits(net)


@pytest.mark.process
def test_kinds_go_by_content(tmp_path: Path) -> None:
    for source, name in ((MAT, "net"), (PROTOTXT, "definition.txt"), (CAFFEMODEL, "weights.bin")):
        shutil.copy(source, tmp_path / name)
    assert_is_digits(matnet.load(tmp_path / "net"))
    assert_is_digits(matnet.load(tmp_path / "definition.txt", tmp_path / "weights.bin"))


@pytest.mark.parametrize(
    "files",
    [
        ("readme.md", "deploy.prototxt", "digits-lenet.caffemodel"),
        ("digits-lenet.mat",),
        ("deploy.prototxt", "digits-lenet.caffemodel"),
        ("readme.md", "digits-lenet.mat", "deploy.prototxt"),
    ],
)
def test_a_models_folder(files: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "digits-lenet"
    folder.mkdir()
    for name in files:
        shutil.copy(DIGITS / name, folder / name)
    net = matnet.load(folder)
    assert_is_digits(net)
    assert net.source.format == ("simplenn" if "digits-lenet.mat" in files else "caffe")


def test_a_card_with_an_error_does_not_lose_its_options_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Caffe's own readmes are no cards, so a folder with one loads; but this one states a mean."""
    for name in ("readme.md", "deploy.prototxt", "digits-lenet.caffemodel"):
        shutil.copy(DIGITS / name, tmp_path / name)
    card = (tmp_path / "readme.md").read_text()
    (tmp_path / "readme.md").write_text(card.replace("\ntask: ", "\ntaks: "))
    matnet.load(tmp_path)
    assert any("readme.md" in line and "'taks'" in line for line in caplog.messages)
    caplog.clear()
    (tmp_path / "readme.md").write_text("---\nname: LeNet\ncaffemodel: digits-lenet.caffemodel\n---\n")
    matnet.load(tmp_path)
    assert not [line for line in caplog.messages if "readme.md" in line]


def test_a_folder_of_several_things_is_refused(tmp_path: Path) -> None:
    for name in ("a.mat", "b.mat"):
        shutil.copy(MAT, tmp_path / name)
    with pytest.raises(FileFormatError, match=r"a\.mat, b\.mat"):
        matnet.load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileFormatError, match="no network"):
        matnet.load(tmp_path / "empty")


def test_a_path_that_exists_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    net = matnet.load(MAT)
    first = next(iter(net.params))
    net.params[first].value = net.params[first].value * 0
    matnet.save(net, "caffe-alex")
    assert not matnet.load("caffe-alex").params[first].value.any()


def test_a_known_model_that_cannot_be_fetched_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as error:
        matnet.load("imagenet-vgg-f")
    for part in ("MATNET_OFFLINE", "by hand", "imagenet-vgg-f.mat", str(tmp_path / "home")):
        assert part in str(error.value)


def test_a_download_that_nobody_can_verify_is_refused_unless_allowed() -> None:
    name = next(
        card.name
        for card in all_cards()
        if not card.mat_urls and card.prototxt
        if (file := card.file("caffemodel")) is not None and not file.hashes
    )
    with pytest.raises(DownloadError, match="allow_unverified=True"):
        matnet.load(name)
    with pytest.raises(DownloadError, match="MATNET_OFFLINE"):
        matnet.load(name, allow_unverified=True)


def test_names_of_nothing() -> None:
    with pytest.raises(UnknownModelError, match="digits-lenet"):
        matnet.load("digits-lenett")
    with pytest.raises(FileFormatError, match="no such file"):
        matnet.load("folder/none.mat")


@pytest.mark.parametrize(
    "source",
    [
        *(None, 3, "", ["net.mat"], ["", ""], b"", b"PK no network", io.BytesIO(b"<html>")),
        *(io.StringIO("text"), io.TextIOWrapper(io.BytesIO(b"MATLAB \xff"), "utf-8")),
    ],
)
def test_what_is_no_network(source: object) -> None:
    with pytest.raises(MatnetError) as error:
        matnet.load(source)  # type: ignore[arg-type]
    assert "/tmp" not in str(error.value)


@pytest.mark.parametrize("source", [str(MAT), f"{PROTOTXT},{CAFFEMODEL}", str(DIGITS), "digits-lenet"])
def test_commands_take_what_python_takes(source: str) -> None:
    assert_is_digits(network_from(source, parse_stated(show_parser(), [source])))


@pytest.mark.parametrize("verb", ["predict", "features", "run", "eval", "doctor", "show", "convert"])
def test_an_image_in_the_place_of_a_network(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a person gives image and MODEL in the other order; the doctor's table would wrap a long path."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 5)).save("photo.jpg")
    more = {"features": ["--layer", "ip1", "--out", str(tmp_path / "f.npz")], "run": [str(tmp_path / "o.npz")]}
    swapped = ["photo.jpg", *([str(MAT)] if verb not in ("show", "convert", "eval") else [])]
    module = importlib.import_module("matnet.doctor.__main__" if verb == "doctor" else f"matnet.{verb}")
    given = ["--model", *swapped] if verb == "eval" else [*swapped, *more.get(verb, [])]
    status = run_command(module.main, given)
    said = " ".join("".join(capsys.readouterr()).split())
    assert status == 2
    assert "photo.jpg: is an image, not a network" in said
    assert "MODEL" in said


@pytest.mark.process
@pytest.mark.parametrize("source", [str(MAT), f"{PROTOTXT},{CAFFEMODEL}", str(DIGITS), "digits-lenet"])
@pytest.mark.parametrize("way", ["OUT.mat", "--to-caffe STEM", "--to-onnx"])
def test_convert_takes_what_python_takes(way: str, source: str, tmp_path: Path) -> None:
    target = str(tmp_path / "made")
    arguments = {
        "OUT.mat": [source, f"{target}.mat"],
        "--to-caffe STEM": [source, "--to-caffe", target],
        "--to-onnx": [source, "--to-onnx", f"{target}.onnx"],
    }
    assert run_command(convert.main, arguments[way]) == 0
    if way == "--to-onnx":
        session = onnxruntime.InferenceSession(f"{target}.onnx", providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {session.get_inputs()[0].name: X})
        np.testing.assert_allclose(found.ravel(), matnet.load(MAT)(X).ravel(), rtol=1e-4, atol=1e-6)
    else:
        made = f"{target}.mat" if way == "OUT.mat" else f"{target}.prototxt,{target}.caffemodel"
        assert_is_digits(matnet.load(made))


@pytest.mark.process
@pytest.mark.parametrize("stem", [["STEM"], ["--out", "STEM"]])
def test_the_older_spelling_of_to_caffe(stem: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second time STEM's files exist
        assert run_command(convert.main, ["--to-caffe", str(MAT), *stem]) == 0
    assert_is_digits(matnet.load("STEM.prototxt", "STEM.caffemodel"))


def test_a_definition_alone_asks_for_its_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "photo.png")
    assert run_command(predict.main, [str(PROTOTXT), str(tmp_path / "photo.png")]) == 2
    assert "NET.prototxt NET.caffemodel" in capsys.readouterr().err
    with pytest.raises(NetworkError, match=r"matnet.load\(.net.prototxt., .net.caffemodel.\)"):
        matnet.load(PROTOTXT)(X)


@pytest.mark.process
@pytest.mark.parametrize("order", ["ilsvrc12", "devkit"])
@pytest.mark.parametrize("way", ["caffe", "mat", "python"])
def test_imagenets_names_on_request(way: str, order: str, tmp_path: Path) -> None:
    """The first class by WordNet id is the tench, n01440764; the development kit's first is the kit fox, n02119789."""
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 2 dim: 2 } } }\n'
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 1000 } }\n'
    )
    definition, made = str(tmp_path / "net.prototxt"), str(tmp_path / "net.mat")
    if way == "python":
        net = matnet.load(definition, class_names=order)
    elif way == "caffe":
        assert run_command(convert.main, [definition, made, "--class-names", order]) == 0
        net = matnet.load(made)
    else:
        assert run_command(convert.main, [definition, str(tmp_path / "plain.mat")]) == 0
        assert not matnet.load(tmp_path / "plain.mat").classes
        assert run_command(convert.main, [str(tmp_path / "plain.mat"), made, "--class-names", order]) == 0
        net = matnet.load(made)
    assert net.classes.wordnet_ids is not None
    first = {"ilsvrc12": "n01440764", "devkit": "n02119789"}[order]
    assert (len(net.classes), net.classes.wordnet_ids[0]) == (1000, first)
    assert net.classes[0].startswith({"ilsvrc12": "tench", "devkit": "kit fox"}[order])


@pytest.mark.parametrize("way", ["command", "python"])
def test_class_names_of_another_number_are_refused(
    way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.txt").write_text("a\nb\n")
    if way == "python":
        net = matnet.load(MAT)
        with pytest.raises(DataError, match=r"2 classes.*10"):
            net.classes = ["a", "b"]
        assert len(net.classes) == 10
        return
    for given in (["--labels", str(tmp_path / "names.txt")], ["--class-names", "a,b"], ["--class-names", "ilsvrc12"]):
        assert run_command(convert.main, [str(MAT), str(tmp_path / "made.mat"), *given]) == 2
        assert "has 10" in capsys.readouterr().err
    assert not (tmp_path / "made.mat").exists()
