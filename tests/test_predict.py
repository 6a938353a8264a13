"""`matnet predict`: images in, classes out, and what is said where something is missing."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import matnet
from matnet import Layer, Network, Param, features, predict, run
from matnet.command_line import run_command
from matnet.errors import DataError, in_words, worded_for_commands
from matnet.eval import main as evaluate
from matnet.image_arguments import parsed, preprocessing_from
from matnet.images import Preprocessing
from matnet.images.doubts import doubts
from matnet.ops.convolution import Conv
from tests.helpers import assert_line
from tests.tiny_models import colours

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "models" / "digits-lenet"
SEVENS = sorted((DIGITS / "test" / "7").glob("*.png"))
SQUEEZENET = ("caffe/squeezenet/SqueezeNet_deploy.prototxt", "caffe/squeezenet/decompressed_SqueezeNet.caffemodel")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Scores are the averages of the channels of a 2 x 2 image, over 100."""
    net = colours()
    net.classes = ["red", "green", "blue"]
    net.save(tmp_path / "net.mat")
    return tmp_path / "net.mat"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (2, 2), (200, 50, 100)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = run_command(predict.main, list(map(str, arguments)))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_photo_gives_a_table_of_classes(model: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Softmax of (2, 0.5, 1), by hand."""
    status, out, _ = said(capsys, model, photo)
    expected = np.exp([2, 1, 0.5]) / np.exp([2, 1, 0.5]).sum()
    assert status == 0
    rows = [line.split() for line in out.splitlines() if line.strip().startswith("0.")]
    assert rows == [[f"{p:.4f}", name] for p, name in zip(expected, ["red", "blue", "green"], strict=True)]
    assert str(photo) in out


def test_an_unreadable_image_among_good_ones(model: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = photo.with_name("b.png")
    bad.write_bytes(b"")
    status, out, err = said(capsys, "--json", model, photo, bad, photo.with_name("none.jpg"), photo)
    assert status == 2
    record = json.loads(out)
    assert record["unreadable"] == 2
    assert ["top" in image for image in record["images"]] == [True, False, False, True]
    assert err.count(str(bad)) == 1
    assert "2 of 4" in err


@pytest.mark.process
def test_a_folder_as_csv(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, DIGITS / "digits-lenet.mat", DIGITS / "test" / "7", "--csv", "--top", 2)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 0
    assert [row["image"] for row in rows] == [str(path) for path in SEVENS for _ in range(2)]
    assert [row["rank"] for row in rows[:4]] == ["1", "2", "1", "2"]
    net = matnet.load(DIGITS / "digits-lenet.mat")
    for row, known in zip(rows[::2], net.classify(SEVENS, top=1), strict=True):
        assert row["index"] == str(known["index"])
        np.testing.assert_allclose(float(row["probability"]), known["probability"], rtol=1e-5)


def test_a_folder_without_images(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    status, out, err = said(capsys, model, tmp_path / "empty")
    assert (status, out) == (2, "")
    assert str(tmp_path / "empty") in err


def bare(tmp_path: Path) -> Path:
    net = colours()
    del net.meta["normalization"]
    net.classes = ["red", "green", "blue"]
    net.save(tmp_path / "bare.mat")
    return tmp_path / "bare.mat"


@pytest.mark.process
def test_a_network_without_preprocessing_names_options_that_exist(
    tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Averages minus 50, over 100: (1.5, 0, 0.5)."""
    net = bare(tmp_path)
    status, _, err = said(capsys, net, photo)
    assert status == 2
    for option in ("--input-size", "--mean"):
        assert option in err
        assert option in predict.parser().format_help()
    assert "image_size=" not in err
    for mean in (["--mean", 50, 50, 50], ["--mean", "50,50,50"], ["--mean", 50]):
        status, out, _ = said(capsys, *mean, net, "--input-size", "2x2", "--channels", 3, photo, "--json")
        assert status == 0
        top = json.loads(out)["images"][0]["top"]
        expected = np.exp([1.5, 0.5, 0]) / np.exp([1.5, 0.5, 0]).sum()
        np.testing.assert_allclose([row["probability"] for row in top], expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 2, 2)])
