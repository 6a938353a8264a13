"""What a conversion is asked for: every choice in one frozen record, with its default."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from matnet.errors import NetworkError, nearest

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
"""Options that are one of a few words."""


ORDERS = ("ilsvrc12", "devkit")
"""What `class_names` may be instead of names: ImageNet's 1000 by WordNet id, or as the development kit counts them."""


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """The choices of one conversion.

    color_format: what the Caffe net takes; `bgr` is flipped so that the converted net takes RGB, `rgb` leaves
    everything as it is. mean, mean_values: a mean file, or one value or one per channel in R, G, B order.
    mean_treatment: `crop` cuts the centre of a mean image as Caffe does, `resize` shrinks it as MatConvNet's
    importer does. scale: what Caffe multiplies pixels by (default: the transform_param's).

    input_size: height and width, or C H W, or N C H W, for the image input; or by input name. full_image_size:
    what an image is resized to before it is cropped: (height, width), or one number for the shorter side.
    preprocessing: `squash` resizes the whole image bilinearly, as images are prepared for Caffe; `caffe`,
    `vgg-caffe` and `fcn` are what MatConvNet's importer means by them: bicubic and squashed, and bilinear with
    the aspect ratio kept. class_names, labels: the classes in output order (or `ilsvrc12`, `devkit`: ImageNet's 1000 in
    one of two orders), or a file of them.

    remove_dropout, remove_loss: leave these layers out. append_softmax: layers whose output gets a Softmax.
    merge_batchnorm: join BatchNorm and the Scale behind it where no blob is lost (`auto`), wherever possible
    (`always`), or `never`. extensions: `avoid` writes rewrites into stock layers that cost a last digit or
    time where `allow` writes an extension layer. names: Caffe's blob names, or those of
    MatConvNet's importer, where a blob that is changed in place has its first value under its own name.
    roi_base: whether boxes that are fed count from 0 (`caffe`) or 1 (`matconvnet`). transpose: False keeps
    Caffe's width-first axis order, as the importer's --no-transpose. phase, level, stages: Caffe's net state.
    lenient: read past unknown fields. unknown: `keep` makes layers of unknown types, and those behind them that need
    their sizes, layers that show and save and refuse to run, where `refuse` raises. crop: where a Crop layer without
    crop_param cuts: where the `geometry` of the layers aligns its inputs (FCN's branch), or at 0 (BVLC's `caffe`).
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
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise NetworkError(f"{name} is {value!r}; expected {' or '.join(map(repr, allowed))}")
        if isinstance(self.class_names, str) and self.class_names not in ORDERS:
            raise NetworkError(
                f"class_names is {self.class_names!r}; expected a list of names, or {' or '.join(map(repr, ORDERS))}"
            )
        if self.mean is not None and self.mean_values is not None:
            raise NetworkError("both a mean file and mean values are given; give one of them")
        if self.labels is not None and self.class_names is not None:
            raise NetworkError("both a file of labels and class names are given; give one of them")


def options_from(given: Mapping[str, object]) -> ConversionOptions:
    """Options from keywords; NetworkError naming the nearest ones for a keyword that does not exist."""
    names = [item.name for item in fields(ConversionOptions)]
    unknown = [name for name in given if name not in names]
    if unknown:
        raise NetworkError(f"no conversion option is called {unknown[0]!r}{nearest(unknown[0], names)}")
    return ConversionOptions(**given)  # type: ignore[arg-type]
