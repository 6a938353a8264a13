"""Records kept between runs, one JSON file each, written atomically."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from matnet.errors import MatnetError
from matnet.files import atomic_write

log = logging.getLogger(__name__)

DAMAGED = ".damaged"
"""Appended to the name of a file that holds no valid record."""

Value = TypeVar("Value")


def key_digest(key: Mapping[str, Any]) -> str:
    """SHA-256 of a key, independent of the order of its fields."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def read_record(path: Path, parse: Callable[[dict[str, Any]], Value]) -> Value | None:
    """Read and `parse` the record in a file; None if it is missing or unusable.

    A file that is not a JSON object, or for which `parse` raises LookupError, ArithmeticError, TypeError, ValueError,
    AttributeError or MatnetError, is renamed to NAME.damaged with a warning. An unreadable file is ignored with a
    warning.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s: cannot be read (%s); ignored", path, error.strerror or error)
        return None
    try:
        record = json.loads(text)
        if not isinstance(record, dict):
            raise ValueError("expected a JSON object")
        return parse(record)
    except (LookupError, ArithmeticError, TypeError, ValueError, AttributeError, RecursionError, MatnetError) as error:
        _set_aside(path, error)
        return None


def _set_aside(path: Path, error: Exception) -> None:
    why = str(error) or type(error).__name__
    aside = path.with_name(path.name + DAMAGED)
    try:
        os.replace(path, aside)
    except OSError:
        log.warning("%s: is damaged (%s); ignored", path, why)
        return
    log.warning("%s: is damaged (%s); renamed to %s", path, why, aside.name)


def write_record(path: Path, record: Mapping[str, Any]) -> bool:
    """Write a record atomically, creating its folder if necessary.

    If it cannot be written, logs a warning and returns False.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(f"{json.dumps(record, indent=1)}\n".encode())
    except (OSError, MatnetError, RuntimeError) as error:  # RuntimeError: unknown home folder
        log.warning("%s: cannot be written (%s)", path, getattr(error, "strerror", None) or error)
        return False
    return True


def remove_record(path: Path) -> None:
    """Remove a record if it exists; logs a warning if it cannot be removed."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s: cannot be removed (%s)", path, error.strerror or error)
