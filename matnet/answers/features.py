"""`net.features`: the values of any variables for images."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.answers.extraction import POOLS, Extraction, extract, pooled
from matnet.answers.layer_names import named_layers
from matnet.answers.pictures import pictures_of
from matnet.answers.running import Seen, batches, chosen, preparation
from matnet.answers.running import prepared as prepared_picture
from matnet.errors import DataError, listing
from matnet.images.doubts import doubts
from matnet.keywords import FLAG, PATH, TEXT, Kind, all_texts, choice, require, whole

if TYPE_CHECKING:
    from matnet.images import Preprocessing
    from matnet.network import Network

log = logging.getLogger(__name__)
KINDS = {
    "layers": Kind(lambda value: all_texts([value] if isinstance(value, str) else value), "names of layers"),
    "pool": choice(*POOLS),
    "out": PATH.or_none(),
    "workers": whole(),
    "scheduler": TEXT.or_none(),
    "resume": FLAG,
}
"""The accepted values of the keywords of `features`."""


def features(
    net: Network,
    images: Any,
    layers: str | Sequence[str],
    preprocessing: Preprocessing | None = None,
    pool: str = "none",
    out: str | os.PathLike[str] | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    resume: bool = True,
    **keywords: Any,
) -> Any:
    """The values of layers or variables for each image: see `Network.features`."""
    given = {"layers": layers, "pool": pool, "out": out, "workers": workers, "scheduler": scheduler, "resume": resume}
    require(given, KINDS)
    variables = named_layers(net.for_inference(), [layers] if isinstance(layers, str) else list(layers))
    names = list(variables)
    idle = [name for name, usual in (("workers", 1), ("scheduler", None), ("resume", True)) if given[name] != usual]
    if out is None and idle:
        raise DataError(f"{idle[0]} has an effect only with out=FILE; leave it out")
    if workers != 1 and scheduler is not None:
        raise DataError(f"workers is {workers} and scheduler is {scheduler!r}; give only one of them")
    how, engine = chosen(net, preprocessing, keywords)
    doubts(net, how)
    if out is not None:
        task = Extraction(net, variables, pool, how, engine)
        faulty = extract(task, images, Path(out), workers=workers, scheduler=scheduler, resume=resume)
        _warn(faulty, None)
        return Path(out)
    pictures, _ = pictures_of(images)
    seen = Seen()
    faults: dict[int, str] = {}
    found: dict[str, np.ndarray] = {}
    for batch in batches(net, pictures, names, how, engine, seen):
        faults.update(batch.faults)
        seen.check(batch.values)
        for name, maps in batch.values.items():
            values = pooled(maps, pool)
            if name not in found:
                found[name] = np.full((len(pictures), *values.shape[1:]), np.nan, np.float32)
            found[name][batch.numbers] = values
    unreadable = [faults[number] for number in sorted(faults)]
    if len(faults) == len(pictures):
        raise DataError("\n".join(unreadable[:20]))
    for note in seen.notes(how.exif):
        log.warning(note)
    _warn(unreadable, len(pictures))
    return found[names[0]] if isinstance(layers, str) and names == [layers] else found


def _warn(unreadable: Sequence[str], images: int | None) -> None:
    if unreadable:
        count = f"{len(unreadable)} of {images}" if images else str(len(unreadable))
        log.warning("%s images could not be read; their rows are NaN: %s", count, "; ".join(unreadable[:20]))


def prepare(net: Network, images: Any, preprocessing: Preprocessing | None = None, **overrides: Any) -> np.ndarray:
    """The network's input for images: see `Network.prepare`."""
    how = preparation(net, preprocessing, overrides)
    doubts(net, how)
    found, faults = prepare_readable(images, how)
    if faults:
        several = listing(f"{len(faults)} images cannot be used:", faults.values())
        raise DataError(several if len(faults) > 1 else next(iter(faults.values())))
    return found


def prepare_readable(images: Any, how: Preprocessing) -> tuple[np.ndarray, dict[int, str]]:
    """The network's input for the usable images, and the errors of the others by number."""
    pictures, _ = pictures_of(images)
    seen = Seen()
    faults: dict[int, str] = {}
    batch = np.empty((len(pictures), *how.shape), np.float32)
    for number, picture in enumerate(pictures):
        try:
            prepared_picture(picture, how, batch[number - len(faults)], seen)
        except DataError as error:
            faults[number] = str(error)
    for note in seen.notes(how.exif):
        log.warning(note)
    return batch[: len(pictures) - len(faults)].reshape(-1, *how.shape[-3:]), faults
