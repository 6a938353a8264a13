"""Records which options are on the command line (even with the default value), and rejects those without effect."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from matnet.errors import MatnetError


def parse_stated(command: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments; options may be before, between and after positional arguments, or belong to a subcommand.

    `stated` of the result maps attributes to the options on the command line: `{"seed": "--seed"}`. Raises MatnetError
    for an unquoted file name with spaces.
    """
    refuse_unquoted(argv)
    verbs = any(isinstance(action, argparse._SubParsersAction) for action in command._actions)
    parse = command.parse_args if verbs else command.parse_intermixed_args
    options = parse(list(argv))
    optional = list(_optional(command))
    defaults = [action.default for action in optional]
    for action in optional:
        action.default = argparse.SUPPRESS
    try:
        given = vars(parse(list(argv)))
    finally:
        for action, default in zip(optional, defaults, strict=True):
            action.default = default
    options.stated = {action.dest: action.option_strings[0] for action in reversed(optional) if action.dest in given}
    return options


MOST_WORDS = 8
"""Longest unquoted file name to detect, in words."""


def refuse_unquoted(argv: Sequence[str]) -> None:
    """Raise MatnetError if consecutive arguments, joined by spaces, name an existing file."""
    for start, word in enumerate(argv):
        if word.startswith("-") or _exists(word):
            continue
        for end in range(start + 2, min(start + MOST_WORDS, len(argv)) + 1):
            name = " ".join(argv[start:end])
            if argv[end - 1].startswith("--"):
                break
            if _exists(name):
                raise MatnetError(f'{name}: is split into {end - start} arguments; quote it: "{name}"')


def _exists(name: str) -> bool:
    """Whether the path exists; False for invalid paths."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def _optional(command: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The options of a command and its subcommands."""
    for action in command._actions:
        if action.option_strings:
            yield action
        elif isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _optional(verb)


def stated(options: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """The options for the attributes `names` that are on the command line."""
    given: dict[str, str] = getattr(options, "stated", {})
    return [given[name] for name in names if name in given]


def refuse_idle(options: argparse.Namespace, names: Iterable[str], why: str) -> None:
    """Raise MatnetError if options for the attributes `names` are on the command line; `why` they have no effect."""
    given = stated(options, names)
    if given:
        raise MatnetError(f"{', '.join(given)}: {why}")


def given_texts(options: argparse.Namespace, besides: Iterable[str]) -> list[str | Path]:
    """All texts and paths among the arguments, except those of the attributes `besides`: the possible inputs."""
    found: list[str | Path] = []
    waiting = [value for name, value in vars(options).items() if name not in (*besides, "stated")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (str, Path)):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            waiting += value
    return found
