"""ROIPooling: hand-worked boxes of vl_nnroipool, and float64 loops over random ones."""

from __future__ import annotations

import numpy as np
import pytest

from matnet.errors import NetworkError, ShapeError
from matnet.formats.plain import to_matlab
from matnet.ops.roi import CaffeROIPooling, ROIPooling, _tiles
from tests import reference_ops as reference
from tests.conftest import assert_close
from tests.device_double import run_inputs as run

N, C, H, W = 2, 3, 7, 11
X = np.random.default_rng(17).standard_normal((N, C, H, W), np.float32)


def as_input(boxes):
    """R boxes of five numbers as the variable 1 x 1 x 5 x R."""
    return np.asarray(boxes, np.float32).reshape(-1, 5, 1, 1)


def ranges(rows, columns):
    """An image whose pixel is 100 * row + column, so that a maximum tells a tile's last row and column."""
    return (100 * np.arange(rows)[:, np.newaxis] + np.arange(columns)).astype(np.float32)[np.newaxis, np.newaxis]


def test_box_by_hand():
    """38 x 50, box [1 49 33 311 200], T = 1/16, 6 x 6: rows 2..12 in tiles [2,4) [3,6) [5,8) [7,10) [9,12) [11,13).

    The corners are u', v' = 4, 3 and 20.375, 13.4375, so columns 3..19, the last tile ending there.
    """
    x, rois = ranges(38, 50), as_input([[1, 49, 33, 311, 200]])
    last = run(ROIPooling(transform=1 / 16), x, rois)[0, 0]
    np.testing.assert_array_equal(last[:, 0] // 100, [3, 5, 7, 9, 11, 12])
    assert last[0, 5] % 100 == 19
    first = -run(ROIPooling(transform=1 / 16), -x, rois)[0, 0]
    np.testing.assert_array_equal(first[:, 0] // 100, [2, 3, 5, 7, 9, 11])
    assert first[0, 0] % 100 == 3


@pytest.mark.parametrize(("length", "end"), [(57, 58), (114, 115), (121, 122), (56, 56), (63, 63)])
def test_tile_edges_are_single_precision(length, end):
    """7 * single(57 / 7) > 57: the last of seven tiles takes one more pixel; double arithmetic would not."""
    edges = _tiles(np.array([0.0]), np.array([length - 1.0]), 7, 200)
    assert edges[0, -1, 1] == end


def test_corners_round_half_away_from_zero():
    """T = 1/2: u = 2, 4 become 1.5, 2.5, which round to 2, 3; Python's round gives 2, 2. -0.5 rounds to -1."""
    rois = as_input([[1, 2, 2, 4, 4], [1, -2, -2, 2, 2]])
    last = run(ROIPooling(transform=0.5, subdivisions=1), ranges(9, 13), rois).ravel()
    first = -run(ROIPooling(transform=0.5, subdivisions=1), -ranges(9, 13), rois).ravel()
    np.testing.assert_array_equal(first, [101, 0])
    np.testing.assert_array_equal(last, [202, 101])


def test_corners_are_single_before_they_are_rounded():
    """1 + 0.49999999 is 1.5 in single and so becomes 2; in double it would become 1."""
    shifted = ROIPooling(transform=((1, 0, 0.49999999), (0, 1, 0.49999999)), subdivisions=1)
    assert run(shifted, ranges(9, 13), as_input([[1, 1, 1, 1, 1]])).item() == 101


def test_empty_tiles_are_zero():
    """A box wholly outside the image; a negative image shows that it is no maximum over padding."""
    found = run(ROIPooling(subdivisions=(2, 3)), -1 - ranges(9, 13), as_input([[1, 20, 2, 25, 4]]))
    np.testing.assert_array_equal(found, np.zeros((1, 1, 2, 3)))


@pytest.mark.parametrize(("number", "image"), [(1, 0), (2, 1), (1.9, 0), (2.9, 1), (0, 0), (-3, 0), (9, 1)])
def test_image_numbers_are_cut_to_the_batch(number, image):
    found = run(ROIPooling(subdivisions=1), X, as_input([[number, 1, 1, W, H]]))
    np.testing.assert_array_equal(found.ravel(), X[image].max(axis=(1, 2)))


@pytest.mark.parametrize("number", [0, -3, 3, 9])
def test_a_box_of_an_image_outside_the_batch_is_refused(number):
    """Caffe's ROIPooling stops there (CHECK_LT(roi_batch_ind, batch_size))."""
    with pytest.raises(NetworkError, match=rf"box 2 of 2 .* image number {number} .*expected 1 to 2"):
        run(CaffeROIPooling(subdivisions=1), X, as_input([[1, 1, 1, W, H], [number, 1, 1, W, H]]))


MATRIX = ((0.6, 0.1, 0.4), (0.0, 0.8, -0.3))
TRANSFORMS = {
    "1": (1, [[1, 0, 0], [0, 1, 0]]),
    "0.5": (np.array([[0.5]]), [[0.5, 0, 0.5], [0, 0.5, 0.5]]),
    "[0.5 0.25]": ((0.5, 0.25), [[0.5, 0, 0.5], [0, 0.25, 0.75]]),
    "2 x 3": (np.array(MATRIX), MATRIX),
    "2 x 3, flat": ((0.6, 0, 0.1, 0.8, 0.4, -0.3), MATRIX),
}


@pytest.mark.parametrize("method", ["max", "avg"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_random_boxes(name, method):
    transform, matrix = TRANSFORMS[name]
    random = np.random.default_rng(19)
    corners = random.uniform(-4, 20, (23, 4)).round(1)
    boxes = np.concatenate([random.integers(0, 4, (23, 1)), corners], axis=1).astype(np.float32)
    op = ROIPooling(method=method, subdivisions=(3, 2), transform=transform)
    columns = boxes.T.astype(np.float64)
    expected = reference.roi_pool(reference.hwcn(X), columns, method, (3, 2), np.array(matrix, float))
    assert_close(run(op, X, as_input(boxes)), reference.nchw(expected), 1e-6, name)


@pytest.mark.parametrize("shape", [(5, 4), (1, 1, 5, 4), (1, 5, 4), (10, 1, 2)])
def test_boxes_in_any_matlab_shape(shape):
    """5R numbers in MATLAB's memory order: the first five are the first box."""
    boxes = np.array([[1, 1, 1, 4, 5], [2, 3, 2, 9, 6], [1, 5, 5, 6, 6], [2, 2, 1, 8, 7]], np.float32)
    given = boxes.ravel().reshape(shape, order="F")
    variable = given.reshape(*shape, *(1,) * (4 - len(shape))).transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(run(ROIPooling(), X, variable), run(ROIPooling(), X, as_input(boxes)))


def test_flatten_runs_down_the_rows_first():
    """reshape(y, 1, 1, [], R) of H x W x C x R."""
    rois = as_input([[1, 1, 1, 9, 6], [2, 3, 2, 9, 6]])
    tiles = run(ROIPooling(subdivisions=(2, 3)), X, rois)
    flat = run(ROIPooling(subdivisions=(2, 3), flatten=True), X, rois)
    expected = [tile.transpose(1, 2, 0).ravel(order="F") for tile in tiles]
    np.testing.assert_array_equal(flat[:, :, 0, 0], expected)


def test_bad_boxes():
    with pytest.raises(ShapeError, match=r"boxes.*3x4x1x1.*12 numbers.*5"):
        ROIPooling().output_shapes([X.shape, (3, 4, 1, 1)], [])
    with pytest.raises(NetworkError, match="a box has NaN or infinite"):
        run(ROIPooling(), X, as_input([[1, np.nan, 1, 2, 2]]))
    with pytest.raises(NetworkError, match=r"'transform'.*4 numbers.*1, 2 or 6"):
        ROIPooling(transform=(1, 2, 3, 4))


@pytest.mark.parametrize(("name", "shape"), [("1", (1, 1)), ("[0.5 0.25]", (1, 2)), ("2 x 3", (2, 3))])
def test_transforms_are_saved_in_matlab_shapes(name, shape):
    transform = ROIPooling(transform=TRANSFORMS[name][0]).transform
    saved = to_matlab(transform)
    assert saved.shape == shape
    assert ROIPooling(transform=saved).transform == transform


def test_roi_receptive_fields_are_undefined():
    assert ROIPooling().receptive_fields([X.shape, (1, 5, 1, 1)]) == [None, None]


@pytest.mark.parametrize("values", [[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf]])
@pytest.mark.parametrize("method", ["max", "avg"])
def test_values_that_are_no_numbers_stay_in_their_tiles(method, values):
    """Tiles of 2 x 2 side by side; the averages and maxima of numpy."""
    x = ranges(4, 6)
    for column, value in enumerate(values):
        x[0, 0, 1, 2 + column] = value
    found = run(ROIPooling(subdivisions=(2, 3), method=method), x, as_input([[1, 1, 1, 6, 4]]))
    fold = np.max if method == "max" else np.mean
    with np.errstate(invalid="ignore"):
        expected = fold(x[0, 0].reshape(2, 2, 3, 2), axis=(1, 3))
    np.testing.assert_array_equal(found[0, 0], expected)
