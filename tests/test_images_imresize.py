"""MATLAB's imresize, against its numbers and arithmetic worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from matnet.errors import DataError, ShapeError
from matnet.images import imresize
from matnet.images.crop import Box
from matnet.images.resize import imreadjpeg_resample, imresize_crop
from tests.image_inputs import EIGHT, PHOTO, RGB, SIXTEEN


@pytest.mark.parametrize(
    ("method", "antialias", "expected"),
    [
        ("bilinear", True, [[3.125, 4.875], [10.125, 11.875]]),
        ("bilinear", False, [[2.5, 4.5], [10.5, 12.5]]),
        ("bicubic", True, [[2.3046875, 4.3828125], [10.6171875, 12.6953125]]),
        ("bicubic", False, [[2.1875, 4.3125], [10.6875, 12.8125]]),
        ("box", True, [[2.5, 4.5], [10.5, 12.5]]),
    ],
)
def test_imresize_of_a_ramp(method: str, antialias: bool, expected: list[list[float]]) -> None:
    """Expected: MATLAB's imresize of rows 0..3, 4..7, 8..11, 12..15; a box is the mean of 2 x 2."""
    np.testing.assert_array_equal(imresize(SIXTEEN, (2, 2), method=method, antialias=antialias), expected)


@pytest.mark.parametrize(
    ("samples", "output", "method", "expected"),
    [
        (8, 4, "bicubic", [12.8125, 62.34375, 176.71875, 238.125]),
        (8, 4, "bilinear", [17.5, 67.5, 172.5, 232.5]),
        (8, 3, "bicubic", [16.314274, 119.191845, 231.978610]),
        (4, 8, "bicubic", [9.0625, 11.5625, 16.5625, 23.828125, 33.359375, 49.53125, 72.34375, 83.75]),
        (8, 4, "nearest", [20, 80, 200, 250]),
    ],
)
@pytest.mark.parametrize("upright", [False, True], ids=["row", "column"])
def test_imresize_of_a_line(samples: int, output: int, method: str, expected: list[float], upright: bool) -> None:
    """Expected: MATLAB's imresize, with mirrored borders; nearest takes the later of two neighbours."""
    line = EIGHT[:, :samples].T if upright else EIGHT[:, :samples]
    found = imresize(line, (output, 1) if upright else (1, output), method=method)
    np.testing.assert_allclose(found.ravel(), expected, rtol=0, atol=5e-7)


def test_imresize_weights_of_factor_two() -> None:
    """Expected: (-3, -9, 29, 111, 111, 29, -9, -3) / 256, by convolution arithmetic on the cubic kernel."""
    impulses = np.eye(16)
    weights = imresize(impulses, (16, 8))[:, 3]
    np.testing.assert_array_equal(weights[3:11] * 256, [-3, -9, 29, 111, 111, 29, -9, -3])
    np.testing.assert_array_equal(weights[[0, 1, 2, 11, 12, 13, 14, 15]], 0)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({"scale": (1, 0.5)}, [1.5, 3.5, 5.0]), ({"size": (1, 3)}, [4 / 3, 3.0, 14 / 3])],
    ids=["scale", "size"],
)
def test_imresize_with_a_scale_keeps_it(arguments: dict[str, tuple[int, int]], expected: list[float]) -> None:
    """Half of 5 samples is 3 (ceil), centred at 2x - 0.5, the last between 5 and its mirror."""
    ramp = np.array([[1.0, 2, 3, 4, 5]])
    found = imresize(ramp, **arguments, method="bilinear", antialias=False)
    np.testing.assert_allclose(found, [expected], rtol=1e-14)


def test_imresize_rounds_uint8_after_each_pass() -> None:
    """[0 1; 0 0] -> [0 0.5] -> [0 1] -> 0.5 -> 1 with rounding in between; the mean 0.25 would give 0."""
    assert imresize(np.array([[0, 1], [0, 0]], np.uint8), (1, 1), method="bilinear").tolist() == [[1]]
    step = np.array([[0, 0, 0, 255, 255, 255]], np.uint8)
    assert imresize(step, (1, 12)).max() == 255
    assert imresize(step.astype(np.float32), (1, 12)).max() > 255


@pytest.mark.parametrize(("size", "first"), [((3, 4), "columns"), ((2, 7), "rows"), ((2, 3), "rows")])
def test_imresize_starts_with_the_smaller_scale(size: tuple[int, int], first: str) -> None:
    """Rounding in between tells the order: the same as two calls of one axis each (ties: rows first)."""
    rows, columns = (size[0], 7), (5, size[1])
    halfway = imresize(RGB, rows if first == "rows" else columns)
    np.testing.assert_array_equal(imresize(RGB, size), imresize(halfway, size))


@pytest.mark.parametrize(
    "method", ["box", "bilinear", "bicubic", "lanczos2", "lanczos3", "cubic", "triangle", "nearest"]
)
@pytest.mark.parametrize("size", [(3, 4), (11, 13), (5, 7)])
def test_every_method_keeps_a_flat_image(method: str, size: tuple[int, int]) -> None:
    flat = np.full((5, 7, 3), 93.0, np.float32)
    np.testing.assert_allclose(imresize(flat, size, method=method), np.full((*size, 3), 93.0), rtol=1e-6)
    found = imreadjpeg_resample(flat, Box(1, 2, 3, 4), size, method if method != "nearest" else "box")
    np.testing.assert_allclose(found, np.full((*size, 3), 93.0), rtol=1e-6)


@pytest.mark.parametrize("lobes", [2, 3])
def test_imresize_lanczos_at_a_quarter(lobes: int) -> None:
    """Doubling: sample 13 lies at 6.75, so samples 4..9 weigh sinc(x) sinc(x / lobes), x = 2.75 .. -2.25."""
    x = 6.75 - np.arange(4, 10)
    weights = np.where(np.abs(x) < lobes, np.sinc(x) * np.sinc(x / lobes), 0)
    found = imresize(np.eye(12), (12, 24), method=f"lanczos{lobes}")[:, 12]
    np.testing.assert_allclose(found[3:9], weights / weights.sum(), atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": (2, 2), "method": "bicubik"}, DataError, "nearest: bicubic"),
        ({"size": (0, 2)}, ShapeError, "at least one pixel"),
        ({"size": (2, 2), "scale": 0.5}, ShapeError, "not both"),
        ({"scale": -1.0}, ShapeError, "expected a positive number"),
    ],
)
def test_imresize_refuses(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        imresize(SIXTEEN, **arguments)  # type: ignore[arg-type]


def test_only_pixels_are_resized() -> None:
    with pytest.raises(ShapeError, match="uint8, float32 or float64"):
        imresize(np.zeros((3, 4), np.int64), (2, 2))
    with pytest.raises(ShapeError, match="H x W"):
        imresize(np.zeros(4), (2, 2))


@pytest.mark.parametrize("scale", [(0.5, 0.8), (1.3, 0.7), (1.0, 0.4), (1.0, 1.0)])
def test_a_part_of_what_imresize_makes(scale: tuple[float, float]) -> None:
    whole = imresize(PHOTO[:60, :90].astype(np.float32), scale=scale)
    box = Box(3, 5, whole.shape[0] - 7, whole.shape[1] // 2)
    np.testing.assert_array_equal(imresize_crop(PHOTO[:60, :90], scale, box), box.cut(whole))
