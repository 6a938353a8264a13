"""Score the same images with several preprocessings: each image is decoded once, memory is bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from matnet.doctor.image_changes import BYTES, Preparation
from matnet.engines import EngineOptions, compile_network
from matnet.engines.batches import Halving
from matnet.engines.device import processors
from matnet.errors import DataError, NetworkError
from matnet.evaluation.scores import another_variable
from matnet.images import Preprocessing
from matnet.images.decode import decode_uint8
from matnet.network import Network

MEMORY = 256 << 20
"""Bytes of prepared images in memory at a time."""
MOST_IMAGES = 32


class Scorer:
    """A network compiled once, for images with any preprocessing.

    Raises NetworkError for a network with more than one input.
    """

    def __init__(self, net: Network, variable: str, options: EngineOptions) -> None:
        self._engine = compile_network(net, [variable], options)
        self._variable, self._source = variable, net.source
        if len(self._engine.inputs) != 1:
            count = len(self._engine.inputs)
            raise NetworkError(f"{net.source}: {variable!r} needs {count} inputs; expected one image input")
        self._halving = Halving(self._engine, options.strict)
        self.unreadable: list[str] = []

    def scores(
        self, paths: Sequence[Path], variants: Sequence[Preparation]
    ) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Yields parts of the images: their indices in `paths` and, for each variant, scores N x K.

        Unreadable images are skipped, and listed in `unreadable`. Raises NetworkError for score maps.
        """
        shapes = [variant.preprocessing.shape for variant in variants]
        size = sum(4 * int(np.prod(shape)) for shape in shapes)
        step = max(1, min(MOST_IMAGES, MEMORY // size))
        with ThreadPoolExecutor(processors(), thread_name_prefix="matnet") as pool:
            for start in range(0, len(paths), step):
                part = paths[start : start + step]
                batches = [np.zeros((len(part), *shape), np.float32) for shape in shapes]

                def fill(row: int, part: Sequence[Path] = part, batches: list[np.ndarray] = batches) -> str:
                    try:
                        prepare_all(part[row], variants, [batch[row] for batch in batches])
                    except DataError as error:
                        return str(error)
                    return ""

                faults = list(pool.map(fill, range(len(part))))
                self.unreadable += [fault for fault in faults if fault]
                good = [row for row, fault in enumerate(faults) if not fault]
                if good:
                    yield [start + row for row in good], [self._rows(batch[good]) for batch in batches]

    def _rows(self, batch: np.ndarray) -> np.ndarray:
        scores = self._halving(batch)[self._variable]
        if len(scores) != len(batch) or scores.size != scores.shape[0] * scores.shape[1]:
            shape = "x".join(map(str, scores.shape))
            raise NetworkError(
                f"{self._source}: {self._variable!r} holds {shape} for {len(batch)} images; expected one score per "
                f"class and image; {another_variable()}, or give the size with --input-size HxW"
            )
        return scores.reshape(len(batch), -1)


def prepare_all(path: Path, variants: Sequence[Preparation], places: Sequence[np.ndarray]) -> None:
    """Write one image with each variant to its place; variants that differ only in values share one resized image."""
    first = variants[0].preprocessing
    pixels = decode_uint8(path, first.channels, first.max_pixels, first.exif)
    resized: dict[tuple[object, ...], np.ndarray] = {}
    for variant, place in zip(variants, places, strict=True):
        wanted = variant.preprocessing
        key = (variant.transposed, wanted.resize, wanted.interpolation, wanted.keep_aspect, wanted.crop_fraction)
        if key not in resized:
            raw = replace(wanted, mean=None, std=None, scale=1.0, color="rgb", input_range=BYTES)
            source = np.ascontiguousarray(pixels.transpose(1, 0, 2)) if variant.transposed else pixels
            resized[key] = raw.apply(source).transpose(1, 2, 0)
        # The image already has the input size, so it is not resized or cropped again: only the values change.
        values = replace(wanted, resize="pillow", interpolation="bilinear", crop_fraction=(1.0, 1.0))
        values.apply(resized[key], out=place)


def mean_colour(paths: Sequence[Path], preprocessing: Preprocessing) -> np.ndarray | None:
    """The mean pixel of resized images per channel, in `input_range`; None if no image is readable."""
    plain = replace(preprocessing, mean=None, std=None, scale=1.0, color="rgb")
    found = []
    for path in paths:
        with suppress(DataError):
            found.append(plain.load(path).mean(axis=(1, 2), dtype=np.float64))
    return np.mean(found, axis=0) if found else None
