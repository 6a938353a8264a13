"""What is evaluated on: labelled images, segmentations and pairs of faces, each checked before anything runs."""

from __future__ import annotations

from matnet.datasets.guess import KINDS, load, load_images
from matnet.datasets.image_list import LIST_NAMES, ImageList
from matnet.datasets.imagenet import load_imagenet
from matnet.datasets.lfw import PairSet, load_lfw
from matnet.datasets.scan import IMAGE_SUFFIXES
from matnet.datasets.synsets import ORDERS, class_order
from matnet.datasets.voc import VOC_CLASSES, SegmentationSet, load_voc

__all__ = [
    "IMAGE_SUFFIXES",
    "KINDS",
    "LIST_NAMES",
    "ORDERS",
    "VOC_CLASSES",
    "ImageList",
    "PairSet",
    "SegmentationSet",
    "class_order",
    "load",
    "load_imagenet",
    "load_images",
    "load_lfw",
    "load_voc",
]
