"""SSD's PriorBox and DetectionOutput: against boxes worked out by hand from the SSD fork's rules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from matnet.errors import NetworkError, ShapeError
from matnet.ops import extensions as ops
from matnet.ops.extensions.boxes import expanded_ratios
from matnet.ops.extensions.detection import decode, overlaps, suppress
from tests.extension_ops import run

MAP, IMAGE = np.zeros((3, 7, 1, 2), dtype=np.float32), np.zeros((3, 3, 60, 100), dtype=np.float32)
# Map 1 x 2 in an image of 60 x 100: steps of 60 and 50, centres (25, 30) and (75, 30). min 20, max 45: squares of
# 20 and sqrt(20 45) = 30; ratio 4 makes 40 x 10, ratio 1/4 10 x 40. In pixels around the first centre:
PIXELS = [[15, 20, 35, 40], [10, 15, 40, 45], [5, 25, 45, 35], [20, 10, 30, 50]]


def priors(op: ops.PriorBox, *inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and variances, K x 4 each."""
    (y,) = run(op, *(inputs or (MAP, IMAGE)))
    return tuple(y.reshape(2, -1, 4))  # type: ignore[return-value]


def test_prior_boxes_by_hand() -> None:
    op = ops.PriorBox.from_ssd([20], [45], [4], flip=True, variance=(0.1, 0.1, 0.2, 0.2))
    boxes, variances = priors(op)
    first = np.array(PIXELS) / [100, 60, 100, 60]
    np.testing.assert_allclose(boxes, np.concatenate([first, first + np.array([0.5, 0, 0.5, 0])]), rtol=1e-6)
    np.testing.assert_array_equal(variances, np.tile(np.float32([0.1, 0.1, 0.2, 0.2]), (8, 1)))


def test_boxes_of_a_cell_run_over_sizes_first() -> None:
    op = ops.PriorBox.from_ssd([20, 10], [45, 40], [4], flip=False)
    boxes, variances = priors(op)
    widths = np.round((boxes[:6, 2] - boxes[:6, 0]) * 100).astype(int)
    np.testing.assert_array_equal(
        widths, [20, 30, 40, 10, 20, 20]
    )  # sqrt(10 40) = 20; 10 with ratio 4 is 20 wide
    np.testing.assert_array_equal(variances, np.float32(0.1))  # the fork's default


def test_rows_come_before_columns() -> None:
    op = ops.PriorBox(minSize=(10,), imageSize=(60, 100))
    boxes, _ = priors(op, np.zeros((1, 1, 2, 3), dtype=np.float32))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 * [100, 60]
    across = [100 / 6, 50, 500 / 6]
    expected = [[x, y] for y in (15, 45) for x in across]
    np.testing.assert_allclose(centres, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"pixelStep": (8.0,)}, [[-6, -6, 14, 14], [2, -6, 22, 14]]),
        ({"pixelStep": (8.0, 16.0)}, [[-2, -6, 18, 14], [14, -6, 34, 14]]),  # vertical, horizontal
        ({"pixelStep": (8.0,), "offset": 0.0}, [[-10, -10, 10, 10], [-2, -10, 18, 10]]),
        ({"pixelStep": (8.0,), "clip": True}, [[0, 0, 14, 14], [2, 0, 22, 14]]),
    ],
)
def test_steps_offset_and_clip(fields: dict[str, Any], expected: list[list[float]]) -> None:
    boxes, _ = priors(ops.PriorBox.from_ssd([20], **fields))
    np.testing.assert_allclose(boxes * [100, 60, 100, 60], expected, atol=1e-4)


def test_fields_are_kept_in_the_form_that_mcn_ssd_reads() -> None:
    op = ops.PriorBox.from_ssd([20], [], [2], pixelStep=(8, 8))
    assert (op.maxSize, op.pixelStep, op.aspectRatios, op.flip) == ((0.0,), (8.0,), (2.0, 0.5), False)


def test_the_fork_cuts_sizes_to_whole_pixels() -> None:
    op = ops.PriorBox.from_ssd([20.9], [45.9])
    assert (op.minSize, op.maxSize) == ((20.0,), (45.0,))
    boxes, _ = priors(op)
    np.testing.assert_allclose(boxes[:2], np.array(PIXELS[:2]) / [100, 60, 100, 60], rtol=1e-6)


@pytest.mark.parametrize(
    ("ratios", "flip", "expected"),
    [([2, 3], True, [2, 1 / 2, 3, 1 / 3]), ([2, 3], False, [2, 3]), ([1, 2, 2, 0.5], True, [2, 0.5]), ([], True, [])],
)
def test_the_order_of_ratios_in_the_fork(ratios: list[float], flip: bool, expected: list[float]) -> None:
    np.testing.assert_allclose(expanded_ratios(ratios, flip), expected, rtol=1e-6)


