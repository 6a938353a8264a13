"""`matnet show MODEL`: show layers, shapes, memory and receptive fields as table, drawing or data."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import logging
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matnet.arguments import (
    ENGINE,
    add_engine_options,
    add_input_size,
    add_network_options,
    engine_options,
    given_sizes,
    joined_pairs,
    joined_sizes,
    model_help,
    network_from,
    positive,
)
from matnet.command_line import command_parser, run_command
from matnet.display.markup import printable
from matnet.display.summary import summary, why_unsized
from matnet.display.table import NetworkTable, network_table
from matnet.display.text import table_text, totals
from matnet.errors import MatnetError, NetworkError
from matnet.files import atomic_write, check_outputs
from matnet.kinds import DOT, HTML, SVG
from matnet.meta import class_descriptions, class_names, declared_input_shapes, display_name, image_input
from matnet.meta.given import InputSize, given_input_shapes
from matnet.network import Network
from matnet.shapes import Shape
from matnet.stated_options import parse_stated, refuse_idle

if TYPE_CHECKING:
    from matnet.engines import EngineOptions

FORMATS = ("text", "matconvnet", "latex", "csv", "json")


log = logging.getLogger("matnet.show")


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "show", "MODEL",
        description="Show a network: its layers with filters, receptive fields, sizes, memory and multiply-adds.",
        epilog="Sizes are H x W x C x N, as in MATLAB; json and csv give N C H W.",
    )
    command.add_argument("model", metavar="MODEL", help=model_help())
    add_input_size(command, "size of the image input (default: what the file states)")
    command.add_argument("--channels", type=positive, metavar="C", help=argparse.SUPPRESS)  # deprecated
    command.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="number of images (default: 1; with --format matconvnet what the file states)",
    )
    command.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text; matconvnet: the table that MatConvNet prints; latex: the same for LaTeX; csv: a row per layer; "
        "json: everything",
    )
    command.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    command.add_argument("--meta", action="store_true", help="also the file's meta structure (with text and json)")
    command.add_argument("--plan", action="store_true", help="also the steps that the engine would run, and where")
    add_network_options(command)
    add_engine_options(command, backend="onnx")
    command.add_argument("--svg", metavar="OUT.svg", help="write the graph as a drawing")
    command.add_argument(
        "--html", metavar="OUT.html", help="write one page: a drawing with zoom and search, and each layer's weights"
    )
    command.add_argument("--unfold", action="store_true", help="draw all repeated blocks (with --svg)")
    command.add_argument("--dot", metavar="OUT.dot", help="write the graph for Graphviz, as model2dot does")
    return command


def main(argv: list[str] | None = None) -> int:
    options = parse_stated(parser(), joined_sizes(joined_pairs(sys.argv[1:] if argv is None else argv)))
    _refuse_idle(options)
    outputs = [(options.svg, SVG), (options.html, HTML), (options.dot, DOT)]
    check_outputs(outputs, [options.model])
    net = network_from(options.model, options)
    check_outputs(outputs, net.source.files)
    batch = options.batch_size or (_declared_batch(net) if options.format in ("matconvnet", "latex") else 1)
    inputs = input_shapes(net, batch, given_sizes(options), options.channels)
    table = network_table(net, batch, inputs=inputs)
    reason = why_unsized(net, table, inputs)
    if options.svg or options.html or options.dot:
        write_drawings(net, table, options)
    report = _report(net, table, options.format, options.meta, reason)
    encoding = sys.stdout.encoding or "utf-8"
    print(report.encode(encoding, "backslashreplace").decode(encoding))
    if options.plan:
        lines = plan_report(net, inputs, engine_options(options))
        print("\n".join(["", "plan", *(f"  {printable(line)}" for line in lines)]))
    if reason and options.format in ("csv", "matconvnet", "latex"):
        log.info(printable(reason))
    return 0


def _refuse_idle(options: argparse.Namespace) -> None:
    """Raise MatnetError for options without effect in combination."""
    if options.plan and options.format != "text":
        raise MatnetError(f"--plan prints text; it cannot be combined with --format {options.format}")
    if not options.plan:
        refuse_idle(options, ENGINE, "only with --plan; other output does not depend on the engine")
    if options.format not in ("text", "json"):
        refuse_idle(options, ["meta"], f"only with --format text and json, not {options.format}")
    if not options.svg:
        refuse_idle(options, ["unfold"], "only with --svg; the page of --html has its own control")
    if not options.input_size:
        refuse_idle(options, ["channels"], "only with --input-size")


def input_shapes(net: Network, batch: int, size: InputSize | None, channels: int | None = None) -> dict[str, Shape]:
    """The input shapes (N x C x H x W) to show. size: as in `given_input_shapes`.

    channels: for inputs with a number of channels stated neither by meta nor by the filters.
    """
    shapes = given_input_shapes(net, size, batch)
    if channels and size is not None and not isinstance(size, Mapping):
        height, width = size[-2:]
        shapes.update({name: (batch, channels, height, width) for name in net.data_inputs() if name not in shapes})
    return shapes


def _declared_batch(net: Network) -> int:
    """The batch size declared by the file, as used by vl_simplenn_display, or 1."""
    shape = declared_input_shapes(net).get(image_input(net) or "")
    return shape[0] if shape else 1


def write_drawings(net: Network, table: NetworkTable, options: argparse.Namespace) -> None:
    """Write the requested SVG, HTML and dot files, each atomically."""
    from matnet.display.dot import network_dot
    from matnet.display.page import network_page
    from matnet.display.svg import network_svg

    wanted = (
        (options.svg, lambda: network_svg(table, display_name(net), options.unfold)),
        (options.html, lambda: network_page(net, table)),
        (options.dot, lambda: network_dot(table)),
    )
    for path, text in wanted:
        if path:
            with atomic_write(path) as file:
                file.write(text().encode("utf-8", "replace"))
            log.info(f"wrote {path}")


def _report(net: Network, table: NetworkTable, form: str, with_meta: bool, reason: str | None) -> str:
    if form in ("matconvnet", "latex"):
        from matnet.display.matconvnet import matconvnet_text

        return matconvnet_text(table, latex=form == "latex").rstrip("\n")
    if form == "csv":
        from matnet.display.records import table_csv

        return table_csv(table).rstrip("\n")
    if form == "json":
        import json

        return json.dumps(record(net, table, with_meta, reason), indent=1)
    width = None
    if sys.stdout.isatty():
        import shutil

        width = shutil.get_terminal_size().columns
    return "\n".join(printable(line) for line in text_report(net, table, with_meta, reason, width))


def text_report(
    net: Network, table: NetworkTable, with_meta: bool = False, reason: str | None = None, width: int | None = None
) -> list[str]:
    """The text report: summary, a row per layer, totals, and the reason for unknown sizes.

    width: of the terminal, for the table of layers; None: no limit.
    """
    lines = [f"{label:17} {text}" for label, text in summary(net, table)]
    lines += ["", *table_text(table, width).splitlines(), ""]
    lines += [f"{label:17} {text}" for label, text in totals(table)]
    if reason:
        lines += ["", f"? = {reason}"]
    if with_meta:
        from matnet.display.outline import outline

        lines += ["", "meta", *(f"  {line}" for line in outline(net.meta))]
    return lines


def plan_report(net: Network, inputs: Mapping[str, Shape], options: EngineOptions) -> list[str]:
    """How a backend runs the network for these inputs. Raises NetworkError if a size is missing.

    Backend cupy needs no GPU here: the schedule is the same on all GPUs, except for the choices of cuDNN.
    """
    from dataclasses import replace

    from matnet.engines import choose

    inference = net.for_inference()
    backend = options.backend
    if backend == "auto":
        backend = choose(options.parsed_device, options.precision).backend
    needed = inference.compile(backend="numpy").inputs
    missing = [name for name in needed if name not in inputs]
    if missing:
        raise NetworkError(f"{net.source}: --plan needs the size of input {missing[0]!r}; give --input-size")
    given = {name: inputs[name] for name in needed}
    if backend == "numpy":
        return ["layer by layer, in numpy", "activations are channels first (NCHW)"]
    if backend == "cupy":
        from matnet.engines.cupy.schedules import schedule_lines

        return schedule_lines(inference, given, precision=options.precision)
    from matnet.engines.cpu.engine import OnnxEngine
    from matnet.engines.cpu.listing import plan_lines

    engine = inference.compile(options=replace(options, backend="onnx"))
    assert isinstance(engine, OnnxEngine)
    return plan_lines(engine, given)


def record(net: Network, table: NetworkTable, with_meta: bool = False, reason: str | None = None) -> dict[str, Any]:
    """The report as JSON values: summary, classes and table; activation shapes N x C x H x W."""
    from matnet.display.outline import outline
    from matnet.display.records import table_records

    found = {
        **{label: text for label, text in summary(net, table) if label in ("file", "format", "preprocessing")},
        "notes": list(net.source.notes),
        "inputs": list(net.inputs),
        "outputs": list(net.outputs),
        "class_names": class_names(net),
        "class_descriptions": class_descriptions(net),
        **table_records(table),
        "sizes_unknown_because": reason,
    }
    if with_meta:
        found["meta"] = list(outline(net.meta))
    return found


if __name__ == "__main__":
    sys.exit(run_command(main))
