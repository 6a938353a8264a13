"""Supply an engine with batches (threads, memory, shapes), and average the views of an image."""

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
SPARE_BATCHES = 2  # filled while others are computed, so that one slow image does not stop the engine


def thread_counts(engine: Engine, decoders: int | None) -> ThreadCounts:
    """The threads of a pipeline that feeds `engine`; decoders: None for one per processor.

    For a CPU engine, the decoding threads also compute, in turns. For a GPU, threads that mostly wait are added.
    """
    decoding, callers = decoders or processors(), engine.options.callers
    beside = 0 if engine.device == "cpu" else callers
    return ThreadCounts(max(decoding + beside, callers), decoding, callers)


def batch_memory(engine: Engine, shape: Sequence[int], count: int) -> list[np.ndarray]:
    """`count` zeroed float32 arrays for batches, in the memory that the engine reads fastest."""
    memory = [engine.input_buffer(tuple(shape)) for _ in range(count)]
    for array in memory:
        array[...] = 0
    return memory


def fills_up(engine: Engine) -> bool:
    """Whether to pad a partial batch: on a GPU, which compiles a program per batch size.

    Never if a layer combines the images of a batch.
    """
    return engine.device != "cpu" and combining_layer(engine) is None


def prepare_shapes(engine: Engine, shapes: Sequence[tuple[int, ...]]) -> None:
    """Prepare the engine for images of these shapes once, instead of in every thread."""
    for shape in dict.fromkeys(shapes):
        engine.prepare({engine.inputs[0]: shape})


def each_with_its_way(
    engine: Engine, spans: Sequence[range], run: Callable[[Sequence[range]], Iterable[Result]]
) -> Iterator[tuple[Result, str]]:
    """The results of `run` for the spans, each with the way (`Engine.way`) in which the engine computed it.

    While the engine still searches for its way, spans run one by one, so that the way of each is known.
    """
    left = list(spans)
    while left:
        now = left[:1] if engine.searching else left
        way, left = engine.way, left[len(now) :]
        for result in run(now):
            yield result, way


def averaged(scores: np.ndarray, images: int) -> np.ndarray:
    """The mean scores over the views of each image, one row per image, computed in double precision.

    Raises NetworkError if the scores do not have one row per view.
    """
    views, rest = divmod(len(scores), images)
    if rest or not views:
        raise NetworkError(f"{len(scores)} rows of scores for {images} images; expected one row per image")
    if views == 1:
        return scores
    return scores.reshape(images, views, *scores.shape[1:]).mean(axis=1, dtype=np.float64)
