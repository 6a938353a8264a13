"""Arguments shared by several commands: the network and the engine that runs it."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matnet import load
from matnet.engines import BACKENDS, PRECISIONS
from matnet.errors import EngineError, MatnetError, program
from matnet.kinds import DEFINITIONS, WEIGHTS, kind_of
from matnet.loading import is_caffe
from matnet.meta.transposed import flipped_inputs
from matnet.network import Network
from matnet.stated_options import refuse_idle

if TYPE_CHECKING:
    from matnet.engines import EngineOptions


def model_help() -> str:
    """The help text of the argument MODEL."""
    return (
        f"a MatConvNet .mat file; the name of a known model (see `{program('zoo')} list`), which is downloaded if "
        "needed; a pair of Caffe files NET.prototxt WEIGHTS.caffemodel, also with a comma between (a caffemodel alone "
        "is the network stored in it; a prototxt alone has no weights); or a model's folder"
    )


def add_network_options(command: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the group "network", read by `network_from`; commands may extend it."""
    group = command.add_argument_group("network")
    add_file_options(group)
    add_random_weights(group)
    return group


def add_random_weights(command: argparse._ActionsContainer) -> None:
    """Add `--random-weights` and `--seed`."""
    command.add_argument(
        "--random-weights", action="store_true", help="build a known model with random weights, for speed and shapes"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random weights (default: 0)")


def add_file_options(command: argparse._ActionsContainer) -> None:
    """Add the options that select what to read from a file: `--net`, `--lenient`, `--phase`, `--level`, `--stage`."""
    command.add_argument("--net", metavar="NAME", help="which network to read from a .mat file with several")
    command.add_argument(
        "--lenient",
        action="store_true",
        help="ignore, with a note, properties of layers in a .mat file that MatConvNet does not have, and fields in a "
        "Caffe definition that no known version of Caffe has",
    )
    command.add_argument(
        "--phase",
        choices=("TEST", "TRAIN"),
        default="TEST",
        help="which layers of a Caffe definition to read (default: TEST)",
    )
    command.add_argument(
        "--level", type=int, default=0, metavar="N", help="Caffe's level, by whose rules layers are read (default: 0)"
    )
    command.add_argument(
        "--stage", action="append", default=[], metavar="NAME",
        help="one of Caffe's stages, by whose rules layers are read; may be repeated",
    )


def file_options(options: argparse.Namespace) -> dict[str, Any]:
    """Keywords for `matnet.load`, from the options of `add_file_options` on the command line."""
    given = {keyword: getattr(options, option) for option, keyword in FILE_OPTIONS.items() if option in options.stated}
    return {keyword: value for keyword, value in given.items() if value is not None}


FILE_OPTIONS = {"net": "name", "lenient": "lenient", "phase": "phase", "level": "level", "stage": "stages"}
"""Options of `add_file_options` -> keywords of `matnet.load`."""


def refuse_idle_weights(options: argparse.Namespace) -> None:
    """Raise MatnetError for `--seed` without `--random-weights`, and for file options with it."""
    if options.random_weights:
        refuse_idle(options, FILE_OPTIONS, "selects what to read from a file; --random-weights reads no file")
    else:
        refuse_idle(options, ["seed"], "only with --random-weights")


def network_from(name: str, options: argparse.Namespace) -> Network:
    """The network named on the command line. Raises FileFormatError or UnknownModelError if there is none.

    `--input-size` reaches the conversion of Caffe's files, as the form of some layers depends on it.
    """
    if "random_weights" in options:
        refuse_idle_weights(options)
    if getattr(options, "random_weights", False):
        from matnet.zoo import random_network  # the cards of all models, which few commands need

        return random_network(name, options.seed)
    return load(name, **_load_options(name, options))


def _load_options(name: str, options: argparse.Namespace) -> dict[str, Any]:
    sizes = given_sizes(options)
    return {**file_options(options), **({} if sizes is None or not is_caffe(name) else {"input_size": sizes})}


def network_as_in_file(name: str, options: argparse.Namespace) -> Network:
    """Like `network_from`, but Caffe files keep Caffe's channel order so that blobs can be compared; adds a note."""
    net = network_from(name, options)
    from_files = net.source.format == "caffe" and (Path(name).exists() or "," in name)
    if options.random_weights or not from_files or not flipped_inputs(net):
        return net
    net = load(name, color_format="rgb", **_load_options(name, options))
    net.source.notes.append(
        "the blobs are Caffe's own, in the channel order of the Caffe net (usually B, G, R); matnet.load, eval and "
        "predict use R, G, B"
    )
    return net


def other_color_format(net: Network) -> str | None:
    """The `--color-format` that was not used to convert the Caffe files; None for other networks."""
    kept = net.meta.get("caffe")
    if not isinstance(kept, dict) or "flipped" not in kept:
        return None
    return "rgb" if flipped_inputs(net) else "bgr"


Sizes = tuple[str | None, tuple[int, ...]]
"""Input name (None: the image input) and the trailing axes of its shape."""


def add_input_size(command: argparse._ActionsContainer, meaning: str = "size of the image input") -> None:
    """Add `--input-size`, read by `given_sizes`. `joined_sizes` accepts the older form."""
    command.add_argument(
        "--input-size",
        action="append",
        type=parse_size,
        metavar="[NAME=][[N]xCx]HxW",
        help=f"{meaning}, such as 224x224; NAME=... states the size of the input NAME, with any number of axes "
        "(rois=128x5); may be repeated",
    )


def parse_size(text: str) -> Sizes:
    """`HxW`, `CxHxW`, `NxCxHxW` or `NAME=AxBx...`, for argparse."""
    name, _, sizes = text.rpartition("=")
    numbers = re.fullmatch(r"\d+([x,]\d+)*", sizes.lower().strip())
    axes = tuple(int(part) for part in re.split("[x,]", numbers[0])) if numbers else ()
    if not axes or min(axes) < 1 or (len(axes) < 2 and not name):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size; expected HxW, CxHxW or NxCxHxW of positive integers, or NAME=AxBx..."
        )
    return name or None, axes


