"""`matnet run MODEL IN OUT`: run a network on arrays or images from files and write arrays."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from matnet import arrays
from matnet.answers.features import prepare_readable
from matnet.arguments import (
    add_batch_size,
    add_engine_options,
    add_network_options,
    engine_options,
    given_sizes,
    model_help,
    network_as_in_file,
    network_from,
)
from matnet.command_line import command_parser, run_command, say
from matnet.engines import Engine, EngineOptions, compile_network, wanted_variables
from matnet.engines.batches import run_in_batches
from matnet.errors import DataError, printable
from matnet.files import check_outputs
from matnet.finite import warn_of_values
from matnet.image_arguments import add_preprocessing, parsed, preprocessing_from, refuse_preprocessing
from matnet.kinds import IMAGE, MAT, NPZ, kind_of
from matnet.layout import hwcn_to_nchw
from matnet.meta.given import InputSize, given_input_shapes
from matnet.meta.transposed import transposition_notes
from matnet.network import Network
from matnet.outcomes import ExitStatus

log = logging.getLogger("matnet.run")

CAFFES_BLOBS = "the blobs are Caffe's own"
"""Start of the note on a network that keeps the channel order of the Caffe net."""


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "run", "MODEL IN OUT",
        description="Run a network on arrays from a file, or on images, and write the values of its variables.",
        epilog="IN contains arrays in__NAME, and OUT arrays out__NAME (a `/` in a name is written `__`). A pair of "
        "Caffe files runs with Caffe's own blobs, so that you can compare numbers: channels keep the order of the "
        "Caffe network (B, G, R), whereas eval, predict and matnet.load take R, G, B. Images are prepared as the "
        "network's file states. If an image cannot be read, its row is NaN, and the status is 2.",
    )
    command.add_argument("model", metavar="MODEL", help=model_help())
    command.add_argument(
        "input", metavar="IN", help=".npz or .mat file of input arrays, or an image or a folder of images"
    )
    command.add_argument("output", metavar="OUT", help=".npz or .mat file to write")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--outputs", metavar="A,B", help="variables, layers or blobs (default: the network's outputs)")
    which.add_argument("--all", action="store_true", help="every variable, and every Caffe blob under its own name")
    command.add_argument(
        "--layout", choices=arrays.LAYOUTS, help="order of the axes in both files (default: .npz nchw, .mat hwcn)"
    )
    add_network_options(command)
    add_preprocessing(command)
    engine = add_engine_options(command, backend="numpy")
    add_batch_size(engine, None, "images per pass through the network (default: all of them)")
    command.add_argument("--json", action="store_true", help="print what was run, and how, as JSON")
    return command


def is_images(source: str) -> bool:
    """Whether the input is an image or a folder, by its suffix or else by its content."""
    from matnet.datasets.scan import is_image

    path = Path(source)
    if path.suffix.lower() in arrays.SUFFIXES:
        return False
    return path.is_dir() or is_image(source) or (path.is_file() and kind_of(path) == IMAGE)


@dataclass(frozen=True)
class Images:
    """Preprocessed images: network input by name (N x C x H x W), and the errors of unusable images by index.

    rows: number of rows including unusable images, `views` per image.
    """

    inputs: dict[str, np.ndarray]
    faults: dict[int, str]
    rows: int
    views: int

    def with_gaps(self, values: np.ndarray) -> np.ndarray:
        """Insert rows of NaN for the unusable images."""
        good = next(iter(self.inputs.values())).shape[0]
        if not self.faults or values.ndim == 0 or len(values) != good:
            return values
        whole = np.full((self.rows, *values.shape[1:]), np.nan, values.dtype)
        gaps = [number * self.views + view for number in self.faults for view in range(self.views)]
        whole[np.setdiff1d(np.arange(self.rows), gaps)] = values
        return whole


def image_input(net: Network, options: argparse.Namespace) -> Images:
    """Preprocess the images on the command line, in the network's channel order.

    Raises DataError if no image can be used.
    """
    blobs_of_caffe = any(note.startswith(CAFFES_BLOBS) for note in net.source.notes)
    of_file = network_from(options.model, options) if blobs_of_caffe else net
    own_order = {"color": None} if blobs_of_caffe else {}  # of_file takes R, G, B, but the blobs have Caffe's order
    prepared = preprocessing_from(of_file, argparse.Namespace(**{**vars(options), **own_order}))
    if blobs_of_caffe:
        prepared = replace(prepared, color=options.color or "bgr")
    found, faults = prepare_readable(options.input, prepared)
    if not len(found):
        raise DataError("\n".join(["no image can be used:", *faults.values()]) if len(faults) > 1 else faults[0])
    rows = len(found) + prepared.views * len(faults)
    return Images({net.data_inputs()[0]: found}, faults, rows, prepared.views)


def stored_labels(net: Network, images: int) -> dict[str, np.ndarray]:
    """Labels stored in the loss layers of a SimpleNN file, if their number matches the images; N x C x H x W.

    Labels of a loss with an inference form are ignored: they belong to the last training batch.
    """
    found = {}
    for layer in net.layers.values():
        labels = layer.extra.get("simplenn", {}).get("class")
        if layer.op.for_inference() is not None:
            continue
        if layer.op.training_only and isinstance(labels, np.ndarray) and labels.size and labels.dtype.kind in "fiub":
            if labels.size == images:
                found[layer.inputs[1]] = labels.reshape(images, 1, 1, 1)
            elif labels.ndim == 4 and labels.shape[3] == images:
                found[layer.inputs[1]] = hwcn_to_nchw(labels)
    return {name: labels for name, labels in found.items() if name in net.inputs}


def requested(net: Network, outputs: str | None, everything: bool) -> list[str]:
    """The names to write: those in `outputs`, or every variable and alias, or the network's outputs."""
    if outputs is not None:
        return [name.strip() for name in outputs.split(",") if name.strip()]
    if not everything:
        return list(dict.fromkeys([*wanted_variables(net, None), *net.outputs]))
    variables = net.variables
    aliases = [name for name, variable in net.aliases.items() if variable in variables and name not in variables]
    return [*variables, *aliases]


