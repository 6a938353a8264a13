"""COCO's average precision and recall of detections, by pycocotools."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.errors import EngineError
from matnet.evaluation.record import Run

if TYPE_CHECKING:
    from matnet.datasets.objects import CocoTruth

PROTOCOL = "COCO's average precision, overlaps of 0.5 to 0.95"
DETECTED = np.dtype([("score", "<f4"), ("class", "<i2"), ("right", "?"), ("box", "<f4", (4,))])
"""A detection: score, class, whether its overlap with an object is at least 0.5, and box (1-based, inclusive)."""

FIGURES = (
    "mean_ap",
    "mean_ap_50",
    "mean_ap_75",
    "mean_ap_small",
    "mean_ap_medium",
    "mean_ap_large",
    "recall_1",
    "recall_10",
    "recall_100",
    "recall_small",
    "recall_medium",
    "recall_large",
)
"""The figures of COCOeval.summarize, in its order."""


@dataclass(kw_only=True)
class CocoEvaluation(Run):
    """The result of a detection on COCO, in percent; NaN if there are no objects of the kind.

    mean_ap: mean over overlaps of 0.5, 0.55, ..., 0.95 and all classes; mean_ap_50, mean_ap_75: at one overlap.
    recall_1, 10 and 100: at most that many detections per image. small, medium, large: objects of up to 32^2, up to
    96^2, more pixels.
    """

    mean_ap: float
    mean_ap_50: float
    mean_ap_75: float
    mean_ap_small: float
    mean_ap_medium: float
    mean_ap_large: float
    recall_1: float
    recall_10: float
    recall_100: float
    recall_small: float
    recall_medium: float
    recall_large: float
    class_ap: dict[str, float]
    class_objects: dict[str, int]  # without crowds
    detections: int


def require_pycocotools() -> None:
    """Raises EngineError if pycocotools is not installed."""
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ImportError as error:
        raise EngineError(
            f"COCO's average precision needs pycocotools ({error}); install it with "
            "`python -m pip install 'matnet[coco]'`"
        ) from None


def coco_figures(truth: CocoTruth, found: Mapping[int, np.ndarray]) -> tuple[dict[str, float], list[float]]:
    """FIGURES, and the AP of each class, in percent; found: image index -> rows of DETECTED."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        numbers = [truth.images[place] for place in sorted(found)]
        true, given = COCO(), COCO()
        common = {
            "images": [{"id": number} for number in numbers],
            "categories": [{"id": number} for number in truth.categories],
        }
        true.dataset = {**common, "annotations": _true_objects(truth, set(numbers))}
        given.dataset = {**common, "annotations": _detections(truth, found)}
        true.createIndex()
        given.createIndex()
        judge = COCOeval(true, given, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return dict(zip(FIGURES, map(_percent, judge.stats.tolist()), strict=True)), _of_classes(judge)


def _true_objects(truth: CocoTruth, images: set[int]) -> list[dict[str, Any]]:
    """The objects with ids from 1: COCOeval treats an object of id 0 as not found."""
    kept = (item for item in truth.annotations if item["image_id"] in images)
    return [{"iscrowd": 0, **item, "id": number} for number, item in enumerate(kept, start=1)]


def _detections(truth: CocoTruth, found: Mapping[int, np.ndarray]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for place in sorted(found):
        for item in found[place]:
            left, top, right, bottom = (float(value) for value in item["box"])
            box = [left - 1, top - 1, right - left + 1, bottom - top + 1]
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": truth.images[place],
                    "category_id": truth.categories[item["class"]],
                    "bbox": box,
                    "area": box[2] * box[3],
                    "score": float(item["score"]),
                    "iscrowd": 0,
                }
            )
    return rows


def _of_classes(judge: Any) -> list[float]:
    """The AP of each class for all sizes; COCOeval's precision: overlaps x recalls x classes x sizes x counts."""
    precision = judge.eval["precision"][:, :, :, 0, -1]
    return [_percent(float(one[one > -1].mean()) if (one > -1).any() else -1.0) for one in np.moveaxis(precision, 2, 0)]


def _percent(value: float) -> float:
    """In percent; pycocotools returns -1 if there are no objects."""
    return 100 * value if value >= 0 else float("nan")
