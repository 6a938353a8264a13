"""What the commands of the benchmark share: lists in options, files to write, words on stderr."""

from __future__ import annotations

from collections.abc import Iterable

from matnet.errors import MatnetError

LARGEST_BATCH = 65536


def names_in(text: str) -> list[str]:
    """The parts of a comma-separated list, each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def chosen(text: str, known: Iterable[str], what: str) -> list[str]:
    """The comma-separated names, each of which must be known; MatnetError otherwise."""
    names, all_names = names_in(text), list(known)
    wrong = [name for name in names if name not in all_names]
    if wrong or not names:
        found = repr(wrong[0]) if wrong else "nothing"
        raise MatnetError(f"{what} takes {', '.join(all_names)} with commas between them, found {found}")
    return names


def batches_in(text: str) -> list[int]:
    """Batch sizes of a comma-separated list; MatnetError where one is none."""
    parts = names_in(text)
    if not parts or not all(part.isdigit() and 0 < int(part) <= LARGEST_BATCH for part in parts):
        raise MatnetError(f"--batch takes numbers from 1 to {LARGEST_BATCH} with commas between them, found {text!r}")
    return [int(part) for part in parts]
