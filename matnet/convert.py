"""`python -m matnet.convert`: Caffe models into `.mat` files that MatConvNet loads, and back.

python -m matnet.convert caffe-alex
python -m matnet.convert deploy.prototxt net.caffemodel net.mat --mean-values 123,117,104
python -m matnet.convert a.mat b.mat --format dagnn --version 7.3
python -m matnet.convert --to-caffe net.mat --out-prototxt deploy.prototxt --out-caffemodel net.caffemodel
python -m matnet.convert net.mat --to-onnx net.onnx
python -m matnet.convert net.mat --to-torch folder
"""

from __future__ import annotations

from matnet.errors import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import logging
import sys
from pathlib import Path

from matnet.arguments import file_options, given_sizes
from matnet.conversion_arguments import conversion_options, kind_of_source, parser, sort_files
from matnet.errors import NetworkError, run_command
from matnet.files import PathLike, check_outputs
from matnet.finite import warn_not_finite
from matnet.formats import format_of, load_network, save_network
from matnet.formats.needs import matlab_needs
from matnet.kinds import CAFFEMODEL, MAT, ONNX, PROTOTXT
from matnet.network import Network

log = logging.getLogger("matnet.convert")


# -- work -------------------------------------------------------------------------------------------


def convert(given: argparse.Namespace) -> None:
    """Caffe -> .mat; decisions go to stdout, one a line."""
    from matnet.converters import convert_caffe
    from matnet.converters.report import summary

    prototxt, target = given.prototxt, given.out
    if given.net is not None:
        raise NetworkError(f"{prototxt or given.caffemodel}: --net {given.net}: a Caffe model holds one network")
    if given.show_upgraded:
        _show_upgraded(prototxt, given)
        if target is None:
            return
    log.info(f"reading {', '.join(str(path) for path in (prototxt, given.caffemodel) if path)}")
    net = convert_caffe(prototxt, given.caffemodel, **conversion_options(given))
    for note in net.source.notes:
        print(note)
    print(_needs(net, given))
    if target is None:
        print(f"{summary(net)}; nothing written (no --out)")
        return
    log.info(f"writing {target}")
    save_network(net, target, format=given.format, version=given.mat_version)
    print(f"{target}: {summary(net)}")


def _needs(net: Network, given: argparse.Namespace) -> str:
    """What MATLAB needs for the format that is written."""
    return matlab_needs(net, format_of(net) if given.format == "auto" else given.format)


def convert_at_random(given: argparse.Namespace) -> None:
    """A model of the zoo with random weights -> .mat, under a name that no published file has."""
    from matnet.converters.report import summary
    from matnet.zoo import find_card, random_network

    card, net = find_card(given.source), random_network(given.source, given.seed)
    target = given.out or f"{card.name}-random.mat"
    check_outputs([(target, MAT)], _read(given))
    save_network(net, target, format=card.format if given.format == "auto" else given.format, version=given.mat_version)
    print(f"{net.source.notes[-1]}\n{target}: {summary(net)}")


def convert_by_name(given: argparse.Namespace) -> None:
    """A model of the zoo -> .mat, with the options of its card but for those that were given."""
    from matnet.zoo.convert_named import convert_named
    from matnet.zoo.fetch import Fetcher
    from matnet.zoo.names import find_card
    from matnet.zoo.random_weights import definition

    if given.show_upgraded:
        _show_upgraded(str(given.prototxt or definition(find_card(given.source))), given)
        return
    usual = conversion_options(parser().parse_args([]))
    conversion = convert_named(
        given.source,
        given.out,
        prototxt=given.prototxt,
        caffemodel=given.caffemodel,
        fetcher=Fetcher(mirrors=given.mirror, carried=given.carried, progress=sys.stderr.isatty()),
        options={name: value for name, value in conversion_options(given).items() if value != usual.get(name)},
        format=given.format,
        version=given.mat_version,
    )
    for line in (*conversion.notes, _needs(load_network(conversion.path), given), *conversion.report()):
        print(line)


def rewrite(given: argparse.Namespace) -> None:
    """.mat -> .mat, in the format and version that are asked for."""
    from matnet.converters.report import summary

    refuse_caffe_options(given)
    log.info(f"reading {given.source}")
    net = _loaded(given.source, given)
    for note in net.source.notes:
        print(note)
    print(_needs(net, given))
    if given.out is None:
        print(f"{summary(net)}; nothing written (no --out)")
        return
    log.info(f"writing {given.out}")
    save_network(net, given.out, format=given.format, version=given.mat_version)
    print(f"{given.out}: {summary(net)}")


def _loaded(source: PathLike, given: argparse.Namespace) -> Network:
    """The network in a file; a warning names weights that are not finite, as its weights are read anyway."""
    net = load_network(source, **file_options(given))
    warn_not_finite({name: param.value for name, param in net.params.items()}, str(source))
    return net


def refuse_caffe_options(given: argparse.Namespace) -> None:
    """NetworkError where an option of a conversion from Caffe is given for a .mat file."""
    usual = conversion_options(parser().parse_args([]))
    found = conversion_options(given)
    foreign = [name for name, value in found.items() if name != "lenient" and value != usual.get(name)]
    if foreign:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in foreign)
        raise NetworkError(f"{given.source}: {named}: only for Caffe models; a .mat file is written as it is")


