"""How an engine is supplied with batches: threads, memory, shapes; and how the views of an image become one row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from matnet.engines import Engine
from matnet.engines.batches import combining_layer
from matnet.engines.device import processors
from matnet.errors import NetworkError
from matnet.evaluation.pipeline import ThreadCounts

Result = TypeVar("Result")
SPARE_BATCHES = 2  # being filled while others are computed; a slow image holds up one of them


def thread_counts(engine: Engine, decoders: int | None) -> ThreadCounts:
    """The threads of a pipeline that feeds `engine`; decoders: None for one per processor.

    An engine that computes on the processors has no thread beside those that decode: they take turns. A GPU's
    thread mostly waits for it, and comes on top.
    """
    decoding, callers = decoders or processors(), engine.options.callers
    beside = 0 if engine.device == "cpu" else callers
    return ThreadCounts(max(decoding + beside, callers), decoding, callers)


def batch_memory(engine: Engine, shape: Sequence[int], count: int) -> list[np.ndarray]:
    """`count` float32 arrays for batches, zero at first, in memory from which the engine takes them fastest."""
    memory = [engine.input_buffer(tuple(shape)) for _ in range(count)]
    for array in memory:
        array[...] = 0
    return memory


def fills_up(engine: Engine) -> bool:
    """Whether a batch that is not full should be filled up: on a GPU, which has a program for each size.

    Only where every layer computes each image by itself.
    """
    return engine.device != "cpu" and combining_layer(engine) is None


def prepare_shapes(engine: Engine, shapes: Sequence[tuple[int, ...]]) -> None:
    """Let the engine make what it needs for images of these shapes, so that threads do not do so side by side."""
    for shape in dict.fromkeys(shapes):
        engine.prepare({engine.inputs[0]: shape})


def each_with_its_way(
    engine: Engine, spans: Sequence[range], run: Callable[[Sequence[range]], Iterable[Result]]
) -> Iterator[tuple[Result, str]]:
    """What `run` gives of the spans, and the way in which the engine computed it.

    One span at a time goes through an engine that still looks for its way, so that the way of each is known; all others
    go together.
    """
    left = list(spans)
    while left:
        now = left[:1] if engine.searching else left
        way, left = engine.way, left[len(now) :]
        for result in run(now):
            yield result, way


def averaged(scores: np.ndarray, images: int) -> np.ndarray:
    """Scores of several views of each image as one row per image: their mean, in double precision.

    Raises NetworkError if the scores are not one row per view.
    """
    views, rest = divmod(len(scores), images)
    if rest or not views:
        raise NetworkError(f"{len(scores)} rows of scores for {images} images; expected one row per image")
    if views == 1:
        return scores
    return scores.reshape(images, views, *scores.shape[1:]).mean(axis=1, dtype=np.float64)
