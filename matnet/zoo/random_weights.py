"""Networks with random weights: to measure speed, memory and sizes, and for tests."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from matnet.errors import NetworkError, in_words, program
from matnet.network import Network
from matnet.ops.base import Op
from matnet.ops.combine import Sum
from matnet.ops.normalization import BatchNorm
from matnet.params import owned
from matnet.zoo.cards import Card
from matnet.zoo.names import UnknownModelError, find_card

MOMENTS = 2  # the index of mean and deviation among the params of a BatchNorm
FROM_FILES = ("mean", "labels")  # options with files, left out for a network without weights


def random_network(name: str, seed: int = 0) -> Network:
    """A model of the zoo with random weights, reproducible by the seed; needs only the card's definition.

    Filters are normal with variance 2 / fan-in (He et al., arXiv:1502.01852), so that activations keep their scale;
    biases are 0, multipliers and deviations 1. Normalized residual branches are scaled down with the number of sums (as
    in Zhang et al., arXiv:1901.09321); otherwise every residual block would double the variance, which overflows half
    precision. Raises UnknownModelError, also for a file name, or NetworkError if the definition is unknown.
    """
    try:
        card = find_card(name)
    except UnknownModelError:
        if any(Path(part.strip()).exists() for part in (name, *name.split(","))):
            raise UnknownModelError(
                f"{name}: this is a file; random weights need a model name of `{program('zoo')} list`; give one of "
                f"these names{in_words('', ', or leave --random-weights out')}"
            ) from None
        raise
    net = skeleton(card)
    random_params(net, seed)
    net.source.notes.append(f"random weights, seed {seed}: results are meaningless, only speed and sizes are real")
    return net


def random_params(net: Network, seed: int = 0) -> None:
    """Fill the params of a skeleton as `random_network` does; params that are not all zeros are kept."""
    if seed < 0:
        raise NetworkError(f"the seed of random weights is {seed}; expected an integer from 0")
    generator = np.random.default_rng(seed)
    for layer in net.layers.values():
        for position, name in enumerate(layer.params):
            param = net.params[name]
            if isinstance(layer.op, BatchNorm) and position == MOMENTS:
                param.value = np.asfortranarray(np.tile(np.array([0, 1], np.float32), (len(param.value), 1)))
            elif not param.value.any():
                param.value = owned(_drawn(layer.op, position, param.value.shape, generator))
    _soften_branches(net)


def skeleton(card: Card) -> Network:
    """A card's network, converted with the card's options; its params are zeros that use no memory."""
    from matnet.converters import convert_caffe

    options = {key: value for key, value in card.convert.items() if key not in FROM_FILES}
    return convert_caffe(definition(card), placeholders=True, **options)


def definition(card: Card) -> Path:
    """The card's prototxt. Raises NetworkError if the architecture is unknown."""
    if card.prototxt is None:
        converter = in_words("matnet.convert_caffe", f"`{program('convert')}`")
        raise NetworkError(
            f"{card.name}: its definition is not available; give your own prototxt to {converter}"
            + (f" (it was published at {card.page})" if card.page else "")
        )
    return card.prototxt


def _drawn(op: Op, position: int, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """One random param: filters and matrices are drawn; multipliers are 1, biases 0."""
    if (op.has_filters and position == 0) or math.prod(shape) > max(shape):
        deviation = np.float32(math.sqrt(2 / max(math.prod(shape[:-1]), 1)))
        values = generator.standard_normal(math.prod(shape), np.float32) * deviation
        return values.reshape(shape, order="F")
    return np.full(shape, 1 if position == 0 else 0, np.float32, order="F")


def _soften_branches(net: Network) -> None:
    """Multiply each BatchNorm output that is added to another variable by 1 / sqrt(number of sums)."""
    writers = {name: layer for layer in net.layers.values() for name in layer.outputs}
    sums = [layer for layer in net.layers.values() if isinstance(layer.op, Sum) and len(layer.inputs) > 1]
    branches = [writers[name] for layer in sums for name in layer.inputs[1:] if name in writers]
    for factor in dict.fromkeys(layer.params[0] for layer in branches if isinstance(layer.op, BatchNorm)):
        net.params[factor].value = net.params[factor].value * np.float32(1 / math.sqrt(len(sums)))
