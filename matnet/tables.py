"""The published table's form: `model|introduced|top-1 err.|top-5 err.|images/s`."""

from __future__ import annotations

from collections.abc import Iterable

from matnet.evaluation import Evaluation

COLUMNS = (("model", 30), ("introduced", 10), ("top-1 err.", 10), ("top-5 err.", 10), ("images/s", 10))


def published_table(rows: Iterable[Evaluation]) -> str:
    """The rows as MatConvNet's page prints them: right-aligned columns of 30, 10, 10, 10, 10, figures to one decimal.

    The newest model comes first; rows of one year keep their order.
    """
    ordered = sorted(rows, key=lambda row: row.introduced, reverse=True)
    lines = [_line([name for name, _ in COLUMNS]), "|" + "|".join("-" * width for _, width in COLUMNS) + "|"]
    for row in ordered:
        figures = (row.top1_error, row.top5_error, row.images_per_s)
        lines.append(_line([row.model, row.introduced or "-", *(f"{figure:.1f}" for figure in figures)]))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "|" + "|".join(cell.rjust(width) for cell, (_, width) in zip(cells, COLUMNS, strict=True)) + "|"
