"""Check the meta of a file (images, classes) against the network's layers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from matnet.arguments import other_color_format
from matnet.datasets.matching import IMAGENET
from matnet.doctor.findings import Finding, note, problem
from matnet.errors import MatnetError
from matnet.images import Preprocessing
from matnet.images.doubts import bluish
from matnet.meta import class_names, image_input
from matnet.meta.inputs import contradictions
from matnet.network import Network
from matnet.ops.convolution import Conv
from matnet.shapes import Shape

USUAL_SIZES = (
    8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 96, 112, 128, 160, 192, 224, 227, 231, 256, 299, 320, 384, 448, 500, 512,
)  # fmt: skip


def meta_findings(net: Network, preprocessing: Preprocessing | None, variable: str) -> Iterator[Finding]:
    """preprocessing: None if it is unknown. variable: the scores."""
    yield from (problem("meta", text, "give the size with --input-size HxW") for text in contradictions(net))
    if preprocessing is not None:
        yield from _mean(preprocessing, other_color_format(net))
        yield from _size(net, preprocessing, variable)
    yield from _classes(net, variable)


def _mean(preprocessing: Preprocessing, color_format: str | None) -> Iterator[Finding]:
    """color_format: the one that the conversion of the Caffe files did not use, if there was one."""
    low, high = preprocessing.input_range
    if preprocessing.mean is None or not np.any(preprocessing.mean):
        what = "no mean is subtracted from images: the network may do this itself, or the mean may be missing"
        yield note("meta", what, "give it with --mean, and test it on labelled images")
        return
    colour = preprocessing.mean.reshape(-1, preprocessing.channels).mean(axis=0, dtype=np.float64)
    shown = " ".join(f"{value:.4g}" for value in colour)
    if bluish(preprocessing.mean, high - low) is not None:
        reverse = " ".join(f"{value:.4g}" for value in colour[::-1])
        yield problem(
            "meta",
            f"the mean ({shown}, as R G B) is bluer than photographs: the mean, or the channels of the network, may "
            "be in the order B, G, R",
            f"--mean {reverse} if only the mean is in the wrong order; otherwise convert Caffe's files with "
            f"--color-format {color_format}, or --color bgr --mean {reverse}; test on labelled images"
            if color_format
            else f"--mean {reverse}, perhaps with --color bgr; test on labelled images",
        )
    if high > 1 and np.abs(colour).max() <= 1:
        yield problem(
            "meta",
            f"the mean ({shown}) is for pixels 0..1, but is subtracted from pixels {low:g}..{high:g}",
            "--input-range 0 1; test on labelled images",
        )


def _size(net: Network, preprocessing: Preprocessing, variable: str) -> Iterator[Finding]:
    """Whether images of this size fit the first fully connected layer, so that the scores are one pixel."""
    name = image_input(net)
    if name is None:
        return
    wanted = net.resolve(variable)
    height, width = preprocessing.image_size
    shape = (1, preprocessing.channels, height, width)
    certain = False
    try:
        scores = net.infer_shapes({name: shape}, [wanted])[wanted]
        if scores[2:] in ((), (1, 1)):
            return
        fault = f"{variable!r} then has {scores[2]}x{scores[3]} pixels instead of one"
    except MatnetError as error:
        fault = str(error).removeprefix(f"{net.source}, ")
        certain = True
    fitting = [side for side in USUAL_SIZES if _fits(net, wanted, {name: (1, preprocessing.channels, side, side)})]
    if not (certain or fitting):
        return  # a fully convolutional network
    fits = f"; sizes that fit: {', '.join(f'{side}x{side}' for side in fitting[:4])}" if fitting else ""
    yield problem(
        "meta",
        f"images of {height}x{width} do not fit the first fully connected layer: {fault}{fits}",
        f"--input-size {fitting[0]}x{fitting[0]}" if fitting else "give the size with --input-size HxW",
    )


def _fits(net: Network, wanted: str, inputs: dict[str, Shape]) -> bool:
    """Whether the scores are one pixel, with a convolution whose filters cover its whole input."""
    try:
        shapes = net.infer_shapes(inputs, [wanted])
    except MatnetError:
        return False
    return shapes[wanted][2:] == (1, 1) and any(
        isinstance(layer.op, Conv)
        and max(shapes[layer.inputs[0]][2:]) > 1
        and layer.op.covers(shapes[layer.inputs[0]], net.param_shapes(layer)[0])
        for layer in net.upto([wanted])
    )


def _classes(net: Network, variable: str) -> Iterator[Finding]:
    names = class_names(net)
    outputs = output_count(net, variable)
    if names is None:
        named = "ilsvrc12, devkit or FILE" if outputs == IMAGENET else "FILE (one line per class)"
        yield note("meta", "the file has no class names", f"give them with --classes {named}")
    elif outputs is not None and len(names) != outputs:
        yield problem(
            "meta", f"the file has {len(names):,} class names, but {variable!r} has {outputs:,} outputs",
            "give the classes with --classes FILE, or the variable with --scores",
        )  # fmt: skip


def output_count(net: Network, variable: str) -> int | None:
    """The number of channels of the variable; None if unknown."""
    try:
        wanted = net.resolve(variable)
        return net.infer_shapes(net.default_input_shapes(), [wanted])[wanted][1]
    except (MatnetError, KeyError, IndexError):
        return None
