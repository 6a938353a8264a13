"""`net.features`: images in, the values of any variables out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.answers.pictures import pictures_of
from matnet.answers.running import Seen, batches, engine_options
from matnet.answers.running import prepared as prepared_picture
from matnet.errors import DataError

if TYPE_CHECKING:
    from matnet.images import Preprocessing
    from matnet.network import Network

log = logging.getLogger(__name__)


def features(
    net: Network,
    images: Any,
    layers: str | Sequence[str],
    preprocessing: Preprocessing | None = None,
    exif: bool = False,
    **engine: Any,
) -> Any:
    """The values of layers or variables for each image: see `Network.features`."""
    pictures, _ = pictures_of(images)
    names = [layers] if isinstance(layers, str) else list(layers)
    inference = net.for_inference()
    for name in names:
        inference.resolve(name)
    chosen = preprocessing or net.preprocessing
    chosen = replace(chosen, exif=exif or chosen.exif)
    seen = Seen()
    faults: dict[int, str] = {}
    found: dict[str, np.ndarray] = {}
    for batch in batches(net, pictures, names, chosen, engine_options(engine), seen):
        faults.update(batch.faults)
        for name, values in batch.values.items():
            if name not in found:
                found[name] = np.full((len(pictures), *values.shape[1:]), np.nan, np.float32)
            found[name][batch.numbers] = values
    unreadable = [faults[number] for number in sorted(faults)]
    if len(faults) == len(pictures):
        raise DataError("\n".join(unreadable[:20]))
    for note in seen.notes(chosen.exif):
        log.warning(note)
    if unreadable:
        count = f"{len(unreadable)} of {len(pictures)}"
        log.warning("%s images could not be read; their rows are NaN: %s", count, "; ".join(unreadable[:20]))
    flat = {name: _flat(found[name]) for name in names}
    return flat[names[0]] if isinstance(layers, str) else flat


def _flat(values: np.ndarray) -> np.ndarray:
    """N x C where every map is one pixel."""
    return values.reshape(values.shape[:2]) if values.shape[2:] == (1, 1) else values


def prepare(net: Network, images: Any, preprocessing: Preprocessing | None = None, **overrides: Any) -> np.ndarray:
    """Images as the network's input: see `Network.prepare`."""
    from matnet.images import Preprocessing

    chosen = replace(preprocessing, **overrides) if preprocessing is not None else Preprocessing.of(net, **overrides)
    pictures, _ = pictures_of(images)
    seen = Seen()
    batch = np.empty((len(pictures), *chosen.shape), np.float32)
    for place, picture in zip(batch, pictures, strict=True):
        prepared_picture(picture, chosen, place, seen)
    for note in seen.notes(chosen.exif):
        log.warning(note)
    return batch.reshape(-1, *chosen.shape[-3:])
