"""Detection on COCO: figures by hand, boxes as COCO counts them, and what is refused.

Rules: COCO's page on detection evaluation, as in small_sets; the format of its files: COCO's page on data.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet import eval as eval_command
from matnet.command_line import run_command
from matnet.datasets import DetectionSet, load, load_coco_objects
from matnet.errors import DataError, EngineError
from matnet.evaluation import evaluate
from matnet.evaluation.coco import coco_figures
from matnet.evaluation.command import task_name
from matnet.evaluation.detectors import Detector
from matnet.evaluation.tasks import Detection
from matnet.image_arguments import parsed
from matnet.images import Preprocessing
from tests.helpers import assert_line
from tests.small_sets import COCO_FIGURES, PROPOSALS, coco
from tests.tiny_models import colour_detector, colours

FILE = "annotations/instances_val2014.json"


@pytest.mark.process
def test_figures_by_hand_through_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    home = coco(tmp_path)
    matnet.save(colour_detector(), tmp_path / "own.mat")
    arguments = [str(tmp_path / "own.mat"), "--task", "detection", "--data", str(home), "--split", "val2014"]
    arguments += ["--proposals", str(home / PROPOSALS), "--backend", "numpy", "--quiet"]
    assert run_command(eval_command.main, [*arguments, "--json", str(tmp_path / "a.json")]) == 0
    row = json.loads((tmp_path / "a.json").read_text())
    assert (row["status"], row["images"], row["dataset"]) == ("ok", 2, "COCO val2014")
    for name, value in COCO_FIGURES.items():
        assert row[name] == (None if value is None else pytest.approx(value, abs=1e-9)), name
    assert row["class_ap"] == pytest.approx({"aeroplane": 50, "bicycle": 100 * 51 * 0.5 / 101})
    assert (row["class_objects"]["bicycle"], row["detections"]) == (2, 4)
    assert any(note.startswith("classes without objects (18)") for note in row["notes"])
    shown = capsys.readouterr().out
    assert_line(shown, "bicycle", "25.25", "2")
    assert "index" not in shown, "what pycocotools prints"


@pytest.mark.parametrize("place", ["", FILE])
def test_the_layout_is_recognised(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with annotations, and the file itself, are for detection; without a detector that is said."""
    home = coco(tmp_path)
    found = load(home / place)
    assert isinstance(found, DetectionSet) and len(found.images) == 2
    assert any("coco-objects" in note for note in found.notes)
    matnet.save(colours(), tmp_path / "own.mat")
    given = parsed(eval_command.parser(), ["--model", str(tmp_path / "own.mat"), "--data", str(home / place)])
    assert task_name(given) == "detection"
    assert run_command(eval_command.main, ["--data", str(home / place)]) == 2
    assert_line(capsys.readouterr().err, str(home / place), "COCO", "--task detection")
    with pytest.raises(DataError, match="root"):
        load(home / FILE, root=home)


def test_images_are_in_the_order_of_their_ids(tmp_path: Path) -> None:
    home = coco(tmp_path)
    data = load_coco_objects(home)
    assert [path.name for path in data.images] == ["COCO_val2014_000000000007.jpg", "COCO_val2014_000000000042.jpg"]
    assert data.coco is not None and data.coco.images == (7, 42)
    np.testing.assert_array_equal(data.objects[1].boxes, [(11, 6, 20, 15), (31, 6, 36, 15)])
    assert (data.objects[1].size, data.objects[1].difficult.tolist()) == ((30, 40), [False, True])
    assert data.head(1).coco.images == (7,)  # type: ignore[union-attr]


@pytest.mark.parametrize("folder", ["images/val2014", "images", ".", "val2014"])
def test_images_are_found_beside_the_annotations(folder: str, tmp_path: Path) -> None:
    """Also for a list of another name, as minival2014 of the images of val2014."""
    home = coco(tmp_path)
    (home / "images").mkdir()
    for image in (home / "val2014").iterdir():
        (home / folder).mkdir(exist_ok=True)
        image.rename(home / folder / image.name)
    (home / FILE).rename(home / "annotations" / "instances_minival2014.json")
    data = load_coco_objects(home)
    assert [path.is_file() for path in data.images] == [True, True]
    assert any("COCO minival2014 has 5,000" in note for note in data.notes)


def test_rows_of_ssd_lie_between_pixels(tmp_path: Path) -> None:
    """SSD learns COCO's x / width and (x + w) / width, and its results are these times the width."""
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    data = load_coco_objects(coco(tmp_path))
    task = Detection(data, detector=Detector("data", "out", lists=True))
    rows = np.array([[0, 1, 0.9, 10 / 40, 5 / 30, 20 / 40, 15 / 30]], np.float32).reshape(1, 1, 1, 7)
    counts = task.count(rows, [1], [1.0])
    np.testing.assert_allclose(counts.outcomes[1]["box"], [(11, 6, 20, 15)], rtol=1e-6)
    assert data.coco is not None
    figures, classes = coco_figures(data.coco, counts.outcomes)
    np.testing.assert_allclose((figures["mean_ap"], classes[0]), (100, 100), rtol=1e-12)
    assert np.isnan(classes[1]), "the crowd of the image alone is no object"


