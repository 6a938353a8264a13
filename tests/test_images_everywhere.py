"""Images of every kind through every interface that takes images: the right answer, or one sentence in its words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import matnet
from matnet import features, predict, run
from matnet.command_line import run_command
from matnet.doctor.__main__ import main as doctor
from matnet.errors import MatnetError
from matnet.eval import main as evaluate
from matnet.images import Preprocessing
from tests.tiny_models import colours

COLOUR = (200, 50, 100)


@dataclass
class Answer:
    """What an interface gave: a row of scores per image (None: it gives none), and what it said."""

    status: int
    rows: np.ndarray | None
    said: str


Interface = Callable[[Path, Sequence[Path], Sequence[str], Callable[[], str]], Answer]


def of_predict(net: Path, images: Sequence[Path], more: Sequence[str], said: Callable[[], str]) -> Answer:
    status = run_command(predict.main, [str(net), *map(str, images), "--scores", "s", "--json", *more])
    text = said()
    start = text.find("{\n")
    if start < 0:
        return Answer(status, None, text)
    found, end = json.JSONDecoder().raw_decode(text[start:])
    rows = [
        [row["score"] for row in sorted(image["top"], key=lambda row: row["index"])] if "top" in image else [np.nan] * 3
        for image in found["images"]
    ]
    return Answer(status, np.array(rows), text[:start] + text[start + end :])


def of_features(net: Path, images: Sequence[Path], more: Sequence[str], said: Callable[[], str]) -> Answer:
    out = net.with_name("features.npz")
    status = run_command(features.main, [str(net), *map(str, images), "--layer", "s", "--out", str(out), *more])
    return Answer(status, np.load(out)["s"] if out.exists() else None, said())


def of_run(net: Path, images: Sequence[Path], more: Sequence[str], said: Callable[[], str]) -> Answer:
    """It takes one image or one folder."""
    (source,) = images if len(images) == 1 else {image.parent for image in images}
    out = net.with_name("run.npz")
    status = run_command(run.main, [str(net), str(source), str(out), "--outputs", "s", *more])
    return Answer(status, np.load(out)["out__s"][:, :, 0, 0] if out.exists() else None, said())


def of_eval(net: Path, images: Sequence[Path], more: Sequence[str], said: Callable[[], str]) -> Answer:
    """It takes a folder with a folder per class, and gives no scores."""
    folder = images[0].parent.parent if images[0].suffix else images[0].parent
    return Answer(run_command(evaluate, ["--model", str(net), "--data", str(folder), *more]), None, said())


def in_python(call: Callable[[], np.ndarray], said: Callable[[], str]) -> Answer:
    """As a command would report it: 2 for an error that the caller can mend."""
    try:
        rows = call()
    except MatnetError as error:
        return Answer(2, None, f"{said()}{error}")
    return Answer(2 if np.isnan(rows).any() else 0, rows, said())


def of_classify(net: Path, images: Sequence[Path], more: Sequence[str], said: Callable[[], str]) -> Answer:
    def rows() -> np.ndarray:
        found = matnet.load(net).classify(list(images) if len(images) > 1 else images[0], scores="s")
        best = [sorted(row["top"], key=lambda row: row["index"]) if "top" in row else [] for row in found.records()]
        return np.array([[row["score"] for row in three] or [np.nan] * 3 for three in best])

    return in_python(rows, said)


def of_net_features(net: Path, images: Sequence[Path], more: Sequence[str], said: Callable[[], str]) -> Answer:
    return in_python(lambda: matnet.load(net).features(list(images) if len(images) > 1 else images[0], "s"), said)


INTERFACES: dict[str, Interface] = {
    "predict": of_predict,
    "features": of_features,
    "run": of_run,
    "eval": of_eval,
    "net.classify": of_classify,
    "net.features": of_net_features,
}
OF_COMMANDS = ("predict", "features", "run", "eval", "doctor")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """All that was printed, or logged, since the last call; commands show the log on stderr."""

    def read() -> str:
        captured = capsys.readouterr()
        logged = "".join(f"{record.getMessage()}\n" for record in caplog.records)
        caplog.clear()
        return captured.out + captured.err + ("" if captured.err else logged)

    return read


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """Scores `s` are the averages of R, G and B over 100; classes of any number of channels."""
    return network(tmp_path, 3)


def network(folder: Path, channels: int, prepared: bool = True) -> Path:
    made = colours(channels=channels)
    if not prepared:
        del made.meta["normalization"]
    else:
        made.classes = ["red", "green", "blue"]
    made.save(folder / "net.mat")
    return folder / "net.mat"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where images go: the folder of the class red in a data set."""
    place = tmp_path / "images" / "red"
    place.mkdir(parents=True)
    return place


