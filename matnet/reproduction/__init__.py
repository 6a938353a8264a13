"""Reproduce the published tables: choose rows and data, measure, store, compare, write, plot."""

from __future__ import annotations

from matnet.reproduction.expected import PAGE, Expected, expected_rows
from matnet.reproduction.rows import Row

__all__ = ["PAGE", "Expected", "Row", "expected_rows"]
