"""The usual errors in labels, each as the change that corrects it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

IMAGENET = 1000
_WNID = re.compile(r"n\d{8}(?!\d)")


@dataclass(frozen=True, eq=False)
class LabelChange:
    """Other labels for the same images. labels: one 0-based class per image. remedy: how to make it permanent.

    classes: the equivalent order of the network's classes, for `--classes`; or "".
    """

    what: str
    labels: np.ndarray
    remedy: str
    classes: str | tuple[str, ...] = ""
    knob: str = "labels"


def label_changes(paths: Sequence[Path], labels: np.ndarray, outputs: int, names: Sequence[str]) -> list[LabelChange]:
    """The changes of 0-based `labels` that stay below `outputs`; names: the network's class names, or none."""
    found: list[LabelChange] = []
    for change in (*_shifted(labels), *_orders(labels, outputs), *_by_text(labels, outputs),
                   *_by_name(paths, outputs, names)):  # fmt: skip
        known = [labels, *(other.labels for other in found)]
        inside = change.labels.min() >= 0 and change.labels.max() < outputs
        if inside and not any(np.array_equal(change.labels, other) for other in known):
            found.append(change)
    return found


def _shifted(labels: np.ndarray) -> Iterator[LabelChange]:
    yield LabelChange(
        "the labels are 1-based: subtract 1", labels - 1, "subtract 1 from every label of the list", knob="labels"
    )
    yield LabelChange("the first output is not a class: add 1", labels + 1, "add 1 to every label of the list")


def _orders(labels: np.ndarray, outputs: int) -> Iterator[LabelChange]:
    """ImageNet's two class orders, exchanged: sorted by WordNet id, and the development kit's."""
    from matnet.datasets import class_order

    if outputs != IMAGENET or not len(labels) or labels.min() < 0 or labels.max() >= outputs:
        return
    by_id, kit = class_order("ilsvrc12-sorted"), class_order("ilsvrc12-devkit")
    to_kit = np.array([kit.index(wnid) for wnid in by_id])
    to_id = np.array([by_id.index(wnid) for wnid in kit])
    yield LabelChange(
        "labels sorted by WordNet id, outputs in the development kit's order", to_kit[labels],
        "--classes devkit, with images labelled by WordNet ids; to name the outputs: --write FIXED.mat", "devkit",
    )  # fmt: skip
    yield LabelChange(
        "labels in the development kit's order (from 0), outputs sorted by WordNet id", to_id[labels],
        "--classes ilsvrc12, with images labelled by WordNet ids", "ilsvrc12",
    )  # fmt: skip
    if labels.min() >= 1:
        yield LabelChange(
            "labels in the development kit's order (from 1), outputs sorted by WordNet id",
            to_id[labels - 1],
            "--classes ilsvrc12, with images labelled by WordNet ids", "ilsvrc12",
        )  # fmt: skip


def _by_text(labels: np.ndarray, outputs: int) -> Iterator[LabelChange]:
    """Numbers sorted as text (0, 1, 10, 100, 101, ...), as many programs sort numbered folders."""
    if outputs <= 10 or labels.min() < 0 or labels.max() >= outputs:
        return
    as_text = np.array(sorted(range(outputs), key=str))
    place = np.argsort(as_text)
    yield LabelChange(
        "the labels are indices into numbers sorted as text", as_text[labels],
        "number the class folders with leading zeros, and label the images again",
    )  # fmt: skip
    yield LabelChange(
        "the outputs are in the order of numbers sorted as text", place[labels],
        "--write FIXED.mat, which names the outputs in this order", tuple(str(number) for number in as_text),
    )  # fmt: skip


def _by_name(paths: Sequence[Path], outputs: int, names: Sequence[str]) -> Iterator[LabelChange]:
    """The WordNet ids in the names of images or their folders, in the possible orders of the outputs."""
    from matnet.datasets import class_order

    matches = [_WNID.match(path.name) or _WNID.match(path.parent.name) for path in paths]
    if not matches or not all(matches):
        return
    found = [match.group() for match in matches if match]
    orders: list[tuple[str, Sequence[str], str]] = []
    own = [name[:9] for name in names]
    if own and all(_WNID.match(name) for name in own):
        orders.append(("the network's own classes", own, ""))
    if outputs == IMAGENET:
        orders.append(("the sorted order", class_order("ilsvrc12-sorted"), "ilsvrc12"))
        orders.append(("the development kit's order", class_order("ilsvrc12-devkit"), "devkit"))
    for words, order, stated in orders:
        place = {wnid: number for number, wnid in enumerate(order)}
        if all(wnid in place for wnid in found):
            remedy = "label the images by the WordNet ids in their names"
            yield LabelChange(
                f"the WordNet ids in the images' names, in {words}", np.array([place[wnid] for wnid in found]),
                f"{remedy}, and give --classes {stated}" if stated else remedy, stated,
            )  # fmt: skip


def learned_order(logs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Labels by a class order learned from other images, and the output of each class learned from all images.

    logs: log-probabilities N x K. The images of each class are split into two halves. The assignment of classes to
    outputs that maximizes the log-probability of one half (Kuhn's Hungarian method) labels the other half, so that no
    image decides its own label. None for fewer than two images per class.
    """
    from scipy.optimize import linear_sum_assignment

    count, outputs = logs.shape
    present = np.unique(labels)
    turn = np.zeros(count, bool)
    for label in present:
        turn[np.flatnonzero(labels == label)[1::2]] = True
    if count < 2 * len(present) or len(present) > outputs:
        return None

    def order(chosen: np.ndarray) -> np.ndarray:
        """The output of each label; unchanged for labels without a chosen image."""
        sums = np.zeros((outputs, outputs))
        np.add.at(sums, labels[chosen], logs[chosen].astype(np.float64))
        rows = np.unique(labels[chosen])
        found = np.arange(outputs)
        places, columns = linear_sum_assignment(sums[rows], maximize=True)
        found[rows[places]] = columns
        return found

    learned = labels.copy()
    for half in (turn, ~turn):
        learned[half] = order(~half)[labels[half]]
    return learned, order(np.ones(count, bool))
