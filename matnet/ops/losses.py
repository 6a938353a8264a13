"""Losses and errors as functions of scores and labels (vl_nnloss, vl_nnsoftmaxloss), and vl_nnpdist.

Scores are N x D x H x W. A categorical label is a class 1..D; a binary label is +1 or -1 per score; 0 means ignore.
One label per image (N values) applies to all pixels of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from matnet.errors import DataError, ShapeError, nearest
from matnet.ops.base import Array


def label_rank(scores: np.ndarray, labels: np.ndarray) -> Array:
    """The rank of the label's class by descending score: N x H x W integers, 0 = best.

    scores: N x D x H x W. labels: N x H x W, 0-based. As in MATLAB's stable descending sort, ties go to the lowest
    class, and NaN sorts before every number.
    """
    label = labels[:, np.newaxis]
    own = np.take_along_axis(scores, label, axis=1)
    earlier = np.arange(scores.shape[1]).reshape(1, -1, 1, 1) < label
    nan, own_is_nan = np.isnan(scores), np.isnan(own)
    before = (scores > own) | ((scores == own) & earlier) | (nan & (earlier | ~own_is_nan))
    return before.sum(axis=1)


def loss(
    kind: str,
    x: np.ndarray,
    c: np.ndarray,
    instance_weights: np.ndarray | None = None,
    normalise: bool = True,
    topK: int = 5,
    threshold: float = 0.0,
) -> np.ndarray:
    """A loss in CATEGORICAL or BINARY, summed over pixels and images: 1 x 1 x 1 x 1, of x's class.

    x: scores N x D x H x W. c: N labels, or N x 1 x H x W (categorical) or N x D x H x W (binary). instance_weights:
    factors of the terms, broadcast to their shape. normalise: divide by N, as MatConvNet does since December 2017.
    topK: for topkerror. threshold: for binaryerror. Raises ShapeError if shapes do not match, DataError for an unknown
    kind or labels out of range.
    """
    scores = np.asarray(x, dtype=np.float64)
    if kind in CATEGORICAL:
        labels = _labels(scores, c, depth=1)
        terms = CATEGORICAL[kind](scores, _class_index(labels, scores.shape[1]), topK)
    elif kind in BINARY:
        labels = _labels(scores, c, depth=scores.shape[1])
        # MATLAB compares in single, so round the threshold to single.
        limit = float(np.asarray(threshold, dtype=x.dtype))
        terms = BINARY[kind](scores, labels, limit)
    else:
        known = [*CATEGORICAL, *BINARY]
        raise DataError(f"unknown loss '{kind}'{nearest(kind, known)}; expected one of {', '.join(known)}")
    if instance_weights is not None:
        terms = terms * instance_weights
    total = np.where(np.broadcast_to(labels != 0, terms.shape), terms, 0).sum()
    return np.full((1, 1, 1, 1), total / len(scores) if normalise else total, dtype=x.dtype)


def softmaxloss(x: np.ndarray, c: np.ndarray, normalise: bool = True) -> np.ndarray:
    """SimpleNN's `softmaxloss`: softmaxlog with labels N x 1 x H x W, or N x 2 x H x W with weights in plane 2."""
    weighted = c.ndim == 4 and c.shape[1] == 2
    weights = c[:, 1:] if weighted else None
    return loss("softmaxlog", x, c[:, :1] if weighted else c, weights, normalise)


def pdist(
    x: Any,
    x0: Any,
    p: float = 2.0,
    no_root: bool = False,
    aggregate: bool = False,
    instance_weights: Any = None,
    xp: Any = np,
) -> Any:
    """The Lp distance between x and x0 over channels (vl_nnpdist): (sum |x - x0|^p)^(1/p), or without the root.

    x: N x C x H x W. x0: the same shape, or broadcast to it (1 x C x 1 x 1 ...). The result N x 1 x H x W is multiplied
    by `instance_weights`, if given, and with `aggregate` summed to 1 x 1 x 1 x 1. xp: numpy or CuPy. Raises ShapeError
    if channels differ or x0 cannot be broadcast.
    """
    fits = all(b in (a, 1) for a, b in zip(x.shape, x0.shape, strict=True)) and x.shape[1] == x0.shape[1]
    if not fits:
        raise ShapeError(f"pdist: cannot broadcast input 2 of shape {x0.shape} to input 1 of shape {x.shape}")
    distance = xp.abs(x - x0)
    if p == 2:
        distance = (distance * distance).sum(axis=1, keepdims=True)
    elif p == 1:
        distance = distance.sum(axis=1, keepdims=True)
    else:
        distance = (distance**p).sum(axis=1, keepdims=True)
    if p != 1 and not no_root:
        distance = xp.sqrt(distance) if p == 2 else distance ** (1 / p)
    if instance_weights is not None:
        distance = distance * instance_weights
    if aggregate:
        distance = distance.sum(dtype=xp.float64).reshape(1, 1, 1, 1)
    return distance.astype(x.dtype, copy=False)