def run_file(
    net: Network,
    source: str,
    target: str,
    outputs: str | None,
    everything: bool,
    layout: str | None,
    engine: EngineOptions,
    size: InputSize | None = None,
    images: Images | None = None,
) -> tuple[dict[str, np.ndarray], Engine]:
    """Run the arrays in `source` and write `target`; returns the results (N x C x H x W) and the engine.

    images: the images in `source`, if it does not hold arrays; rows of unusable images become NaN.
    """
    arrays.check_suffix(target)
    layout_out = layout or arrays.default_layout(target)
    net.execution_order()  # a cycle is reported before anything else
    data_inputs = net.data_inputs()
    labels = [name for name in net.inputs if name not in data_inputs]
    names = {name: net.names_of_input(name) for name in data_inputs}
    if images is None:
        layout_in = layout or arrays.default_layout(source)
        found = arrays.input_arrays(arrays.read_arrays(source), names, labels, source)
        values = {name: arrays.to_nchw(value, layout_in, net.blob_ranks.get(name)) for name, value in found.items()}
    else:
        values = dict(images.inputs)
    batch = next((value.shape[0] for value in values.values() if value.ndim), 1)
    values = {**stored_labels(net, batch), **values}
    for note in (note for note in net.source.notes if note.startswith(CAFFES_BLOBS)):
        log.info(note)
    _require_size(net, values, size, source)
    pruned = net.for_inputs(values)
    for note in pruned.source.notes[len(net.source.notes) :]:
        log.info(note)
    wanted = requested(pruned, outputs, everything)
    known = {name: value for name, value in values.items() if name in pruned.variables}
    warn_of_values(known, str(source))
    compiled = compile_network(pruned, wanted, engine)
    for note in compiled.notes:
        if note in pruned.source.notes:
            continue
        log.info(note)
    results = run_in_batches(compiled, known, engine.batch_size)
    warn_of_values(results, str(target))
    if images is not None:
        results = {name: images.with_gaps(value) for name, value in results.items()}
    ranks = {name: net.blob_ranks.get(name, net.blob_ranks.get(pruned.resolve(name))) for name in results}
    arrays.write_arrays(
        target, {name: arrays.from_nchw(value, layout_out, ranks[name]) for name, value in results.items()}
    )
    return results, compiled


def _require_size(net: Network, values: Mapping[str, np.ndarray], size: InputSize | None, source: str) -> None:
    """Raise DataError if an array does not have the size given for its input."""
    if size is None:
        return
    wanted = given_input_shapes(net, size)
    for name, value in values.items():
        if name in wanted and value.shape[1:] != wanted[name][1:]:
            found, expected = ("x".join(map(str, shape[1:])) for shape in (value.shape, wanted[name]))
            raise DataError(f"{source}: input {name!r} is {found} (C x H x W); expected {expected} as in --input-size")


def record(
    options: argparse.Namespace, results: Mapping[str, np.ndarray], engine: Engine, seconds: float
) -> dict[str, Any]:
    """The run as JSON values; shapes N x C x H x W."""
    return {
        "model": options.model,
        "output": options.output,
        "variables": {name: list(value.shape) for name, value in results.items()},
        "backend": engine.backend,
        "device": engine.device,
        "precision": engine.precision,
        "batch_size": options.batch_size,
        "seconds": seconds,
        "notes": engine.notes,
    }


def main(argv: list[str] | None = None) -> int:
    options = parsed(parser(), argv)
    started = time.perf_counter()
    output = arrays.check_suffix(options.output)
    kind = MAT if output.suffix.lower() == ".mat" else NPZ
    check_outputs([(output, kind)], [options.model, options.input])
    arrays.refuse_to_replace_other_arrays(output)
    net = network_as_in_file(options.model, options)
    check_outputs([(output, kind)], net.source.files)
    if is_images(options.input):
        images = image_input(net, options)
    else:
        refuse_preprocessing(options)
        transposition_notes(net)
        images = None
    results, engine = run_file(
        net,
        options.input,
        options.output,
        options.outputs,
        options.all,
        options.layout,
        engine_options(options),
        given_sizes(options),
        images,
    )
    seconds = time.perf_counter() - started
    if options.json:
        print(json.dumps(record(options, results, engine, seconds), indent=2))
    else:
        how = f"{engine.backend} on {engine.device}, {engine.precision}"
        say(f"{options.output}: {len(results)} variables in {seconds:.2f} s ({how})")
    if images is None or not images.faults:
        return ExitStatus.DONE
    count = f"{len(images.faults)} of {images.rows // images.views} images could not be read; their rows are NaN"
    print(printable("\n".join(f"matnet: {line}" for line in (*images.faults.values(), count))), file=sys.stderr)
    return ExitStatus.MENDABLE


if __name__ == "__main__":
    sys.exit(run_command(main))
