"""A small LeNet and its training by stochastic gradient descent, in numpy alone and exact to the last bit.

Floating-point sums depend on the order of their terms, and so on the BLAS library, the processor and the
number of threads. Here every factor of a matrix product is first rounded to a whole multiple of a power
of two, coarse enough that all partial sums fit the 53 bits of a double: every order then gives the same
sum, and every machine the same network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Fractional bits that values are rounded to; `exact_product` checks that sums of their products stay exact.
ACTIVATION_BITS = 14
WEIGHT_BITS = 20
GRADIENT_BITS = 22

Array = np.ndarray


def rounded(values: Array, bits: int) -> Array:
    """`values` (doubles) at the nearest multiples of 2**-bits."""
    return np.rint(values * 2.0**bits) * 2.0**-bits


def exact_product(left: Array, right: Array, bits: int) -> Array:
    """The matrix product, free of rounding, of fixed-point doubles with `bits` fractional bits in all."""
    largest = np.abs(left).max() * np.abs(right).max() * left.shape[-1]
    assert largest * 2.0**bits <= 2.0**53, "values have outgrown their fixed-point range"
    return left @ right


@dataclass
class Weights:
    """The parameters of one layer, filters as one row per output (Caffe's order), and their momentum."""

    filters: Array
    biases: Array
    momentum: dict[str, Array] = field(default_factory=dict)

    def step(self, gradients: dict[str, Array], rate: float, momentum: float, decay: float) -> None:
        """One update of Caffe's SGD solver; biases do not decay."""
        for name, gradient in gradients.items():
            value = getattr(self, name)
            slope = gradient + decay * value if name == "filters" else gradient
            velocity = momentum * self.momentum.get(name, np.zeros_like(value)) - rate * slope
            self.momentum[name] = velocity
            setattr(self, name, rounded(value + velocity, WEIGHT_BITS))


class Dense:
    """Inner product over each row of an N x K input (BVLC Caffe, inner product layer)."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        self.rows = x.reshape(len(x), -1)
        scores = exact_product(self.rows, self.weights.filters.T, ACTIVATION_BITS + WEIGHT_BITS)
        return rounded(scores + self.weights.biases, ACTIVATION_BITS)

    def backward(self, slope: Array) -> tuple[Array, dict[str, Array]]:
        """The gradient of the input, and of the weights, for the gradient of the output."""
        filters = exact_product(slope.T, self.rows, GRADIENT_BITS + ACTIVATION_BITS)
        below = exact_product(slope, self.weights.filters, GRADIENT_BITS + WEIGHT_BITS)
        gradients = {"filters": filters, "biases": slope.sum(axis=0)}
        return rounded(below, GRADIENT_BITS).reshape(self.shape), gradients


class Convolution(Dense):
    """3 x 3 convolution with pad 1 and stride 1 of an N x C x H x W input: an inner product over patches."""

    def forward(self, x: Array) -> Array:
        n, channels, height, width = self.image_shape = x.shape
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        rows = patches.transpose(0, 2, 3, 1, 4, 5).reshape(n * height * width, channels * 9)
        return super().forward(rows).reshape(n, height, width, -1).transpose(0, 3, 1, 2)

    def backward(self, slope: Array) -> tuple[Array, dict[str, Array]]:
        n, channels, height, width = self.image_shape
        rows, gradients = super().backward(slope.transpose(0, 2, 3, 1).reshape(n * height * width, -1))
        patches = rows.reshape(n, height, width, channels, 3, 3)
        padded = np.zeros((n, channels, height + 2, width + 2))
        for i in range(3):
            for j in range(3):
                padded[:, :, i : i + height, j : j + width] += patches[..., i, j].transpose(0, 3, 1, 2)
        return padded[:, :, 1:-1, 1:-1], gradients


class MaxPool:
    """3 x 3 max pooling with stride 2; the output size is rounded up (BVLC Caffe, pooling layer)."""

    def forward(self, x: Array) -> Array:
        n, channels, height, width = self.shape = x.shape
        # For even sizes the last window hangs over the edge by one pixel, which never wins.
        padded = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
        flat = windows.reshape(n, channels, height // 2, width // 2, 9)
        self.winner = flat.argmax(axis=-1)
        return np.take_along_axis(flat, self.winner[..., None], axis=-1)[..., 0]

    def backward(self, slope: Array) -> tuple[Array, dict[str, Array]]:
        n, channels, height, width = self.shape
        padded = np.zeros((n, channels, height + 1, width + 1))
        for k in range(9):
            i, j = divmod(k, 3)
            padded[:, :, i : i + height : 2, j : j + width : 2] += slope * (self.winner == k)
        return padded[:, :, :-1, :-1], {}


class ReLU:
    """max(x, 0)."""

    def forward(self, x: Array) -> Array:
        self.positive = x > 0
        return x * self.positive

    def backward(self, slope: Array) -> tuple[Array, dict[str, Array]]:
        return slope * self.positive, {}


# The filters of every layer in Caffe's order; ip1 reads 32 maps of 2 x 2.
SHAPES = {"conv1": (16, 1, 3, 3), "conv2": (32, 16, 3, 3), "ip1": (64, 32 * 4), "ip2": (10, 64)}


class LeNet:
    """conv1, relu, pool1, conv2, relu, pool2, ip1, relu, ip2 on N x 1 x 8 x 8 inputs: ten scores each."""

    def __init__(self, random: np.random.RandomState) -> None:
        self.weights = {name: _initial(shape, random) for name, shape in SHAPES.items()}
        conv1, conv2, ip1, ip2 = self.weights.values()
        self.layers: list[Any] = [
            Convolution(conv1), ReLU(), MaxPool(),
            Convolution(conv2), ReLU(), MaxPool(),
            Dense(ip1), ReLU(), Dense(ip2),
        ]  # fmt: skip

    def scores(self, x: Array) -> Array:
        """The ten scores before the softmax, N x 10."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def train_batch(self, x: Array, labels: Array, rate: float, momentum: float, decay: float) -> float:
        """One step on the mean cross-entropy loss of a batch; returns that loss."""
        scores = self.scores(x)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
        slope = rounded((probabilities - np.eye(10)[labels]) / len(x), GRADIENT_BITS)
        steps = []
        for layer in reversed(self.layers):
            slope, gradients = layer.backward(slope)
            if gradients:
                steps.append((layer.weights, gradients))
        for weights, gradients in steps:
            weights.step(gradients, rate, momentum, decay)
        return float(-np.log(probabilities[np.arange(len(x)), labels]).mean())


def _initial(shape: tuple[int, ...], random: np.random.RandomState) -> Weights:
    """Uniform filters with the variance 2 / fan-in of He et al. 2015, and zero biases."""
    outputs, inputs = shape[0], math.prod(shape[1:])
    reach = np.sqrt(6.0 / inputs)
    filters = random.uniform(-reach, reach, (outputs, inputs))
    return Weights(rounded(filters, WEIGHT_BITS), np.zeros(outputs))