def test_a_mean_file_is_cut_and_read_in_caffes_order(
    tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str], shape: tuple[int, ...]
) -> None:
    """B, G, R = 10, 20, 30, in an image; the averages (200 - 30, 50 - 20, 100 - 10) over 100."""
    mean = np.full((4, 4, 3), [10, 20, 30], np.float32).transpose(2, 0, 1)[:, : shape[1], : shape[2]]
    np.save(tmp_path / "mean.npy", mean)
    net = bare(tmp_path)
    arguments = ["--mean", tmp_path / "mean.npy", net, "--input-size", "2x2", "--channels", 3, photo, "--json"]
    status, out, _ = said(capsys, *arguments)
    assert status == 0
    top = json.loads(out)["images"][0]["top"]
    expected = np.exp([1.7, 0.9, 0.3]) / np.exp([1.7, 0.9, 0.3]).sum()
    np.testing.assert_allclose([row["probability"] for row in top], expected, rtol=1e-5)


@pytest.mark.process
def test_exif_and_large_images(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = Image.new("RGB", (2, 4), (200, 50, 100))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    _, _, err = said(capsys, model, tmp_path / "turned.jpg")
    assert "--exif" in err
    assert "exif=True" not in err
    status, _, err = said(capsys, model, tmp_path / "turned.jpg", "--max-pixels", 7)
    assert status == 2
    assert "--max-pixels" in err
    assert "turned.jpg" in err


@pytest.mark.process
def test_nameless_classes_are_numbered_and_named_by_an_option(
    tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colours().save(tmp_path / "net.mat")
    status, out, err = said(capsys, tmp_path / "net.mat", photo, "--json")
    assert status == 0
    assert [row["class"] for row in json.loads(out)["images"][0]["top"]] == ["0", "2", "1"]
    assert "--classes" in err
    (tmp_path / "names.txt").write_text("rot\ngrün\nblau\n", encoding="utf-8")
    _, out, _ = said(capsys, tmp_path / "net.mat", photo, "--json", "--classes", tmp_path / "names.txt")
    assert [row["class"] for row in json.loads(out)["images"][0]["top"]] == ["rot", "blau", "grün"]


def test_words_are_those_of_python_outside_commands() -> None:
    assert in_words("a=", "--a") == "a="


@pytest.fixture(scope="module")
def squeezenet(real_data: Path) -> str:
    return ",".join(str(real_data / file) for file in SQUEEZENET)


@pytest.mark.process
def test_squeezenet_names_what_is_in_photographs(
    squeezenet: str, real_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Caffe's errors on the 100 images, named by their WordNet ids: 36.0 % top-1 and 17.0 % top-5."""
    folder = real_data / "images" / "imagenet100"
    arguments = [squeezenet, folder, "--classes", "ilsvrc12", "--mean", 123, 117, 104, "--json"]
    status, out, _ = said(capsys, *arguments)
    assert status == 0
    images = json.loads(out)["images"]
    ranks = [
        [row["wordnet_id"] for row in image["top"]].index(wanted) if wanted in str(image["top"]) else 5
        for image in images
        for wanted in [Path(image["image"]).name[:9]]
    ]
    assert len(ranks) == 100
    assert (np.array(ranks) > 0).mean() == 0.36
    assert (np.array(ranks) > 4).mean() == 0.17


@pytest.mark.process
def test_a_caffe_network_without_a_mean_is_not_silent(
    squeezenet: str, real_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = real_data / "images" / "imagenet100" / "n01440764_tench.JPEG"
    _, _, err = said(capsys, squeezenet, image, "--classes", "ilsvrc12")
    assert "--mean" in err
    _, _, err = said(capsys, squeezenet, image, "--classes", "ilsvrc12", "--mean", 123, 117, 104)
    assert "--mean" not in err


WAYS: dict[str, Callable[[Path, Path], object]] = {
    "predict": lambda net, image: run_command(predict.main, [str(net), str(image)]),
    "features": lambda net, image: run_command(
        features.main, [str(net), str(image), "--layer", "s", "--out", str(net.with_name("f.npz"))]
    ),
    "run": lambda net, image: run_command(run.main, [str(net), str(image), str(net.with_name("o.npz"))]),
    "eval": lambda net, image: run_command(
        evaluate, ["--model", str(net), "--data", str(image.parent.parent), "--quiet"]
    ),
    "classify": lambda net, image: matnet.load(net).classify(image),
    "features of Python": lambda net, image: matnet.load(net).features(image, "s"),
    "prepare": lambda net, image: [loaded.prepare(image) for loaded in [matnet.load(net)] for _ in range(2)],
}


@pytest.mark.process
@pytest.mark.parametrize("way", WAYS)
def test_a_missing_mean_is_doubted_once_in_every_interface(
    way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In its own words: options where a command runs, keywords in Python; a file that states a mean is not doubted."""
    (tmp_path / "images" / "red").mkdir(parents=True)
    Image.new("RGB", (2, 2), (200, 50, 100)).save(tmp_path / "images" / "red" / "a.png")
    net = colours(meta={"caffe": {"layers": "kept"}})
    net.classes = ["red", "green", "blue"]
    for mean, count in ((None, 1), (np.float32([1, 2, 3]), 0)):
        if mean is not None:
            net.meta["normalization"]["averageImage"] = mean
        net.save(tmp_path / "net.mat")
        caplog.clear()
        WAYS[way](tmp_path / "net.mat", tmp_path / "images" / "red" / "a.png")
        doubted = [record.getMessage() for record in caplog.records if "no mean is subtracted" in record.getMessage()]
        assert len(doubted) == count
        assert all(("--mean" in text) == (way in ("predict", "features", "run", "eval")) for text in doubted)


@pytest.mark.parametrize(
    ("stated", "given", "said"),
    [
        (None, {}, "files contain none"),
        (None, {"mean": 0}, "mean is 0 in"),
        ((3, 2, 1), {"mean": 0}, "replaces the one in"),
        ((3, 2, 1), {"mean": None}, "replaces the one in"),
        ((0, 0, 0), {}, "mean is 0 in"),
    ],
)
def test_a_missing_mean_is_doubted_by_what_the_files_state(
    stated: tuple[int, ...] | None, given: dict[str, Any], said: str
) -> None:
    net = colours(meta={"caffe": {"layers": "kept"}})
    net.meta["normalization"].pop("averageImage", None)
    if stated:
        net.meta["normalization"]["averageImage"] = np.array(stated, np.float32)
    (doubt,) = doubts(net, Preprocessing.of(net, **given))
    assert said in doubt and "no mean is subtracted" in doubt


@pytest.mark.parametrize(
    ("mean", "extent"), [(-5, "-5"), ((123, 300, 104), "104 to 300"), (0.5, "0.5"), ((255, 117, 0), "")]
)
def test_a_mean_that_pixels_do_not_have_is_doubted(mean: Any, extent: str) -> None:
    assert_line([*doubts(colours(), Preprocessing.of(colours(), mean=mean)), "0 to 255"], extent, "0 to 255")
    assert bool(extent) == bool(doubts(colours(), Preprocessing.of(colours(), mean=mean)))


BLUE, REDDISH, SWAPPED = (104, 117, 123), (123, 117, 104), "color='bgr'"


@pytest.mark.parametrize(
    ("meta", "given", "said"),
    [
        ({}, {"mean": BLUE}, ["mean=(123, 117, 104)"]),
        ({}, {"mean": np.full((2, 2, 3), BLUE)}, ["mean=(123, 117, 104)"]),
        ({}, {"mean": BLUE, "input_range": (0, 65535)}, []),
        ({}, {"mean": REDDISH, "color": "bgr"}, []),
        ({"caffe": {"flipped": ["input"]}}, {"mean": BLUE}, [f"mean=(123, 117, 104), with {SWAPPED}"]),
        ({"caffe": {"flipped": ["input"]}}, {"mean": BLUE, "color": "bgr"}, [f"mean=(123, 117, 104), with {SWAPPED}"]),
        ({"caffe": {"flipped": ["input"]}}, {"mean": REDDISH, "color": "bgr"}, [f"omit {SWAPPED} unless .* R, G, B"]),
        ({"caffe": {"flipped": []}}, {"mean": REDDISH, "color": "bgr"}, [f"omit {SWAPPED} unless .* B, G, R"]),
        ({"caffe": {"flipped": []}}, {"mean": REDDISH}, []),
        ({"caffe": {"flipped": [], "widthFirst": True}}, {"mean": REDDISH, "color": "bgr"}, ["rows and columns"]),
        ({"normalization": {"colorOrder": "bgr"}}, {"mean": REDDISH, "color": "rgb"}, ["states bgr; omit color='rgb'"]),
        ({"normalization": {"colorOrder": "bgr"}}, {"mean": REDDISH}, []),
        ({"normalization": {"averageImage": np.float32(BLUE)}}, {}, []),
        ({"normalization": {"averageImage": np.float32(BLUE)}}, {"mean": BLUE}, []),
        ({"normalization": {"averageImage": np.float32(REDDISH)}}, {"mean": BLUE}, ["mean=(123, 117, 104)"]),
    ],
)
def test_an_order_of_channels_that_the_file_or_photographs_contradict_is_doubted_once(
    meta: dict[str, Any], given: dict[str, Any], said: list[str]
) -> None:
    net = colours()
    net.meta["normalization"].update(meta.get("normalization", {}))
    net.meta.update({name: value for name, value in meta.items() if name == "caffe"})
    found = doubts(net, Preprocessing.of(net, **{"image_size": (2, 2), **given}))
    assert len(found) == len(said)
    for note, part in zip(found, said, strict=True):
        assert re.search(part.replace("(", r"\(").replace(")", r"\)"), note), note


def test_a_mean_is_given_once_in_whatever_spelling(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed(predict.parser(), ["net", "image", "--mean", "1", "2", "3", "--mean-values", "4,5,6"])
    assert_line(capsys.readouterr().err, "--mean", "twice")


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        (["--mean", "73"], True),
        (["--mean", "0.4"], False),
        ([], True),
        (["--mean", "0.4", "--std", "2", "--scale", "0.5"], False),
    ],
)
def test_a_mean_of_another_range_is_refused(given: list[str], refused: bool) -> None:
    """Without --mean the file's own counts; the order in which the four act: ((p / 255) - 0.4) / 2 * 0.5."""
    net = colours()
    net.meta["normalization"]["averageImage"] = np.array([123, 117, 104], np.float32)
    options = parsed(predict.parser(), ["net.mat", "a.png", "--input-range", "0", "1", *given])
    if refused:
        with pytest.raises(DataError, match=r"--input-range 0 1.*(73|123)"):
            preprocessing_from(net, options)
        return
    prepared = preprocessing_from(net, options).apply(np.full((2, 2, 3), 255, np.uint8))
    np.testing.assert_allclose(prepared, 0.6 / 2 * 0.5 if "--std" in given else 0.6, rtol=1e-5)


def test_options_in_caffes_order_of_colours_are_doubted(caplog: pytest.LogCaptureFixture) -> None:
    """The ILSVRC mean is about 123 117 104 in R G B; photographs have more red than blue."""
    net = Network()
    net.add(Layer("conv1", Conv(size=(1, 1, 3, 2)), ["data"], ["out"], ["f", "b"]))
    net.params = {"f": Param(np.ones((1, 1, 3, 2), np.float32)), "b": Param(np.zeros((2, 1), np.float32))}
    net.meta["caffe"] = {"flipped": "data"}
    net.meta["normalization"] = {"imageSize": [8.0, 8.0, 3.0], "averageImage": np.array([123, 117, 104], np.float32)}
    for arguments, doubted in (
        (["--mean", "123", "117", "104"], []),
        (["--mean", "104", "117", "123"], ["give --mean 123 117 104, with --color bgr"]),
        (["--mean", "0.40", "0.44", "0.48", "--input-range", "0", "1"], ["give --mean 0.48 0.44 0.4"]),
        (["--color", "bgr"], ["omit --color bgr"]),
        (["--color", "bgr", "--mean", "123", "117", "104"], ["omit --color bgr"]),
        (["--color", "bgr", "--mean", "104", "117", "123"], ["give --mean 123 117 104, with --color bgr"]),
    ):
        caplog.clear()
        with worded_for_commands():
            preprocessing_from(net.copy(), parsed(predict.parser(), ["net.mat", "a.png", *arguments]))
        assert len(caplog.records) == len(doubted)
        assert all(part in record.getMessage() for record, part in zip(caplog.records, doubted, strict=True))


@pytest.mark.parametrize("factor", ["nan", "inf", "0", "a"])
def test_a_scale_that_leaves_nothing_of_the_image_is_refused(factor: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        predict.main(["digits-lenet", "a.png", "--scale", factor])
    assert f"{factor} is not a valid factor" in capsys.readouterr().err
