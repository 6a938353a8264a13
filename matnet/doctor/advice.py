"""The doctor command that finds the cause of doubtful figures of an evaluation."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from matnet.arguments import ENGINE
from matnet.doctor.options import ONLY_WITH_IMAGES, parser
from matnet.errors import program


def advised_doctor(options: argparse.Namespace, model: str, images: str | None) -> str:
    """The command, quoted for a shell, with all options of `matnet eval` that the doctor shares.

    images: None if images have no labels, so that the doctor checks only the file.
    """
    parts = [model] if images is None else [model, images]
    dropped = {"json", "crops"}  # the doctor uses only the centre crop
    if images is None:
        dropped |= {*ONLY_WITH_IMAGES, *ENGINE}
    for action in parser()._actions:
        if action.option_strings and action.dest in options.stated and action.dest not in dropped:
            parts += _spelt(action, getattr(options, action.dest))
    return f"find the cause with: {program('doctor')} {shlex.join(parts)}"


def _spelt(action: argparse.Action, value: Any) -> list[str]:
    """The arguments that give an option its value."""
    option = action.option_strings[0]
    if action.nargs == 0:
        return [option]
    if action.dest == "input_size":
        return [f"{option}={f'{name}=' if name else ''}{'x'.join(map(str, axes))}" for name, axes in value]
    if isinstance(action, argparse._AppendAction):
        return [f"{option}={one}" for one in value]
    return [f"{option}={','.join(map(str, value)) if isinstance(value, (list, tuple)) else value}"]