def _labels(scores: np.ndarray, c: np.ndarray, depth: int) -> np.ndarray:
    """The labels as N x 1 x 1 x 1 (one per image) or N x `depth` x H x W."""
    labels = np.asarray(c, dtype=np.float64)
    count, _, height, width = scores.shape
    if labels.size == count:
        return labels.reshape(count, 1, 1, 1)
    if labels.shape != (count, depth, height, width):
        raise ShapeError(
            f"labels have shape {np.shape(c)}, scores {scores.shape}; "
            f"expected {count} labels or {(count, depth, height, width)}"
        )
    return labels


def _class_index(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels 1..D as 0-based indices N x 1 x ...; ignored labels (0) become class 0."""
    wrong = (labels != np.floor(labels)) | (labels < 0) | (labels > classes)
    if wrong.any():
        raise DataError(f"label {labels[wrong][0]:g} for {classes} classes; expected 1..{classes}, or 0 to ignore")
    return np.maximum(labels.astype(np.int64) - 1, 0)


def _own(scores: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The score of the label's class at every pixel: N x 1 x H x W."""
    spread = np.broadcast_to(index, (len(scores), 1, *scores.shape[2:]))
    return np.take_along_axis(scores, spread, axis=1)


def _classerror(scores: np.ndarray, index: np.ndarray, topK: int) -> Array:
    # The first maximum wins; fmax ignores NaN like MATLAB's max, whereas argmax would choose it.
    best = np.fmax.reduce(scores, axis=1, keepdims=True)
    predicted = np.argmax(scores == best, axis=1, keepdims=True)
    return (predicted != index).astype(np.float64)


def _topkerror(scores: np.ndarray, index: np.ndarray, topK: int) -> Array:
    spread = np.broadcast_to(index[:, 0], (len(scores), *scores.shape[2:]))
    return (label_rank(scores, spread) >= topK).astype(np.float64)[:, np.newaxis]


def _log(scores: np.ndarray, index: np.ndarray, topK: int) -> Array:
    return -np.log(_own(scores, index))


def _softmaxlog(scores: np.ndarray, index: np.ndarray, topK: int) -> Array:
    peak = scores.max(axis=1, keepdims=True)
    return peak + np.log(np.exp(scores - peak).sum(axis=1, keepdims=True)) - _own(scores, index)


def _mshinge(scores: np.ndarray, index: np.ndarray, topK: int) -> Array:
    is_label = np.arange(scores.shape[1]).reshape(1, -1, 1, 1) == index
    rival = np.where(is_label, -np.inf, scores).max(axis=1, keepdims=True)
    return np.maximum(0, 1 - _own(scores, index) + rival)


def _binarylog(scores: np.ndarray, labels: np.ndarray, threshold: float) -> np.ndarray:
    return -np.log(labels * (scores - 0.5) + 0.5)


CATEGORICAL: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "classerror": _classerror,
    "topkerror": _topkerror,
    "log": _log,
    "softmaxlog": _softmaxlog,
    "mhinge": lambda scores, index, topK: np.maximum(0, 1 - _own(scores, index)),
    "mshinge": _mshinge,
}
"""The loss terms: scores, 0-based class index, topK -> N x 1 x H x W."""

BINARY: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "binaryerror": lambda scores, labels, threshold: (np.sign(scores - threshold) != labels).astype(np.float64),
    "binarylog": _binarylog,
    "logistic": lambda scores, labels, threshold: np.logaddexp(0, -labels * scores),
    "hinge": lambda scores, labels, threshold: np.maximum(0, 1 - labels * scores),
}
"""The loss terms: scores, labels, threshold -> N x D x H x W."""
