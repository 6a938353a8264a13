"""Networks whose answers can be worked by hand, and a zoo of such models, whose cards quote figures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import matnet
from matnet.datasets.segmentations import NYUD_CLASSES
from matnet.datasets.voc import VOC_CLASSES
from matnet.evaluation.tasks.segmentation import HHA_MEAN
from matnet.formats.mat.values import Cell
from matnet.formats.simplenn import read_simplenn
from matnet.network import Layer, Network, Source
from matnet.ops.activation import SoftMax
from matnet.ops.combine import Crop, Scale, Sum
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.ops.extensions.proposal import Proposal
from matnet.ops.roi import ROIPooling
from matnet.params import Param

LEVELS = (0, 40, 80, 120, 160, 200)
"""What the gray classifier tells apart: the class of an image is the level nearest to its gray."""
WNIDS = ("n00000001", "n00000002", "n00000003", "n00000004", "n00000005", "n00000006")
ORDER = (3, 0, 5, 1, 4, 2)
"""Of each output of the gray classifier the class, a place in WNIDS; so outputs are not in the order of folders."""
CENTRES = tuple(LEVELS[place] for place in ORDER)
NAMES = tuple(WNIDS[place] for place in ORDER)
MEAN = 10.0


def gray(level: int, height: int = 40, width: int = 56) -> Image.Image:
    return Image.new("L", (width, height), level)


def blocks(rows: Sequence[Sequence[int]], sizes: tuple[Sequence[int], Sequence[int]]) -> np.ndarray:
    """An array of blocks: the values of each, the heights of the rows of blocks and the widths of the columns."""
    return np.repeat(np.repeat(np.array(rows, np.uint8), sizes[0], axis=0), sizes[1], axis=1)


def gray_classifier(levels: Sequence[float] = CENTRES, names: Sequence[str] | None = NAMES, size: int = 8) -> Network:
    """Scores -(gray - level)^2 for each level, but for what all classes share, over 2000: a matrix product, softmax.

    With a gray v, its mean taken off: ((v - mean) 2 c + 2 mean c - c^2) / 2000, c the level of the class.
    """
    centres = np.array(levels, np.float64)
    filters = np.broadcast_to(2 * centres / (3 * size * size), (size, size, 3, len(centres))) / 2000
    biases = (2 * MEAN * centres - centres**2) / 2000
    weights = Cell([np.float32(filters), np.float32(biases)[:, None]])
    layers = [{"type": "conv", "name": "fc", "weights": weights, **PLAIN}, {"type": "softmax", "name": "prob"}]
    return simple(layers, size, MEAN, **({"classes": {"name": Cell(list(names))}} if names else {}))


def angle_describer(size: int = 8) -> Network:
    """Describes a face by its mean red and green, behind a ReLU; a product of three classes and a softmax follow."""
    filters = np.zeros((size, size, 3, 2), np.float32)
    filters[:, :, 0, 0] = filters[:, :, 1, 1] = 1 / size**2
    last = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    layers = [
        {"type": "conv", "name": "fc7", "weights": Cell([filters, np.zeros((2, 1), np.float32)]), **PLAIN},
        {"type": "relu", "name": "relu7"},
        {"type": "conv", "name": "fc8", "weights": Cell([last, np.zeros((3, 1), np.float32)]), **PLAIN},
        {"type": "softmax", "name": "prob"},
    ]
    return simple(layers, size, 0.0)


PLAIN: dict[str, Any] = {"pad": np.array([[0.0]]), "stride": np.array([[1.0]])}


def simple(layers: list[dict[str, Any]], size: int, mean: float, **meta: Any) -> Network:
    """A SimpleNN for size x size colour images, less a mean."""
    normalization = {
        "imageSize": np.array([[size, size, 3.0]]),
        "averageImage": np.full((1, 1, 3), mean, np.float32),
        "interpolation": "bilinear",
    }
    return read_simplenn({"layers": Cell(layers), "meta": {"normalization": normalization, **meta}}, Source())


def gray_segmenter(levels: Mapping[int, float], classes: Sequence[str]) -> Network:
    """An FCN in small: every second pixel is scored by the nearest level (class -> gray), enlarged twice, and cropped.

    As large as the image, whatever its size; the class of a block of 2 x 2 pixels is that of its top left one.
    """
    count = len(classes)
    filters, biases = np.zeros((1, 1, 3, count), np.float32), np.full((count, 1), -1e6, np.float32)
    for k, level in levels.items():
        filters[..., k], biases[k] = 2 * level / 3, 2 * MEAN * level - level**2
    copy = np.zeros((2, 2, count, count), np.float32)
    copy[:, :, range(count), range(count)] = 1
    mean = np.full((1, 1, 3), MEAN, np.float32)
    normalization = {"imageSize": np.array([[50.0, 50.0, 3.0]]), "averageImage": mean}
    meta = {"normalization": normalization, "classes": {"name": Cell(list(classes))}}
    net = Network(meta, Source(format="dagnn"))
    net.params.update(score_filter=Param(filters), score_bias=Param(biases), up_filter=Param(copy))
    net.add(
        Layer("score", Conv(stride=(2, 2), size=(1, 1, 3, count)), ["data"], ["score"], ["score_filter", "score_bias"])
    )
    net.add(
        Layer(
            "up",
            ConvTranspose(upsample=(2, 2), size=(2, 2, count, count), hasBias=False),
            ["score"],
            ["big"],
            ["up_filter"],
        )
    )
    net.add(Layer("crop", Crop(), ["big", "data"], ["upscore"]))
    return net


def publish(home: Path, name: str, net: Network | None, task: str, **fields: Any) -> Path:
    """Put a model with its card into a zoo's home; without a network the card alone. The path of the .mat file."""
    import yaml

    folder, file = home / "models" / name, home / "mat" / f"{name}.mat"
    folder.mkdir(parents=True)
    file.parent.mkdir(exist_ok=True)
    card = {
        "name": name,
        "license": "none",
        "task": task,
        "format": net.source.format if net else "simplenn",
        "definition": "unknown",
        "citation": ["Nobody: Nothing."],
        "introduced": 2015,
        "mat_url": [f"http://127.0.0.1:9/{name}.mat"],  # where nothing answers
        **fields,
    }
    if net is not None:
        matnet.save(net, file)
        card["md5"] = {"2016-09-30": hashlib.md5(file.read_bytes()).hexdigest()}
    (folder / "readme.md").write_text(f"---\n{yaml.safe_dump(card)}---\n\nA model for tests.\n")
    return file


