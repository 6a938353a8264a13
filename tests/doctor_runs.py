"""Runs of the doctor's search, for its tests."""

from __future__ import annotations

from dataclasses import replace

from matnet.datasets import ImageList
from matnet.doctor.search import KNOBS, LABELS, Diagnosis, Search
from matnet.engines import EngineOptions
from matnet.images import Preprocessing
from matnet.network import Network


def search(net: Network, images: ImageList, prepared: Preprocessing, knobs: tuple[str, ...] = ()) -> Diagnosis:
    """The search on ONNX Runtime; without `knobs` it tries all changes."""
    options = EngineOptions(backend="onnx")
    tried = knobs or (*KNOBS, LABELS)
    return Search(net, images, prepared, net.outputs[0], options=options, knobs=tried).run()


def every(step: int, images: ImageList) -> ImageList:
    """Each `step`th image."""
    return replace(images, paths=images.paths[::step], labels=images.labels[::step])
