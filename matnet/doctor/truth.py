"""The labels of the images as the network's classes, also where they are labelled in a way that only nearly fits."""

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
    """The images with labels that count in the network's outputs, and what is wrong with them already.

    Where nothing states the order of ImageNet's classes, they are taken as sorted by WordNet id, and where labels run
    from 1 to the number of the outputs, 1 is subtracted; the search decides. Raises DataError for any other labels that
    fit no class.
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
    """Other labels or another order that may fit, in words, with what makes them stay."""
    if images.class_names is None and outputs and images.labels.min() >= 1 and images.labels.max() == outputs:
        shifted = replace(images, labels=images.labels - 1)
        yield shifted, "taken as counted from 1", "subtract 1 from every label of the list"
    if stated is None and images.class_names and all(WNID.match(name) for name in images.class_names):
        yield images, "taken as sorted by WordNet id, as Caffe's networks count", "--classes ilsvrc12"