def colours(outputs: int = 3, softmax: bool = True, meta: dict[str, Any] | None = None, channels: int = 3) -> Network:
    """A network whose k-th score is the average of channel k of a 2 x 2 image of 0..255, over 100."""
    size = {"imageSize": np.array([[2.0, 2, channels]])}
    net = Network({"normalization": size, **(meta or {})}, Source(format="simplenn"))
    filters = np.zeros((2, 2, channels, outputs), np.float32)
    for k in range(min(outputs, channels)):
        filters[:, :, k, k] = 0.25 / 100
    net.params["f"] = Param(filters)
    net.add(Layer("fc", Conv(hasBias=False), ["input"], ["s"], ["f"]))
    if softmax:
        net.add(Layer("prob", SoftMax(), ["s"], ["p"]))
    return net


def colour_detector(proposes: bool = False, smallest: float = 1) -> Network:
    """A detector of two colours: the largest red and green in a box score aeroplane and bicycle, against a background.

    Logits: background 5, aeroplane red / 20, bicycle green / 20, other classes -20. Aeroplanes are moved right by a
    quarter of the width. Fast R-CNN's variables; with `proposes` Faster R-CNN's: every cell of 200 pixels of the
    enlarged image is a box, those whose first pixel is reddest first, and no box is moved; those with sides
    below `smallest` are dropped.
    """
    filters, biases = np.zeros((1, 1, 3, 21), np.float32), np.full((21, 1), -20, np.float32)
    filters[0, 0, 0, 1] = filters[0, 0, 1, 2] = 1 / 20
    biases[:3, 0] = 5, 0, 0
    moves = np.zeros((84, 1), np.float32)
    moves[4, 0] = 0 if proposes else 0.25
    names = ("background", *VOC_CLASSES[1:])
    normalization = {
        "imageSize": np.array([[224.0, 224.0, 3.0]]),
        "averageImage": np.zeros((1, 1, 3), np.float32),
        "interpolation": "bilinear",
    }
    net = Network({"normalization": normalization, "classes": {"name": Cell(list(names))}}, Source(format="dagnn"))
    net.params.update(cls_f=Param(filters), cls_b=Param(biases), box_f=Param(np.zeros((1, 1, 3, 84), np.float32)))
    net.params.update(box_b=Param(moves))
    boxes = _proposing(net, smallest) if proposes else "rois"
    net.add(Layer("pool", ROIPooling(subdivisions=(1, 1), transform=1.0), ["data", boxes], ["pooled"]))
    net.add(Layer("cls", Conv(size=(1, 1, 3, 21)), ["pooled"], ["cls_score"], ["cls_f", "cls_b"]))
    net.add(Layer("prob", SoftMax(), ["cls_score"], ["cls_prob"]))
    net.add(Layer("box", Conv(size=(1, 1, 3, 84)), ["pooled"], ["bbox_pred"], ["box_f", "box_b"]))
    return net


