"""`matnet convert`: convert a network to MatConvNet (.mat), Caffe, ONNX or PyTorch.

matnet convert caffe-alex
matnet convert deploy.prototxt net.caffemodel net.mat --mean-values 123,117,104
matnet convert a.mat b.mat --format dagnn --version 7.3
matnet convert net.mat --to-caffe net
matnet convert net.mat --to-onnx net.onnx
matnet convert net.mat --to-torch folder
"""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from matnet.arguments import file_options, given_sizes, joined_numbers
from matnet.command_line import run_command, say
from matnet.conversion_arguments import (
    MEANS,
    caffe_files,
    conversion_options,
    mean_as_values,
    parser,
    refuse_idle_options,
    sort_files,
)
from matnet.errors import NetworkError, printable
from matnet.files import check_outputs, is_special
from matnet.finite import warn_not_finite
from matnet.formats import format_of, load_network, save_network
from matnet.formats.find import refuse_to_replace_data
from matnet.formats.needs import matlab_needs
from matnet.formats.simplenn import require_chain
from matnet.kinds import CAFFEMODEL, MAT, ONNX, PROTOTXT
from matnet.loading import is_caffe, load
from matnet.network import Network
from matnet.shapes import text
from matnet.stated_options import parse_stated, refuse_idle

if TYPE_CHECKING:
    from matnet.zoo.cards import Card
    from matnet.zoo.fetch import Fetcher

log = logging.getLogger("matnet.convert")

# -- work -------------------------------------------------------------------------------------------


def convert(given: argparse.Namespace) -> None:
    """Any network -> .mat in the requested format and version; prints the conversion notes."""
    if given.show_upgraded:
        _show_upgraded(given.prototxt, given)
        if given.out is None:
            return
    net = _network(given)
    for note in net.source.notes:
        say(note)
    if given.format == "simplenn":
        require_chain(net)
    say(_needs(net, given))
    if given.out is None:
        say(f"{summary(net)}; nothing written (no --out)")
        return
    check_outputs([(given.out, MAT)], net.source.files)
    log.info(f"writing {given.out}")
    save_network(net, given.out, format=given.format, version=given.mat_version)
    say(f"{given.out}: {summary(net)}")


def _needs(net: Network, given: argparse.Namespace) -> str:
    """What MATLAB needs to load the file."""
    return matlab_needs(net, format_of(net) if given.format == "auto" else given.format)


def convert_at_random(given: argparse.Namespace) -> None:
    """A zoo model with random weights -> .mat, by default under a name that no published file has."""
    from matnet.zoo import find_card, random_network

    card, net = find_card(given.source), random_network(given.source, given.seed)
    target = given.out or f"{card.name}-random.mat"
    check_outputs([(target, MAT)], _read(given))
    refuse_to_replace_data(target)
    save_network(net, target, format=card.format if given.format == "auto" else given.format, version=given.mat_version)
    say(f"{net.source.notes[-1]}\n{target}: {summary(net)}")


def convert_by_name(given: argparse.Namespace) -> None:
    """A zoo model -> .mat; options on the command line override those of its card."""
    from matnet.zoo.convert_named import convert_named

    refuse_idle(given, ["net"], "a Caffe model holds one network")
    if given.show_upgraded:
        from matnet.zoo.random_weights import definition

        _show_upgraded(str(given.prototxt or definition(_card(given))), given)
        if given.out is None:
            return
    conversion = convert_named(
        given.source,
        given.out,
        prototxt=given.prototxt,
        caffemodel=given.caffemodel,
        fetcher=_fetcher(given),
        options=conversion_options(given),
        format=given.format,
        version=given.mat_version,
    )
    for line in (*conversion.notes, _needs(load_network(conversion.path), given), *conversion.report()):
        say(line)


def _card(given: argparse.Namespace) -> Card:
    """The card of a known model. Raises UnknownModelError."""
    from matnet.zoo.names import find_card

    return find_card(given.source)


def _fetcher(given: argparse.Namespace) -> Fetcher:
    """The Fetcher for a known model; it tries --mirror and --from first."""
    from matnet.zoo.fetch import Fetcher

    return Fetcher(mirrors=given.mirror, carried=given.carried, progress=sys.stderr.isatty())


