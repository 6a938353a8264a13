"""Evaluation: images through a network, scored, as one comparable record."""

from __future__ import annotations

import warnings
from typing import Any

from matnet.evaluation.config import EvaluationConfig
from matnet.evaluation.flow import evaluate
from matnet.evaluation.record import Evaluation, Run, versions
from matnet.evaluation.tally import Tally
from matnet.evaluation.tasks import TASKS
from matnet.evaluation.tasks.classification import score_variable
from matnet.evaluation.tasks.segmentation import SegmentationEvaluation
from matnet.evaluation.tasks.verification import VerificationEvaluation

__all__ = [
    "TASKS",
    "Evaluation",
    "EvaluationConfig",
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


def evaluate_segmentation(*arguments: Any, **keywords: Any) -> Any:
    """Deprecated: `evaluate` takes segmentation sets."""
    warnings.warn("use matnet.evaluation.evaluate, which takes segmentation sets", DeprecationWarning, stacklevel=2)
    return evaluate(*arguments, **keywords)


def evaluate_verification(*arguments: Any, **keywords: Any) -> Any:
    """Deprecated: `evaluate` takes sets of pairs."""
    warnings.warn("use matnet.evaluation.evaluate, which takes sets of pairs", DeprecationWarning, stacklevel=2)
    return evaluate(*arguments, **keywords)
