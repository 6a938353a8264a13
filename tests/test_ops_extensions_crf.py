"""The permutohedral lattice and the dense CRFs on it: against hand-worked lattices, loops and true Gaussians."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from matnet.errors import NetworkError, ShapeError
from matnet.ops import extensions as ops
from matnet.ops.arrays import softmax
from matnet.ops.base import Op
from matnet.ops.extensions.crf import NormalizedFilter, bilateral_features, position_features
from matnet.ops.extensions.permutohedral import Permutohedral
from tests.extension_ops import run, seeded

SPACING = np.sqrt(3) / 2  # in one dimension lattice points stand this far apart: 1 / (2 sqrt(2/3) / sqrt(2))
# Two passes of [1/2 1 1/2], one for each axis, give [1/4 1 3/2 1 1/4]; times 1 / (1 + 1/2).
KERNEL = np.array([1 / 6, 2 / 3, 1, 2 / 3, 1 / 6])


def test_the_lattice_in_one_dimension_by_hand() -> None:
    line = np.arange(12)[:, None] * SPACING
    impulse = np.zeros((1, 12), dtype=np.float32)
    impulse[0, 6] = 1
    (y,) = Permutohedral(line).filter(impulse)
    np.testing.assert_allclose(y[4:9], KERNEL, rtol=1e-5)
    np.testing.assert_allclose(y[[0, 1, 2, 3, 9, 10, 11]], 0, atol=1e-6)


def test_between_lattice_points_values_are_shared_and_mixed_linearly() -> None:
    # One point a quarter of the way from lattice point 6 to 7, among points on the lattice itself.
    line = np.append(np.arange(12), 6.25)[:, None] * SPACING
    impulse = np.zeros((1, 13), dtype=np.float32)
    impulse[0, 12] = 1
    (y,) = Permutohedral(line).filter(impulse)
    spread = 0.75 * np.append(KERNEL, 0) + 0.25 * np.append(0, KERNEL)
    np.testing.assert_allclose(y[4:10], spread, rtol=1e-5)
    np.testing.assert_allclose(y[12], 0.75 * spread[2] + 0.25 * spread[3], rtol=1e-5)


def test_points_that_do_not_exist_pass_nothing_on() -> None:
    # Two lattice points six apart, nothing between: the blur cannot cross.
    line = np.array([[0.0], [6.0]]) * SPACING
    np.testing.assert_allclose(Permutohedral(line).filter(np.eye(2, dtype=np.float32))[0, 1], 0, atol=1e-6)


Corner = tuple[int, ...]


def elevated_by_loop(feature: np.ndarray) -> list[float]:
    """The point on the plane of d + 1 coordinates that sum to 0 (Adams et al., section 3.1)."""
    d = len(feature)
    result, total = [0.0] * (d + 1), 0.0
    for j in range(d, 0, -1):
        scaled = float(feature[j - 1]) * np.sqrt(2 / 3) * (d + 1) / np.sqrt(j * (j + 1))
        result[j] = total - j * scaled
        total += scaled
    return [total, *result[1:]]


def simplex_by_loop(feature: np.ndarray) -> list[tuple[Corner, float]]:
    """The corners around a point and their barycentric weights (Adams et al., section 3.2)."""
    point, width = elevated_by_loop(feature), len(feature) + 1
    zero = [round(value / width) * width for value in point]
    order = sorted(range(width), key=lambda i: zero[i] - point[i])  # greatest remainder first
    excess = sum(zero) // width
    # Rounding left the plane: the coordinates that were rounded furthest in that direction go back.
    for i in order[width - excess :] if excess > 0 else order[:-excess]:
        zero[i] -= width if excess > 0 else -width
    order = order[-excess:] + order[:-excess]
    remainder = [(point[i] - zero[i]) / width for i in order]
    weights = [1 - remainder[0] + remainder[-1]]
    weights += [remainder[width - 1 - k] - remainder[width - k] for k in range(1, width)]
    corners = []
    for k, weight in enumerate(weights):
        corner = list(zero)
        for place, i in enumerate(order):
            corner[i] += k if place < width - k else k - width
        corners.append((tuple(corner), weight))
    return corners


def lattice_by_loop(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The filter, point by point with a dictionary for the lattice, in double precision; values C x N."""
    d = features.shape[1]
    simplices = [simplex_by_loop(feature) for feature in features]
    lattice = {corner: np.zeros(len(values)) for simplex in simplices for corner, _ in simplex}
    for n, simplex in enumerate(simplices):
        for corner, weight in simplex:
            lattice[corner] += weight * values[:, n]
    for axis in range(d + 1):
        step = [d if i == axis else -1 for i in range(d + 1)]
        blurred = {}
        for corner, value in lattice.items():
            after = lattice.get(tuple(c + s for c, s in zip(corner, step, strict=True)), 0)
            before = lattice.get(tuple(c - s for c, s in zip(corner, step, strict=True)), 0)
            blurred[corner] = value + (after + before) / 2
        lattice = blurred
    alpha = 1 / (1 + 2.0**-d)
    sliced = [sum(weight * lattice[corner] for corner, weight in simplex) for simplex in simplices]
    return alpha * np.stack(sliced, axis=1)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_the_lattice_against_a_loop(dimensions: int) -> None:
    features = seeded(60, dimensions, seed=dimensions, scale=1.5)
    values = seeded(4, 60, seed=9)
    found = Permutohedral(features).filter(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, lattice_by_loop(features, values), rtol=1e-4, atol=1e-4)


