"""Evaluation: images through a network, scored, as one comparable record."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matnet.evaluation.config import EvaluationConfig
    from matnet.evaluation.flow import evaluate
    from matnet.evaluation.record import Evaluation, Run, versions
    from matnet.evaluation.scores import score_variable
    from matnet.evaluation.tally import Tally
    from matnet.evaluation.tasks import TASKS
    from matnet.evaluation.tasks.detection import DetectionEvaluation
    from matnet.evaluation.tasks.edges import EdgeEvaluation
    from matnet.evaluation.tasks.retrieval import RetrievalEvaluation
    from matnet.evaluation.tasks.segmentation import SegmentationEvaluation
    from matnet.evaluation.tasks.verification import VerificationEvaluation

__all__ = [
    "TASKS",
    "DetectionEvaluation",
    "EdgeEvaluation",
    "Evaluation",
    "EvaluationConfig",
    "RetrievalEvaluation",
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

# Loaded at first use: who wants one module of this package should not pay for all of them.
_MODULES = {
    "DetectionEvaluation": "matnet.evaluation.tasks.detection",
    "EdgeEvaluation": "matnet.evaluation.tasks.edges",
    "Evaluation": "matnet.evaluation.record",
    "EvaluationConfig": "matnet.evaluation.config",
    "RetrievalEvaluation": "matnet.evaluation.tasks.retrieval",
    "Run": "matnet.evaluation.record",
    "SegmentationEvaluation": "matnet.evaluation.tasks.segmentation",
    "TASKS": "matnet.evaluation.tasks",
    "Tally": "matnet.evaluation.tally",
    "VerificationEvaluation": "matnet.evaluation.tasks.verification",
    "evaluate": "matnet.evaluation.flow",
    "score_variable": "matnet.evaluation.scores",
    "versions": "matnet.evaluation.record",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def evaluate_segmentation(*arguments: Any, **keywords: Any) -> Any:
    """Deprecated: `evaluate` takes segmentation sets."""
    warnings.warn("use matnet.evaluation.evaluate, which takes segmentation sets", DeprecationWarning, stacklevel=2)
    return evaluate(*arguments, **keywords)


def evaluate_verification(*arguments: Any, **keywords: Any) -> Any:
    """Deprecated: `evaluate` takes sets of pairs."""
    warnings.warn("use matnet.evaluation.evaluate, which takes sets of pairs", DeprecationWarning, stacklevel=2)
    return evaluate(*arguments, **keywords)
