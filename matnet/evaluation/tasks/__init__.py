"""The tasks of an evaluation, one file each: reading, counting, figures, report."""

from __future__ import annotations

from matnet.evaluation.tasks.base import Task
from matnet.evaluation.tasks.classification import Classification
from matnet.evaluation.tasks.detection import Detection
from matnet.evaluation.tasks.edges import Edges
from matnet.evaluation.tasks.regression import Regression
from matnet.evaluation.tasks.retrieval import Retrieval
from matnet.evaluation.tasks.segmentation import Segmentation
from matnet.evaluation.tasks.verification import Verification

TASKS: dict[str, type[Task]] = {
    kind.name: kind for kind in (Classification, Segmentation, Verification, Detection, Retrieval, Edges, Regression)
}
"""The tasks by name, as in model cards and `--task`."""

__all__ = [
    "TASKS",
    "Classification",
    "Detection",
    "Edges",
    "Regression",
    "Retrieval",
    "Segmentation",
    "Task",
    "Verification",
]
