"""The variable that holds the class scores of a network, and the number of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matnet.errors import MatnetError, NetworkError, in_words
from matnet.meta import image_input

if TYPE_CHECKING:
    from matnet.images import Preprocessing
    from matnet.network import Network


def score_variable(net: Network, asked: str | None = None) -> str:
    """The variable of the class scores: `asked`, else the output of the last SoftMax in the file, else the last output.

    A variable of the network for inference, in which a final softmaxloss is a SoftMax. Raises NetworkError if `asked`
    does not exist.
    """
    inference = net.for_inference()
    if asked is not None:
        inference.resolve(asked)
        return asked
    outputs = inference.outputs
    if not outputs:
        raise NetworkError(f"{net.source}: no layer has an output, so there are no scores")
    softmax = [
        layer.outputs[0]
        for layer in inference.layers.values()
        if layer.op.probabilities and layer.outputs[0] in outputs
    ]
    return (softmax or outputs)[-1]


def scores_of_one_image(net: Network, variable: str, preprocessing: Preprocessing) -> int | None:
    """How many classes the variable scores; None if that is known only after running the network.

    Raises NetworkError for a score map.
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
    """Why scores of this shape cannot be ranked."""
    return (
        f"is a score map of {shape[1]} classes and {shape[2]}x{shape[3]} pixels; classification needs one score per "
        f"class: {another_variable()}, or give the size that the network was trained for with "
        f"{in_words('image_size=(height, width)', '--input-size HxW')}"
    )


def another_variable() -> str:
    """The advice if a variable does not suit a task."""
    return f"name another variable with {in_words('scores=', '--scores')}"
