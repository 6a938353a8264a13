"""Parses lists in the options of the benchmark commands."""

from __future__ import annotations

from collections.abc import Iterable

from matnet.errors import MatnetError

LARGEST_BATCH = 65536


def names_in(text: str) -> list[str]:
    """The parts of a comma-separated list, without duplicates."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def chosen(text: str, known: Iterable[str], what: str) -> list[str]:
    """The comma-separated names; MatnetError if one is unknown."""
    names, all_names = names_in(text), list(known)
    wrong = [name for name in names if name not in all_names]
    if wrong or not names:
        found = repr(wrong[0]) if wrong else "empty"
        raise MatnetError(f"{what} is {found}; expected a comma-separated list of {', '.join(all_names)}")
    return names


def batches_in(text: str) -> list[int]:
    """The batch sizes in a comma-separated list; MatnetError if one is invalid."""
    parts = names_in(text)
    if not parts or not all(part.isdigit() and 0 < int(part) <= LARGEST_BATCH for part in parts):
        raise MatnetError(f"--batch is {text!r}; expected comma-separated integers from 1 to {LARGEST_BATCH}")
    return [int(part) for part in parts]