def _read(given: argparse.Namespace) -> list[str | None]:
    """Every file that the arguments name to be read."""
    return [given.source, given.prototxt, given.caffemodel, given.to_caffe, given.mean, given.labels]


def _is_name(source: str | None) -> bool:
    """Whether the first argument is a model's name rather than a file."""
    return source is not None and not Path(source).exists()


def _show_upgraded(prototxt: str | None, given: argparse.Namespace) -> None:
    from matnet.converters.caffemodel import net_from_caffemodel, read_prototxt
    from matnet.converters.files.text_write import to_text

    if prototxt is not None:
        net = read_prototxt(prototxt, given.phase, given.level, given.stage, given.lenient)
    elif given.caffemodel is not None:
        net = net_from_caffemodel(given.caffemodel, given.lenient)
    else:
        raise NetworkError("nothing to show: give --prototxt or --caffemodel")
    print(to_text(net.message), end="")


def convert_back(given: argparse.Namespace) -> None:
    """.mat -> prototxt and caffemodel."""
    from matnet.converters.export.to_caffe import to_caffe

    prototxt, caffemodel = given.out_prototxt, given.out_caffemodel
    if given.out is not None:
        prototxt, caffemodel = prototxt or f"{given.out}.prototxt", caffemodel or f"{given.out}.caffemodel"
    check_outputs([(prototxt, PROTOTXT), (caffemodel, CAFFEMODEL)], _read(given))
    log.info(f"reading {given.to_caffe}")
    colors = "rgb" if given.color_format == "rgb" else None  # the default undoes what a conversion did
    caffe = to_caffe(_loaded(given.to_caffe, given), input_size=given_sizes(given), color_format=colors)
    for note in caffe.notes:
        print(note)
    caffe.write(prototxt, caffemodel)
    count = sum(blob.size for blobs in caffe.blobs.values() for blob in blobs)
    written = ", ".join(str(path) for path in (prototxt, caffemodel) if path)
    print(f"{written or 'nothing written (no --out)'}: {len(caffe.message.get('layer'))} layers, {count:,} numbers")


def convert_to_onnx(given: argparse.Namespace) -> None:
    """.mat or Caffe -> ONNX; any batch, and any size where that costs the network nothing."""
    from matnet.formats.onnx import save_onnx

    check_outputs([(given.to_onnx, ONNX)], _read(given))
    net = _network(given)
    for note in net.source.notes:
        print(note)
    outputs = _outputs(given)
    paths = save_onnx(net, given.to_onnx, outputs, size=given_sizes(given), partial=outputs is None)
    checked = _check_onnx(paths[0])
    print(f"{', '.join(str(path) for path in paths)}: {net!r}, {checked}")


def _outputs(given: argparse.Namespace) -> list[str] | None:
    """The names after --outputs; None: the network's outputs."""
    return None if given.outputs is None else [name.strip() for name in given.outputs.split(",") if name.strip()]


def convert_to_torch(given: argparse.Namespace) -> None:
    """.mat or Caffe -> a folder for PyTorch that needs no matnet, checked against the numpy engine."""
    from matnet.torch import save_torch

    net = _network(given)
    for note in net.source.notes:
        print(note)
    package = save_torch(net, given.to_torch, _outputs(given), size=given_sizes(given))
    names = ", ".join(path.name for path in package.files)
    error = f"outputs on random input differ by {package.error:.1e} of the largest value"
    print(f"{given.to_torch}: {names}; {net!r}, {error}")


def _network(given: argparse.Namespace) -> Network:
    """A .mat file, a Caffe model, or a model of the zoo."""
    from matnet.converters import convert_caffe
    from matnet.zoo import find_model, random_network

    if given.random_weights:
        return random_network(given.source, given.seed)
    if given.source is not None:
        found = find_model(given.source)
        log.info(f"reading {found}")
        return _loaded(found, given)
    log.info(f"reading {', '.join(str(path) for path in (given.prototxt, given.caffemodel) if path)}")
    return convert_caffe(given.prototxt, given.caffemodel, **conversion_options(given))


def _check_onnx(path: Path) -> str:
    """What onnx's own checker says of the file; a file that it refuses is a fault of ours, not of the input."""
    try:
        import onnx
    except ImportError:
        return "not checked (the onnx package is not installed)"
    onnx.checker.check_model(str(path))
    return "checked by onnx"


def main(argv: list[str] | None = None) -> int:
    given = parser().parse_intermixed_args(argv)
    sort_files(given)
    if given.to_caffe is None and given.to_onnx is None and given.to_torch is None:
        check_outputs([(given.out, MAT)], _read(given))
    if given.random_weights and not _is_name(given.source):
        raise NetworkError("--random-weights takes the name of a model; `python -m matnet.zoo list` shows all")
    if given.to_caffe is not None:
        convert_back(given)
    elif given.to_onnx is not None:
        convert_to_onnx(given)
    elif given.to_torch is not None:
        convert_to_torch(given)
    elif given.random_weights:
        convert_at_random(given)
    elif _is_name(given.source):
        convert_by_name(given)
    elif kind_of_source(given.source or "") == MAT:
        rewrite(given)
    else:
        convert(given)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
