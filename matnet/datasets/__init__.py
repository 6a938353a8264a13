"""Data sets for evaluation: labelled images, values, segmentations, boxes, faces; all are checked when loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matnet.lazy import lazy

if TYPE_CHECKING:
    from matnet.datasets.bsds import EdgeSet, load_bsds
    from matnet.datasets.coco import load_coco_objects
    from matnet.datasets.guess import KINDS, load, load_images
    from matnet.datasets.image_list import LIST_NAMES, ImageList
    from matnet.datasets.imagenet import load_imagenet
    from matnet.datasets.lfw import PairSet, load_lfw
    from matnet.datasets.objects import OBJECT_CLASSES, DetectionSet, load_voc_objects
    from matnet.datasets.retrieval import RetrievalSet, load_retrieval
    from matnet.datasets.scan import IMAGE_SUFFIXES
    from matnet.datasets.segmentations import load_context, load_nyud, load_segmentations, load_sift_flow
    from matnet.datasets.synsets import ORDERS, class_order
    from matnet.datasets.value_list import ValueList, load_values
    from matnet.datasets.voc import VOC_CLASSES, SegmentationSet, load_voc

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "bsds": "EdgeSet load_bsds",
        "coco": "load_coco_objects",
        "guess": "KINDS load load_images",
        "image_list": "LIST_NAMES ImageList",
        "imagenet": "load_imagenet",
        "lfw": "PairSet load_lfw",
        "objects": "OBJECT_CLASSES DetectionSet load_voc_objects",
        "retrieval": "RetrievalSet load_retrieval",
        "scan": "IMAGE_SUFFIXES",
        "segmentations": "load_context load_nyud load_segmentations load_sift_flow",
        "synsets": "ORDERS class_order",
        "value_list": "ValueList load_values",
        "voc": "VOC_CLASSES SegmentationSet load_voc",
    },
)
