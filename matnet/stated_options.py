"""Which options a person stated, also with the value of the default, and the refusal of those that cannot act."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from matnet.errors import MatnetError


def parse_stated(command: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, in which options may stand before, between and behind the others, or belong to a verb.

    `stated` of the result holds the options that the arguments contain, by their attribute: `{"seed": "--seed"}`.
    Raises MatnetError where arguments are the words of one name of a file, which was not quoted.
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
"""Of a file's name that is looked for among the arguments."""


def refuse_unquoted(argv: Sequence[str]) -> None:
    """MatnetError where no file has the name of an argument, and one has that of it and the next ones with blanks."""
    for start, word in enumerate(argv):
        if word.startswith("-") or _exists(word):
            continue
        for end in range(start + 2, min(start + MOST_WORDS, len(argv)) + 1):
            name = " ".join(argv[start:end])
            if argv[end - 1].startswith("--"):
                break
            if _exists(name):
                raise MatnetError(f'{name}: was given as {end - start} names; put it in quotes: "{name}"')


def _exists(name: str) -> bool:
    """Whether there is such a file; what cannot be a name, as it is too long, is none."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def _optional(command: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The options of a command and of its verbs."""
    for action in command._actions:
        if action.option_strings:
            yield action
        elif isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _optional(verb)


def stated(options: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """The options among the attributes `names` that were stated, as they are spelt."""
    given: dict[str, str] = getattr(options, "stated", {})
    return [given[name] for name in names if name in given]


def refuse_idle(options: argparse.Namespace, names: Iterable[str], why: str) -> None:
    """MatnetError that names every option among the attributes `names` that was stated, and `why` it cannot act."""
    given = stated(options, names)
    if given:
        raise MatnetError(f"{', '.join(given)}: {why}")
