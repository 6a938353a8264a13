"""Evaluation: images through a network, scored, as one comparable record."""

from __future__ import annotations

from matnet.evaluation.loop import evaluate, score_variable
from matnet.evaluation.record import Evaluation, Run, versions
from matnet.evaluation.tally import Tally

__all__ = ["Evaluation", "Run", "Tally", "evaluate", "score_variable", "versions"]
