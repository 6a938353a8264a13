"""The doctor's report as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any

from matnet.doctor.findings import PROBLEM, Finding
from matnet.doctor.search import BETTER, UNDECIDED, Diagnosis, TriedChange
from matnet.tables import Column, Table

FINDINGS = (
    Column("level", "level"), Column("part", "part"), Column("what", "found"), Column("remedy", "what to do"),
)  # fmt: skip
TRIALS = (
    Column("knob", "knob"),
    Column("what", "change"),
    Column("images", "images", "right"),
    Column("errors", "top-1 err. (95 %)", "right"),
    Column("base_error", "was", "right", places=1),
    Column("gain", "log p", "right", places=3, signed=True),
    Column("conclusion", "conclusion"),
)
LINE = 100
"""Characters per line on a terminal."""


BY_CHANCE = (
    "the top-1 error is that of chance, and none of the usual errors explains it: the images may have other classes "
    "than the network"
)
LEGEND = (
    "top-1 err.: with the change; was: without it, on the same images; log p: mean increase of the calibrated "
    "log-probability of the true class; paired signed-rank test, at 1 % for all changes together"
)


def findings_text(findings: Sequence[Finding]) -> str:
    """The findings as a table, problems first."""
    ordered = sorted(findings, key=lambda finding: finding.level != PROBLEM)
    rows = [{**finding.record(), "what": " ".join(finding.what.split())} for finding in ordered]
    columns = FINDINGS if any(finding.remedy for finding in findings) else FINDINGS[:-1]
    return Table(columns, rows).text(width=LINE)


def trials_text(diagnosis: Diagnosis) -> str:
    """A table of the unchanged error and that of every change."""
    rows = [_row(diagnosis.base, "")] + [_row(trial, trial.conclusion) for trial in diagnosis.trials]
    return "\n\n".join([Table(TRIALS, rows).text(width=LINE), paragraph(LEGEND)])


def paragraph(text: str) -> str:
    """Text wrapped for a terminal, without breaks at the hyphens of options."""
    return fill(text, LINE, break_on_hyphens=False, break_long_words=False)


def verdict(diagnosis: Diagnosis) -> str:
    """The conclusion of the search, with the best change and how to make it permanent."""
    best, base = diagnosis.best, diagnosis.base
    if best is None:
        undecided = [trial for trial in diagnosis.trials if trial.verdict == UNDECIDED]
        if undecided and undecided == diagnosis.trials and not diagnosis.by_chance:
            return f"{base.images} images are too few for a decision; give more"
        knobs = ", ".join(dict.fromkeys(trial.knob for trial in undecided if trial.gain > 0))
        rest = f"; {base.images} images are too few to decide on: {knobs}" if knobs else ""
        return (BY_CHANCE if diagnosis.by_chance else "found none of the usual errors") + rest
    others = [trial.knob for trial in diagnosis.trials if trial.verdict == BETTER and trial is not best]
    rest = f"; also better: {', '.join(dict.fromkeys(others))}; run the doctor again after the change" if others else ""
    return (
        f"{best.knob}: {best.what}: the top-1 error falls from {best.base_error:.1f} to {best.error:.1f} % "
        f"({best.images} images, p = {best.p:.2g}){rest}; make it permanent: {best.remedy or base.remedy}"
    )


def record(
    model: str, findings: Sequence[Finding], diagnosis: Diagnosis | None, preprocessing: str = "", dataset: str = ""
) -> dict[str, Any]:
    """The report as plain JSON values."""
    return {
        "model": model,
        "preprocessing": preprocessing,
        "dataset": dataset,
        "findings": [finding.record() for finding in findings],
        "search": None if diagnosis is None else {**diagnosis.record(), "verdict": verdict(diagnosis)},
    }


def _row(trial: TriedChange, conclusion: str) -> dict[str, Any]:
    errors = f"{trial.error:.1f} ({trial.low:.1f} to {trial.high:.1f})"
    return {**vars(trial), "errors": errors, "conclusion": conclusion}
