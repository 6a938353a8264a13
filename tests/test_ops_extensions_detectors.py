"""Layers of two-stage detectors against loops written from the sources that the docstrings name."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet.errors import NetworkError, ShapeError
from matnet.ops import extensions as ops
from matnet.ops.extensions.proposal import anchors_of, half_up
from matnet.ops.extensions.suppression import PIXELS, POINTS, Overlap, keep_best
from tests.caffe_nets import blob_values, caffe_files, converted, reloaded
from tests.conftest import assert_close
from tests.extension_ops import run, seeded

BOXES = np.float32([
    [0, 1, 2, 30, 21], [1, 4.5, 0, 12.4, 9.5], [0, -8, 30, 60, 90], [1, 20, 20, 20, 20], [1, 9, 8, 3, 4],
])  # fmt: skip


def scattered(count: int, seed: int = 1, extent: float = 200.0) -> np.ndarray:
    """xmin, ymin, xmax, ymax of `count` boxes that overlap now and then."""
    random = np.random.default_rng(seed)
    low = random.uniform(0, extent, (count, 2))
    return np.concatenate([low, low + random.uniform(1, extent / 4, (count, 2))], axis=1).astype(np.float32)


def greedy(boxes: np.ndarray, limit: float, plus: float, over: str = "union", inclusive: bool = False) -> list[int]:
    """One box after another in double precision, as Girshick's py_cpu_nms does it."""
    kept: list[int] = []
    sides = boxes.astype(np.float64)
    size = lambda box: (box[2] - box[0] + plus) * (box[3] - box[1] + plus)  # noqa: E731
    for place, box in enumerate(sides):
        for better in kept:
            other = sides[better]
            wide = min(box[2], other[2]) - max(box[0], other[0]) + plus
            high = min(box[3], other[3]) - max(box[1], other[1]) + plus
            shared = max(wide, 0) * max(high, 0)
            union, smaller = size(box) + size(other) - shared, min(size(box), size(other))
            whole = {"union": union, "smaller": smaller, "first": size(other)}
            if shared / whole[over] > limit or (inclusive and shared / whole[over] >= limit):
                break
        else:
            kept.append(place)
    return kept


@pytest.mark.process
@pytest.mark.parametrize("over", ["union", "smaller", "first"])
@pytest.mark.parametrize(("plus", "count"), [(0, 700), (1, 300)])
def test_suppression_in_blocks_is_the_greedy_one(over: str, plus: float, count: int) -> None:
    boxes = scattered(count)
    found = keep_best(boxes, 0.3, Overlap(plus=plus, over=over))
    np.testing.assert_array_equal(found, greedy(boxes, 0.3, plus, over))
    assert len(found) < count  # some boxes are dropped
    np.testing.assert_array_equal(keep_best(boxes, 0.3, Overlap(plus=plus, over=over), most=9), found[:9])


def test_suppression_at_the_limit_itself() -> None:
    boxes = np.float32([[0, 0, 2, 1], [0, 0, 1, 1]])  # half of the union
    assert keep_best(boxes, 0.5).tolist() == [0, 1]
    assert keep_best(boxes, 0.5, Overlap(inclusive=True)).tolist() == [0]
    assert keep_best(np.empty((0, 4), np.float32), 0.5).tolist() == []
    touching = np.float32([[0, 0, 2, 2], [2, 0, 4, 2]])  # pixels share a column, points nothing
    assert keep_best(touching, 0.1, POINTS).tolist() == [0, 1]
    assert keep_best(touching, 0.1, PIXELS).tolist() == [0]


def test_anchors_of_faster_rcnn() -> None:
    # The table in the comment of py-faster-rcnn's generate_anchors, moved from MATLAB's 1-based pixels.
    published = [[-83, -39, 100, 56], [-175, -87, 192, 104], [-359, -183, 376, 200], [-55, -55, 72, 72],
                 [-119, -119, 136, 136], [-247, -247, 264, 264], [-35, -79, 52, 96], [-79, -167, 96, 184],
                 [-167, -343, 184, 360]]  # fmt: skip
    found = np.reshape(anchors_of(16, (0.5, 1, 2), (8, 16, 32)), (-1, 4))
    np.testing.assert_array_equal(found, np.array(published) - 1)


