"""The published tables again: which rows, on what data, measured, kept, compared, written, drawn."""

from __future__ import annotations

from matnet.reproduction.expected import PAGE, Expected, expected_rows
from matnet.reproduction.rows import Row

__all__ = ["PAGE", "Expected", "Row", "expected_rows"]
