"""`matnet diff A B`: compare structure, params and meta of two networks; exit status 1 if they differ."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import json
import logging
import math
import sys
from pathlib import Path

from matnet import load
from matnet.arguments import add_file_options, file_options, joined_pairs, model_help
from matnet.command_line import command_parser, run_command, say
from matnet.comparison import Comparison, compare
from matnet.errors import MatnetError
from matnet.meta.transposed import flipped_inputs
from matnet.network import Network
from matnet.stated_options import parse_stated, refuse_idle
from matnet.tables import Table

log = logging.getLogger("matnet.diff")


def _tolerance(text: str) -> float:
    """argparse type: a finite number >= 0."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a tolerance; expected a finite number >= 0")
    return found


def parser() -> argparse.ArgumentParser:
    command = command_parser(
        "diff", "A B",
        description="Compare two networks: structure, the largest difference of every param, meta. "
        "Exit status: 0 the same, 1 they differ, 2 something could not be read.",
    )
    command.add_argument("a", metavar="A", help=model_help())
    command.add_argument("b", metavar="B", help="the other network")
    command.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    add_file_options(command)
    command.add_argument("--net-b", metavar="NAME", help="which network of B, if it has several; --net is for A")
    command.add_argument(
        "--tolerance", type=_tolerance, default=0.0, metavar="X", help="params may differ by this much (default: 0)"
    )
    command.add_argument("--no-meta", action="store_true", help="ignore differences of meta")
    command.add_argument("--all", action="store_true", help="also show the params that are the same")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    return command


def report(comparison: Comparison, options: argparse.Namespace) -> str:
    """The text report: one difference per line, and a table of params."""
    lines = [f"not compared: {line}" for line in comparison.derived]
    lines += [f"structure: {line}" for line in comparison.structure]
    shown = [param for param in comparison.params if options.all or not param.within(options.tolerance)]
    if shown:
        rows = [
            (
                param.name,
                "x".join(map(str, param.shape_a)),
                "x".join(map(str, param.shape_b)) if param.largest is None else f"{param.largest:.6g}",
                f"{param.scale:.6g}",
            )
            for param in shown
        ]
        headers = ("param", "size", "largest difference, or second size", "largest value")
        lines.append(Table.of(headers, rows).text())
    if not options.no_meta:
        lines += comparison.meta
    equal = sum(param.within(options.tolerance) for param in comparison.params)
    lines.append(f"{equal} of {len(comparison.params)} params are the same")
    return "\n".join(lines)


def verdict(comparison: Comparison, options: argparse.Namespace) -> str:
    """The last line: the parts that differ, with a hint to --no-meta if only meta differs."""
    if comparison.same(options.tolerance, with_meta=not options.no_meta):
        return "the same"
    if comparison.same(options.tolerance, with_meta=False):
        return "they differ: only meta differs; structure and params are the same (--no-meta ignores meta)"
    parts = {
        "structure": comparison.structure,
        "params": [param for param in comparison.params if not param.within(options.tolerance)],
        "meta": () if options.no_meta else comparison.meta,
    }
    return f"they differ: {', '.join(name for name, found in parts.items() if found)}"


def in_one_order(a: Network, b: Network) -> tuple[Network, Network]:
    """Bring the input channels of both networks into the same order.

    Applies if `meta.caffe` shows that one network was converted to R, G, B and the other was not; a note names the
    network that was changed. Two .mat files stay unchanged, because their outputs for the same image differ.
    """
    from matnet.converters.colour import reorder_inputs

    turned = flipped_inputs(a), flipped_inputs(b)
    from_caffe = any(net.source.format == "caffe" for net in (a, b))
    if not from_caffe or bool(turned[0]) == bool(turned[1]) or not all("caffe" in net.meta for net in (a, b)):
        return a, b
    other, images = (b, turned[0]) if turned[0] else (a, turned[1])
    changed = other.copy()
    sizes = changed.infer_shapes(changed.input_shapes, partial=True)
    reorder_inputs(changed, [name for name in images if name in changed.inputs], sizes)
    log.info(f"{other.source}: compared with input channels in R, G, B order, like the other network")
    return (a, changed) if turned[0] else (changed, b)


def main(argv: list[str] | None = None) -> int:
    options = parse_stated(parser(), joined_pairs(sys.argv[1:] if argv is None else argv))
    if options.more:
        names = [options.a, options.b, *options.more]
        absent = "".join(f"{name}: no such file; " for name in names if not Path(name).exists())
        raise MatnetError(
            f"{absent}diff compares two networks, not {len(names)}; join Caffe's two files with a comma: "
            "NET.prototxt,WEIGHTS.caffemodel"
        )
    if options.json:
        refuse_idle(options, ["all"], "not with --json, which lists every param")
    both = {name: value for name, value in file_options(options).items() if name != "name"}
    a = load(options.a, **both, name=options.net)
    b = load(options.b, **both, name=options.net_b)
    comparison = compare(*in_one_order(a, b))
    same = comparison.same(options.tolerance, with_meta=not options.no_meta)
    if options.json:
        print(json.dumps({"a": str(a.source), "b": str(b.source), **comparison.record(), "same": same}, indent=2))
    else:
        say(report(comparison, options))
        print(verdict(comparison, options))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(run_command(main))
