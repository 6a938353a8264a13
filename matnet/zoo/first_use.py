"""Trust on first use: record the SHA-256 of a file without a published checksum beside it, as `NAME.sha256`."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from matnet.files import atomic_write
from matnet.zoo.checks import digests

log = logging.getLogger(__name__)
SUFFIX = ".sha256"


def trust_first(target: Path) -> None:
    """Record the SHA-256 of a new file, and warn that it is unverified."""
    if _recorded(target) is not None:
        return
    found = digests(target, ["sha256"])["sha256"]
    with atomic_write(_beside(target)) as file:
        file.write(f"{found}  {target.name}\n".encode())
    log.warning(
        f"{target}: unverified, because no checksum was published; its SHA-256 {found} is now recorded in "
        f"{_beside(target).name}, and any other file will be refused"
    )


def differs_from_first(found: Path, target: Path) -> str | None:
    """Why a file is not the one recorded for `target`; None if it is, or if nothing is recorded."""
    expected = _recorded(target)
    if expected is None:
        return None
    digest = digests(found, ["sha256"])["sha256"]
    if digest == expected:
        return None
    return f"its SHA-256 is {digest}, but was {expected} at first use: remove {_beside(target)} to accept another file"


def _recorded(target: Path) -> str | None:
    try:
        with _beside(target).open("rb") as file:
            start = file.read(65)
    except OSError:
        return None
    found = re.fullmatch(rb"([0-9a-f]{64})\s", start)
    return found[1].decode() if found else None


def _beside(target: Path) -> Path:
    return target.with_name(f"{target.name}{SUFFIX}")
