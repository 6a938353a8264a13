"""Evaluation: images through a network, scored, as one comparable record."""

from __future__ import annotations

from matnet.evaluation.loop import evaluate, score_variable
from matnet.evaluation.pipeline import prepared_batches
from matnet.evaluation.record import Evaluation, versions

__all__ = ["Evaluation", "evaluate", "prepared_batches", "score_variable", "versions"]