def _has_caffe_files(given: argparse.Namespace) -> bool:
    """Whether a known model is converted from Caffe files: the user's own or those of its card."""
    return given.caffemodel is not None or _card(given).file("caffemodel") is not None


def _network(given: argparse.Namespace) -> Network:
    """The network named on the command line: anything `matnet.load` takes, or a zoo model with random weights."""
    options = conversion_options(given)
    if given.random_weights:
        from matnet.zoo import random_network

        return random_network(given.source, given.seed)
    if given.source is None:
        refuse_idle(given, ["net"], "a Caffe model holds one network")
        from matnet.converters import convert_caffe

        log.info(f"reading {', '.join(str(path) for path in (given.prototxt, given.caffemodel) if path)}")
        return convert_caffe(given.prototxt, given.caffemodel, **options)
    if _is_name(given.source):
        return _known_network(given)
    log.info(f"reading {given.source}")
    if is_caffe(given.source):
        return load(given.source, **{**file_options(given), "unknown": "refuse", **options})
    net = load(given.source, **file_options(given))
    return _named_and_checked(net, given)


def _known_network(given: argparse.Namespace) -> Network:
    """A known model: its .mat file, or its Caffe files if conversion options are given."""
    from matnet.zoo.convert_named import convert_card

    options = conversion_options(given)
    of_mat = {"labels", "class_names", "input_size", "lenient"}
    if given.to_caffe is not None:
        of_mat.add("color_format")
    if given.prototxt is not None or given.caffemodel is not None or set(options) - of_mat:
        refuse_idle(given, ["net"], "a Caffe model holds one network")
        return convert_card(_card(given), _fetcher(given), options, given.prototxt, given.caffemodel)
    return _named_and_checked(load(given.source, fetcher=_fetcher(given), **file_options(given)), given)


def _named_and_checked(net: Network, given: argparse.Namespace) -> Network:
    """Set the classes from --labels or --class-names; warn if weights are not finite."""
    stated = [classes for classes in (given.labels, given.class_names) if classes is not None]
    if len(stated) > 1:
        raise NetworkError("--labels and --class-names both name the classes; give one of them")
    if stated:
        net.classes = stated[0]
    warn_not_finite(net, str(given.source))
    return net


def _read(given: argparse.Namespace) -> list[str | None]:
    """Every input file on the command line."""
    return [given.source, given.prototxt, given.caffemodel, given.mean, given.labels]


def _is_name(source: str | None) -> bool:
    """Whether the first argument is a model name rather than a file."""
    return source is not None and not Path(source).exists()


def _show_upgraded(prototxt: str | None, given: argparse.Namespace) -> None:
    from matnet.converters.caffemodel import net_from_caffemodel, read_prototxt
    from matnet.converters.files.text_write import to_text

    if prototxt is not None:
        net = read_prototxt(prototxt, given.phase, given.level, given.stage, given.lenient)
    elif given.caffemodel is not None:
        net = net_from_caffemodel(given.caffemodel, given.lenient)
    else:
        raise NetworkError("--show-upgraded: nothing to show; give --prototxt or --caffemodel")
    print(printable(to_text(net.message)), end="")


def convert_back(given: argparse.Namespace) -> None:
    """Any network -> prototxt and caffemodel."""
    from matnet.converters.export.to_caffe import to_caffe

    prototxt, caffemodel = caffe_files(given)
    outputs = [(prototxt, PROTOTXT), (caffemodel, CAFFEMODEL)]
    check_outputs(outputs, _read(given))
    net = _network(given)
    check_outputs(outputs, net.source.files)
    for note in net.source.notes:
        say(note)
    colors = "rgb" if given.color_format == "rgb" else None  # default: undo the flip of the import
    caffe = to_caffe(net, input_size=given_sizes(given), color_format=colors)
    for note in (note for note in caffe.notes if note not in net.source.notes):
        say(note)
    if not caffe.has_weights and given.out_caffemodel is None:
        caffemodel = None
    caffe.write(prototxt, caffemodel)
    count = sum(blob.size for blobs in caffe.blobs.values() for blob in blobs)
    written = ", ".join(str(path) for path in (prototxt, caffemodel) if path)
    say(f"{written or 'nothing written (no --out)'}: {len(caffe.message.get('layer'))} layers, {count:,} numbers")


