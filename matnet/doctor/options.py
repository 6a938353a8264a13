"""The options of `matnet doctor`."""

from __future__ import annotations

import argparse

ONLY_WITH_IMAGES = ("write", "root", "classes", "most", "knobs", "resize", "crops", "exif", "max_pixels")
"""Options that, like those of the engine, have no effect without labelled images."""


def parser() -> argparse.ArgumentParser:
    from matnet.arguments import add_engine_options, add_file_options, model_help, positive
    from matnet.command_line import command_parser
    from matnet.doctor.image_changes import KNOBS
    from matnet.doctor.search import IMAGES, LABELS
    from matnet.errors import program
    from matnet.image_arguments import add_classes, add_preprocessing

    command = command_parser(
        "doctor", "MODEL [IMAGES]",
        description="Find faults in a network's file, graph and meta. With labelled images, also find faults in "
        "preprocessing and labels: the usual mistakes are tried one by one, and a paired test decides.",
        epilog="Status: 0 nothing is wrong, 1 something is wrong, 2 the arguments or some images cannot be used.",
    )
    command.add_argument("model", metavar="MODEL", help=model_help())
    command.add_argument(
        "images", metavar="IMAGES", nargs="?", help="a folder with one folder per class, a list of lines `path label`, "
        f"or ImageNet, as `{program('eval')} --data` takes them",
    )  # fmt: skip
    command.add_argument("--labels", metavar="FILE", help="a list of lines `path label`; IMAGES is then its folder")
    command.add_argument("--root", metavar="FOLDER", help="folder that the paths of a list are relative to")
    command.add_argument("--scores", metavar="NAME", help="the variable to rank (default: the last softmax, or output)")
    add_classes(command)
    search = command.add_argument_group("search")
    search.add_argument(
        "--limit", dest="most", type=positive, default=IMAGES, metavar="N",
        help="look at no more than N images, chosen at random (default: %(default)s)",
    )  # fmt: skip
    search.add_argument(
        "--try", dest="knobs", type=_knobs, default=(*KNOBS, LABELS), metavar="A,B",
        help=f"the changes to try: {', '.join((*KNOBS, LABELS))} (default: all)",
    )  # fmt: skip
    output = command.add_argument_group("output")
    output.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="all that was found as JSON, on stdout or into FILE"
    )
    output.add_argument("--write", metavar="FIXED.mat", help="write the network with the recommended change")
    add_preprocessing(command)
    add_file_options(command.add_argument_group("network"))
    add_engine_options(command)
    return command


def _knobs(text: str) -> tuple[str, ...]:
    from matnet.doctor.image_changes import KNOBS
    from matnet.doctor.search import LABELS
    from matnet.errors import nearest

    wanted = tuple(part.strip() for part in text.split(","))
    known = (*KNOBS, LABELS)
    for name in wanted:
        if name not in known:
            raise argparse.ArgumentTypeError(
                f"unknown change {name!r}{nearest(name, known)}; known: {', '.join(known)}"
            )
    return wanted