def _proposing(net: Network, smallest: float) -> str:
    """Layers that propose a box for each cell of 200 pixels, from 0, and the variable of the boxes from 1."""
    score = np.zeros((1, 1, 3, 2), np.float32)
    score[0, 0, 0, 1] = 1
    ones = np.ones((1, 1), np.float32)
    net.params.update(
        rpn_f=Param(score),
        rpn_b=Param(np.zeros((2, 1), np.float32)),
        off_f=Param(np.zeros((1, 1, 3, 4), np.float32)),
        off_b=Param(np.zeros((4, 1), np.float32)),
        one=Param(ones),
        plus=Param(ones),
    )
    net.add(Layer("rpn", Conv(size=(1, 1, 3, 2), stride=(200, 200)), ["data"], ["ranks"], ["rpn_f", "rpn_b"]))
    net.add(Layer("off", Conv(size=(1, 1, 3, 4), stride=(200, 200)), ["data"], ["offsets"], ["off_f", "off_b"]))
    proposal = Proposal(anchors=(0, 0, 199, 199), featStride=200, minSize=smallest)
    net.add(Layer("proposal", proposal, ["ranks", "offsets", "im_info"], ["proposals"]))
    net.add(Layer("from_zero", Scale(size=(1, 1, 1, 1), hasBias=True), ["proposals"], ["rois"], ["one", "plus"]))
    return "rois"


def colour_hash(size: int = 8) -> Network:
    """Three bits of an image: whether its mean red, green and blue are above 100, as sigmoids."""
    filters = np.zeros((size, size, 3, 3), np.float32)
    for k in range(3):
        filters[:, :, k, k] = 1 / size**2
    layers = [
        {"type": "conv", "name": "code", "weights": Cell([filters, np.full((3, 1), -100, np.float32)]), **PLAIN},
        {"type": "sigmoid", "name": "bits"},
    ]
    return simple(layers, size, 0.0)


def gray_edges() -> Network:
    """An edge map of an image's size, its gray over 255, and another output beside it."""
    normalization = {"imageSize": np.array([[50.0, 50.0, 3.0]]), "averageImage": np.zeros((1, 1, 3), np.float32)}
    net = Network({"normalization": normalization}, Source(format="dagnn"))
    for name, level in (("sigmoid-fuse", 1.0), ("sigmoid-dsn1", 0.0)):
        net.params[f"{name}_f"] = Param(np.full((1, 1, 3, 1), level / (3 * 255), np.float32))
        net.add(Layer(name, Conv(size=(1, 1, 3, 1), hasBias=False), ["data"], [name], [f"{name}_f"]))
    return net


def gray_level(bins: Sequence[float] = (), names: Sequence[str] | None = None, size: int = 8) -> Network:
    """The mean gray of an image as one number; with bins, scores that are best where the gray is nearest to a bin."""
    filters = np.full((size, size, 3, 1), 1 / (3 * size * size), np.float32)
    biases = np.zeros((1, 1), np.float32)
    if bins:
        values = np.array(bins, np.float32)
        filters, biases = filters * 2 * values, -(values[:, None] ** 2)
    layers = [{"type": "conv", "name": "level", "weights": Cell([filters, biases]), **PLAIN}]
    return simple(layers, size, 0.0, **({"classes": {"name": Cell(list(names))}} if names else {}))


def of_color_and_hha(of_color: float, of_hha: float) -> Network:
    """NYUDv2's classes 0, 1, 2 by the grays 0, 100, 200 of two inputs: the sum of their scores, each with a weight."""
    net = gray_segmenter({0: 0, 1: 100, 2: 200}, NYUD_CLASSES)
    net.rename({"data": "color", "score": "score_color"})
    net.layers["up"].inputs[:] = ["score"]
    filters, biases = net.params["score_filter"].value, net.params["score_bias"].value
    levels = 3 * filters[0, 0, 0] / 2
    shift = 2 * (np.mean(HHA_MEAN) - MEAN) * levels[:, None]
    net.params.update(
        score_filter=Param(of_color * filters),
        score_bias=Param(of_color * biases),
        hha_filter=Param(of_hha * filters),
        hha_bias=Param(of_hha * (biases + np.float32(shift))),
    )
    scorer = Conv(stride=(2, 2), size=filters.shape)
    net.add(Layer("score_hha", scorer, ["hha"], ["score_hha"], ["hha_filter", "hha_bias"]))
    net.add(Layer("fuse", Sum(), ["score_color", "score_hha"], ["score"]))
    return net
