"""A row of a table: measured and published figures, their agreement, and the measured file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from matnet.outcomes import Outcome, Status
from matnet.reproduction.expected import Expected

FIGURES = {
    "classification": ("top1_error", "top5_error"),
    "segmentation": ("mean_iou", "pixel_accuracy", "mean_class_accuracy"),
    "faces": ("accuracy",),
    "detection": ("mean_ap",),
    "retrieval": ("mean_ap",),
    "edges": ("ods", "ois"),
}
"""The compared figures by task, all in percent."""

ROUNDING = 1e-9  # so that a difference of exactly the tolerance is within it


@dataclass
class Row:
    """One model's row. outcome: its status; if `run` is empty, why there are no figures.

    run: the evaluation's record, if any. remark: further text of the status column. md5_status: OK, MISMATCH, unknown,
    absent, or "" if no file was read. generation: which publication of the file it is. whole: whether the whole data
    set was used, with the model's own weights and status ok; figures are compared only then. resumed: whether the
    figures come from an earlier run.
    """

    expected: Expected
    outcome: Outcome
    remark: str = ""
    run: Mapping[str, Any] = field(default_factory=dict)
    md5: str = ""
    md5_status: str = ""
    generation: str = ""
    whole: bool = True
    resumed: bool = False

    @property
    def done(self) -> bool:
        """Whether there are figures."""
        return bool(self.run)

    @property
    def failed(self) -> bool:
        return self.outcome.status is Status.FAILED

    @property
    def status(self) -> str:
        """The text in the table: `ok`, `absent: ...`, `failed: ...`, `random weights`, ..."""
        return "; ".join(filter(None, [str(self.outcome), self.remark]))

    def measured(self, figure: str) -> float | None:
        value = self.run.get(figure)
        return None if value is None else float(value)

    def published(self, figure: str) -> float | None:
        if self.expected.published is None:
            return None
        figures = self.expected.published.figures
        # Some cards quote accuracy instead of the top-1 error.
        stated = 100 - figures["accuracy"] if figure == "top1_error" and "accuracy" in figures else None
        return figures.get(figure, stated)

    def difference(self, figure: str) -> float | None:
        """Measured minus published."""
        measured, published = self.measured(figure), self.published(figure)
        return None if measured is None or published is None else measured - published

    @property
    def tolerance(self) -> float | None:
        return self.expected.published.tolerance if self.expected.published else None

    @property
    def outside(self) -> dict[str, float]:
        """The differences that exceed the card's tolerance; empty if nothing can be compared."""
        if not self.judged:
            return {}
        assert self.tolerance is not None
        found = {figure: self.difference(figure) for figure in FIGURES[self.expected.task]}
        return {name: gap for name, gap in found.items() if gap is not None and abs(gap) > self.tolerance + ROUNDING}

    @property
    def judged(self) -> bool:
        """Whether there is a figure to compare, and a tolerance."""
        comparable = any(self.difference(figure) is not None for figure in FIGURES[self.expected.task])
        return self.done and self.whole and self.tolerance is not None and comparable

    @property
    def verdict(self) -> str:
        """`within`, `outside`, or ""."""
        return ("outside" if self.outside else "within") if self.judged else ""

    def record(self) -> dict[str, Any]:
        """The row as plain JSON values."""
        figures = (*FIGURES[self.expected.task], "images_per_s")
        published = self.expected.published
        return {
            "model": self.expected.card.name,
            "task": self.expected.task,
            "introduced": self.expected.card.introduced,
            "parameters": self.expected.card.parameters,
            "status": str(self.outcome.status),
            "status_reason": "; ".join(filter(None, [self.outcome.reason, self.remark])),
            "figures": {name: self.measured(name) for name in figures},
            "published": {name: self.published(name) for name in figures},
            "difference": {name: self.difference(name) for name in figures},
            "tolerance": self.tolerance,
            "verdict": self.verdict or None,
            "source": published.source if published else None,
            "published_on": published.data if published else None,
            "published_protocol": published.protocol if published else None,
            "md5": {"status": self.md5_status, "generation": self.generation, "md5": self.md5},
            "resumed": self.resumed,
            "run": dict(self.run) or None,
        }
