"""BilinearSampler and the grid generators: hand-worked points, and float64 loops."""

from __future__ import annotations

import numpy as np
import pytest

from matnet.errors import ShapeError
from matnet.ops.sampling import AffineGridGenerator, BilinearSampler, UniformScalingGridGenerator
from tests import reference_ops as reference
from tests.conftest import assert_close
from tests.device_double import run_inputs as run

N, C, H, W = 2, 3, 7, 11
random = np.random.default_rng(23)
X = random.standard_normal((N, C, H, W), np.float32)


def from_matlab(array):
    """MATLAB's 2 x Ho x Wo x No as a variable."""
    return np.ascontiguousarray(np.asarray(array, np.float32).transpose(3, 2, 0, 1))


@pytest.mark.parametrize(
    ("v", "u", "expected"),
    [
        (-1, -1, 0),  # the centres of the corner pixels
        (1, 1, 23),
        (-1, 1, 3),  # the first plane is vertical, the second horizontal
        (0, 0, 11.5),
        (-1, -1 / 3, 1),
        (-1.5, -1, 0),  # half a pixel outside: half of the 0 at the corner
        (1.5, 1, 11.5),
        (3.1, 0, 0),
        (np.nan, 0, 0),
    ],
)
def test_points_by_hand(v, u, expected):
    """Rows 0, 10, 20 plus columns 0..3: 3 x 4 pixels, the step is 1 vertically and 2/3 horizontally."""
    x = (10 * np.arange(3)[:, np.newaxis] + np.arange(4)).astype(np.float32)[np.newaxis, np.newaxis]
    found = run(BilinearSampler(), x, from_matlab(np.array([v, u]).reshape(2, 1, 1, 1)))
    np.testing.assert_allclose(found.item(), expected, atol=1e-5)


@pytest.mark.parametrize("count", [N, 3 * N])
def test_bilinear_sampler_is_the_definition(count):
    """No / N grids for each image, one image after the other."""
    grid = random.uniform(-1.4, 1.4, (2, 4, 5, count)).astype(np.float32)
    expected = reference.bilinear_sampler(reference.hwcn(X), grid.astype(np.float64))
    assert_close(run(BilinearSampler(), X, from_matlab(grid)), reference.nchw(expected), 1e-5, "sampler")


@pytest.mark.parametrize(("height", "width"), [(3, 5), (1, 5), (3, 1)])
def test_affine_grid(height, width):
    """v' = c1 v + c2 u + c5, u' = c3 v + c4 u + c6; MATLAB's linspace(-1, 1, 1) is 1."""
    c = random.standard_normal((N, 6)).astype(np.float32)
    v = np.linspace(-1, 1, height) if height > 1 else np.ones(1)
    u = np.linspace(-1, 1, width) if width > 1 else np.ones(1)
    expected = np.zeros((2, height, width, N))
    for i, j, n in np.ndindex(height, width, N):
        expected[0, i, j, n] = c[n, 0] * v[i] + c[n, 1] * u[j] + c[n, 4]
        expected[1, i, j, n] = c[n, 2] * v[i] + c[n, 3] * u[j] + c[n, 5]
    found = run(AffineGridGenerator(Ho=height, Wo=width), c.reshape(N, 6, 1, 1))
    assert_close(found.transpose(2, 3, 1, 0), expected, 1e-6, "affine grid")


def test_uniform_grid():
    """v' = s v + ty, u' = s u + tx for (s, ty, tx)."""
    c = np.array([[0.5, 0.25, -1], [2, 0, 3]], np.float32)
    found = run(UniformScalingGridGenerator(Ho=3, Wo=2), c.reshape(2, 3, 1, 1)).transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(found[0, :, :, 0], [[-0.25, -0.25], [0.25, 0.25], [0.75, 0.75]])
    np.testing.assert_array_equal(found[1, :, :, 0], [[-1.5, -0.5]] * 3)
    np.testing.assert_array_equal(found[0, :, 0, 1], [-2, 0, 2])
    np.testing.assert_array_equal(found[1, 0, :, 1], [1, 5])


def test_the_identity_grid_gives_the_image_back():
    identity = np.tile(np.array([1, 0, 0, 1, 0, 0], np.float32), (N, 1)).reshape(N, 6, 1, 1)
    grid = run(AffineGridGenerator(Ho=H, Wo=W), identity)
    assert_close(run(BilinearSampler(), X, grid), X, 1e-5, "identity")


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        (BilinearSampler(), [X.shape, (2, 5, 3, 4)], "the grid is 3x4x5x2 in MATLAB's order; expected 2 planes"),
        (BilinearSampler(), [X.shape, (3, 5, 2, 4)], "3 grids for 2 images; expected a multiple"),
        (AffineGridGenerator(Ho=3, Wo=5), [(2, 5, 1, 1)], "the transforms are 2x5x1x1; expected 6 "),
        (AffineGridGenerator(), [(2, 6, 1, 1)], "Ho x Wo is 0x0; expected at least 1x1"),
        (UniformScalingGridGenerator(Ho=3, Wo=5), [(2, 6, 1, 1)], "expected 3 .*: 2x3x1x1"),
    ],
)
def test_what_does_not_fit(op, inputs, message):
    with pytest.raises(ShapeError, match=message):
        op.output_shapes(inputs, [])


def test_sampling_receptive_fields_are_undefined():
    assert BilinearSampler().receptive_fields([X.shape, (2, 5, 2, 4)]) == [None, None]
    assert AffineGridGenerator(Ho=1, Wo=1).receptive_fields([(2, 6, 1, 1)]) == [None]
