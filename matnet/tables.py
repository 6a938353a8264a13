"""Tables of plain values, as text for terminals, Markdown, HTML, CSV and JSON rows."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple
from unicodedata import east_asian_width

NARROWEST = 12
"""Minimum width of a narrowed column, in characters."""


class Column(NamedTuple):
    """A column: the key of its values, its heading, alignment and number format.

    places: decimal places; None: unchanged. signed: write `+` before positive numbers. width: minimum number of
    characters in the fixed form.
    """

    key: str
    heading: str
    align: str = "left"
    places: int | None = None
    signed: bool = False
    width: int = 0

    def cell(self, value: Any) -> str:
        """The value as text; empty for None and non-finite numbers."""
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return ""
        if isinstance(value, (int, float)) and not isinstance(value, bool) and self.places is not None:
            rounded = round(value, self.places) + 0.0  # no -0.00
            return f"{rounded:{'+' if self.signed else ''},.{self.places}f}".replace(",", "")
        return _safe(str(value))


@dataclass(frozen=True)
class Table:
    """A table. rows: column key -> value; further keys are ignored. notes: lines below the table."""

    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    title: str = ""
    notes: Sequence[str] = field(default=())

    @classmethod
    def of(cls, headings: Sequence[str], rows: Iterable[Sequence[Any]], right: Collection[str] = ()) -> Table:
        """A table from rows of values in the order of the headings. right: headings of right-aligned columns.

        >>> print(Table.of(["file", "MB"], [["a", 20.5]], right=["MB"]).text())
        file      MB
        ------  ----
        a       20.5
        """
        columns = [
            Column(str(number), heading, "right" if heading in right else "left")
            for number, heading in enumerate(headings)
        ]
        return cls(columns, [{str(number): value for number, value in enumerate(row)} for row in rows])

    @property
    def cells(self) -> list[list[str]]:
        """All values as text."""
        return [[column.cell(row.get(column.key)) for column in self.columns] for row in self.rows]

    def text(self, form: str = "simple", width: int | None = None) -> str:
        """The grid: `simple` for terminals, `pipe` for Markdown, `fixed` with minimum column widths.

        width: line width of the simple form; left-aligned columns are wrapped to fit.
        """
        if form == "fixed":
            return self._fixed()
        if form == "simple":
            return self._simple(width)
        from tabulate import tabulate

        headings = [column.heading for column in self.columns]
        align = [column.align for column in self.columns]
        return tabulate(
            self.cells, headings, tablefmt=form, disable_numparse=True, colalign=align if self.rows else None
        )

    def terminal(self, form: str = "pipe") -> str:
        """Title, grid and notes."""
        return _parted(self.title, self.text(form), *self.notes)

    def markdown(self) -> str:
        """A section of a Markdown document."""
        title = f"## {self.title}" if self.title else ""
        return _parted(title, self.text("pipe"), *(f"- {note}" for note in self.notes))

    def html(self) -> str:
        """Grid and notes for a notebook, with inline styles because notebooks right-align cells."""
        from html import escape

        def line(tag: str, cells: Iterable[str]) -> str:
            parts = (
                f'<{tag} style="text-align:{column.align}">{escape(cell)}</{tag}>'
                for column, cell in zip(self.columns, cells, strict=True)
            )
            return f"<tr>{''.join(parts)}</tr>"

        lines = [line("th", (column.heading for column in self.columns)), *(line("td", cells) for cells in self.cells)]
        notes = "".join(f"<div>{escape(note)}</div>" for note in self.notes)
        return f"<div><table>{''.join(lines)}</table>{notes}</div>"

    def csv(self) -> str:
        """CSV with column keys as header; values unformatted, missing ones empty."""
        import csv

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.key for column in self.columns])
        for row in self.rows:
            writer.writerow([_csv_value(row.get(column.key)) for column in self.columns])
        return text.getvalue()

    def records(self) -> list[dict[str, Any]]:
        """The rows as JSON values; non-finite numbers are null."""
        return [
            {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in row.items()
            }
            for row in self.rows
        ]

    def _simple(self, width: int | None = None) -> str:
        """The same text as tabulate, which is slow to import."""
        rows = self.cells
        widths = [
            max([_width(column.heading) + 2, *(_width(row[number]) for row in rows)])
            for number, column in enumerate(self.columns)
        ]
        self._narrow(widths, width)

        def line(cells: Sequence[str]) -> str:
            filled = (
                " " * (width - _width(cell)) + cell if column.align == "right" else cell + " " * (width - _width(cell))
                for cell, column, width in zip(cells, self.columns, widths, strict=True)
            )
            return "  ".join(filled).rstrip()

        def lines(cells: Sequence[str]) -> list[str]:
            from textwrap import wrap

            fitted = zip(cells, widths, strict=True)
            wrapped = [wrap(cell, size, break_on_hyphens=False) or [""] for cell, size in fitted]
            return [line(part) for part in zip_longest(*wrapped, fillvalue="")]

        headings = line([column.heading for column in self.columns])
        rule = "  ".join("-" * size for size in widths)
        body = map(line, rows) if width is None else (part for row in rows for part in lines(row))
        return "\n".join([headings, rule, *body])

    def _narrow(self, widths: list[int], width: int | None) -> None:
        """Narrow the widest left-aligned columns until a line fits, but not below the width of their heading."""
        left = [number for number, column in enumerate(self.columns) if column.align == "left"]
        while width is not None and left and sum(widths) + 2 * (len(widths) - 1) > width:
            widest = max(left, key=lambda number: widths[number])
            if widths[widest] <= max(NARROWEST, _width(self.columns[widest].heading)):
                return
            widths[widest] -= 1

    def _fixed(self) -> str:
        rule = "|" + "|".join("-" * column.width for column in self.columns) + "|"
        return "\n".join([self._line([column.heading for column in self.columns]), rule, *map(self._line, self.cells)])

    def _line(self, cells: Iterable[str]) -> str:
        justified = (
            cell.rjust(column.width) if column.align == "right" else cell.ljust(column.width)
            for cell, column in zip(cells, self.columns, strict=True)
        )
        return "|" + "|".join(justified) + "|"


def _parted(title: str, grid: str, *notes: str) -> str:
    return "\n".join([*([title, ""] if title else []), grid, *(["", *notes] if notes else [])])


def _width(text: str) -> int:
    """Terminal columns taken by the text; wide (East Asian) characters take two."""
    return len(text) if text.isascii() else sum(1 + (east_asian_width(character) in "WF") for character in text)


def _safe(text: str) -> str:
    """The text with non-printable characters replaced by `?`."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _csv_value(value: Any) -> Any:
    """A value for a spreadsheet; text that looks like a formula is prefixed with an apostrophe."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