def joined_pairs(argv: Sequence[str]) -> list[str]:
    """Join a prototxt and adjacent weights, in either order, into one argument `NET,WEIGHTS`; detected by content."""
    joined: list[str] = []
    for argument in argv:
        before = joined[-1] if joined else ""
        if _is_kind(before, DEFINITIONS) and _is_kind(argument, WEIGHTS):
            joined[-1] = f"{before},{argument}"
        elif _is_kind(before, WEIGHTS) and _is_kind(argument, DEFINITIONS):
            joined[-1] = f"{argument},{before}"
        else:
            joined.append(argument)
    return joined


def _is_kind(argument: str, kinds: Sequence[str]) -> bool:
    return not argument.startswith("-") and Path(argument).is_file() and kind_of(Path(argument)) in kinds


def joined_sizes(argv: Sequence[str]) -> list[str]:
    """Rewrite the older `--input-size HEIGHT WIDTH` as `--input-size HEIGHTxWIDTH`."""
    found: list[str] = []
    for argument in argv:
        if found[-2:-1] == ["--input-size"] and found[-1].isdecimal() and argument.isdecimal():
            found[-1] += f"x{argument}"
        else:
            found.append(argument)
    return found


NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def numbers_in(text: str) -> list[float] | None:
    """Parse numbers separated by commas or spaces, optionally in brackets; None for any other text.

    >>> numbers_in("123.7, 117,104"), numbers_in("(1 2)"), numbers_in("mean.npy")
    ([123.7, 117.0, 104.0], [1.0, 2.0], None)
    """
    parts = re.split(r"\s*,\s*|\s+", text.strip("()[] "))
    return [float(part) for part in parts] if all(map(NUMBER.fullmatch, parts)) else None


def numbers(text: str) -> list[float]:
    """argparse type: finite numbers in the syntax of `numbers_in`."""
    found = numbers_in(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text} is not a number or a list of numbers")
    if not all(map(math.isfinite, found)):
        raise argparse.ArgumentTypeError(f"{text} is out of range")
    return found


def joined_numbers(argv: Sequence[str], options: Sequence[str]) -> list[str]:
    """Rewrite `--mean 1 2 3` as `--mean=1,2,3` for each of `options`, so that argparse consumes only the numbers."""
    found: list[str] = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return [*found, argument, *rest]
        if argument in options and rest:
            values = [rest.pop(0).rstrip(",")]
            while rest and all(NUMBER.fullmatch(text.strip(",")) for text in (values[-1], rest[0])):
                values.append(rest.pop(0).strip(","))
            argument = f"{argument}={','.join(values)}"
        found.append(argument)
    return found