def test_nothing_found_is_an_average_precision_of_0(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    data = load_coco_objects(coco(tmp_path))
    task = Detection(data, detector=Detector("data", "out", lists=True))
    nothing = np.full((1, 1, 1, 7), -1, np.float32)
    outcomes = task.count(nothing, [0], [1.0]).plus(task.count(nothing, [1], [1.0])).outcomes
    assert data.coco is not None
    assert coco_figures(data.coco, outcomes)[0]["mean_ap"] == 0


def test_without_pycocotools_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = coco(tmp_path)
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    data = load_coco_objects(home, proposals=home / PROPOSALS)
    with pytest.raises(EngineError, match=r"pip install 'matnet\[coco\]'"):
        evaluate(colour_detector(), data, Preprocessing.of(colour_detector()))


# --- what is refused ---


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(home: Path) -> None:
        record = json.loads((home / FILE).read_text())
        change(record)
        (home / FILE).write_text(json.dumps(record))

    return apply


def lacking(home: Path) -> None:
    (home / "val2014" / "COCO_val2014_000000000007.jpg").unlink()


def text(content: str) -> Callable[[Path], None]:
    return lambda home: (home / FILE).write_text(content) and None


def twice(home: Path) -> None:
    (home / "annotations" / "instances_train2014.json").write_text("{}")


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing image": (lacking, r"val2014: 1 of 2 images are missing:\n.*000000000007.jpg"),
    "no JSON": (text("{"), "instances_val2014.json: is not JSON"),
    "nested": (text("[" * 100_000), "instances_val2014.json: "),
    "no lists": (text("[]"), r"has no list of images or annotations or categories"),
    "other annotations": (changed(lambda record: record.pop("categories")), "no list of categories"),
    "no box": (changed(lambda record: record["annotations"][1].pop("bbox")), "annotations, item 2: has no bbox"),
    "unknown image": (
        changed(lambda record: record["annotations"][0].update(image_id=5)),
        r"annotations \(1\):\n.*annotation 1: its image 5",
    ),
    "unknown class": (changed(lambda record: record["annotations"][0].update(category_id=1)), "category 1 is not"),
    "three numbers": (changed(lambda record: record["annotations"][0].update(bbox=[1, 2, 3])), r"bbox is \[1, 2, 3\]"),
    "no number": (changed(lambda record: record["annotations"][0].update(bbox=[1, "2", 3, 4])), r"bbox is \[1, '2'"),
    "negative": (changed(lambda record: record["annotations"][0].update(bbox=[1, 2, -3, 4])), r"bbox is \[1, 2, -3"),
    "no objects": (changed(lambda record: record.update(annotations=[])), "annotations: none"),
    "crowd of null": (
        changed(lambda record: record["annotations"][0].update(iscrowd=None)),
        "annotation 1: its iscrowd is None; expected 0 or 1",
    ),
    "crowd of text": (changed(lambda record: record["annotations"][0].update(iscrowd="x")), "iscrowd is 'x'"),
    "crowd of 2": (changed(lambda record: record["annotations"][0].update(iscrowd=2)), "iscrowd is 2"),
    "area that is no number": (
        changed(lambda record: record["annotations"][1].update(area=float("nan"))),
        "annotation 2: its area is nan",
    ),
    "negative area": (changed(lambda record: record["annotations"][0].update(area=-1)), "annotation 1: its area is -1"),
    "an id twice": (changed(lambda record: record["images"][0].update(id=7)), "images: 2 have the id 7"),
    "an image twice": (
        changed(lambda record: record["images"][0].update(file_name=record["images"][1]["file_name"])),
        "images: 2 have the file_name 'COCO_val2014",
    ),
    "an annotation twice": (
        changed(lambda record: [item.update(id=3) for item in record["annotations"]]), "annotations: .* have the id 3"
    ),
    "a class twice": (
        changed(lambda record: [item.update(name="cat") for item in record["categories"]]), "have the name 'cat'"
    ),
    "no height": (changed(lambda record: record["images"][0].update(height=0)), r"images: COCO.* \d+ x 0"),
    "an id that is true": (
        changed(lambda record: record["images"][0].update(id=True)),
        "images, item 1: its id is True",
    ),
    "a long name": (changed(lambda record: record["images"][0].update(file_name="x" * 400)), "images are missing"),
    "astray": (
        changed(lambda record: record["images"][0].update(file_name="../a.jpg")),
        r"not plain file names \(1\):\n.*\.\./a.jpg",
    ),
    "two files": (twice, "several files; give split= train2014, or val2014"),
    "no images": (changed(lambda record: record.update(images=[], annotations=[])), "images: none"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_named_before_anything_runs(kind: str, tmp_path: Path) -> None:
    change, expected = BAD[kind]
    home = coco(tmp_path)
    change(home)
    with pytest.raises(DataError, match=expected):
        load_coco_objects(home)


def test_the_part_of_a_file_is_not_contradicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = coco(tmp_path)
    assert len(load_coco_objects(home / FILE, "val2014").images) == 2
    with pytest.raises(DataError, match=r"instances_val2014.json: .*split='val2017'"):
        load_coco_objects(home / FILE, "val2017")
    matnet.save(colour_detector(proposes=True), tmp_path / "own.mat")
    arguments = [str(tmp_path / "own.mat"), "--task", "detection", "--data", str(home / FILE), "--split", "val2017"]
    assert run_command(eval_command.main, arguments) == 2
    assert_line(capsys.readouterr().err, "instances_val2014.json", "--split val2017")


def test_annotations_without_objects_are_counted(tmp_path: Path) -> None:
    home = coco(tmp_path)
    changed(lambda record: record.update(annotations=record["annotations"][:2]))(home)
    assert_line(load_coco_objects(home).check().notes, "without objects that count (1)", "COCO_val2014_000000000007")


def test_a_year_is_refused(tmp_path: Path) -> None:
    home = coco(tmp_path)
    with pytest.raises(DataError, match=r"--year has no effect"):
        Detection.load(home, year="2014")
