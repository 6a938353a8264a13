"""Arguments shared by several commands: image preprocessing and class names."""

from __future__ import annotations

import argparse
import logging
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matnet.arguments import (
    add_input_size,
    factor,
    given_sizes,
    joined_numbers,
    joined_pairs,
    joined_sizes,
    numbers,
    numbers_in,
    positive,
)
from matnet.errors import DataError
from matnet.stated_options import parse_stated, refuse_idle, stated

if TYPE_CHECKING:

    from matnet.images import Preprocessing
    from matnet.network import Network

SEVERAL = ("--mean", "--mean-values", "--std", "--image-size", "--input-range")
"""Options with several numbers, separated by spaces or commas."""

log = logging.getLogger(__name__)


def add_preprocessing(command: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the group "preprocessing", read by `preprocessing_from`; commands may extend it."""
    from matnet.images.protocols import PROTOCOLS, RESAMPLERS

    group = command.add_argument_group("preprocessing", "each option replaces what the network's file states")
    group.add_argument("--protocol", choices=PROTOCOLS, help="how images are prepared (default: meta)")
    add_input_size(group)
    group.add_argument("--image-size", type=_size, metavar="H W", help=argparse.SUPPRESS)
    group.add_argument("--channels", type=int, choices=(1, 3), help="channels of the input: gray or colour")
    group.add_argument(
        "--mean", "--mean-values",
        action=_Once,
        metavar="V",
        help="the mean to subtract: R G B, one value, or a file (.binaryproto and .npy, read as B, G, R; .mat)",
    )
    group.add_argument("--std", type=numbers, metavar="V", help="the divisor after --mean: R G B, or one value")
    group.add_argument("--scale", type=factor, metavar="V", help="the factor after --mean and --std")
    group.add_argument(
        "--input-range",
        type=_range,
        metavar="LOW HIGH",
        help="the values of black and white, before --mean (default: 0 255)",
    )
    group.add_argument("--color", choices=("rgb", "bgr"), help="the order of the network's channels (default: rgb)")
    group.add_argument("--resize", choices=RESAMPLERS, help="the resampler (default: that of the protocol)")
    group.add_argument(
        "--ten-crop",
        dest="crops",
        action="store_const",
        const=10,
        help="average the scores over four corners, the centre and their mirror images",
    )
    group.add_argument("--exif", action="store_true", help="rotate images as their EXIF data state")
    group.add_argument(
        "--max-pixels", type=positive, metavar="N", help="refuse larger images (default: 67,108,864 pixels)"
    )
    return group


class _Once(argparse.Action):
    """Stores the value of an option that may be given once, in any of its spellings."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        if getattr(namespace, self.dest, None) is not None:
            raise argparse.ArgumentError(self, "given twice; pass one value")
        setattr(namespace, self.dest, values)


def add_classes(command: argparse._ActionsContainer) -> None:
    """Add `--classes`."""
    command.add_argument(
        "--classes",
        metavar="ilsvrc12|devkit|FILE",
        help="the classes in the order of the outputs, if the network's file does not name them: ilsvrc12 (ImageNet, "
        "sorted by WordNet id), devkit (ImageNet, as in the development kit), or a file with a name or WordNet id per "
        "output",
    )


def parsed(command: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments of a command that takes images; see `parse_stated`."""
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # of Pillow; matnet rejects larger images itself
    given = joined_pairs(sys.argv[1:] if argv is None else argv)
    return parse_stated(command, joined_sizes(joined_numbers(given, SEVERAL)))


def preprocessing_from(net: Network, options: argparse.Namespace, **fields: Any) -> Preprocessing:
    """Preprocessing of the network's file, overridden by the options of `add_preprocessing`, and these by `fields`.

    Raises DataError if neither file nor options say how to prepare an image.
    """
    from matnet.images import Preprocessing
    from matnet.images.crop import covered_size
    from matnet.images.doubts import bluish, doubts
    from matnet.images.prepare import fitted_mean

    given: dict[str, Any] = {
        name: value
        for name in ("image_size", "channels", "std", "input_range", "scale", "color", "resize", "crops", "max_pixels")
        if (value := getattr(options, name)) is not None
    }
    given.update(_image_size(net, options))
    if options.exif:
        given["exif"] = True
    mean = _mean(options.mean)
    if mean is not None:
        given["mean"] = mean if mean.ndim == 1 else mean.mean(axis=(0, 1))
        net.source.notes[:] = [
            note.replace("no mean", "mean as given with --mean")
            for note in net.source.notes
            if "give it with --mean" not in note
        ]
    found = Preprocessing.of(net, options.protocol or "meta", **{**given, **fields})
    if found.channels == 1:
        refuse_idle(options, ["color"], "the network takes one gray channel, which has no colour order")
    if mean is not None and mean.ndim != 1:
        covered = covered_size(found.image_size, found.crop_fraction)
        found = replace(found, mean=fitted_mean(mean, found.image_size, covered, found.resize))
    _refuse_other_range(found, options)
    caffes = mean is not None and Path(options.mean).is_file() and Path(options.mean).suffix.lower() != ".mat"
    if caffes and bluish(found.mean) is not None:
        log.info("--mean %s: read as B, G, R like Caffe's mean files", options.mean)
    doubts(net, found)
    return found


def _refuse_other_range(found: Preprocessing, options: argparse.Namespace) -> None:
    """Raise DataError if the mean lies outside `--input-range`."""
    if options.input_range is None or found.mean is None:
        return
    low, high = options.input_range
    least, most = float(found.mean.min()), float(found.mean.max())
    if least < low or most > high:
        whose = "--mean is" if options.mean is not None else "the mean in the network's files is"
        raise DataError(
            f"--input-range {low:g} {high:g}: {whose} {least:g} to {most:g}, outside this range of pixel values; give "
            "--mean in the same range"
        )


def stated_preprocessing(options: argparse.Namespace) -> list[str]:
    """The options of `add_preprocessing` on the command line, except the input size."""
    actions = add_preprocessing(argparse.ArgumentParser())._group_actions
    return stated(options, [action.dest for action in actions if action.dest != "input_size"])


def refuse_preprocessing(options: argparse.Namespace) -> None:
    """Raise DataError if options of `add_preprocessing` are given with arrays."""
    given = stated_preprocessing(options)
    if given:
        names = ", ".join(given)
        raise DataError(f"{names}: only for images; {options.input} holds arrays, which are not preprocessed")


def _image_size(net: Network, options: argparse.Namespace) -> dict[str, Any]:
    """Height and width of the image in `--input-size`, and its channels if given."""
    from matnet.meta import image_input
    from matnet.meta.given import input_called

    sizes = given_sizes(options)
    if isinstance(sizes, dict):
        image = image_input(net)
        sizes = next((axes for name, axes in sizes.items() if input_called(net, name) == image), None)
    if sizes is None:
        return {}
    if len(sizes) not in (2, 3, 4):
        raise DataError(f"--input-size {'x'.join(map(str, sizes))}: is not an image size; give HxW")
    channels = {"channels": sizes[-3]} if len(sizes) > 2 and options.channels is None else {}
    return {"image_size": sizes[-2:], **channels}


def _range(text: str) -> list[float]:
    found = numbers(text)
    if len(found) != 2 or not found[0] < found[1]:
        raise argparse.ArgumentTypeError(f"{text} is not a range; expected LOW HIGH, such as 0 1")
    return found


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)[x,](\d+)", text)
    if not found or not (int(found[1]) and int(found[2])):
        raise argparse.ArgumentTypeError(f"{text} is not an image size; expected HxW, such as 227x227")
    return int(found[1]), int(found[2])


def _mean(text: str | None) -> Any:
    """The mean as R, G, B, one value, or H x W x C in R, G, B order (float32); None if not given.

    Caffe's mean files are in B, G, R order.
    """
    import numpy as np

    if text is None:
        return None
    if numbers_in(text) is not None:
        values = np.array(numbers(text), np.float32)
        if values.size not in (1, 3):
            raise DataError(
                f"--mean {text.replace(',', ' ')}: {values.size} numbers; expected R G B, one value, or a mean file; "
                "write decimals with a point"
            )
        return values
    if not Path(text).is_file():
        raise DataError(f"--mean {text}: no such file, and not numbers; give R G B, one value, or a mean file")
    from matnet.converters.means import given_mean
    from matnet.converters.options import ConversionOptions

    planes = given_mean(ConversionOptions(mean=text))
    assert planes is not None
    image = np.ascontiguousarray(planes.transpose(1, 2, 0), np.float32)
    return image[0, 0] if image.shape[:2] == (1, 1) else image
