"""Run an engine in several passes, because of a batch size or because images do not fit in memory at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from matnet.engines.base import Engine
from matnet.errors import NetworkError, OutOfMemoryError
from matnet.network import Layer
from matnet.shapes import text

log = logging.getLogger(__name__)


def run_in_batches(engine: Engine, x: Any, batch_size: int | None) -> dict[str, np.ndarray]:
    """The results of `engine(x)`, computed for at most `batch_size` images at a time; None: all at once.

    Raises NetworkError, naming the variable or layer, if results would depend on the batch size.
    """
    values = engine.take_inputs(x)
    images = max((len(value) for value in values.values()), default=0)
    if batch_size is None or batch_size >= images:
        return engine(values)
    require_independent_images(engine, {name: value.shape for name, value in values.items()}, batch_size)
    return _joined(engine, values, range(0, images, batch_size), batch_size)


def require_independent_images(engine: Engine, inputs: Mapping[str, tuple[int, ...]], batch_size: int) -> None:
    """Raise NetworkError unless the engine may compute `batch_size` images at a time. inputs: shapes by name.

    All inputs must have the same number of images, all ops must state `images_independent`, and every wanted variable
    must have one item per image, at both batch sizes.
    """
    where = engine.net.source
    advice = f"so results for {batch_size} images at a time may differ; omit the batch size"
    images = max(shape[0] for shape in inputs.values())
    for name, shape in inputs.items():
        if shape[0] != images:
            raise NetworkError(f"{where}: input {name!r} has {shape[0]} items for {images} images, {advice}")
    layer = combining_layer(engine)
    if layer is not None:
        what = f"layer {layer.name!r} ({layer.type_name}) may combine images (its op is not images_independent)"
        raise NetworkError(f"{where}: {what}, {advice}")
    wanted = list(engine.wanted.values())
    whole = engine.net.infer_shapes(inputs, wanted)
    part = engine.net.infer_shapes({name: (batch_size, *shape[1:]) for name, shape in inputs.items()}, wanted)
    for name, shape in whole.items():
        constant = part[name] == shape and name not in wanted
        if not constant and (shape[0] != images or part[name] != (batch_size, *shape[1:])):
            raise NetworkError(f"{where}: {name!r} is {text(shape)} for {images} images, {advice}")


def combining_layer(engine: Engine) -> Layer | None:
    """The first layer that may combine the images of a batch, or None."""
    return next((layer for layer in engine.layers if not layer.op.images_independent), None)


def _joined(engine: Engine, values: Mapping[str, np.ndarray], starts: Sequence[int], step: int) -> dict[str, Any]:
    results: dict[str, np.ndarray] = {}
    for start in starts:
        part = engine({name: value[start : start + step] for name, value in values.items()})
        for name, value in part.items():
            if name not in results:
                images = len(next(iter(values.values())))
                results[name] = np.empty((images, *value.shape[1:]), value.dtype)
            results[name][start : start + step] = value
    return results


class Halving:
    """Wraps an engine and halves the batch if it does not fit in memory. Thread-safe.

    `halved_from`: the first batch size that did not fit, or None. `limit`: maximum images per pass since then. Each
    halving logs a warning. With `strict`, for a single image, or if images depend on each other, the OutOfMemoryError
    is raised instead.
    """

    def __init__(self, engine: Engine, strict: bool = False) -> None:
        self.engine, self.strict = engine, strict
        self.limit: int | None = None
        self.halved_from: int | None = None
        self._lock = Lock()

    def __call__(self, x: Any) -> dict[str, np.ndarray]:
        while True:
            limit = self.limit
            try:
                return run_in_batches(self.engine, x, limit)
            except OutOfMemoryError as error:
                with self._lock:
                    if limit == self.limit:  # otherwise another thread has already halved it
                        self._halve(x, error)

    def _halve(self, x: Any, error: OutOfMemoryError) -> None:
        values = self.engine.take_inputs(x)
        images = max(len(value) for value in values.values())
        tried = images if self.limit is None else min(self.limit, images)
        if self.strict or tried < 2:
            raise error
        half = -(-tried // 2)
        try:
            require_independent_images(self.engine, {name: value.shape for name, value in values.items()}, half)
        except NetworkError:
            raise error from None
        self.halved_from = self.halved_from or tried
        self.limit = half
        log.warning("%s; continuing with %d images at a time", error, half)