def test_the_order_of_ratios_in_mcn_ssd() -> None:
    boxes, _ = priors(
        ops.PriorBox(minSize=(12,), maxSize=(0,), aspectRatios=(4, 9), flip=True)
    )  # 0: no maxSize
    widths = (boxes[:5, 2] - boxes[:5, 0]) * 100
    np.testing.assert_allclose(widths, [12, 24, 36, 6, 4], rtol=1e-4)


# Prior (0.2 0.2 0.6 0.4): width 0.4, height 0.2, centre (0.4 0.3). Prediction (1 -1 0.5 2), variances 0.1 0.1 0.2 0.2.
PRIOR, PREDICTED, VARIANCES = np.float32([[0.2, 0.2, 0.6, 0.4], [1, -1, 0.5, 2], [0.1, 0.1, 0.2, 0.2]])
WIDTH, HEIGHT = 0.4 * math.exp(0.1), 0.2 * math.exp(0.4)
DECODED = {
    "corner": [0.3, 0.1, 0.7, 0.8],
    "corner_size": [0.24, 0.18, 0.64, 0.48],
    "center_size": [0.44 - WIDTH / 2, 0.28 - HEIGHT / 2, 0.44 + WIDTH / 2, 0.28 + HEIGHT / 2],
}


@pytest.mark.parametrize("code", sorted(DECODED))
def test_decoding_by_hand(code: str) -> None:
    np.testing.assert_allclose(decode(PREDICTED, PRIOR, VARIANCES, code), DECODED[code], rtol=1e-6)
    np.testing.assert_allclose(decode(VARIANCES * PREDICTED, PRIOR, None, code), DECODED[code], rtol=1e-6)


def test_overlap_is_intersection_over_union() -> None:
    box = np.float32([0, 0, 1, 1])
    others = np.float32([[0, 0, 1, 1], [0.5, 0, 1.5, 1], [1, 0, 2, 1], [0.25, 0.25, 0.75, 0.75], [0.8, 0, 0.2, 1]])
    # Equal; half shifted: 0.5 / 1.5; touching; inside: 0.25 / 1; minimum beyond maximum.
    np.testing.assert_allclose(overlaps(box, others), [1, 1 / 3, 0, 0.25, 0], rtol=1e-6)


# A the unit square, B its upper and C its lower half (each overlaps A by 0.5, each other by 0), D far away.
BOXES = np.float32([[0, 0, 1, 1], [0, 0, 1, 0.5], [0, 0.5, 1, 1], [5, 5, 6, 6]])
SCORES = np.float32([0.9, 0.8, 0.7, 0.6])
SUPPRESSED: list[tuple[dict[str, Any], list[int]]] = [
    ({"overlap": 0.5}, [0, 1, 2, 3]),  # only what exceeds the threshold is dropped
    ({"overlap": 0.49}, [0, 3]),
    ({"overlap": 0.49, "top_k": 3}, [0]),  # D is cut off before suppression
    ({"overlap": 0.49, "top_k": 0}, []),
    ({"overlap": 0.5, "confidence": 0.7}, [0, 1]),  # strictly greater
    ({"overlap": 0.7, "eta": 0.8}, [0, 1, 3]),  # 0.7, then 0.56, then 0.448 < 0.5
    ({"overlap": 0.5, "eta": 0.8}, [0, 1, 2, 3]),  # 0.5 itself does not shrink
]


@pytest.mark.parametrize(("fields", "kept"), SUPPRESSED, ids=[str(fields) for fields, _ in SUPPRESSED])
def test_suppression_by_hand(fields: dict[str, Any], kept: list[int]) -> None:
    assert suppress(BOXES, SCORES, **{"confidence": 0.0, **fields}) == kept


def test_equal_scores_keep_their_order() -> None:
    assert suppress(BOXES[[3, 1, 2]], np.float32([0.5, 0.5, 0.9]), 0.0, 0.1) == [2, 0, 1]


def detect(
    op: ops.DetectionOutput, scores: np.ndarray, offsets: np.ndarray | None = None, count: int = 4
) -> np.ndarray:
    """Run on scores N x K x classes about the priors BOXES with variances 1, the predictions being 0 unless given."""
    images = len(scores)
    classes = 1 if op.shareLocation else op.numClasses
    offsets = np.zeros((images, count, classes, 4), dtype=np.float32) if offsets is None else offsets
    stacked = np.stack([BOXES[:count], np.ones((count, 4), dtype=np.float32)]).reshape(1, 2, -1, 1)
    locations = np.ascontiguousarray(offsets.reshape(images, -1, 1, 1))
    confidences = np.float32(scores).reshape(images, -1, 1, 1)
    return run(op, locations, confidences, stacked, exact_shapes=False)[0][0, 0]


