"""Evaluation: images through a network, scored, as one comparable record."""

from __future__ import annotations

from matnet.evaluation.loop import evaluate, score_variable
from matnet.evaluation.record import Evaluation, Run, versions
from matnet.evaluation.segmentation import SegmentationEvaluation, evaluate_segmentation
from matnet.evaluation.tally import Tally
from matnet.evaluation.verification import VerificationEvaluation, evaluate_verification

__all__ = [
    "Evaluation",
    "Run",
    "SegmentationEvaluation",
    "Tally",
    "VerificationEvaluation",
    "evaluate",
    "evaluate_segmentation",
    "evaluate_verification",
    "score_variable",
    "versions",
]
