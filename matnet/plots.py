"""Plots of networks and their activations: each function returns a matplotlib Figure.

Needs the extra `plot` (matplotlib); `class_image` and `dream` also need `torch`. A notebook displays a Figure;
`figure.savefig("a.png")` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.errors import DataError, NetworkError, ShapeError
from matnet.figures import empty_figure, reduced, reduced_tiles, show, tiled
from matnet.keywords import require, whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from matnet.images import Preprocessing
    from matnet.metrics import RocCurve
    from matnet.network import Network

BAR = "#1f5fa8"
MOST_MAPS = 64
MOST_BARS = 2000
MOST_SEGMENTS = 20


# -- layers -----------------------------------------------------------------------------------------


def filters(net: Network, layer: str | None = None, columns: int | None = None) -> Figure:
    """The filters of a layer as tiles: in colour for three input channels, in gray for one.

    layer: default the first one with filters. 0 is mid-gray, and all filters share one scale. Raises NetworkError for
    filters with another number of channels.
    """
    name = layer or next((name for name, found in net.layers.items() if _filters(net, name) is not None), None)
    if name is None:
        raise NetworkError(f"{net.source}: no layer has filters")
    values = net[name].filters
    if values is None or values.ndim != 4 or values.shape[2] not in (1, 3):
        size = "none" if values is None else "x".join(map(str, values.shape))
        raise NetworkError(
            f"{net.source}, layer {name!r}: filters are {size} (height x width x channels x number); expected 1 or 3 "
            "channels"
        )
    largest = float(np.abs(values).max()) or 1.0
    tiles = 0.5 + reduced_tiles(np.moveaxis(values, 3, 0), columns).astype(np.float64) / (2 * largest)
    if net.source.format == "caffe" and values.shape[2] == 3 and _takes_bgr(net):
        tiles = tiles[..., ::-1]
    height, width, channels, number = values.shape
    title = f"{name}: {number} filters of {height}x{width}x{channels}, largest value {largest:.3g}"
    return _tiles(tiled(tiles, columns), "gray", title)


def _tiles(picture: np.ndarray, colours: str, title: str) -> Figure:
    drawn = empty_figure(7, 7)
    axes = drawn.add_subplot()
    axes.imshow(picture, interpolation="nearest", cmap=colours, vmin=0, vmax=1)
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)
    return drawn


def feature_maps(
    net: Network,
    image: Any,
    layer: str,
    most: int = MOST_MAPS,
    preprocessing: Preprocessing | None = None,
    **options: Any,
) -> Figure:
    """The first maps (at most `most`) of a layer or variable for an image, as tiles on one colour scale.

    Draws bars for a layer with one value per channel. options: fields of EngineOptions.
    """
    values = net.features(image, layer, preprocessing=preprocessing, **options)
    if isinstance(values, dict):
        raise NetworkError(f"{layer!r} is a pattern; give one layer, such as {next(iter(values))!r}")
    if values.ndim != 4:
        return _bars(layer, values.reshape(-1))
    maps = values[0]
    shown = maps[:most]
    low, high = float(maps.min()), float(maps.max())
    tiles = (reduced_tiles(shown, None) - low) / ((high - low) or 1.0)
    of = f"{len(shown)} of {len(maps)}" if len(shown) < len(maps) else str(len(maps))
    size = "x".join(map(str, maps.shape[1:]))
    title = f"{layer}: {of} maps of {size}, values {low:.3g} to {high:.3g}"
    return _tiles(tiled(tiles[..., np.newaxis], None), "magma", title)


def _bars(layer: str, values: np.ndarray) -> Figure:
    """One value per channel, as bars. Above MOST_BARS, neighbours share a bar from their minimum to their maximum."""
    drawn = empty_figure(7, 3.2)
    axes = drawn.add_subplot()
    starts = np.arange(0, len(values), -(-len(values) // MOST_BARS))
    low, high = (np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts))
    width = max(0.4, min(8.0, 300 / len(starts)))
    axes.vlines(starts, np.minimum(low, 0), np.maximum(high, 0), color=BAR, linewidth=width)
    axes.axhline(0, color="#808080", linewidth=0.6)
    axes.set_xlabel("channel")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{layer}: {len(values)} numbers, {values.min():.3g} to {values.max():.3g}", fontsize=10)
    return drawn


def _filters(net: Network, name: str) -> np.ndarray | None:
    found = net[name].filters
    return found if found is not None and found.ndim == 4 and max(found.shape[:2]) > 1 else None


def _takes_bgr(net: Network) -> bool:
    try:
        return net.preprocessing.color == "bgr"
    except DataError:
        return False


# -- an image ---------------------------------------------------------------------------------------


def preprocessing(net: Network, image: Any, preprocessing: Preprocessing | None = None) -> Figure:
    """An image at each step of preprocessing: as read, resized and cropped, mean subtracted, scaled."""
    prepared = preprocessing or net.preprocessing
    prepared = replace(prepared, crops=1)
    pixels = _pixels(image, prepared)
    plain = replace(prepared, mean=None, std=None, scale=1.0, color="rgb", input_range=(0.0, 255.0))
    cut = plain.apply(pixels).transpose(1, 2, 0)
    pictures = [(f"read, {pixels.shape[0]}x{pixels.shape[1]}", reduced(pixels) / 255.0)]
    pictures.append((f"resized and cropped, {cut.shape[0]}x{cut.shape[1]} ({prepared.resize})", cut / 255.0))
    if prepared.mean is not None and np.any(prepared.mean):
        mean = np.broadcast_to(prepared.mean, cut.shape) / (prepared.input_range[1] or 1.0)
        pictures.append(("the mean", mean))
    final = prepared.apply(pixels).transpose(1, 2, 0)
    shown = final[..., ::-1] if prepared.color == "bgr" else final
    reach = float(np.abs(final).max()) or 1.0
    zero = "gray" if final.min() < 0 else "black"
    text = f"the input, values {final.min():.3g} to {final.max():.3g}, 0 is {zero}"
    pictures.append((text, 0.5 + shown / (2 * reach) if final.min() < 0 else shown / reach))
    drawn = empty_figure(3.2 * len(pictures), 4.2)
    for number, (title, picture) in enumerate(pictures, start=1):
        axes = drawn.add_subplot(1, len(pictures), number)
        show(axes, picture)
        axes.set_title(fill(f"{number}. {title}", 34), fontsize=8)
    drawn.supxlabel(fill("; ".join(prepared.steps()), 46 * len(pictures)), fontsize=7)
    return drawn


def top5(net: Network, image: Any, top: int = 5, **options: Any) -> Figure:
    """An image and bars of its best classes; options as in `net.classify`."""
    found = net.classify([image], top=top, **options)
    answers, measure = found.records()[0]["top"], found.measure
    drawn = empty_figure(9, 3.6)
    left, right = drawn.subplots(1, 2, width_ratios=(1, 1.4))
    show(left, reduced(_pixels(image, options.get("preprocessing"), options.get("exif"))) / 255.0)
    values = [row[measure] for row in answers]
    right.barh(range(len(values)), values, color=BAR)
    right.set_yticks(range(len(values)), [fill(_short(row["class"]), 28) for row in answers], fontsize=8)
    right.invert_yaxis()
    right.set_xlabel(measure)
    right.bar_label(right.containers[0], fmt="%.3f", padding=3, fontsize=8)
    low, high = min(0.0, *values), max(0.0, *values)
    right.set_xlim(low, high + 0.15 * (high - low or 1.0))
    right.spines[["top", "right"]].set_visible(False)
    return drawn


def segmentation(
    image: Any, labels: np.ndarray, classes: Sequence[str] | None = None, palette: np.ndarray | None = None
) -> Figure:
    """A segmentation over its image, with a legend of its classes, the largest first.

    labels: H x W class indices, of the image's size. classes: their names; default the indices. palette: R, G, B
    (0..255) per class; default that of PASCAL VOC. Raises ShapeError if sizes differ, DataError for a label without
    colour.
    """
    from matplotlib.patches import Patch

    from matnet.evaluation.label_images import voc_palette

    pixels = _pixels(image, None)
    found = np.asarray(labels)
    if found.shape != pixels.shape[:2]:
        raise ShapeError(f"labels have shape {found.shape}, the image {pixels.shape[:2]}; expected equal shapes")
    colours = np.asarray(voc_palette() if palette is None else palette)
    if found.dtype.kind not in "iub" and not (found == np.rint(found)).all():
        raise DataError(f"labels are {found.dtype} with fractions; expected the index of a class for each pixel")
    found = found.astype(np.int64)
    if found.min() < 0 or found.max() >= len(colours):
        raise DataError(
            f"labels run from {found.min()} to {found.max()}; the palette has colours 0 to {len(colours) - 1}"
        )
    numbers, counts = np.unique(found, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_SEGMENTS]
    drawn = empty_figure(9, 4.5)
    axes = drawn.add_subplot()
    veil = np.where(colours[found].any(axis=2, keepdims=True), 0.55, 0.25)  # less opaque for black
    show(axes, (1 - veil) * pixels / 255.0 + veil * colours[found] / 255.0)
    patches = [
        Patch(
            facecolor=colours[number] / 255.0, edgecolor="#808080", label=_segment(number, count, found.size, classes)
        )
        for number, count in zip(numbers[order], counts[order], strict=True)
    ]
    drawn.legend(handles=patches, loc="outside right upper", frameon=True, fontsize=8)
    return drawn


def occlusion(
    net: Network,
    image: Any,
    index: int | None = None,
    size: int | None = None,
    stride: int | None = None,
    preprocessing: Preprocessing | None = None,
    **options: Any,
) -> Figure:
    """Occlusion map: the drop of a class score when a square of the input is covered (Zeiler, Fergus 2014).

    index: the class; default the best one. size, stride: of the square, in input pixels; default a fifth and a
    twentieth of the shorter side. The square is filled with 0, which is the mean if one is subtracted. options: fields
    of EngineOptions.
    """
    from matnet.evaluation.scores import score_variable

    require({"size": size, "stride": stride}, dict.fromkeys(("size", "stride"), whole().or_none()))
    prepared = replace(preprocessing or net.preprocessing, crops=1)
    variable = score_variable(net)
    options = {"backend": "auto", **options}
    x = prepared.load(image)[np.newaxis]
    shape = x.shape[2:]
    side = size or max(1, min(shape) // 5)
    step = stride or max(1, min(shape) // 20)

    def scores(batch: np.ndarray) -> np.ndarray:
        return net.forward(batch, [variable], **options)[variable].reshape(len(batch), -1)

    uncovered = scores(x)[0]
    chosen = int(uncovered.argmax()) if index is None else _class_index(index, uncovered.size)
    tops, lefts = (range(0, max(1, extent - side + step), step) for extent in shape)
    drop = np.zeros((len(tops), len(lefts)))
    for row, top in enumerate(tops):
        covered = np.repeat(x, len(lefts), axis=0)
        for column, left in enumerate(lefts):
            covered[column, :, top : top + side, left : left + side] = 0
        drop[row] = uncovered[chosen] - scores(covered)[:, chosen]
    return _occlusion_figure(net, image, prepared, drop, chosen, float(uncovered[chosen]), side, shape)


def _occlusion_figure(
    net: Network,
    image: Any,
    prepared: Preprocessing,
    drop: np.ndarray,
    chosen: int,
    score: float,
    side: int,
    shape: tuple[int, ...],
) -> Figure:
    plain = replace(prepared, mean=None, std=None, scale=1.0, color="rgb", input_range=(0.0, 255.0))
    shown = plain.load(image).transpose(1, 2, 0) / 255.0
    classes = net.classes
    name = _short(classes[chosen]) if chosen < len(classes) else f"class {chosen}"
    drawn = empty_figure(9, 4.2)
    left, right = drawn.subplots(1, 2)
    show(left, shown)
    left.set_title(f"{name}: {score:.3g}", fontsize=9)
    show(right, shown.mean(axis=2) if shown.shape[2] == 3 else shown)
    reach = float(np.abs(drop).max()) or 1.0
    map_ = right.imshow(
        drop,
        cmap="RdBu_r",
        vmin=-reach,
        vmax=reach,
        alpha=0.6,
        extent=(0, shape[1], shape[0], 0),
        interpolation="bilinear",
    )
    right.set_title(f"score drop when {side}x{side} pixels are covered", fontsize=9)
    drawn.colorbar(map_, ax=right, shrink=0.85)
    return drawn


def roc(curves: RocCurve | dict[str, RocCurve]) -> Figure:
    """ROC curves of a verification, one or several by name, with equal error rate and area."""
    named = curves if isinstance(curves, dict) else {"": curves}
    drawn = empty_figure(6, 5.4)
    axes = drawn.add_subplot()
    for name, curve in named.items():
        label = f"EER {curve.equal_error_rate:.2f} %, AUC {curve.auc:.2f} %"
        axes.plot(curve.false_accepts, curve.true_accepts, label=f"{name}: {label}" if name else label)
    axes.plot([0, 1], [1, 0], color="#c8c8c8", linewidth=0.8, label="equal errors")
    axes.set_xlabel("false accepts (different pairs)")
    axes.set_ylabel("true accepts (same pairs)")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.005)
    axes.set_aspect("equal")
    axes.legend(loc="lower right", frameon=True)
    return drawn


# -- gradients --------------------------------------------------------------------------------------


def class_image(net: Network, index: int, steps: int = 200, rate: float = 2.0, seed: int = 0) -> Figure:
    """An image that maximizes a class score, by gradient ascent (Simonyan et al. 2013); needs torch.

    index: the class. steps, rate: of the ascent, in pixel values of 0..255; the image is blurred every few steps. Uses
    the score before a final softmax.
    """
    from matnet.evaluation.scores import score_variable

    inference = net.for_inference()
    target = inference.resolve(score_variable(net))
    layer = next(layer for layer in inference.layers.values() if target in layer.outputs)
    target = layer.inputs[0] if layer.op.probabilities else target
    shown = _ascended(net, target, None, steps, rate, seed, index)
    classes = net.classes
    return _single(shown, _short(classes[index]) if index < len(classes) else f"class {index}")


def dream(net: Network, image: Any, layer: str, steps: int = 40, rate: float = 2.0) -> Figure:
    """DeepDream: change an image to increase the activations of a layer (Mordvintsev et al. 2015); needs torch."""
    return _single(_ascended(net, layer, image, steps, rate, 0, None), f"activations of {layer} increased")


def _ascended(
    net: Network, target: str, image: Any, steps: int, rate: float, seed: int, index: int | None
) -> np.ndarray:
    """An image H x W x C (0..1) after gradient ascent on the mean square of a variable, or on one of its values."""
    prepared = replace(net.preprocessing, crops=1)
    module = net.to_torch([target])
    import torch

    start = prepared.load(image) if image is not None else np.random.default_rng(seed).normal(0, 10, prepared.shape)
    unit = prepared.scale * (prepared.input_range[1] - prepared.input_range[0]) / 255
    x = torch.tensor(
        np.asarray(start, np.float32)[np.newaxis] * (1.0 if image is not None else unit), requires_grad=True
    )
    module.eval()
    for step in range(steps):
        values = module(x)
        values = values[target] if isinstance(values, dict) else values[0] if isinstance(values, tuple) else values
        score = values.square().mean() if index is None else values.ravel()[_class_index(index, values.numel())]
        (gradient,) = torch.autograd.grad(score, x)
        with torch.no_grad():
            x += rate * unit * gradient / (gradient.abs().mean() + 1e-12)
            if image is None and step % 4 == 3 and step < steps - 8:
                blur = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
                x.copy_(0.5 * (x + blur))
    planes = x.detach().numpy()[0] / np.float32(prepared.scale)
    planes = planes[::-1] if prepared.color == "bgr" else planes
    values = planes.transpose(1, 2, 0) * (1 if prepared.std is None else prepared.std)
    values = values + (0 if prepared.mean is None else prepared.mean)
    low, high = prepared.input_range
    found = (values - low) / (high - low)
    if image is None:
        middle, spread = found.mean(), 2.5 * found.std() or 1.0
        found = 0.5 + (found - middle) / (2 * spread)
    return np.asarray(np.clip(found, 0, 1))


def _pixels(image: Any, prepared: Preprocessing | None, exif: bool | None = None) -> np.ndarray:
    """Pixels H x W x 3, 0..255. exif: as in Preprocessing; None: that of `prepared`."""
    if isinstance(image, np.ndarray):
        return np.repeat(np.atleast_3d(image), 3 if np.atleast_3d(image).shape[2] == 1 else 1, axis=2)
    from matnet.images.decode import MAX_PIXELS, decode_uint8

    turned = bool(prepared and prepared.exif) if exif is None else exif
    return decode_uint8(image, 3, prepared.max_pixels if prepared else MAX_PIXELS, turned)


def _class_index(index: int, count: int) -> int:
    if not 0 <= index < count:
        raise DataError(f"index is {index}; expected the index of a class, 0 to {count - 1}")
    return index


def _single(picture: np.ndarray, title: str) -> Figure:
    drawn = empty_figure(5, 5.2)
    axes = drawn.add_subplot()
    show(axes, picture)
    axes.set_title(title, fontsize=10)
    return drawn


def _short(name: str) -> str:
    return name.split(",")[0]


def _segment(number: int, count: int, pixels: int, classes: Sequence[str] | None) -> str:
    name = classes[number] if classes is not None and number < len(classes) else str(number)
    void = " (void)" if number == 255 and name == "255" else ""
    return f"{name}{void}, {100 * count / pixels:.1f} %"