def proposals_by_loops(
    anchors: np.ndarray, scores: np.ndarray, offsets: np.ndarray, info: np.ndarray, op: ops.Proposal
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores of one image, cell by cell, from the text of rpn/proposal_layer.py."""
    found = []
    for i in range(scores.shape[1]):
        for j in range(scores.shape[2]):
            for a, anchor in enumerate(anchors):
                x1, y1, x2, y2 = (float(v) for v in anchor + op.featStride * np.array([j, i, j, i]))
                w, h = x2 - x1 + 1, y2 - y1 + 1
                dx, dy, dw, dh = (float(v) for v in offsets[4 * a : 4 * a + 4, i, j])
                cx, cy, w, h = x1 + w / 2 + dx * w, y1 + h / 2 + dy * h, w * math.exp(dw), h * math.exp(dh)
                right, bottom = info[1] - 1, info[0] - 1
                box = [max(min(cx - w / 2, right), 0), max(min(cy - h / 2, bottom), 0),
                       max(min(cx + w / 2, right), 0), max(min(cy + h / 2, bottom), 0)]  # fmt: skip
                small = min(box[2] - box[0], box[3] - box[1]) + 1 < op.minSize * info[2]
                score = float(scores[len(anchors) + a, i, j])
                if not small or op.smallBoxes == "zero":
                    found.append((0.0 if small else score, *box))
    found = sorted(found, key=lambda row: -row[0])[: op.preNmsTopN or None]
    boxes = np.array([row[1:] for row in found])
    kept = greedy(boxes, op.nmsThreshold, 1)[: op.postNmsTopN or None]
    return boxes[kept], np.array([found[place][0] for place in kept])


@pytest.mark.process
@pytest.mark.parametrize("small", ["drop", "zero"])
def test_proposals_are_those_of_faster_rcnn(small: str) -> None:
    anchors = anchors_of(8, (0.4, 1.5), (2, 5, 9), half_up)
    op = ops.Proposal(anchors=anchors, featStride=8, minSize=11, smallBoxes=small, preNmsTopN=90, postNmsTopN=20,
                      nmsThreshold=0.4, withScores=True)  # fmt: skip
    scores, offsets = np.abs(seeded(2, 12, 5, 7)), seeded(2, 24, 5, 7, seed=1, scale=0.3)
    sizes = np.float32([[41, 53, 1.5], [38, 50, 1.2]])
    rois, ranks = run(op, scores, offsets, sizes.reshape(2, 3, 1, 1), exact_shapes=False)
    for image in range(2):
        boxes, values = proposals_by_loops(
            np.reshape(anchors, (-1, 4)), scores[image], offsets[image], sizes[image], op
        )
        rows = rois[:, 0, 0, 0] == image
        assert_close(rois[rows, 1:, 0, 0], boxes, 1e-5, "boxes")
        assert_close(ranks[rows, 0, 0, 0], values, 1e-6, "scores")


def test_proposals_refuse_what_does_not_fit() -> None:
    op = ops.Proposal()
    with pytest.raises(ShapeError, match="18"):
        op.output_shapes([(1, 17, 3, 4), (1, 36, 3, 4), (1, 3, 1, 1)], [])
    with pytest.raises(NetworkError, match="minSize"):
        run(op, seeded(1, 18, 2, 2), seeded(1, 36, 2, 2), np.float32([3, 3, 1]).reshape(1, 3, 1, 1))


def test_position_sensitive_pooling_by_loops() -> None:
    group, outputs, scale = 3, 2, 0.25
    x = seeded(2, outputs * group * group, 9, 11)
    (found,) = run(ops.PSROIPooling(spatialScale=scale, outputDim=outputs, groupSize=group), x, BOXES[..., None, None])
    expected = np.zeros((len(BOXES), outputs, group, group))
    away = lambda v: math.copysign(math.floor(abs(v) + 0.5), v)  # noqa: E731
    for r, (image, x1, y1, x2, y2) in enumerate(BOXES.tolist()):
        left, top = away(x1) * scale, away(y1) * scale
        wide, high = max((away(x2) + 1) * scale - left, 0.1), max((away(y2) + 1) * scale - top, 0.1)
        for c, i, j in np.ndindex(outputs, group, group):
            down, across = high / group, wide / group
            rows = range(max(math.floor(i * down + top), 0), min(math.ceil((i + 1) * down + top), 9))
            columns = range(max(math.floor(j * across + left), 0), min(math.ceil((j + 1) * across + left), 11))
            cells = [x[int(image), (c * group + i) * group + j, y, z] for y in rows for z in columns]
            expected[r, c, i, j] = np.mean(cells) if cells else 0
    assert_close(found, expected, 1e-6, "tiles")


def test_aligned_samples_by_loops() -> None:
    rows, columns, scale, ratio = 3, 4, 0.25, 0.1
    x = seeded(2, 3, 9, 11)
    op = ops.ROIAlign(subdivisions=(rows, columns), spatialScale=scale, padRatio=ratio)
    (found,) = run(op, x, BOXES[..., None, None])
    expected = np.zeros((len(BOXES), 3, rows + 1, columns + 1))
    for r, (image, x1, y1, x2, y2) in enumerate(BOXES.tolist()):
        wide, high = (x2 - x1 + 1) * ratio, (y2 - y1 + 1) * ratio
        left, right = (x1 - wide) * scale - 0.5, (x2 + wide) * scale - 0.5
        top, bottom = (y1 - high) * scale - 0.5, (y2 + high) * scale - 0.5
        for i, j in np.ndindex(rows + 1, columns + 1):
            y, z = top + i * (bottom - top) / rows, left + j * (right - left) / columns
            if right <= left or bottom <= top or not (-0.5 <= y <= 8.5 and -0.5 <= z <= 10.5):
                continue
            y, z = min(max(y, 0), 8), min(max(z, 0), 10)
            a, b = math.floor(y), math.floor(z)
            corners = x[int(image)][:, [a, min(a + 1, 8)]][:, :, [b, min(b + 1, 10)]]
            expected[r, :, i, j] = np.einsum("cyz,y,z->c", corners, [1 - (y - a), y - a], [1 - (z - b), z - b])
    assert_close(found, expected, 1e-5, "samples")


@pytest.mark.parametrize("op", [ops.PSROIPooling(), ops.ROIAlign()], ids=lambda op: type(op).__name__)
@pytest.mark.parametrize("image", [-1, 2])
def test_a_box_of_an_image_outside_the_batch_is_refused(op: ops.ROIAlign, image: int) -> None:
    with pytest.raises(NetworkError, match=f"image number {image}"):
        op.forward(np, [seeded(2, 1, 4, 5), np.float32([[image, 0, 0, 3, 3]])[..., None, None]], [])


@pytest.mark.parametrize("kind", ["iou", "iomu", "iofu"])
def test_box_output_by_loops(kind: str) -> None:
    maps = [seeded(2, 7, 4, 6, seed=2), seeded(2, 7, 2, 3, seed=3)]
    fields, rates, mean, std = [(30, 40), (60, 50)], [8, 16], (0.1, 0, 0.05, 0), (0.1, 0.2, 0.3, 0.2)
    op = ops.BoxOutput(fieldW=(30, 60), fieldH=(40, 50), downsampleRate=(8, 16), fgThreshold=-0.2, iouThreshold=0.5,
                       nmsType=kind.upper(), minSize=12, maxNmsNum=40, maxPostNmsNum=9, bboxMean=mean, bboxStd=std,
                       withScores=True)  # fmt: skip
    boxes, scored = run(op, *maps, exact_shapes=False)
    np.testing.assert_array_equal(boxes, scored[:, :5])
    for image in range(2):
        found = []
        for x, (fw, fh), rate in zip(maps, fields, rates, strict=True):
            for i, j in np.ndindex(*x.shape[2:]):
                score = max(x[image, 1, i, j], x[image, 2, i, j]) - x[image, 0, i, j]
                u, v, p, q = (x[image, 3 + k, i, j] * std[k] + mean[k] for k in range(4))
                u, v = (min(max(value, -0.5), 0.5) for value in (u, v))
                p, q = (min(max(value, -math.log(2)), math.log(2)) for value in (p, q))
                w, h = fw * math.exp(p), fh * math.exp(q)
                left, top = max(u * fw + (j + 0.5) * rate - w / 2, 0), max(v * fh + (i + 0.5) * rate - h / 2, 0)
                w, h = min(w, x.shape[3] * rate - left), min(h, x.shape[2] * rate - top)
                if score >= -0.2 and w >= 12 and h >= 12:
                    found.append((score, left, top, w, h))
        found = sorted(found, key=lambda row: -row[0])[:40]
        sides = np.array([[x, y, x + w - 1, y + h - 1] for _, x, y, w, h in found])
        kept = greedy(sides, 0.5, 1, {"iou": "union", "iomu": "smaller", "iofu": "first"}[kind])[:9]
        expected = [[image, x, y, x + w, y + h, score] for score, x, y, w, h in (found[k] for k in kept)]
        assert_close(scored[scored[:, 0, 0, 0] == image][..., 0, 0], np.array(expected), 1e-5, "boxes")


def test_box_output_without_any_box() -> None:
    op = ops.BoxOutput(fieldW=30, fieldH=30, downsampleRate=8, fgThreshold=99, withScores=True)
    boxes, scored = run(op, seeded(1, 6, 2, 3), exact_shapes=False)
    np.testing.assert_array_equal(boxes.ravel(), [0, 1, 1, 10, 10])  # box_output_layer.cpp, "when there is no box"
    np.testing.assert_array_equal(scored.ravel(), np.zeros(6))


def test_box_group_output_by_loops() -> None:
    fields, groups, rates = [(30, 40), (60, 50), (20, 20)], (2, 1), (8, 16)
    pairs = [(seeded(4, 3, 4, 6), seeded(4, 4, 4, 6, seed=1)), (seeded(2, 3, 2, 3, seed=2), seeded(2, 4, 2, 3, seed=3))]
    op = ops.BoxGroupOutput(fieldW=(30, 60, 20), fieldH=(40, 50, 20), downsampleRate=rates, groups=groups,
                            fgThreshold=0.2, iouThreshold=0.4, fieldWHR=3, fieldXYR=1, minSize=12, maxNmsNum=60,
                            bboxStd=(0.5, 0.5, 0.4, 0.4), withScores=True)  # fmt: skip
    (_, scored) = run(op, *(x for pair in pairs for x in pair), exact_shapes=False)
    for image in range(2):
        found = []
        for (probabilities, offsets), group, rate, first in zip(pairs, groups, rates, (0, 2), strict=True):
            height, width = offsets.shape[2:]
            for g, i, j in np.ndindex(group, height, width):
                (fw, fh), place = fields[first + g], image * group + g
                u, v, p, q = offsets[place, :, i, j] * np.array([0.5, 0.5, 0.4, 0.4])
                u, v = (min(max(value, -1), 1) for value in (u, v))
                w, h = (f * math.exp(min(max(t, -math.log(3)), math.log(3))) for f, t in ((fw, p), (fh, q)))
                left, top = u * fw + (j + 0.5) * rate - w / 2, v * fh + (i + 0.5) * rate - h / 2
                box = [max(left, 0), max(top, 0), min(left + w - 1, width * rate), min(top + h - 1, height * rate)]
                score = 1 - probabilities[place, 0, i, j]
                if score >= 0.2 and box[2] - box[0] + 1 >= 12 and box[3] - box[1] + 1 >= 12:
                    found.append((score, *box))
        found = sorted(found, key=lambda row: -row[0])[:60]
        kept = greedy(np.array([row[1:] for row in found]), 0.4, 1)
        expected = [[image, *found[k][1:], found[k][0]] for k in kept]
        assert_close(scored[scored[:, 0, 0, 0] == image][..., 0, 0], np.array(expected), 1e-5, "boxes")


@pytest.mark.parametrize("aware", [True, False])
def test_detections_of_cascade_rcnn(aware: bool) -> None:
    count, classes, std = 30, 3, np.array([0.1, 0.1, 0.2, 0.2])
    scores = np.random.default_rng(5).random((count, classes)).astype(np.float32)
    offsets = seeded(count, 4 * classes if aware else 8, seed=6)
    boxes = np.concatenate([np.zeros((count, 1), np.float32), scattered(count, extent=60)], axis=1)
    op = ops.FrcnnOutput(confThreshold=0.3, iouThreshold=0.3, maxDetNum=9, clsAware=aware, bboxStd=tuple(std))
    given = [scores, offsets, boxes, np.float32([[50, 70]])]
    (found,) = run(op, *(x[..., None, None] for x in given), exact_shapes=False)
    rows = []
    for label in range(1, classes):
        moved = []
        for score, offset, (_, x1, y1, x2, y2) in zip(scores, offsets, boxes.astype(float), strict=True):
            u, v, p, q = offset[4 * label : 4 * label + 4] * std if aware else offset[4:] * std
            w, h = (x2 - x1 + 1) * math.exp(p), (y2 - y1 + 1) * math.exp(q)
            left = u * (x2 - x1 + 1) + (x1 + x2) / 2 - (w - 1) / 2
            top = v * (y2 - y1 + 1) + (y1 + y2) / 2 - (h - 1) / 2
            box = (max(left, 0), max(top, 0), min(left + w - 1, 70), min(top + h - 1, 50))
            if score[label] >= 0.3:
                moved.append((score[label], *box))
        moved.sort(key=lambda row: -row[0])
        kept = greedy(np.array([row[1:] for row in moved]), 0.3, 1)
        rows += [[0, *moved[k][1:], label, moved[k][0]] for k in kept]
    best = sorted(sorted(range(len(rows)), key=lambda k: -rows[k][6])[:9])
    assert len(rows) > 9
    expected = [[0, *[-1] * 6], *(rows[k] for k in best)]
    assert_close(found[..., 0, 0], np.array(expected), 1e-5, "detections")


def test_decoded_boxes_by_hand() -> None:
    # Width 11, centre 15, and 5, centre 22; offsets 10 -> 1 after std 0.1: centre 26; size 11 e^0.
    offsets = np.float32([9, 9, 9, 9, 10, 0, 0, math.log(2) / 0.2])
    box = np.float32([3, 10, 20, 20, 24])
    op = ops.DecodeBBox(bboxStd=(0.1, 0.1, 0.2, 0.2))
    (found,) = run(op, offsets.reshape(1, 8, 1, 1), box.reshape(1, 5, 1, 1))
    np.testing.assert_allclose(found.ravel(), [3, 21, 17.5, 31, 26.5], rtol=1e-6)


# -- through Caffe's files ----------------------------------------------------------------------------

RPN = {"s": (1, 18, 4, 5), "b": (1, 36, 4, 5), "im": (1, 3)}
FEED = {"s": np.abs(seeded(*RPN["s"])), "b": seeded(*RPN["b"], seed=4, scale=0.2), "im": np.float32([[64, 80, 1.25]])}
PYTHON = """layer {{ name: "proposal" type: "Python" bottom: "s" bottom: "b" bottom: "im" top: "rois" top: "ranks"
  python_param {{ module: "rpn.proposal_layer" layer: "ProposalLayer" param_str: "{}" }} }}"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("text", "anchors"),
    [
        ("'feat_stride': 16", anchors_of(16, (0.5, 1, 2), (8, 16, 32))),
        ("'feat_stride': 16 \\n'scales': !!python/tuple [4, 8, 6]", anchors_of(16, (0.5, 1, 2), (4, 8, 6))),
        ("{'feat_stride': 16, 'ratios': [0.7, 1, 3], 'scales': [2, 4, 8]}", anchors_of(16, (0.7, 1, 3), (2, 4, 8))),
    ],
)
def test_the_python_layer_of_faster_rcnn(text: str, anchors: tuple[float, ...], tmp_path: Path) -> None:
    net = converted(tmp_path, PYTHON.format(text), RPN, {})
    for copy in (net, reloaded(net, tmp_path)):
        found = blob_values(copy, ["rois", "ranks"], FEED)
        op = ops.Proposal(anchors=anchors, postNmsTopN=300)
        boxes, values = proposals_by_loops(np.reshape(anchors, (-1, 4)), FEED["s"][0], FEED["b"][0], FEED["im"][0], op)
        assert_close(found["rois"][:, 1:], boxes, 1e-5, "rois")
        assert_close(found["ranks"][:, 0], values, 1e-6, "scores")