def given_sizes(options: argparse.Namespace) -> tuple[int, ...] | dict[str, tuple[int, ...]] | None:
    """Value of `--input-size`: one unnamed size, sizes by input name, or None.

    Raises MatnetError if both forms are used, or if one input has two sizes.
    """
    given: list[Sizes] = getattr(options, "input_size", None) or []
    sizes = dict(given)
    if len(sizes) < len(given) or (None in sizes and len(sizes) > 1):
        texts = " and ".join(f"{name}={_x(axes)}" if name else _x(axes) for name, axes in given)
        raise MatnetError(
            f"--input-size {texts}: conflicting sizes; give one size without a name, or one NAME=... per input"
        )
    if None in sizes:
        return sizes[None]
    return {name: axes for name, axes in sizes.items() if name is not None} or None


def _x(axes: Sequence[int]) -> str:
    return "x".join(map(str, axes))


def positive(text: str) -> int:
    """argparse type: a positive integer."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive integer")
    return number


def add_sharing(group: Any, workers: str = "divide the images among N processes (needs Dask)") -> None:
    """Add `--workers` and `--scheduler`, of which only one can be given; workers: the help of the first."""
    where = group.add_mutually_exclusive_group()
    where.add_argument("--workers", type=positive, metavar="N", help=workers)
    where.add_argument("--scheduler", metavar="ADDRESS", help="divide them among the workers of a Dask scheduler")


def factor(text: str) -> float:
    """argparse type: a finite, non-zero factor."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not math.isfinite(found) or not found:
        raise argparse.ArgumentTypeError(f"{text} is not a valid factor; expected a finite, non-zero number")
    return found


ENGINE = ("backend", "device", "precision", "threads", "runtime")
"""The options of `add_engine_options`."""


def add_engine_options(command: argparse.ArgumentParser, backend: str = "auto") -> argparse._ArgumentGroup:
    """Add the group "engine", read by `engine_options`; commands may extend it."""
    group = command.add_argument_group("engine")
    choice = "auto: a usable GPU, else ONNX Runtime, else numpy"
    group.add_argument("--backend", choices=BACKENDS, default=backend, help=f"{choice} (default: %(default)s)")
    group.add_argument("--device", type=_checked(_device), metavar="cpu|gpu|gpu:N,...", help="where to compute")
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="fp32: full float32; tf32 and fp16: faster and less exact, on a GPU (default: %(default)s)",
    )
    group.add_argument(
        "--threads", type=positive, metavar="N", help="threads of backend onnx (default: all processors)"
    )
    group.add_argument(
        "--runtime",
        type=_checked(_candidates),
        metavar="NAME",
        help="the runtime of backend onnx: onnxruntime, openvino, or auto, which times the installed ones once in "
        "several ways and uses the fastest; auto:A,B times only these; or a way as a result names it, such as "
        "openvino+winograd (default: onnxruntime; eval, predict and features search for a faster way during the first "
        "images)",
    )
    return group


def _device(text: str) -> object:
    from matnet.engines.device import parse_device

    return parse_device(text)


def _candidates(runtime: str) -> object:
    from matnet.engines.cpu.runtimes import candidates  # slow to import

    return candidates(runtime)


def add_batch_size(command: argparse._ActionsContainer, default: int | None, meaning: str) -> None:
    """Add `--batch-size N`. meaning: its help text."""
    command.add_argument("--batch-size", type=positive, default=default, metavar="N", help=meaning)


def engine_options(options: argparse.Namespace) -> EngineOptions:
    """EngineOptions from `add_engine_options`, plus `--batch-size` and `--strict` if the command has them."""
    from matnet.engines import EngineOptions

    names = ("backend", "device", "precision", "threads", "runtime", "batch_size", "strict")
    return EngineOptions.of(**{name: getattr(options, name, None) for name in names})


def _checked(check: Callable[[str], object]) -> Callable[[str], str]:
    """argparse type: the text itself, validated by `check`."""

    def parse(text: str) -> str:
        try:
            check(text)
        except EngineError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return parse
