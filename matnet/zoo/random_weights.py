"""Networks of the right shape without their weights: for work on speed, memory and sizes, and for tests."""

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

MOMENTS = 2  # the place of mean and deviation among the params of a BatchNorm
FROM_FILES = ("mean", "labels")  # options that name files, which a network without weights does without


def random_network(name: str, seed: int = 0) -> Network:
    """A model of the zoo with random weights, the same for the same seed; needs no file but the card's definition.

    Filters are normal with variance 2 / fan-in (He et al., arXiv:1502.01852), so that activations keep their size;
    offsets are 0, factors and deviations 1. A normalised branch that is added to another counts for less, the more
    such sums there are (as in Zhang et al., arXiv:1901.09321): residual networks would double the variance in each of
    their blocks, beyond what half precision holds. Raises UnknownModelError, also for the name of a file, or
    NetworkError if the definition is unknown.
    """
    try:
        card = find_card(name)
    except UnknownModelError:
        if any(Path(part.strip()).exists() for part in (name, *name.split(","))):
            raise UnknownModelError(
                f"{name}: is a file, and random weights are for models that `{program('zoo')} list` names; give one of "
                f"these names{in_words('', ', or leave --random-weights out')}"
            ) from None
        raise
    net = skeleton(card)
    random_params(net, seed)
    net.source.notes.append(f"random weights, seed {seed}: for speed and sizes, not for answers")
    return net


def random_params(net: Network, seed: int = 0) -> None:
    """Fill the params of a skeleton as `random_network` does; those that are not all zeros stay as they are."""
    if seed < 0:
        raise NetworkError(f"the seed of random weights is {seed}; expected a whole number from 0")
    generator = np.random.default_rng(seed)
    for layer in net.layers.values():
        for position, name in enumerate(layer.params):
            param = net.params[name]
            if isinstance(layer.op, BatchNorm) and position == MOMENTS:
                param.value = _neutral_moments(len(param.value))
            elif not param.value.any():
                param.value = owned(_drawn(layer.op, position, param.value.shape, generator))
    _soften_branches(net)


def skeleton(card: Card) -> Network:
    """A card's network, converted with the card's options; its params are zeros that take no memory."""
    from matnet.converters import convert_caffe

    options = {key: value for key, value in card.convert.items() if key not in FROM_FILES}
    return convert_caffe(definition(card), placeholders=True, **options)


def definition(card: Card) -> Path:
    """The card's prototxt; NetworkError if the architecture is not known."""
    if card.prototxt is None:
        converter = in_words("matnet.convert_caffe", f"`{program('convert')}`")
        raise NetworkError(
            f"{card.name}: its definition is not known here; give your own prototxt to {converter}"
            + (f" (it was published at {card.page})" if card.page else "")
        )
    return card.prototxt


def _drawn(op: Op, position: int, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """One param in place of zeros: filters and matrices are drawn; a factor is 1, an offset 0."""
    if (op.has_filters and position == 0) or math.prod(shape) > max(shape):
        deviation = np.float32(math.sqrt(2 / max(math.prod(shape[:-1]), 1)))
        values = generator.standard_normal(math.prod(shape), np.float32) * deviation
        return values.reshape(shape, order="F")
    return np.full(shape, 1 if position == 0 else 0, np.float32, order="F")


def _soften_branches(net: Network) -> None:
    """Multiply what a BatchNorm adds to another variable by 1 / sqrt(number of sums)."""
    writers = {name: layer for layer in net.layers.values() for name in layer.outputs}
    sums = [layer for layer in net.layers.values() if isinstance(layer.op, Sum) and len(layer.inputs) > 1]
    branches = [writers[name] for layer in sums for name in layer.inputs[1:] if name in writers]
    for factor in dict.fromkeys(layer.params[0] for layer in branches if isinstance(layer.op, BatchNorm)):
        net.params[factor].value = net.params[factor].value * np.float32(1 / math.sqrt(len(sums)))


def _neutral_moments(channels: int) -> np.ndarray:
    """Means 0, deviations 1."""
    return np.asfortranarray(np.tile(np.array([0, 1], np.float32), (channels, 1)))
