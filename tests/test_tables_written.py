"""The published tables as Markdown and as plots, whose names can be read."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from matnet.reproduction.labels import LabelBox, best_place, distance
from tests.small_sets import faces
from tests.table_runs import publish_classifier, table
from tests.tiny_models import angle_describer, publish


@pytest.mark.process
def test_markdown_and_plots(home: Path, imagenet: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from PIL import Image

    publish_classifier(home)
    publish(home, "face", angle_describer(), "faces")
    models = ["--models", "gray", "caffe-alex", "face", "--imagenet", imagenet, "--lfw", faces(tmp_path)]
    assert table(*models, "--markdown", tmp_path / "t.md", "--plots", tmp_path / "plots", "--check") == 0
    text = (tmp_path / "t.md").read_text()
    assert re.findall("^## .*", text, re.MULTILINE) == [
        "## ImageNet ILSVRC-2012 val: classification, errors in percent",
        "## LFW: face verification, percent",
    ]
    assert len(re.findall(r"^\| (?:gray|caffe-alex|face) ", text, re.MULTILINE)) == 3
    assert "check: 1 of 3 rows compared" in text
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert names == ["error-parameters.png", "error-speed.png", "roc-lfw.png"]
    for name in names:
        with Image.open(tmp_path / "plots" / name) as image:
            assert image.size == (1170, 780)
            assert len(image.convert("RGB").getcolors(1 << 20) or []) > 10


def test_plots_without_matplotlib_are_refused_before_anything_runs(
    home: Path, imagenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    publish_classifier(home)
    assert table("--models", "gray", "--imagenet", imagenet, "--plots", tmp_path / "plots") == 2
    assert "matnet[plot]" in capsys.readouterr().err
    assert not (home / "results").exists(), "something was measured"


@pytest.mark.process
@pytest.mark.parametrize("plots", ["taken", "taken/deeper"])
def test_a_file_in_the_place_of_the_plots_is_refused_before_anything_runs(
    plots: str, home: Path, imagenet: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "taken").write_text("precious")
    publish_classifier(home)
    assert table("--models", "gray", "--imagenet", imagenet, "--plots", tmp_path / plots) == 2
    assert str(tmp_path / "taken") in capsys.readouterr().err
    assert not (home / "results").exists(), "something was measured"


def test_a_name_in_a_plot_covers_nothing() -> None:
    """To the right of the point it would cover another; so it stands somewhere else, and nearer to its own point."""
    frame, other = LabelBox(0, 0, 200, 200), (130.0, 100.0)
    mark = LabelBox(125, 95, 135, 105)
    box, astray = best_place((100.0, 100.0), (50.0, 10.0), frame, [LabelBox(95, 95, 105, 105), mark], [other])
    assert box.overlap(mark) == 0 and not astray
    assert distance((100, 100), box) < distance(other, box)
    alone, _ = best_place((100.0, 100.0), (50.0, 10.0), frame, [])
    assert (alone.left, alone.bottom, alone.top) == (109, 95, 105)


@pytest.mark.process
def test_names_of_crowded_points_do_not_overlap() -> None:
    """Twelve models in a row, each a few pixels from the next: every name can be read, and is near its point."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from matnet.reproduction.plots import Point, _scatter

    points = [Point(f"network-{k}", 10.0 + k / 4, 40.0, k % 2 == 0) for k in range(12)]
    drawn = _scatter(points, "images per second")
    drawn.draw_without_rendering()
    axes, renderer = drawn.axes[0], drawn.canvas.get_renderer()
    boxes = {text.get_text(): LabelBox(*text.get_window_extent(renderer).extents) for text in axes.texts}
    assert sorted(boxes) == sorted(point.name for point in points)
    names = list(boxes)
    for place, name in enumerate(names):
        assert not any(boxes[name].overlap(boxes[other]) for other in names[:place]), name
    for point in points:
        assert distance(tuple(axes.transData.transform((point.x, point.error))), boxes[point.name]) < 131


@pytest.mark.process
def test_rows_of_two_data_sets_share_no_plot(tmp_path: Path) -> None:
    """Errors on different data do not compare: a plot has the models of one set, under its own limits."""
    pytest.importorskip("matplotlib")
    from types import SimpleNamespace

    from matnet.reproduction import plots

    def figures(data: str, error: float) -> SimpleNamespace:
        known = {"top1_error": error, "images_per_s": 100.0}
        expected = SimpleNamespace(
            data=data, task="classification", short_name=data, card=SimpleNamespace(parameters=1000)
        )
        return SimpleNamespace(expected=expected, measured=known.get, published=known.get, run={})

    rows: list[Any] = [figures("imagenet", 42.0), figures("own images", 2.8)]
    names = sorted(path.name for path in plots.write_plots(rows, tmp_path))
    assert names == [
        "error-parameters-own-images.png",
        "error-parameters.png",
        "error-speed-own-images.png",
        "error-speed.png",
    ]
