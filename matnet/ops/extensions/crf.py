"""Dense conditional random fields: MultiStageMeanfield of CRF-RNN, and DenseCRF of CCNN and DeepLab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from matnet.errors import NetworkError, ShapeError
from matnet.ops.arrays import on_host, softmax
from matnet.ops.base import Array, Channels, Op, register
from matnet.ops.extensions.common import as_count, as_values, require_count
from matnet.ops.extensions.permutohedral import Permutohedral
from matnet.ops.fields import choice, of
from matnet.shapes import Shape, text


class NormalizedFilter:
    """A Gaussian filter, normalized to weights that sum to one at every pixel."""

    def __init__(self, features: np.ndarray) -> None:
        self.lattice = Permutohedral(features)
        self.norm = 1 / (self.lattice.filter(np.ones((1, len(features)), dtype=np.float32)) + np.float32(1e-20))

    def __call__(self, values: np.ndarray) -> Array:
        """C x pixels -> C x pixels."""
        return self.lattice.filter(values) * self.norm


def position_features(height: int, width: int, x_std: float, y_std: float) -> np.ndarray:
    """Column and row of each pixel, divided by the standard deviations: (height width) x 2, in row order."""
    rows, columns = np.indices((height, width), dtype=np.float32).reshape(2, -1)
    return np.stack([columns / np.float32(x_std), rows / np.float32(y_std)], axis=1)


def bilateral_features(image: np.ndarray, x_std: float, y_std: float, colour_std: Sequence[float]) -> np.ndarray:
    """Position and colour of each pixel, divided by the standard deviations: (height width) x 5. image: 3 x H x W."""
    _, height, width = image.shape
    colours = image.reshape(3, -1).T / np.array(colour_std, dtype=np.float32)
    return np.concatenate([position_features(height, width, x_std, y_std), colours], axis=1)


def _require_positive(op: Op, names: Sequence[str]) -> None:
    for name in names:
        if not all(value > 0 for value in np.ravel(getattr(op, name))):
            raise NetworkError(f"field {name!r} is {getattr(op, name)}; expected positive standard deviations")


def _require_image(scores: Shape, image: Shape) -> None:
    if image != (scores[0], 3, *scores[2:]):
        raise ShapeError(
            f"the image is {text(image)}; expected {text((scores[0], 3, *scores[2:]))} to match the scores"
        )


@register("dagnn.MultiStageMeanfield")
@dataclass(frozen=True, kw_only=True)
class MultiStageMeanfield(Op):
    """Mean-field iterations of a dense CRF as a recurrent network.

    Source: CRF-RNN fork of Caffe, multi_stage_meanfield layer. Inputs: unary scores and initial scores (both
    N x C x H x W), and the image N x 3 x H x W. Params W_s, W_b, M, each C x C: weights of the spatial and of the
    bilateral filter, and label compatibility. Each iteration: Q = softmax(scores);
    scores = unary - M (W_s spatial(Q) + W_b bilateral(Q)), with filters normalized at every pixel. The spatial filter
    has a standard deviation of thetaGamma pixels, the bilateral filter of thetaAlpha pixels and thetaBeta grey levels.
    Output: the scores after the last iteration, not normalized.
    """

    family = "result"
    images_independent = True
    channels = Channels.COUNT
    pixelwise = False
    input_count: ClassVar[tuple[int, int | None]] = (3, 3)
    param_count: ClassVar[tuple[int, int]] = (3, 3)
    uses_host: ClassVar[bool] = True
    numIterations: int = of(as_count, 10)
    thetaAlpha: float = 160.0
    thetaBeta: float = 3.0
    thetaGamma: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_positive(self, ("thetaAlpha", "thetaBeta", "thetaGamma"))

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        unary, start, image = inputs
        if start != unary:
            raise ShapeError(f"the initial scores are {text(start)}; expected {text(unary)} as of the unary scores")
        _require_image(unary, image)
        for name, shape in zip(("spatial weights", "bilateral weights", "compatibility"), params, strict=True):
            require_count(shape, (unary[1] ** 2,), f"the matrix of {name}")
        return [unary]

    def prepare(self, xp: Any, params: Sequence[Array]) -> Any:
        spatial, bilateral, compatibility = (_square(on_host(param)) for param in params)
        return compatibility @ spatial, compatibility @ bilateral

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        unary, start, image = (on_host(x) for x in inputs)
        height, width = unary.shape[2:]
        spatial = NormalizedFilter(position_features(height, width, self.thetaGamma, self.thetaGamma))
        results = [
            self._infer(unary[n], start[n], [spatial, self._bilateral(image[n])], params) for n in range(len(unary))
        ]
        return [xp.asarray(np.stack(results))]

    def _bilateral(self, image: np.ndarray) -> NormalizedFilter:
        features = bilateral_features(image, self.thetaAlpha, self.thetaAlpha, (self.thetaBeta,) * 3)
        return NormalizedFilter(features)

    def _infer(
        self, unary: np.ndarray, start: np.ndarray, filters: Sequence[NormalizedFilter], matrices: Sequence[np.ndarray]
    ) -> np.ndarray:
        fixed = unary.reshape(len(unary), -1)
        scores = start.reshape(len(start), -1)
        for _ in range(self.numIterations):
            beliefs = softmax(np, scores, 0)
            scores = fixed - sum(matrix @ smooth(beliefs) for matrix, smooth in zip(matrices, filters, strict=True))
        return scores.reshape(unary.shape)


def _square(param: Any) -> np.ndarray:
    """A C x C param, independent of singleton dimensions."""
    flat = np.asarray(param, dtype=np.float32)
    side = round(flat.size**0.5)
    return flat.reshape(side, side)


@register("dagnn.DenseCRF")
@dataclass(frozen=True, kw_only=True)
class DenseCRF(Op):
    """Mean-field inference in a dense CRF with Potts terms (CCNN and DeepLab forks of Caffe, DenseCRF).

    Inputs: scores N x C x H x W, [original image sizes, height and width: 2 N numbers], and the image N x 3 x H x W in
    B, G, R order. Starts with Q = softmax(scores); each iteration is Q = softmax(scores + sum_k weight_k filter_k(Q)),
    with all filters normalized at every pixel: Gaussian terms over position (xGauss, yGauss in pixels, weight wtGauss)
    and bilateral terms over position and colour (xBilateral, yBilateral, rBilateral, gBilateral, bBilateral,
    wtBilateral). Each field has one number per term. byteImage: truncate colours to bytes first. The result is 0
    outside an image's original size. Output: 'label' N x 1 x H x W, the 0-based class of maximum Q; 'probability' or
    'log' N x C x H x W. CCNN's layer uses 10 iterations, byteImage and labels.
    """

    family = "result"
    images_independent = True
    pixelwise = False
    input_count: ClassVar[tuple[int, int | None]] = (2, 3)
    uses_host: ClassVar[bool] = True
    iterations: int = of(as_count, 10)
    wtGauss: tuple[float, ...] = of(as_values, ())
    xGauss: tuple[float, ...] = of(as_values, ())
    yGauss: tuple[float, ...] = of(as_values, ())
    wtBilateral: tuple[float, ...] = of(as_values, ())
    xBilateral: tuple[float, ...] = of(as_values, ())
    yBilateral: tuple[float, ...] = of(as_values, ())
    rBilateral: tuple[float, ...] = of(as_values, ())
    gBilateral: tuple[float, ...] = of(as_values, ())
    bBilateral: tuple[float, ...] = of(as_values, ())
    byteImage: bool = True
    output: str = of(choice("label", "probability", "log"), "label")

    @property
    def class_numbers(self) -> bool:
        return self.output == "label"

    @property
    def channels(self) -> Channels:
        return Channels.UNKNOWN if self.output == "label" else Channels.COUNT

    def __post_init__(self) -> None:
        super().__post_init__()
        terms: dict[str, tuple[str, ...]] = {
            "wtGauss": ("xGauss", "yGauss"),
            "wtBilateral": ("xBilateral", "yBilateral", "rBilateral", "gBilateral", "bBilateral"),
        }
        for weight, names in terms.items():
            _require_positive(self, names)
            counts = {name: len(getattr(self, name)) for name in (weight, *names)}
            if len(set(counts.values())) > 1:
                raise NetworkError(
                    f"fields {', '.join(counts)} have {list(counts.values())} numbers; expected one per term"
                )

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        scores = inputs[0]
        _require_image(scores, inputs[-1])
        if len(inputs) == 3 and (inputs[1][0], prod(inputs[1][1:])) != (scores[0], 2):
            raise ShapeError(f"the image sizes are {text(inputs[1])}; expected two numbers per image")
        return [(scores[0], 1, *scores[2:]) if self.output == "label" else scores]

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        scores, image = on_host(inputs[0]), on_host(inputs[-1])
        result = np.zeros(self.output_shapes([x.shape for x in inputs], [])[0], dtype=np.float32)
        sizes = on_host(inputs[1]) if len(inputs) == 3 else None
        for n in range(len(scores)):
            have = scores.shape[2:]
            height, width = have if sizes is None else self._true_size(sizes[n], have)
            within = (n, slice(None), slice(height), slice(width))
            result[within] = self._infer(scores[within], image[within])
        return [xp.asarray(result)]

    @staticmethod
    def _true_size(size: np.ndarray, have: tuple[int, ...]) -> tuple[int, ...]:
        """DeepLab's rule: an image at least as large as the map was cropped to it; a smaller one was padded."""
        height, width = int(size.flat[0]), int(size.flat[1])
        if have[0] <= height and have[1] <= width:
            return have
        if not (0 < height <= have[0] and 0 < width <= have[1]):
            raise ShapeError(f"an image of {height}x{width} does not fit into a map of {have[0]}x{have[1]}")
        return height, width

    def _filters(self, image: np.ndarray) -> list[tuple[float, NormalizedFilter]]:
        # The cast to a byte keeps the low eight bits, so a mean-subtracted image wraps around, as in the fork.
        colours = (image.astype(np.int64) & 255).astype(np.float32) if self.byteImage else image
        _, height, width = image.shape
        filters = [
            (weight, NormalizedFilter(position_features(height, width, x, y)))
            for weight, x, y in zip(self.wtGauss, self.xGauss, self.yGauss, strict=True)
        ]
        colour_std = zip(self.bBilateral, self.gBilateral, self.rBilateral, strict=True)
        for weight, x, y, stds in zip(self.wtBilateral, self.xBilateral, self.yBilateral, colour_std, strict=True):
            filters.append((weight, NormalizedFilter(bilateral_features(colours, x, y, stds))))
        return filters

    def _infer(self, scores: np.ndarray, image: np.ndarray) -> Array:
        flat = scores.reshape(len(scores), -1)
        filters = self._filters(image)
        beliefs = softmax(np, flat, 0)
        for _ in range(self.iterations):
            beliefs = softmax(np, flat + sum(weight * smooth(beliefs) for weight, smooth in filters), 0)
        beliefs = beliefs.reshape(scores.shape)
        if self.output == "label":
            return beliefs.argmax(axis=0)
        return beliefs if self.output == "probability" else np.log(np.maximum(beliefs, np.finfo(np.float32).tiny))
