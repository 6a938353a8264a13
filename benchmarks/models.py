"""The networks to time, by name, with their real weights if the file is available, else random weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from matnet import load
from matnet.benchmarks.nets import NETS
from matnet.benchmarks.settling import settle
from matnet.errors import MatnetError, NetworkError, nearest
from matnet.evaluation.scores import score_variable
from matnet.network import Network
from matnet.shapes import Shape
from matnet.zoo import find_card, find_model, random_network
from matnet.zoo.cache import present_mat
from matnet.zoo.names import UnknownModelError

RANDOM = "random"
# The speed table of MatConvNet's page on pretrained models, in order, then its networks for faces and segmentation.
PUBLISHED = (
    *(f"imagenet-resnet-{depth}-dag" for depth in (50, 101, 152)),
    "imagenet-matconvnet-vgg-verydeep-16",
    "imagenet-vgg-verydeep-19",
    "imagenet-vgg-verydeep-16",
    "imagenet-googlenet-dag",
    *(f"imagenet-matconvnet-vgg-{letter}" for letter in "smf"),
    *(f"imagenet-vgg-{letter}" for letter in ("s", "m", "f", "m-128", "m-1024", "m-2048")),
    "imagenet-matconvnet-alex",
    "imagenet-caffe-ref",
    "imagenet-caffe-alex",
    "vgg-face",
    *(f"pascal-fcn{kind}-dag" for kind in ("32s", "16s", "8s", "8s-tvg")),
)


@dataclass(frozen=True)
class Model:
    """A network to time: `output` of `net` for images of `image` (C, H, W).

    weights: "random", or the name of the weights file. published: images/s by publisher.
    """

    name: str
    net: Network
    output: str
    image: tuple[int, int, int]
    weights: str
    published: dict[str, float]

    def input_shape(self, batch: int) -> Shape:
        return (batch, *self.image)

    def operations(self) -> int:
        """Multiplications and additions of all convolutions and transposed convolutions for one image."""
        layers = self.net.upto([self.output])
        shapes = self.net.infer_shapes(self.net.default_input_shapes(1), [self.output])
        return 2 * sum(
            layer.op.multiply_adds(
                [shapes[name] for name in layer.inputs],
                self.net.param_shapes(layer),
                [shapes[name] for name in layer.outputs],
            )
            for layer in layers
        )


def check_names(names: Sequence[str]) -> None:
    """MatnetError with all unknown names; builds nothing."""
    faults = []
    for name in names:
        try:
            _builder(name)
        except MatnetError as error:
            faults.append(str(error))
    if faults:
        raise UnknownModelError("\n".join(faults))


def build(name: str) -> Model:
    """The network `name`: one of NETS, a model of the zoo, or the path of a .mat file.

    Raises MatnetError if there is none, or if it does not take one image of a known size.
    """
    return _builder(name)()


def _builder(name: str) -> Callable[[], Model]:
    if name in NETS:
        return lambda: _model(name, NETS[name](), RANDOM, {})
    if "/" in name or name.endswith(".mat"):
        path = find_model(name)
        return lambda: _model(path.stem, load(path), path.name, {})
    try:
        card = find_card(name)
    except UnknownModelError as error:
        raise UnknownModelError(f"{error}; built-in names: {', '.join(NETS)}{nearest(name, NETS)}") from None
    figures = {
        entry.source: entry.figures["images_per_s"] for entry in card.published if "images_per_s" in entry.figures
    }

    def from_card() -> Model:
        file = present_mat(card)
        net = load(file) if file else random_network(card.name)
        return _model(card.name, net, file.name if file else RANDOM, figures)

    return from_card


def _model(name: str, net: Network, weights: str, published: dict[str, float]) -> Model:
    inference = net.for_inference()
    output = score_variable(inference)
    inputs = inference.default_input_shapes(1)
    needed = {given for layer in inference.upto([output]) for given in layer.inputs}
    images = [shape for given, shape in inputs.items() if given in needed]
    if len(images) != 1 or len(images[0]) != 4:
        raise NetworkError(f"{name}: {len(images)} inputs of known size; expected one image input")
    _, channels, height, width = images[0]
    if weights == RANDOM:
        image = np.random.default_rng(0).standard_normal(images[0]).astype(np.float32)
        settle(inference, output, dict.fromkeys(inputs, image))
    return Model(name, inference, output, (channels, height, width), weights, published)