# -- images that have an answer ---------------------------------------------------------------------


def rgb(path: Path) -> None:
    Image.new("RGB", (2, 2), COLOUR).save(path)


def animation(path: Path) -> None:
    first, second = Image.new("RGB", (2, 2), COLOUR), Image.new("RGB", (2, 2), (0, 0, 255))
    first.save(path, save_all=True, append_images=[second])


def palette(path: Path) -> None:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, *COLOUR])
    image.save(path)


def transparent(path: Path) -> None:
    Image.new("RGBA", (2, 2), (*COLOUR, 10)).save(path)


def cmyk(path: Path) -> None:
    """Without black, each ink takes its colour away: 255 - C, 255 - M, 255 - Y."""
    Image.new("CMYK", (2, 2), (*(255 - value for value in COLOUR), 0)).save(path)


def sixteen_bits(path: Path) -> None:
    """The high byte of each sample counts: 130, whatever the low one is."""
    Image.fromarray(np.full((2, 2), 130 * 256 + 77, np.uint16)).save(path)


def gray(path: Path) -> None:
    Image.new("L", (2, 2), 130).save(path)


ANSWERED: dict[str, tuple[Callable[[Path], None], str, tuple[int, int, int]]] = {
    "colour": (rgb, "a.png", COLOUR),
    "animated": (animation, "a.gif", COLOUR),
    "palette": (palette, "a.png", COLOUR),
    "transparent": (transparent, "a.png", COLOUR),
    "CMYK": (cmyk, "a.tif", COLOUR),
    "16 bits": (sixteen_bits, "a.png", (130, 130, 130)),
    "gray": (gray, "a.png", (130, 130, 130)),
}
"""What makes an image, its name, and the colour that a network of three channels reads."""


@pytest.mark.process
@pytest.mark.parametrize("kind", ANSWERED)
@pytest.mark.parametrize("interface", INTERFACES)
def test_images_that_have_an_answer(
    interface: str, kind: str, net: Path, folder: Path, said: Callable[[], str]
) -> None:
    make, name, colour = ANSWERED[kind]
    make(folder / name)
    found = INTERFACES[interface](net, [folder / name], [], said)
    assert found.status == 0, found.said
    if found.rows is not None:
        np.testing.assert_allclose(found.rows, [np.array(colour) / 100], rtol=1e-5)


@pytest.mark.parametrize("interface", [name for name in INTERFACES if name != "eval"])
def test_a_colour_image_for_a_gray_network(interface: str, folder: Path, said: Callable[[], str]) -> None:
    """MATLAB's rgb2gray: 0.298936 * 200 + 0.587043 * 50 + 0.114021 * 100 = 100.54, rounded."""
    net = network(folder.parents[1], 1)
    rgb(folder / "a.png")
    found = INTERFACES[interface](net, [folder / "a.png"], [], said)
    assert found.status == 0, found.said
    assert found.rows is not None
    np.testing.assert_allclose(found.rows[0, 0], 1.01, rtol=1e-5)


# -- images that have none --------------------------------------------------------------------------


def huge(path: Path) -> None:
    """100 megapixels in 12 kB."""
    Image.new("1", (10_000, 10_000)).save(path)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no bytes": (lambda path: path.write_bytes(b""), "0 bytes"),
    "no image": (lambda path: path.write_text("<html>404</html>"), "cannot read the image"),
    "cut": (lambda path: (rgb(path), path.write_bytes(path.read_bytes()[:40])), "cannot read the image"),
    "100 megapixels": (huge, "100,000,000 pixels"),
    "floating-point": (lambda path: Image.new("F", (2, 2)).save(path, format="TIFF"), "floating-point"),
}


@pytest.mark.process
@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("interface", INTERFACES)
def test_an_image_that_cannot_be_used_among_others(
    interface: str, kind: str, net: Path, folder: Path, said: Callable[[], str]
) -> None:
    """It is named and counted, the others go on, and the status is 2."""
    rgb(folder / "a.png")
    REFUSED[kind][0](folder / "b.png")
    rgb(folder / "c.png")
    found = INTERFACES[interface](net, [folder / name for name in ("a.png", "b.png", "c.png")], [], said)
    assert found.status == 2
    assert str(folder / "b.png") in found.said
    assert REFUSED[kind][1] in found.said
    assert "1 of 3" in found.said or "1 unreadable" in found.said or "1 of the 3" in found.said
    if kind == "100 megapixels":
        assert ("--max-pixels" in found.said) == (interface in OF_COMMANDS)
    if interface != "eval":
        assert found.rows is not None
        good = np.array(COLOUR) / 100
        np.testing.assert_allclose(found.rows, [good, [np.nan] * 3, good], rtol=1e-5)