@pytest.mark.parametrize("base", ["caffe", "matconvnet"])
def test_boxes_that_the_network_makes_count_from_zero(base: str, tmp_path: Path) -> None:
    """--roi-base is about boxes that the user gives; whole tiles of one pixel show a shift by one."""
    layers = """
layer { name: "d" type: "DecodeBBox" bottom: "moves" bottom: "boxes" top: "rois" }
layer { name: "p" type: "ROIPooling" bottom: "x" bottom: "rois" top: "p"
  roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 1 } }"""
    x, boxes = seeded(2, 3, 4, 5), np.float32([[1, 2, 1, 3, 2], [0, 0, 2, 1, 3]])
    given = {"moves": np.zeros((2, 8), np.float32), "boxes": boxes, "x": x}
    net = converted(tmp_path, layers, {name: value.shape for name, value in given.items()}, {}, roi_base=base)
    found = blob_values(net, ["p"], given)["p"]
    np.testing.assert_array_equal(found, np.stack([x[1, :, 1:3, 2:4], x[0, :, 2:4, 0:2]]))


@pytest.mark.parametrize(
    ("module", "expected"), [("yolov2.darknet_reorg", ops.Reorg()), ("spatial_dropout.SpatialDropoutLayer", None)]
)
def test_other_python_layers(module: str, expected: ops.Reorg | None, tmp_path: Path) -> None:
    name, kind = module.split(".")
    text = f'''layer {{ name: "l" type: "Python" bottom: "x" top: "y" python_param {{ module: "{name}" layer: "{kind}"
      param_str: "{{\\'phase\\': \\'TEST\\', \\'p\\': \\'0.1\\'}}" }} }}
      layer {{ name: "r" type: "ReLU" bottom: "y" top: "z" }}'''
    x = np.abs(seeded(1, 16, 4, 6))
    net = converted(tmp_path, text, {"x": x.shape}, {})
    found = blob_values(net, ["z"], {"x": x})["z"]
    np.testing.assert_array_equal(found, run(expected, x)[0] if expected else x)


