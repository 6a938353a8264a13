"""`matnet features MODEL IMAGES... --layer fc7 --out F.npz`: write layer activations for any number of images."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import sys
from pathlib import Path
from typing import Any

from matnet.answers.extraction import POOLS, Extraction, extract
from matnet.answers.layer_names import named_layers
from matnet.arguments import (
    add_batch_size,
    add_engine_options,
    add_file_options,
    add_sharing,
    engine_options,
    model_help,
    network_from,
)
from matnet.command_line import command_parser, run_command, say
from matnet.errors import DataError, printable
from matnet.image_arguments import add_preprocessing, parsed, preprocessing_from
from matnet.network import Network
from matnet.outcomes import ExitStatus


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "features", "MODEL IMAGE... --layer NAME --out FILE",
        description="Compute the values of layers for images, and write an array per layer with a row per image, in "
        "the order of the names in `images`.",
        epilog="Memory use does not grow with the number of images. An interrupted run leaves FILE.part behind, and "
        "the same command continues it. If an image cannot be read, its row is NaN; features names it, goes on with "
        "the others, and ends with status 2.",
    )
    command.add_argument("model", metavar="MODEL", help=model_help())
    command.add_argument("images", metavar="IMAGE", nargs="+", help="image files, and folders of them")
    command.add_argument(
        "--layer",
        action="append",
        required=True,
        metavar="NAME",
        help="a layer, variable or Caffe blob, or a pattern of names such as 'conv5*'; may be repeated",
    )
    command.add_argument("--pool", choices=POOLS, default="none", help="pool height and width (default: %(default)s)")
    command.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help=".npz, .h5 or .mat (v7.3); or FILE.npy for one layer, with FILE.images.txt for the images' names",
    )
    add_sharing(command, "divide the images among N processes of this machine (default: 1)")
    command.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="continue an interrupted run of the same command, or start again (default: continue)",
    )
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    add_preprocessing(command)
    add_file_options(command)
    add_engine_options(command)
    add_batch_size(command, None, "images per pass (default: 32)")
    return command


def main(argv: list[str] | None = None) -> int:
    options = parsed(parser(), argv)
    net = network_from(options.model, options)
    _refuse_layers_as_images(net, options)
    variables = named_layers(net.for_inference(), options.layer)
    task = Extraction(net, variables, options.pool, preprocessing_from(net, options), engine_options(options))
    with _Bar(options.quiet) as bar:
        faults = extract(
            task,
            options.images,
            options.out,
            workers=options.workers or 1,
            scheduler=options.scheduler,
            resume=options.resume,
            progress=bar.begin,
        )
    say(f"{options.out}: {', '.join(variables)} of {bar.images} images")
    for fault in faults:
        print(printable(f"matnet: {fault}"), file=sys.stderr)
    if not faults:
        return ExitStatus.DONE
    print(
        f"matnet: {len(faults)} of {bar.images} images could not be read; their rows are NaN (`unreadable`)",
        file=sys.stderr,
    )
    return ExitStatus.MENDABLE


def _refuse_layers_as_images(net: Network, options: argparse.Namespace) -> None:
    """Raise DataError if an image argument is a layer name: `--layer a b` takes only `a`."""
    known = {*net.variables, *net.layers, *net.aliases}
    layers = [name for name in options.images if name in known and not Path(name).exists()]
    if layers:
        every = " ".join(f"--layer {name}" for name in [*options.layer, *layers])
        raise DataError(f"{', '.join(layers)}: no such image, but a layer of {options.model}; use {every}")


class _Bar:
    """A progress bar on stderr that starts when the number of images is known."""

    def __init__(self, hidden: bool) -> None:
        self._hidden, self.images = hidden, 0
        self._bar: Any = None

    def begin(self, images: int, done: int) -> Any:
        from matnet.evaluation.progress import image_bar

        self.images = images
        self._bar = image_bar(images, self._hidden, initial=done)
        return self._bar.update

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()


if __name__ == "__main__":
    sys.exit(run_command(main))