@pytest.mark.parametrize("interface", INTERFACES)
def test_no_image_can_be_used(interface: str, net: Path, folder: Path, said: Callable[[], str]) -> None:
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"")
    found = INTERFACES[interface](net, [folder / "a.png", folder / "b.png"], [], said)
    assert found.status == 2
    assert str(folder / "a.png") in found.said
    assert str(folder / "b.png") in found.said or (interface == "eval" and "none of its 2 images" in found.said)
    assert found.rows is None


@pytest.mark.parametrize("interface", [*INTERFACES, "net.prepare", "doctor"])
def test_a_folder_without_images(interface: str, net: Path, folder: Path, said: Callable[[], str]) -> None:
    if interface == "net.prepare":
        found = in_python(lambda: matnet.load(net).prepare(folder), said)
    elif interface == "doctor":
        found = Answer(run_command(doctor, [str(net), str(folder.parent)]), None, said())
    else:
        found = INTERFACES[interface](net, [folder], [], said)
    assert found.status == 2
    assert str(folder.parent if interface in ("eval", "doctor") else folder) in found.said
    assert "image" in found.said


# -- what the network lacks -------------------------------------------------------------------------


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_network_that_states_no_preprocessing(interface: str, folder: Path, said: Callable[[], str]) -> None:
    """The advice is in the words of the interface, and taking it gives the answer."""
    net = network(folder.parents[1], 3, prepared=False)
    rgb(folder / "a.png")
    found = INTERFACES[interface](net, [folder / "a.png"], [], said)
    assert (found.status, found.rows) == (2, None)
    options = ["--input-size", "--mean"]
    words = options if interface in OF_COMMANDS else ["image_size=", "mean="]
    assert all(word in found.said for word in words)
    assert not any(word in found.said for word in {*options, "image_size="}.difference(words))
    if interface in ("predict", "features", "run"):
        given = ["--input-size", "2x2", "--mean", "0", "0", "0"]
        found = INTERFACES[interface](net, [folder / "a.png"], given, said)
        assert found.status == 0
        assert found.rows is not None
        np.testing.assert_allclose(found.rows, [np.array(COLOUR) / 100], rtol=1e-5)
    elif interface.startswith("net."):
        prepared = Preprocessing.of(matnet.load(net), image_size=(2, 2), mean=(0, 0, 0))
        np.testing.assert_allclose(
            matnet.load(net).features(folder / "a.png", "s", preprocessing=prepared), [np.array(COLOUR) / 100]
        )


WRONG_NAME: dict[str, Callable[[str, str], int]] = {
    "predict --scores": lambda net, image: run_command(predict.main, [net, image, "--scores", "prop"]),
    "features --layer": lambda net, image: run_command(
        features.main, [net, image, "--layer", "prop", "--out", f"{net}.npz"]
    ),
    "run --outputs": lambda net, image: run_command(run.main, [net, image, f"{net}.npz", "--outputs", "prop"]),
    "eval --scores": lambda net, image: run_command(
        evaluate, ["--model", net, "--data", str(Path(image).parents[1]), "--scores", "prop"]
    ),
    "net.classify": lambda net, image: matnet.load(net).classify(image, scores="prop") and 0,
    "net.features": lambda net, image: matnet.load(net).features(image, "prop") and 0,
    "net[]": lambda net, image: matnet.load(net)["prop"] and 0,
    "net()": lambda net, image: matnet.load(net)(np.zeros((1, 3, 2, 2)), ["prop"]) and 0,
}


@pytest.mark.parametrize("interface", WRONG_NAME)
def test_a_layer_that_does_not_exist_names_the_nearest_once(
    interface: str, net: Path, folder: Path, said: Callable[[], str]
) -> None:
    rgb(folder / "a.png")
    try:
        status = WRONG_NAME[interface](str(net), str(folder / "a.png"))
        text = said()
    except MatnetError as error:
        status, text = 2, str(error)
    assert status == 2
    assert "'prop'" in text
    (hint,) = (line.partition("nearest: ")[2] for line in text.splitlines() if "nearest: " in line)
    names = [name.strip() for name in hint.partition(";")[0].split(",")]
    assert "prob" in names
    assert len(set(names)) == len(names)
