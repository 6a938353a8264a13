"""The options of a conversion with their defaults, as one frozen record."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from matnet.errors import NetworkError, nearest
from matnet.keywords import FLAG, PATH, Kind, all_of, all_texts, is_number, is_whole, require

PathLike = str | os.PathLike[str]

CHOICES: dict[str, tuple[str, ...]] = {
    "color_format": ("bgr", "rgb"),
    "mean_treatment": ("crop", "resize"),
    "preprocessing": ("squash", "caffe", "vgg-caffe", "fcn"),
    "names": ("caffe", "upstream"),
    "merge_batchnorm": ("auto", "always", "never"),
    "extensions": ("allow", "avoid"),
    "roi_base": ("caffe", "matconvnet"),
    "phase": ("TEST", "TRAIN"),
    "unknown": ("refuse", "keep"),
    "crop": ("geometry", "caffe"),
}
"""Options with a fixed set of values."""


ORDERS = ("ilsvrc12", "devkit")
"""Values of `class_names` for ImageNet's 1000 classes: sorted by WordNet id, or in the development kit's order."""


def _numbers(accepts: Callable[[Any], bool], expected: str) -> Kind:
    return Kind(lambda value: all_of(value, accepts) and len(value) > 0, expected).or_none()


def _is_integer(value: Any) -> bool:
    return is_whole(value, -sys.maxsize)


def _is_size(value: Any) -> bool:
    return all(all_of(size, _is_integer) for size in (value.values() if isinstance(value, Mapping) else [value]))


_TEXTS = Kind(lambda value: all_of(value, lambda item: isinstance(item, str)), "a list of texts")
KINDS: dict[str, Kind] = {
    "mean": PATH.or_none(),
    "labels": PATH.or_none(),
    "mean_values": _numbers(is_number, "a list of numbers"),
    "scale": Kind(is_number, "a number").or_none(),
    "input_size": Kind(_is_size, "a list of integers, or a dict of them by input").or_none(),
    "full_image_size": _numbers(_is_integer, "a list of one or two integers"),
    "class_names": Kind(lambda value: isinstance(value, str) or all_texts(value), "a list of texts").or_none(),
    "append_softmax": _TEXTS,
    "stages": _TEXTS,
    "level": Kind(_is_integer, "an integer"),
    **dict.fromkeys(("remove_dropout", "remove_loss", "transpose", "lenient"), FLAG),
}
"""Options with other values -> what they are."""


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """The options of one conversion.

    color_format: the channel order of the Caffe net; `bgr` is converted to RGB, `rgb` is kept. mean, mean_values: a
    mean file, or one value or one per channel in R, G, B order. mean_treatment: `crop` takes the centre of a mean image
    like Caffe, `resize` shrinks it like MatConvNet's importer. scale: Caffe's factor of pixels (default: that of the
    transform_param).

    input_size: height and width, or C H W, or N C H W, of the image input; or by input name. full_image_size: the size
    of an image before cropping: (height, width), or one number for the shorter side. preprocessing: `squash` resizes
    the whole image bilinearly, as is usual for Caffe; `caffe`, `vgg-caffe` and `fcn` are those of MatConvNet's
    importer: bicubic and squashed, or bilinear with the aspect ratio kept. class_names: the classes in output order, or
    `ilsvrc12` or `devkit` for ImageNet's 1000 in one of two orders. labels: a file of classes.

    remove_dropout, remove_loss: leave these layers out. append_softmax: layers to be followed by a Softmax.
    merge_batchnorm: merge a BatchNorm with the Scale after it if no blob is lost (`auto`), wherever possible
    (`always`), or `never`. extensions: `allow` writes extension layers; `avoid` writes stock layers instead, at the
    cost of speed or of a last digit. names: Caffe's blob names, or those of MatConvNet's importer, which names the
    first value of a blob that is changed in place after the blob. roi_base: whether boxes that are fed are 0-based
    (`caffe`) or 1-based (`matconvnet`). transpose: False keeps Caffe's width-first axis order, like the importer's
    --no-transpose. phase, level, stages: Caffe's net state. lenient: ignore unknown fields. unknown: `refuse` raises an
    error for layers of unknown types; `keep` converts them, and layers that need their sizes, to layers that can be
    shown and saved but not run. crop: the offset of a Crop layer without crop_param: the one that aligns its inputs by
    the `geometry` of the layers (FCN's branch), or 0 (BVLC's `caffe`).
    """

    color_format: str = "bgr"
    mean: PathLike | None = None
    mean_values: Sequence[float] | None = None
    mean_treatment: str = "crop"
    scale: float | None = None
    input_size: Sequence[int] | Mapping[str, Sequence[int]] | None = None
    full_image_size: Sequence[int] | None = None
    preprocessing: str = "squash"
    labels: PathLike | None = None
    class_names: Sequence[str] | str | None = None
    remove_dropout: bool = False
    remove_loss: bool = False
    append_softmax: Sequence[str] = ()
    merge_batchnorm: str = "auto"
    extensions: str = "allow"
    names: str = "caffe"
    roi_base: str = "caffe"
    transpose: bool = True
    phase: str = "TEST"
    level: int = 0
    stages: Sequence[str] = ()
    lenient: bool = False
    unknown: str = "refuse"
    crop: str = "geometry"

    def __post_init__(self) -> None:
        require(vars(self), KINDS, NetworkError)
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise NetworkError(f"{name} is {value!r}; expected {' or '.join(map(repr, allowed))}")
        if isinstance(self.class_names, str) and self.class_names not in ORDERS:
            raise NetworkError(
                f"class_names is {self.class_names!r}; expected a list of names, or {' or '.join(map(repr, ORDERS))}"
            )
        if self.mean is not None and self.mean_values is not None:
            raise NetworkError("both a mean file and mean values are given; give only one")
        if self.labels is not None and self.class_names is not None:
            raise NetworkError("both a label file and class names are given; give only one")


def options_from(given: Mapping[str, object]) -> ConversionOptions:
    """Options from keywords. Raises NetworkError, with the nearest names, for an unknown keyword."""
    names = [item.name for item in fields(ConversionOptions)]
    unknown = [name for name in given if name not in names]
    if unknown:
        raise NetworkError(f"unknown conversion option {unknown[0]!r}{nearest(unknown[0], names)}")
    return ConversionOptions(**given)  # type: ignore[arg-type]
