"""What is evaluated on: labelled images, segmentations and pairs of faces, each checked before anything runs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matnet.datasets.bsds import EdgeSet, load_bsds
    from matnet.datasets.guess import KINDS, load, load_images
    from matnet.datasets.image_list import LIST_NAMES, ImageList
    from matnet.datasets.imagenet import load_imagenet
    from matnet.datasets.lfw import PairSet, load_lfw
    from matnet.datasets.objects import OBJECT_CLASSES, DetectionSet, load_voc_objects
    from matnet.datasets.retrieval import RetrievalSet, load_retrieval
    from matnet.datasets.scan import IMAGE_SUFFIXES
    from matnet.datasets.segmentations import load_context, load_nyud, load_segmentations, load_sift_flow
    from matnet.datasets.synsets import ORDERS, class_order
    from matnet.datasets.voc import VOC_CLASSES, SegmentationSet, load_voc

__all__ = [
    "IMAGE_SUFFIXES",
    "KINDS",
    "LIST_NAMES",
    "OBJECT_CLASSES",
    "ORDERS",
    "VOC_CLASSES",
    "DetectionSet",
    "EdgeSet",
    "ImageList",
    "PairSet",
    "RetrievalSet",
    "SegmentationSet",
    "class_order",
    "load",
    "load_bsds",
    "load_context",
    "load_imagenet",
    "load_images",
    "load_lfw",
    "load_nyud",
    "load_retrieval",
    "load_segmentations",
    "load_sift_flow",
    "load_voc",
    "load_voc_objects",
]

# Loaded at first use: who wants one module of this package should not pay for all of them.
_MODULES = {
    "DetectionSet": "matnet.datasets.objects",
    "EdgeSet": "matnet.datasets.bsds",
    "IMAGE_SUFFIXES": "matnet.datasets.scan",
    "ImageList": "matnet.datasets.image_list",
    "KINDS": "matnet.datasets.guess",
    "LIST_NAMES": "matnet.datasets.image_list",
    "OBJECT_CLASSES": "matnet.datasets.objects",
    "ORDERS": "matnet.datasets.synsets",
    "PairSet": "matnet.datasets.lfw",
    "RetrievalSet": "matnet.datasets.retrieval",
    "SegmentationSet": "matnet.datasets.voc",
    "VOC_CLASSES": "matnet.datasets.voc",
    "class_order": "matnet.datasets.synsets",
    "load": "matnet.datasets.guess",
    "load_imagenet": "matnet.datasets.imagenet",
    "load_images": "matnet.datasets.guess",
    "load_lfw": "matnet.datasets.lfw",
    "load_bsds": "matnet.datasets.bsds",
    "load_context": "matnet.datasets.segmentations",
    "load_nyud": "matnet.datasets.segmentations",
    "load_retrieval": "matnet.datasets.retrieval",
    "load_segmentations": "matnet.datasets.segmentations",
    "load_sift_flow": "matnet.datasets.segmentations",
    "load_voc": "matnet.datasets.voc",
    "load_voc_objects": "matnet.datasets.objects",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
