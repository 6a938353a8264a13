"""The arguments that several commands share: which network, and which engine runs it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matnet import load
from matnet.engines import BACKENDS, PRECISIONS, EngineOptions, parse_device
from matnet.engines.cpu.runtimes import RUNTIMES, candidates
from matnet.errors import EngineError
from matnet.network import Network
from matnet.zoo import random_network

MODEL_HELP = (
    "a MatConvNet .mat file; the name of a model (see `python -m matnet.zoo list`), fetched if need be; Caffe's "
    "NET.prototxt,WEIGHTS.caffemodel (either alone: without weights, or as it was trained); or a model's folder"
)


def add_random_weights(command: argparse.ArgumentParser) -> None:
    """Let a command take a model of the zoo without its weights."""
    command.add_argument(
        "--random-weights", action="store_true", help="build the named model with random weights: for speed and shapes"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the random weights (default: 0)")


def add_file_options(command: argparse._ActionsContainer) -> None:
    """`--net` and `--lenient`: which network of a .mat file, and whether what its layers cannot use is ignored."""
    command.add_argument("--net", metavar="NAME", help="which network of a .mat file that holds several")
    command.add_argument(
        "--lenient",
        action="store_true",
        help="ignore, with a note, properties of a .mat file's layers that MatConvNet does not have, and fields of a "
        "Caffe definition that no known Caffe has",
    )


def file_options(options: argparse.Namespace) -> dict[str, Any]:
    """The keywords of `matnet.load` for a command that has `add_file_options`."""
    name, lenient = getattr(options, "net", None), getattr(options, "lenient", False)
    return {**({"name": name} if name is not None else {}), **({"lenient": True} if lenient else {})}


def network_from(name: str, options: argparse.Namespace) -> Network:
    """The network that a command's arguments mean; FileFormatError or UnknownModelError where there is none."""
    return random_network(name, options.seed) if options.random_weights else load(name, **file_options(options))


def network_as_in_file(name: str, options: argparse.Namespace) -> Network:
    """As `network_from`, to compare numbers: Caffe's files keep Caffe's own order of channels, and a note says so."""
    net = network_from(name, options)
    from_files = net.source.format == "caffe" and (Path(name).exists() or "," in name)
    if options.random_weights or not from_files or not flipped_inputs(net):
        return net
    net = load(name, color_format="rgb", **file_options(options))
    net.source.notes.append(
        "the blobs are Caffe's own, with channels in the order of the Caffe net (mostly B, G, R); matnet.load, eval "
        "and predict take R, G, B"
    )
    return net


def flipped_inputs(net: Network) -> list[str]:
    """The inputs that take R, G, B although the Caffe net takes B, G, R, as `meta.caffe` says."""
    kept = net.meta.get("caffe")
    flipped = kept.get("flipped") if isinstance(kept, dict) else None
    return [flipped] if isinstance(flipped, str) else [str(name) for name in flipped] if flipped is not None else []


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return number


def add_engine_options(command: argparse.ArgumentParser, backend: str = "auto") -> None:
    """Let a command choose engine, device, precision, threads and runtime; `engine_options` reads them."""
    group = command.add_argument_group("engine")
    told = "auto: a usable GPU, else ONNX Runtime, else numpy"
    group.add_argument("--backend", choices=BACKENDS, default=backend, help=f"{told} (default: %(default)s)")
    group.add_argument("--device", type=_checked(parse_device), metavar="cpu|gpu|gpu:N", help="where to compute")
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="fp32: full float32; tf32 and fp16: faster and less exact, on a GPU (default: %(default)s)",
    )
    group.add_argument("--threads", type=positive, metavar="N", help="of backend onnx (default: all processors)")
    group.add_argument(
        "--runtime",
        type=_checked(candidates),
        metavar="NAME",
        help=f"of backend onnx: {', '.join(RUNTIMES)}, or auto, the fastest of those that are installed, tried once "
        "in several ways; auto:A,B among those (default: onnxruntime)",
    )


def add_batch_size(command: argparse.ArgumentParser, default: int | None, meaning: str) -> None:
    """`--batch-size N`, with what it means to this command."""
    command.add_argument("--batch-size", type=positive, default=default, metavar="N", help=meaning)


def engine_options(options: argparse.Namespace) -> EngineOptions:
    """The engine options of a command: those of `add_engine_options`, and `--batch-size` and `--strict` where it has
    them."""
    names = ("backend", "device", "precision", "threads", "runtime", "batch_size", "strict")
    return EngineOptions.of(**{name: getattr(options, name, None) for name in names})


def _checked(check: Callable[[str], object]) -> Callable[[str], str]:
    """A type for argparse: the text itself, where `check` has nothing against it."""

    def parse(text: str) -> str:
        try:
            check(text)
        except EngineError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return parse
