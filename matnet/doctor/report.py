"""What the doctor found, as text for people and as JSON."""

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
"""Characters of a line at a terminal."""


BY_CHANCE = (
    "the error is what chance gives, and none of the usual errors explains it: the network and the classes of the "
    "images may not belong together"
)
LEGEND = (
    "top-1 err.: with the change; was: without it, on the same images; log p: how much the log-probability of the true "
    "class grows, calibrated, mean of the images; paired signed-rank test, 1 % for all changes together"
)


def findings_text(findings: Sequence[Finding]) -> str:
    """Problems first, each with what to do."""
    ordered = sorted(findings, key=lambda finding: finding.level != PROBLEM)
    rows = [{**finding.record(), "what": " ".join(finding.what.split())} for finding in ordered]
    columns = FINDINGS if any(finding.remedy for finding in findings) else FINDINGS[:-1]
    return Table(columns, rows).text(width=LINE)


def trials_text(diagnosis: Diagnosis) -> str:
    """The error as it is, then that of every change; `verdict` says how the best one becomes permanent."""
    rows = [_row(diagnosis.base, "")] + [_row(trial, trial.conclusion) for trial in diagnosis.trials]
    return "\n\n".join([Table(TRIALS, rows).text(width=LINE), paragraph(LEGEND)])


def paragraph(text: str) -> str:
    """Text in lines that fit a terminal; an option is not broken at its hyphens."""
    return fill(text, LINE, break_on_hyphens=False, break_long_words=False)


def verdict(diagnosis: Diagnosis) -> str:
    """The conclusion of the search in a sentence."""
    best, base = diagnosis.best, diagnosis.base
    if best is None:
        if diagnosis.by_chance:
            return BY_CHANCE
        if diagnosis.trials and all(trial.verdict == UNDECIDED for trial in diagnosis.trials):
            return f"nothing can be decided with {diagnosis.base.images} images; give more"
        return "none of the usual errors is found"
    others = [trial.knob for trial in diagnosis.trials if trial.verdict == BETTER and trial is not best]
    rest = f"; better alone as well: {', '.join(dict.fromkeys(others))}; try again after the change" if others else ""
    return (
        f"{best.knob}: {best.what}: the top-1 error falls from {best.base_error:.1f} to {best.error:.1f} % "
        f"({best.images} images, p = {best.p:.2g}){rest}; make it permanent with {best.remedy or base.remedy}"
    )


def record(
    model: str, findings: Sequence[Finding], diagnosis: Diagnosis | None, preprocessing: str = "", dataset: str = ""
) -> dict[str, Any]:
    """All of it as plain JSON values."""
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
