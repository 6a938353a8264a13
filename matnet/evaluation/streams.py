"""How an engine is supplied with batches: how many at a time, with how many threads, from which memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from matnet.engines import EngineOptions, choose
from matnet.engines.batches import combining_layer
from matnet.engines.device import processors
from matnet.evaluation.pipeline import ThreadCounts

MOST_STREAMS = 4  # each holds the activations of a batch of its own
GPU_STREAMS = 2  # one batch is copied while another is computed
SPARE_BATCHES = 2  # being filled while others are computed; a slow image holds up one of them


@dataclass(frozen=True)
class Streams:
    """Batches that are computed at a time, and the threads of each (None: as many as the engine wants)."""

    count: int = 1
    threads: int | None = None


def choose_streams(options: EngineOptions, share: int | None = None) -> Streams:
    """How to share the processors among batches.

    share: how many of them there are for this engine, where others use the rest; None: all.

    ONNX Runtime takes calls from several threads. With one stream per processor no thread waits for another
    inside a layer, nor spins while it waits, which on processors that decode as well costs most. A GPU takes
    the next batch while it computes one. Other engines run one batch after the other.
    """
    chosen, threads = options.backend, options.threads
    if chosen == "auto":
        chosen = choose(options.parsed_device, options.precision).backend
    if chosen != "onnx":
        return Streams(GPU_STREAMS if chosen == "cupy" else 1, threads)
    if options.runtime not in (None, "onnxruntime"):
        return Streams(1, threads or share)
    total = threads or share or processors()
    count = max(number for number in range(1, MOST_STREAMS + 1) if total % number == 0)
    return Streams(count, total // count)


def thread_counts(engine: Any, streams: Streams, decoders: int | None) -> ThreadCounts:
    """The threads of a pipeline that feeds `engine`; decoders: None for one per processor.

    An engine that computes on the processors has no thread beside those that decode: they take turns. A GPU's
    thread mostly waits for it, and comes on top.
    """
    decoding = decoders or processors()
    beside = 0 if engine.device == "cpu" else streams.count
    return ThreadCounts(max(decoding + beside, streams.count), decoding, streams.count)


def batch_memory(engine: Any, shape: Sequence[int], count: int) -> list[np.ndarray]:
    """`count` float32 arrays for batches, zero at first; of the engine's own kind where it has one.

    An engine that computes elsewhere may offer `input_buffer(shape)`: a numpy array in memory from which it
    copies faster (page-locked).
    """
    make = getattr(engine, "input_buffer", None) or (lambda size: np.zeros(size, np.float32))
    memory = [make(tuple(shape)) for _ in range(count)]
    for array in memory:
        array[...] = 0
    return memory


def fills_up(engine: Any) -> bool:
    """Whether a batch that is not full should be filled up: on a GPU, which has a program for each size.

    Only where every layer computes each image by itself.
    """
    return engine.device != "cpu" and combining_layer(engine) is None


def compile_ahead(engine: Any, shapes: Sequence[tuple[int, ...]]) -> None:
    """Let the engine make what it needs for inputs of these shapes, so that threads do not do so side by side."""
    program = getattr(engine, "program", None)
    if program is not None:
        for shape in dict.fromkeys(shapes):
            program({engine.inputs[0]: shape})