def gaussian(features: np.ndarray) -> np.ndarray:
    """exp(-|f_i - f_j|^2 / 2), points x points."""
    difference = features[:, None].astype(np.float64) - features[None]
    return np.exp(-(difference**2).sum(axis=-1) / 2)


@pytest.mark.parametrize(
    "features",
    [position_features(11, 14, 3.0, 3.0), position_features(9, 13, 2.0, 4.0)],
    ids=["isotropic", "wider than high"],
)
def test_normalized_filtering_is_near_a_true_gaussian(features: np.ndarray) -> None:
    weights = gaussian(features)
    weights /= weights.sum(axis=1, keepdims=True)
    values = seeded(3, len(features)) + np.linspace(0, 3, len(features), dtype=np.float32)
    expected = values @ weights.T
    spread = expected.max() - expected.min()
    # Adams et al. report errors of this order; on random values the filter must keep what the Gaussian keeps.
    np.testing.assert_allclose(NormalizedFilter(features)(values), expected, atol=0.1 * spread)


def test_filtering_is_linear_and_keeps_constants() -> None:
    features = bilateral_features(seeded(3, 8, 9, scale=40), 5.0, 5.0, (20.0, 20.0, 20.0))
    smooth = NormalizedFilter(features)
    a, b = seeded(2, 72, seed=1), seeded(2, 72, seed=2)
    np.testing.assert_allclose(smooth(2 * a - b), 2 * smooth(a) - smooth(b), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(smooth(np.full((1, 72), 7, dtype=np.float32)), 7, rtol=1e-5)


def test_far_colours_do_not_mix() -> None:
    image = np.zeros((3, 6, 8), dtype=np.float32)
    image[:, :, 4:] = 200  # 40 standard deviations
    smooth = NormalizedFilter(bilateral_features(image, 3.0, 3.0, (5.0, 5.0, 5.0)))
    values = np.where(np.arange(48).reshape(6, 8) % 8 < 4, 1, 9).astype(np.float32).reshape(1, -1)
    np.testing.assert_allclose(smooth(values), values, rtol=1e-5)


def test_position_features_are_columns_then_rows() -> None:
    features = position_features(2, 3, 2.0, 4.0)
    np.testing.assert_array_equal(features, [[0, 0], [0.5, 0], [1, 0], [0, 0.25], [0.5, 0.25], [1, 0.25]])


CLASSES, HEIGHT, WIDTH = 4, 6, 7
MATRICES = [seeded(CLASSES, CLASSES, seed=10 + i) for i in range(3)]


def test_mean_field_where_all_pixels_agree_needs_no_filter() -> None:
    # Equal scores at every pixel of a flat image: both filters return Q itself, so each step is a product by hand.
    scores = np.array([1.0, -0.5, 2.0, 0.25])
    unary = np.broadcast_to(scores.astype(np.float32)[None, :, None, None], (2, CLASSES, HEIGHT, WIDTH)).copy()
    image = np.full((2, 3, HEIGHT, WIDTH), 90, dtype=np.float32)
    (y,) = run(ops.MultiStageMeanfield(numIterations=3), unary, 0 * unary, image, params=MATRICES)
    spatial, bilateral, compatibility = (matrix.astype(np.float64) for matrix in MATRICES)
    expected = np.zeros(CLASSES)
    for _ in range(3):
        beliefs = np.exp(expected) / np.exp(expected).sum()
        expected = scores - compatibility @ (spatial @ beliefs + bilateral @ beliefs)
    np.testing.assert_allclose(y, np.broadcast_to(expected[None, :, None, None], y.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.process
def test_mean_field_against_a_loop() -> None:
    unary, start = seeded(2, CLASSES, HEIGHT, WIDTH), seeded(2, CLASSES, HEIGHT, WIDTH, seed=1)
    image = seeded(2, 3, HEIGHT, WIDTH, seed=2, scale=30)
    # Odd deviations: where a pixel lies on a face of its simplex, single and double precision may choose other sides.
    op = ops.MultiStageMeanfield(numIterations=2, thetaAlpha=5.3, thetaBeta=25, thetaGamma=2.1)
    params = [matrix[:, :, None] for matrix in MATRICES]  # as MATLAB may have it
    (y,) = run(op, unary, start, image, params=params)
    for n in range(2):
        near = lattice_matrix(position_features(HEIGHT, WIDTH, 2.1, 2.1))
        alike = lattice_matrix(bilateral_features(image[n], 5.3, 5.3, (25, 25, 25)))
        scores = start[n].reshape(CLASSES, -1).astype(np.float64)
        for _ in range(2):
            beliefs = np.exp(scores) / np.exp(scores).sum(axis=0)
            message = MATRICES[0] @ (beliefs @ near.T) + MATRICES[1] @ (beliefs @ alike.T)
            scores = unary[n].reshape(CLASSES, -1) - MATRICES[2] @ message
        np.testing.assert_allclose(y[n].reshape(CLASSES, -1), scores, rtol=1e-4, atol=1e-4)


def lattice_matrix(features: np.ndarray) -> np.ndarray:
    """What the normalised filter multiplies values by, from the filter written as loops."""
    matrix = lattice_by_loop(features, np.eye(len(features))).T
    return matrix / matrix.sum(axis=1, keepdims=True)


GAUSS = {"wtGauss": 3.0, "xGauss": 2.1, "yGauss": 1.6}
BILATERAL = {"wtBilateral": 5.0, "xBilateral": 4.3, "yBilateral": 6.1, "rBilateral": 9.0, "gBilateral": 8.0}
BILATERAL["bBilateral"] = 7.0


def dense_by_loop(scores: np.ndarray, image: np.ndarray, iterations: int) -> np.ndarray:
    """Q of Kraehenbuehl and Koltun's inference with Potts terms; scores C x H x W, image B, G, R."""
    flat = scores.reshape(len(scores), -1).astype(np.float64)
    near = lattice_matrix(position_features(*scores.shape[1:], 2.1, 1.6))
    alike = lattice_matrix(bilateral_features(image, 4.3, 6.1, (7.0, 8.0, 9.0)))
    beliefs = np.exp(flat) / np.exp(flat).sum(axis=0)
    for _ in range(iterations):
        energy = flat + 3 * beliefs @ near.T + 5 * beliefs @ alike.T
        beliefs = np.exp(energy) / np.exp(energy).sum(axis=0)
    return beliefs.reshape(scores.shape)


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    """Scores and a whole-numbered image."""
    image = np.rint(100 + seeded(2, 3, HEIGHT, WIDTH, seed=2, scale=20)).astype(np.float32)
    return seeded(2, CLASSES, HEIGHT, WIDTH, scale=2), image


@pytest.mark.process
def test_dense_crf_against_a_loop(scene: tuple[np.ndarray, np.ndarray]) -> None:
    expected = np.stack([dense_by_loop(scores, image, 3) for scores, image in zip(*scene, strict=True)])
    for output, wanted in (("probability", expected), ("log", np.log(expected))):
        (y,) = run(ops.DenseCRF(iterations=3, output=output, **GAUSS, **BILATERAL), *scene)
        np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
    (y,) = run(ops.DenseCRF(iterations=3, **GAUSS, **BILATERAL), *scene)
    np.testing.assert_array_equal(y[:, 0], expected.argmax(axis=1))


def test_without_terms_the_scores_decide(scene: tuple[np.ndarray, np.ndarray]) -> None:
    (y,) = run(ops.DenseCRF(), *scene)
    np.testing.assert_array_equal(y[:, 0], scene[0].argmax(axis=1))
    (y,) = run(ops.DenseCRF(output="probability"), *scene)
    np.testing.assert_allclose(y, np.stack([softmax(np, item, 0) for item in scene[0]]), rtol=1e-6)


def test_a_lone_pixel_yields_to_its_like_coloured_neighbours() -> None:
    scores = np.zeros((1, CLASSES, HEIGHT, WIDTH), dtype=np.float32)
    scores[:, 1, :, :4], scores[:, 2, :, 4:] = 1, 1
    scores[0, :, 3, 2] = [0, 0, 1.5, 0]  # a stray pixel in the left half
    image = np.zeros((1, 3, HEIGHT, WIDTH), dtype=np.float32)
    image[..., 4:] = 200
    (y,) = run(ops.DenseCRF(**GAUSS, **BILATERAL), scores, image)
    np.testing.assert_array_equal(y[0, 0], np.where(np.arange(WIDTH) < 4, 1, 2) + np.zeros((HEIGHT, 1)))


@pytest.mark.process
def test_bytes_wrap_round_as_a_cast_does(scene: tuple[np.ndarray, np.ndarray]) -> None:
    scores, image = scene
    op = ops.DenseCRF(output="probability", **BILATERAL)
    (whole,) = run(op, scores, image)
    np.testing.assert_array_equal(run(op, scores, image + np.float32(0.9))[0], whole)  # cut, not rounded
    np.testing.assert_array_equal(run(op, scores, image - 256)[0], whole)
    (moved,) = run(ops.DenseCRF(output="probability", byteImage=False, **BILATERAL), scores, image)
    np.testing.assert_array_equal(moved, whole)


@pytest.mark.process
def test_an_image_in_a_larger_map_is_worked_on_alone(scene: tuple[np.ndarray, np.ndarray]) -> None:
    scores, image = scene
    sizes = np.array([[4, 5], [HEIGHT + 1, WIDTH]], dtype=np.float32).reshape(2, 2, 1, 1)
    op = ops.DenseCRF(output="probability", **GAUSS, **BILATERAL)
    (y,) = run(op, scores, sizes, image)
    (small,) = run(op, np.ascontiguousarray(scores[:1, :, :4, :5]), np.ascontiguousarray(image[:1, :, :4, :5]))
    np.testing.assert_array_equal(y[0, :, :4, :5], small[0])
    assert not y[0, :, 4:].any() and not y[0, :, :, 5:].any()
    (whole,) = run(op, scores, image)
    np.testing.assert_array_equal(y[1], whole[1])  # cropped from a larger image: all of the map counts


SHAPE, IMAGE = (2, CLASSES, HEIGHT, WIDTH), (2, 3, HEIGHT, WIDTH)
REFUSED: list[tuple[Op, list[tuple[int, ...]], list[tuple[int, ...]], str]] = [
    (ops.MultiStageMeanfield(), [SHAPE, (2, CLASSES, 1, 1), IMAGE], [(4, 4)] * 3, "initial scores"),
    (ops.MultiStageMeanfield(), [SHAPE, SHAPE, (2, 1, HEIGHT, WIDTH)], [(4, 4)] * 3, "the image is 2x1x6x7"),
    (ops.MultiStageMeanfield(), [SHAPE, SHAPE, IMAGE], [(4, 4), (4, 4), (4, 5)], "compatibility has 20"),
    (ops.DenseCRF(), [SHAPE, (2, 3, HEIGHT, 8)], [], "expected 2x3x6x7"),
    (ops.DenseCRF(), [SHAPE, (2, 3, 1, 1), IMAGE], [], "image sizes"),
]


@pytest.mark.parametrize(("op", "inputs", "params", "message"), REFUSED)
def test_shapes_that_do_not_fit_are_told(
    op: Op, inputs: list[tuple[int, ...]], params: list[tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        op.output_shapes(inputs, params)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (ops.MultiStageMeanfield, {"thetaBeta": 0}, "thetaBeta"),
        (ops.DenseCRF, {"wtGauss": 3}, "one per term"),
        (ops.DenseCRF, {**GAUSS, "xGauss": -1}, "xGauss.*expected positive"),
    ],
)
def test_fields_without_a_meaning_are_refused(kind: type[Op], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        kind(**fields)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_without_numbers_is_told(value: float) -> None:
    with pytest.raises(NetworkError, match="NaN or infinite"):
        Permutohedral(np.array([[0.0], [value]]))


def test_features_that_spread_too_far_are_told() -> None:
    features = np.zeros((2, 5), dtype=np.float32)
    features[1] = 1e6
    with pytest.raises(NetworkError, match="range of features"):
        Permutohedral(features)


def test_weights_of_a_simplex_are_barycentric() -> None:
    lattice = Permutohedral(seeded(40, 3, scale=2.0))
    np.testing.assert_allclose(lattice.weights.sum(axis=1), 1, rtol=1e-5)
    assert (lattice.weights > -1e-5).all()
    for a, b in itertools.combinations(range(4), 2):
        assert (lattice.corners[:, a] != lattice.corners[:, b]).all()
