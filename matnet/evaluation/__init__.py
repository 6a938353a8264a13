"""Evaluate a network on a data set; the result is one comparable record."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from matnet.lazy import lazy

if TYPE_CHECKING:
    from matnet.evaluation.coco import CocoEvaluation
    from matnet.evaluation.config import EvaluationConfig
    from matnet.evaluation.flow import evaluate
    from matnet.evaluation.record import Evaluation, Run, versions
    from matnet.evaluation.scores import score_variable
    from matnet.evaluation.tally import Tally
    from matnet.evaluation.tasks import TASKS
    from matnet.evaluation.tasks.detection import DetectionEvaluation
    from matnet.evaluation.tasks.edges import EdgeEvaluation
    from matnet.evaluation.tasks.regression import RegressionEvaluation
    from matnet.evaluation.tasks.retrieval import RetrievalEvaluation
    from matnet.evaluation.tasks.segmentation import SegmentationEvaluation
    from matnet.evaluation.tasks.verification import VerificationEvaluation

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "coco": "CocoEvaluation",
        "config": "EvaluationConfig",
        "flow": "evaluate",
        "record": "Evaluation Run versions",
        "scores": "score_variable",
        "tally": "Tally",
        "tasks": "TASKS",
        "tasks.detection": "DetectionEvaluation",
        "tasks.edges": "EdgeEvaluation",
        "tasks.regression": "RegressionEvaluation",
        "tasks.retrieval": "RetrievalEvaluation",
        "tasks.segmentation": "SegmentationEvaluation",
        "tasks.verification": "VerificationEvaluation",
    },
)
__all__ += ["evaluate_segmentation", "evaluate_verification"]


def _deprecated(sets: str) -> Callable[..., Any]:
    def evaluate_any(*arguments: Any, **keywords: Any) -> Any:
        """Deprecated: use `evaluate`, which takes every kind of data set."""
        from matnet.evaluation.flow import evaluate

        warnings.warn(f"use matnet.evaluation.evaluate, which takes {sets}", DeprecationWarning, stacklevel=2)
        return evaluate(*arguments, **keywords)

    return evaluate_any


evaluate_segmentation, evaluate_verification = _deprecated("segmentation sets"), _deprecated("sets of pairs")
