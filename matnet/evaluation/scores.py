"""Which variable of a network holds the scores of classes, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matnet.errors import MatnetError, NetworkError, in_words
from matnet.meta import image_input

if TYPE_CHECKING:
    from matnet.images import Preprocessing
    from matnet.network import Network


def score_variable(net: Network, asked: str | None = None) -> str:
    """The variable to rank: `asked`, else the output of a SoftMax (the last in the file), else the last output.

    A variable of the network for inference, in which a final softmaxloss is a SoftMax. NetworkError if `asked` does
    not exist.
    """
    inference = net.for_inference()
    if asked is not None:
        inference.resolve(asked)
        return asked
    outputs = inference.outputs
    if not outputs:
        raise NetworkError(f"{net.source}: no layer of it has an output, so there are no scores")
    softmax = [
        layer.outputs[0]
        for layer in inference.layers.values()
        if layer.op.probabilities and layer.outputs[0] in outputs
    ]
    return (softmax or outputs)[-1]


def scores_of_one_image(net: Network, variable: str, preprocessing: Preprocessing) -> int | None:
    """How many classes the variable scores; None if that is known only once the network has run.

    Raises NetworkError if it is a map of scores rather than one per class.
    """
    net = net.for_inference()
    image = image_input(net)
    if image is None:
        return None
    try:
        name = net.resolve(variable)
        shape = net.infer_shapes({image: (1, preprocessing.channels, *preprocessing.image_size)}, [name])[name]
    except (MatnetError, KeyError):
        return None
    if len(shape) == 4 and shape[2:] != (1, 1):
        raise NetworkError(f"{net.source}: {variable!r} {no_map(shape)}")
    return int(shape[1])


def no_map(shape: Sequence[int]) -> str:
    """Why scores of this shape are not ranked."""
    return (
        f"holds {shape[1]} scores at each of {shape[2]}x{shape[3]} places; classification ranks one score per class: "
        f"{another_variable()}, or give the size that the network was trained for with "
        f"{in_words('image_size=(height, width)', '--input-size HxW')}"
    )


def another_variable() -> str:
    """The advice where a variable does not hold what a task reads."""
    return f"name another variable with {in_words('scores=', '--scores')}"
