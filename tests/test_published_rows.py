"""Rows of all cards: every published figure can be measured, or its card says why not; rows of the new sets by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from matnet import reproduce
from matnet.command_line import run_command
from matnet.datasets.segmentations import CONTEXT_CLASSES
from matnet.network import Network
from matnet.reproduction.expected import CARD_NAMES, SETS, all_published, expected_rows
from matnet.reproduction.rows import FIGURES
from matnet.zoo.cards import Card, all_cards
from tests.small_sets import MEAN_AP, PROPOSALS, RETRIEVAL_AP, bsds, cifar10, context, voc2007
from tests.tiny_models import (
    CENTRES,
    colour_detector,
    colour_hash,
    gray,
    gray_classifier,
    gray_edges,
    gray_segmenter,
    publish,
)

ELSEWHERE = {"images_per_s", "mean_ap_11point"}
"""Speeds, which are printed beside and not compared; of Fast R-CNN's two means the cards say which one is compared."""


@pytest.fixture(scope="module")
def with_rows() -> list[str]:
    return all_published()


@pytest.mark.parametrize("card", all_cards(), ids=lambda card: card.name)
def test_every_published_figure_has_a_row_or_a_reason(card: Card, with_rows: list[str]) -> None:
    row = next(iter(expected_rows([card.name])), None) if card.name in with_rows else None
    for published in card.published:
        if published.unmeasured:
            continue
        assert row is not None and row.published == published, f"no row and no reason: {published}"
        compared = {*FIGURES[row.task], *ELSEWHERE, "accuracy"}
        assert set(published.figures) <= compared, f"figures that no row compares: {published}"
        assert "mean_ap_11point" not in published.figures or any("mAP 11" in text for text in card.evidence)


@pytest.mark.parametrize("card", all_cards(), ids=lambda card: card.name)
def test_a_percentage_in_a_cards_text_is_one_of_its_figures(card: Card) -> None:
    """As it stands, or as what it leaves of 100; so it has a row or a reason as well."""
    family = [other for other in all_cards() if other.folder == card.folder]
    known = [value for other in family for entry in other.published for value in entry.figures.values()]
    known += [100 - value for value in known]
    stated = [float(text) for text in re.findall(r"(\d+(?:\.\d+)?) %", card.prose)]
    assert [value for value in stated if not any(value == pytest.approx(one) for one in known)] == []


@pytest.mark.parametrize("name", ["googlenet-cars", "yearbook"])
def test_a_card_whose_data_lacks_a_list_says_so_in_its_text(name: str) -> None:
    (card,) = (card for card in all_cards() if card.name == name)
    assert re.search(r"not seen", card.prose) and "matnet reproduce" in card.prose


@pytest.mark.process
def test_all_published_rows_are_known() -> None:
    rows = expected_rows(all_published())
    assert {"voc07-test", "cifar10", "bsds500", "context", "flowers", "compcars", "flickr-style", "places205"} <= {
        row.data for row in rows
    }
    assert all(row.published is not None for row in rows)
    names = [row.card.name for row in rows]
    assert "nin-cifar10" not in names and "age-net" not in names and len(names) == len(set(names))
    # Pixels and boxes have no names to match classes by: a row is doubtful unless its card states their order.
    labels = [row.card.labels for row in rows if row.task in ("segmentation", "detection")]
    assert [stated for stated in labels if stated["order"] != "voc21" and "names" not in stated] == []


def test_an_accuracy_is_compared_as_an_error() -> None:
    from matnet.outcomes import Outcome
    from matnet.reproduction.rows import Row

    (row,) = expected_rows(["oxford102-caffenet"])
    assert Row(row, Outcome()).published("top1_error") == pytest.approx(100 - 93.26)
    assert Row(row, Outcome()).published("top5_error") is None


def labelled(root: Path) -> Path:
    root.mkdir(parents=True)
    for k in (0, 4):
        gray(int(CENTRES[k])).save(root / f"{k}.png")
    (root / "list.txt").write_text("0.png 0\n4.png 3\n")
    return root / "list.txt"


ROWS: dict[str, tuple[Callable[[], Network], str, str, Callable[[Path], Path], dict[str, float]]] = {
    "detection": (colour_detector, "PASCAL VOC 2007 test", "voc", voc2007, {"mean_ap": MEAN_AP["mean_ap_11point"]}),
    "retrieval": (colour_hash, "CIFAR-10 test images", "cifar10", cifar10, {"mean_ap": RETRIEVAL_AP}),
    "edges": (gray_edges, "BSDS500 test", "bsds500", lambda root: bsds(root, ["2"]), {"ods": 100 * 2 * 98 / 198}),
    "segmentation": (
        lambda: gray_segmenter({50: 200, 0: 0, 11: 100}, CONTEXT_CLASSES),
        "PASCAL-Context val",
        "context",
        context,
        {"mean_iou": 5.0},
    ),
    "classification": (
        lambda: gray_classifier(names=None),
        "Oxford 102 flowers, 1,020 images",
        "flowers",
        labelled,
        {"top1_error": 50.0},
    ),
}


@pytest.mark.process
@pytest.mark.parametrize("task", ROWS)
def test_a_row_of_each_task(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    net, data, option, layout, expected = ROWS[task]
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "home"))
    published: dict[str, Any] = {"source": "this test", "data": data, "protocol": "as the file says", "tolerance": 0.01}
    publish(tmp_path / "home", "tiny", net(), task, published=[{**published, **expected}])
    place = layout(tmp_path / "data")
    arguments = ["--models", "tiny", "--offline", "--quiet", "--backend", "numpy", "--protocol", "meta"]
    absent = [*arguments, "--json", str(tmp_path / "absent.json")]
    assert run_command(reproduce.main, absent) == 0
    (row,) = json.loads((tmp_path / "absent.json").read_text())["rows"]
    assert (row["status"], f"{option}" in row["status_reason"]) == ("absent", True)
    given = ["--voc", str(place), "--proposals", str(place / PROPOSALS)] if option == "voc" else []
    given = given or ["--data", f"{option}={place}"]
    assert run_command(reproduce.main, [*arguments, *given, "--json", str(tmp_path / "a.json"), "--check"]) == 0
    (row,) = json.loads((tmp_path / "a.json").read_text())["rows"]
    for name, value in expected.items():
        assert row["figures"][name] == pytest.approx(value, abs=1e-6)
    assert row["verdict"] == "within"
    assert SETS[CARD_NAMES[data]].title in capsys.readouterr().out


def test_a_place_of_no_set_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        reproduce.main(["--data", "cifar11=/x"])
    assert "is not NAME=PATH, with NAME one of cifar10" in capsys.readouterr().err