def test_a_python_layer_that_is_not_known_is_named(tmp_path: Path) -> None:
    files = caffe_files(tmp_path, PYTHON.format("").replace("rpn.proposal_layer", "lab.mine"), RPN, {})
    with pytest.raises(matnet.MatnetError, match=r"lab\.mine"):
        matnet.convert_caffe(*files)


@pytest.mark.process
def test_proposals_feed_pooling_in_caffes_pixels(tmp_path: Path) -> None:
    layers = PYTHON.format("'feat_stride': 16").replace('top: "ranks"', "") + """
layer { name: "p" type: "PSROIPooling" bottom: "f" bottom: "rois" top: "p"
  psroi_pooling_param { spatial_scale: 0.0625 output_dim: 2 group_size: 3 } }
layer { name: "a" type: "ROIAlign" bottom: "f" bottom: "rois" top: "a"
  roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.0625 pad_ratio: 0.1 } }
layer { name: "relu" type: "ReLU" bottom: "a" top: "q" }
layer { name: "fc" type: "InnerProduct" bottom: "q" top: "fc"
  inner_product_param { num_output: 4 bias_term: false } }"""
    features, weights = seeded(1, 18, 4, 5, seed=9), seeded(4, 18 * 12, seed=10)
    net = converted(tmp_path, layers, {**RPN, "f": features.shape}, {"fc": [weights]})
    given = {**FEED, "f": features}
    for backend in ("numpy", "onnx"):
        whole = {name: value.reshape(value.shape + (1,) * (4 - value.ndim)) for name, value in given.items()}
        found = net.forward(whole, ["rois", "p", "a", "fc"], backend=backend)
        (pooled,) = run(ops.PSROIPooling(spatialScale=1 / 16, outputDim=2, groupSize=3), features, found["rois"])
        (aligned,) = run(ops.ROIAlign(subdivisions=(2, 3), spatialScale=1 / 16, padRatio=0.1), features, found["rois"])
        assert_close(found["p"], pooled, 1e-6, "PSROIPooling")
        assert_close(found["a"], aligned, 1e-6, "ROIAlign")
        products = np.maximum(aligned, 0).reshape(len(aligned), -1) @ weights.T  # as many rows as there are boxes
        assert_close(found["fc"][..., 0, 0], products, 1e-5, "InnerProduct")
