"""Align the labels of images with the network's classes, even if they only nearly fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from matnet.datasets import ImageList
from matnet.datasets.matching import WNID
from matnet.doctor.findings import Finding, note, problem
from matnet.errors import DataError
from matnet.evaluation.classes import align
from matnet.network import Network


def aligned(
    net: Network,
    images: ImageList,
    outputs: int | None,
    stated: str | Sequence[str] | None,
    order: str | None,
    variable: str,
) -> tuple[ImageList, list[Finding]]:
    """The images with labels as indices of the network's outputs, and findings about the labels.

    ImageNet classes in an unknown order are assumed to be sorted by WordNet id, and labels from 1 to the number of
    outputs to be 1-based; the search checks both. Raises DataError for other labels that match no class.
    """
    findings: list[Finding] = [note("labels", text) for text in images.notes]
    try:
        found = align(net, images, outputs, stated, order, variable=variable)
    except DataError as error:
        for attempt, what, remedy in _attempts(images, outputs, stated):
            try:
                found = align(net, attempt, outputs, stated or "ilsvrc12" if attempt is images else stated, order)
            except DataError:
                continue
            return found, [*findings, problem("labels", f"{str(error).splitlines()[0]}: {what}", remedy)]
        raise
    if found.doubt:
        findings.append(note("labels", found.doubt))
    return found, findings + [note("labels", text) for text in found.notes if text not in images.notes]


def _attempts(images: ImageList, outputs: int | None, stated: object) -> Iterator[tuple[ImageList, str, str]]:
    """Other labels or class orders that may fit, their descriptions, and how to make them permanent."""
    if images.class_names is None and outputs and images.labels.min() >= 1 and images.labels.max() == outputs:
        shifted = replace(images, labels=images.labels - 1)
        yield shifted, "read as 1-based", "subtract 1 from every label of the list"
    if stated is None and images.class_names and all(WNID.match(name) for name in images.class_names):
        yield images, "read as sorted by WordNet id, Caffe's class order", "--classes ilsvrc12"
