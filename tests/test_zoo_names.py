"""Names as people type them; what a file is called and where it is looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from matnet.errors import FileFormatError, MatnetError
from matnet.zoo import Card, UnknownModelError, card_of, find_card, find_model, random_network
from matnet.zoo.names import matching_cards
from tests.tiny_models import publish


def card(name: str, *aliases: str, **fields: Any) -> Card:
    fields.setdefault("title", name)
    return Card(name=name, aliases=aliases, folder=Path("nowhere"), prose="", mat=f"{name}.mat", **fields)


CARDS = [
    card("imagenet-caffe-alex", "caffe-alex", "BVLC AlexNet", title="BVLC AlexNet, as imported"),
    card("bvlc_alexnet", title="BAIR/BVLC AlexNet Model", caffemodel="bvlc_alexnet.caffemodel"),
    card("imagenet-vgg-f", "CNN-F"),
    card("imagenet-vgg-m", "CNN-M"),
    card("imagenet-resnet-50-dag", "ResNet-50"),
    card("nyud-fcn32s-color", family="fcn-nyud"),
    card("nyud-fcn32s-hha", family="fcn-nyud"),
]

MEANT = {
    "imagenet-caffe-alex": "imagenet-caffe-alex",
    "imagenet-caffe-alex.mat": "imagenet-caffe-alex",
    "caffe-alex": "imagenet-caffe-alex",
    "Caffe_Alex": "imagenet-caffe-alex",
    "caffe alex": "imagenet-caffe-alex",
    "BVLC AlexNet": "imagenet-caffe-alex",
    "bvlc_alexnet": "bvlc_alexnet",
    "bvlc_alexnet.caffemodel": "bvlc_alexnet",
    "BAIR/BVLC AlexNet Model": "bvlc_alexnet",
    "vgg-f": "imagenet-vgg-f",
    "VGG_F": "imagenet-vgg-f",
    "cnn f": "imagenet-vgg-f",
    "resnet50": "",
    "resnet-50": "imagenet-resnet-50-dag",
    "imagenet-resnet-50": "imagenet-resnet-50-dag",
    "resnet-50-dag": "imagenet-resnet-50-dag",
    "NYUD FCN32s HHA": "nyud-fcn32s-hha",
}


@pytest.mark.parametrize("typed", MEANT)
def test_what_is_meant(typed: str) -> None:
    assert [card.name for card in matching_cards(typed, CARDS)] == ([MEANT[typed]] if MEANT[typed] else [])


@pytest.mark.parametrize(
    "typed, names",
    [("bvlc alexnet", ["imagenet-caffe-alex", "bvlc_alexnet"]), ("fcn-nyud", ["nyud-fcn32s-color", "nyud-fcn32s-hha"])],
)
def test_several_are_listed(typed: str, names: list[str]) -> None:
    with pytest.raises(UnknownModelError, match="matches 2 models") as caught:
        find_card(typed, CARDS)
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == names


@pytest.mark.parametrize(
    "typed, suggested",
    [("cafe-alex", "imagenet-caffe-alex"), ("resnet50", "imagenet-resnet-50-dag"), ("hha", "nyud-fcn32s-hha")],
)
def test_a_miss_suggests_the_nearest(typed: str, suggested: str) -> None:
    with pytest.raises(UnknownModelError, match=rf"'{typed}'; nearest: [^;]*{suggested}"):
        find_card(typed, CARDS)


def test_a_miss_that_is_near_nothing_suggests_nothing() -> None:
    with pytest.raises(UnknownModelError, match=r"'qqqqqqq'; matnet\.zoo\.all_cards\(\) lists all"):
        find_card("qqqqqqq", CARDS)


# -- files ----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return home


def test_a_path_that_exists_wins_over_a_name(tmp_path: Path) -> None:
    (tmp_path / "digits-lenet").write_bytes(b"mine")
    assert find_model("digits-lenet").read_bytes() == b"mine"


def test_a_model_that_comes_with_its_card_is_here() -> None:
    assert find_model("Digits LeNet").name == "digits-lenet.mat"


def test_a_model_in_the_cache_is_here(home: Path) -> None:
    (home / "mat").mkdir(parents=True)
    (home / "mat" / "imagenet-caffe-alex.mat").write_bytes(b"weights")
    assert find_model("caffe-alex") == home / "mat" / "imagenet-caffe-alex.mat"


def test_a_card_of_ones_own_shares_no_file_with_another_model(home: Path) -> None:
    publish(home, "mine", None, "classification", mat="imagenet-caffe-alex.mat")
    own, other = home / "mat" / "mine" / "imagenet-caffe-alex.mat", home / "mat" / "imagenet-caffe-alex.mat"
    other.write_bytes(b"weights")
    with pytest.raises(FileFormatError, match="not on this machine"):
        find_model("mine")
    own.parent.mkdir()
    own.write_bytes(b"my weights")
    for name, path in (("mine", own), ("imagenet-caffe-alex", other)):
        card = card_of(path)
        assert find_model(name) == path and card is not None and card.name == name


NOT_HERE: dict[str, tuple[type[MatnetError], str]] = {
    "caffe-alex": (
        FileFormatError,
        r"get it with matnet\.load\('imagenet-caffe-alex'\), or matnet\.zoo\.random_network\('imagenet-caffe-alex'\)",
    ),
    "cafe-alex.mat": (UnknownModelError, "no such file, and unknown model 'cafe-alex.mat'; nearest: "),
    "folder/net.mat": (FileFormatError, "folder/net.mat: no such file"),
    "net.caffemodel": (FileFormatError, "net.caffemodel: no such file"),
}


@pytest.mark.parametrize("given", NOT_HERE)
def test_what_is_not_here(given: str) -> None:
    error, reason = NOT_HERE[given]
    with pytest.raises(error, match=reason):
        find_model(given)


def test_a_file_finds_its_card_by_name() -> None:
    found = card_of("/somewhere/Imagenet-Caffe-Alex.mat")
    assert found is not None and found.name == "imagenet-caffe-alex"
    assert card_of("other.mat") is None


@pytest.mark.parametrize("name", ["ssd.prototxt", "ssd.prototxt,ssd.caffemodel"])
def test_random_weights_of_a_file_ask_for_a_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that exists is not said to be no model's name alone."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownModelError, match="unknown model"):
        random_network(name)
    (tmp_path / "ssd.prototxt").write_text("name: 'ssd'")
    with pytest.raises(UnknownModelError, match=r"is a file.*zoo list"):
        random_network(name)
