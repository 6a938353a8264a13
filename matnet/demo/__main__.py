"""`python -m matnet.demo [MODEL ...]`: a web page to inspect networks and try them on images."""

from __future__ import annotations

from matnet.interrupts import interruptible

if __name__ == "__main__":
    interruptible()

import argparse
import sys


def parser() -> argparse.ArgumentParser:
    from matnet.arguments import add_engine_options, positive
    from matnet.command_line import command_parser
    from matnet.demo.limits import MB, DemoLimits

    command = command_parser(
        "demo", "[MODEL ...]",
        description="Serve a page that shows networks and runs them on images. Visitors choose a given network or a "
        "known model that is on this machine, or drop files of their own.",
        epilog="Needs the extra demo (pip install 'matnet[demo]'). Ctrl-C stops the server and removes all dropped "
        "files. The page loads nothing from other machines, and a visitor cannot start a download.",
    )
    command.add_argument(
        "models", metavar="MODEL", nargs="*",
        help="networks to offer: .mat files, known names, Caffe's two files; the first is shown",
    )  # fmt: skip
    command.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: 127.0.0.1, "
                         "this machine alone; 0.0.0.0: everybody who can reach this machine)")  # fmt: skip
    command.add_argument(
        "--port", type=_port, default=8000, metavar="N", help="the port (default: 8000; 0: any free port)"
    )
    command.add_argument(
        "--largest", type=positive, default=DemoLimits().network // MB, metavar="MB",
        help="the largest file of a network that may be dropped (default: %(default)s MB)",
    )  # fmt: skip
    add_engine_options(command)
    return command


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port; expected a number from 0 to 65535")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    from matnet.arguments import engine_options, joined_pairs
    from matnet.demo.limits import MB, DemoLimits

    options = parser().parse_intermixed_args(joined_pairs(sys.argv[1:] if argv is None else argv))
    from matnet.demo.server import serve

    limits = DemoLimits(network=options.largest * MB)
    serve(options.models, options.host, options.port, limits, engine_options(options))
    return 0


if __name__ == "__main__":
    from matnet.command_line import run_command

    sys.exit(run_command(main))
