"""Cutting a network into runs of layers that ONNX can express and runs that only numpy can compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from matnet.network import Layer, Network

Run = Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]


@dataclass
class Segment:
    """Consecutive layers of one kind: what they read from outside, and what others need of them."""

    kind: str  # onnx or numpy
    layers: list[Layer]
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)  # layer -> why ONNX cannot express it


def cut(layers: Sequence[Layer], reasons: Mapping[str, str], wanted: Iterable[str]) -> list[Segment]:
    """Segments in running order, as few as this greedy rule gives: go on with one kind while any layer is ready.

    `reasons` says, by name, which layers are for numpy, and why.
    """
    waiting = list(layers)
    unwritten = {name for layer in layers for name in layer.outputs}
    segments: list[Segment] = []
    kind = "onnx"
    while waiting:
        taken = _ready(waiting, kind, reasons, unwritten)
        if taken:
            why = {layer.name: reasons[layer.name] for layer in taken if layer.name in reasons}
            segments.append(Segment(kind, taken, reasons=why))
            names = {layer.name for layer in taken}
            waiting = [layer for layer in waiting if layer.name not in names]
        kind = "numpy" if kind == "onnx" else "onnx"
    _connect(segments, set(wanted))
    return segments


def _ready(waiting: Sequence[Layer], kind: str, reasons: Mapping[str, str], unwritten: set[str]) -> list[Layer]:
    """The layers of one kind whose inputs are there, in order; their outputs leave `unwritten`."""
    taken = []
    for layer in waiting:
        if (layer.name in reasons) == (kind == "numpy") and not unwritten.intersection(layer.inputs):
            taken.append(layer)
            unwritten.difference_update(layer.outputs)
    return taken


def _connect(segments: Sequence[Segment], wanted: set[str]) -> None:
    """Fill in what each segment reads from before it and what is needed behind it."""
    needed = set(wanted)
    for segment in reversed(segments):
        written = dict.fromkeys(name for layer in segment.layers for name in layer.outputs)
        read = dict.fromkeys(name for layer in segment.layers for name in layer.inputs)
        segment.outputs = [name for name in written if name in needed]
        segment.inputs = [name for name in read if name not in written]
        needed.update(segment.inputs)


def subnetwork(net: Network, layers: Sequence[Layer]) -> Network:
    """A network of these layers alone, with the same params."""
    part = net.copy()
    part.layers = {layer.name: layer for layer in layers}
    return part