def convert_to_onnx(given: argparse.Namespace) -> None:
    """Any network -> ONNX with a dynamic batch, and dynamic height and width where that costs nothing."""
    from matnet.formats.onnx import to_onnx_model
    from matnet.formats.onnx.export import write_onnx
    from matnet.meta.transposed import transposition_notes

    check_outputs([(given.to_onnx, ONNX)], _read(given))
    net = _network(given)
    for note in net.source.notes:
        say(note)
    outputs = _outputs(given)
    transposition_notes(net)
    model = to_onnx_model(net, outputs, size=given_sizes(given), partial=outputs is None)
    paths = write_onnx(model, given.to_onnx)
    count = sum(constant.array.size for constant in model.constants.values())
    held = summary_of(f"{len(model.nodes)} nodes", count, net, model.inputs, model.outputs)
    say(f"{', '.join(str(path) for path in paths)}: {held}; {_check_onnx(paths[0])}")


def _outputs(given: argparse.Namespace) -> list[str] | None:
    """The names in --outputs, or None."""
    return None if given.outputs is None else [name.strip() for name in given.outputs.split(",") if name.strip()]


def convert_to_torch(given: argparse.Namespace) -> None:
    """Any network -> a standalone PyTorch package, checked against the numpy engine."""
    from matnet.torch import save_torch
    from matnet.torch.package import refuse_other_files

    refuse_other_files(Path(given.to_torch), _read(given))  # before the slow import of torch
    net = _network(given)
    for note in net.source.notes:
        say(note)
    package = save_torch(net, given.to_torch, _outputs(given), size=given_sizes(given))
    files = ", ".join(path.name for path in package.files)
    count = sum(array.size for array in package.module.state.values())
    held = summary_of(f"{len(package.module.state)} tensors", count, net, package.module.inputs, package.module.outputs)
    error = f"outputs on random input differ by {package.error:.1e} of the largest value"
    say(f"{given.to_torch}: {files}; {held}; {error}")


def _check_onnx(path: Path) -> str:
    """Run onnx's checker on the file. An exception from it is a bug in matnet, so it is not caught."""
    if is_special(path):
        return "not checked (a device cannot be read again)"
    try:
        import onnx
    except ImportError:
        return "not checked (the onnx package is not installed)"
    onnx.checker.check_model(str(path))
    return "checked by onnx"


def summary(net: Network) -> str:
    """One line: layers, numbers, inputs with their sizes, outputs."""
    count = sum(param.value.size for param in net.params.values())
    return summary_of(f"{len(net.layers)} layers", count, net, net.inputs, net.outputs)


def summary_of(parts: str, count: int, net: Network, inputs: Iterable[str], outputs: Iterable[str]) -> str:
    """The same line for an export of `net`, which may be a part of it: its parts, numbers, inputs and outputs."""
    sized = ", ".join(
        f"{name} ({text(net.input_shapes[name]) if name in net.input_shapes else 'size unknown'})" for name in inputs
    )
    return f"{parts}, {count:,} numbers; inputs: {sized or 'none'}; outputs: {', '.join(outputs)}"


def _doubt_mean(values: list[float]) -> None:
    from matnet.images.doubts import bluish, bluish_note

    if (colour := bluish(values)) is not None:
        log.warning(bluish_note(colour))


def main(argv: list[str] | None = None) -> int:
    given = parse_stated(parser(), joined_numbers(sys.argv[1:] if argv is None else argv, MEANS))
    mean_as_values(given)
    if given.mean_values is not None:
        _doubt_mean(given.mean_values)
    sort_files(given)
    name = _is_name(given.source)
    of_caffe = given.source is None or (not name and is_caffe(given.source))
    refuse_idle_options(given, of_caffe, name)
    if given.to_caffe is None and given.to_onnx is None and given.to_torch is None:
        check_outputs([(given.out, MAT)], _read(given))
        refuse_to_replace_data(given.out)
    if given.to_caffe is not None:
        convert_back(given)
    elif given.to_onnx is not None:
        convert_to_onnx(given)
    elif given.to_torch is not None:
        convert_to_torch(given)
    elif given.random_weights:
        convert_at_random(given)
    elif name and _has_caffe_files(given):
        convert_by_name(given)
    else:
        convert(given)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