# Two images, four priors, classes 0 (background), 1, 2; what each class scores at each prior.
TWO_IMAGES = np.float32(
    [
        [[0.9, 0.1, 0.3], [0.9, 0.2, 0.0], [0.9, 0.0, 0.0], [0.9, 0.6, 0.4]],
        [[0.9, 0.0, 0.0], [0.9, 0.0, 0.8], [0.9, 0.0, 0.7], [0.9, 0.0, 0.0]],
    ]
)
ROWS = [
    [0, 1, 0.6, 5, 5, 6, 6],
    [0, 1, 0.2, 0, 0, 1, 0.5],
    [0, 2, 0.4, 5, 5, 6, 6],
    [0, 2, 0.3, 0, 0, 1, 1],
    [1, 2, 0.8, 0, 0, 1, 0.5],
    [1, 2, 0.7, 0, 0.5, 1, 1],
]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ROWS),  # A loses to B in class 1
        ({"keepTopK": 2}, [ROWS[0], ROWS[2], ROWS[4], ROWS[5]]),
        ({"keepTopK": 3}, [ROWS[0], ROWS[2], ROWS[3], ROWS[4], ROWS[5]]),
        ({"keepTopK": 1}, [ROWS[0], ROWS[4]]),
        ({"nmsTopK": 1}, [ROWS[0], ROWS[2], ROWS[4]]),
        ({"confidenceThreshold": 0.65}, [ROWS[4], ROWS[5]]),
        ({"backgroundLabel": 2}, [[0, 0, 0.9, 0, 0, 1, 1], [0, 0, 0.9, 5, 5, 6, 6], *ROWS[:2]]),
    ],
    ids=str,
)
def test_detections_by_hand(fields: dict[str, Any], expected: list[list[float]]) -> None:
    op = ops.DetectionOutput(**{"numClasses": 3, "nmsThreshold": 0.45, "confidenceThreshold": 0.01, **fields})
    found = detect(op, TWO_IMAGES if op.backgroundLabel == 0 else TWO_IMAGES[:1])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_without_detections_there_is_one_row_per_image() -> None:
    found = detect(ops.DetectionOutput(numClasses=3, confidenceThreshold=0.99), TWO_IMAGES)
    np.testing.assert_array_equal(found, [[0, *[-1] * 6], [1, *[-1] * 6]])


def test_an_image_without_detections_beside_one_with_some_has_no_row() -> None:
    found = detect(ops.DetectionOutput(numClasses=3, confidenceThreshold=0.75), TWO_IMAGES)
    np.testing.assert_allclose(found, [ROWS[4]], rtol=1e-6)


def test_each_class_may_have_its_own_locations() -> None:
    scores = np.float32([[[0, 0.8, 0.7]]])
    offsets = np.zeros((1, 1, 3, 4), dtype=np.float32)
    offsets[0, 0, 1], offsets[0, 0, 2] = [1, 2, 3, 4], [5, 6, 7, 8]
    op = ops.DetectionOutput(numClasses=3, shareLocation=False, varianceEncodedInTarget=True)
    found = detect(op, scores, offsets, count=1)
    np.testing.assert_allclose(found, [[0, 1, 0.8, 1, 2, 4, 5], [0, 2, 0.7, 5, 6, 8, 9]], rtol=1e-6)


@pytest.mark.parametrize(
    ("locations", "confidences", "given", "message"),
    [
        ((2, 16, 1, 1), (2, 12, 1, 1), (1, 2, 18, 1), "1x2x"),
        ((2, 15, 1, 1), (2, 12, 1, 1), (1, 2, 16, 1), "locations are 2x15x1x1; expected 2x16"),
        ((2, 16, 1, 1), (2, 13, 1, 1), (1, 2, 16, 1), "confidences are 2x13x1x1; expected 2x12"),
        ((2, 16, 1, 1), (1, 12, 1, 1), (1, 2, 16, 1), "confidences are 1x12x1x1"),
    ],
)
def test_shapes_that_do_not_fit_are_told(
    locations: tuple[int, ...], confidences: tuple[int, ...], given: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        ops.DetectionOutput(numClasses=3).output_shapes([locations, confidences, given], [])


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"minSize": ()}, "minSize"),
        ({"minSize": (10,), "maxSize": (5,)}, "maxSize"),
        ({"minSize": (10, 20), "maxSize": (30,)}, "maxSize"),
        ({"minSize": (10,), "aspectRatios": (0,)}, "aspectRatios"),
        ({"minSize": (10,), "variance": (0.1, 0.2)}, "variance"),
        ({"minSize": (10,), "pixelStep": (1, 2, 3)}, "pixelStep"),
    ],
)
def test_prior_boxes_without_a_meaning_are_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(NetworkError, match=f"field '{named}'"):
        ops.PriorBox(**fields)


@pytest.mark.parametrize("fields", [{"nmsThreshold": -0.1}, {"nmsEta": 0}, {"nmsEta": 1.1}, {"codeType": "size"}])
def test_detection_fields_without_a_meaning_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(NetworkError, match=f"field '{next(iter(fields))}'"):
        ops.DetectionOutput(**fields)


def test_prior_boxes_need_to_know_the_image() -> None:
    with pytest.raises(NetworkError, match="imageSize"):
        ops.PriorBox(minSize=(10,)).output_shapes([MAP.shape], [])
