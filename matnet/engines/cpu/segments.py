"""Division of a network into segments for ONNX and segments for numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from matnet.network import Layer, Network

Run = Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]


@dataclass
class Segment:
    """Consecutive layers of one kind, with the variables they read from and provide to others."""

    kind: str  # onnx or numpy
    layers: list[Layer]
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)  # layer -> reason why ONNX cannot express it


def cut(layers: Sequence[Layer], reasons: Mapping[str, str], wanted: Iterable[str]) -> list[Segment]:
    """Divide layers into segments in execution order, greedily: continue with one kind while any layer is ready.

    reasons: layers for numpy, with reasons.
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
    """The layers of one kind with available inputs, in order; removes their outputs from `unwritten`."""
    taken = []
    for layer in waiting:
        if (layer.name in reasons) == (kind == "numpy") and not unwritten.intersection(layer.inputs):
            taken.append(layer)
            unwritten.difference_update(layer.outputs)
    return taken


def _connect(segments: Sequence[Segment], wanted: set[str]) -> None:
    """Set the inputs and outputs of each segment."""
    needed = set(wanted)
    for segment in reversed(segments):
        written = dict.fromkeys(name for layer in segment.layers for name in layer.outputs)
        read = dict.fromkeys(name for layer in segment.layers for name in layer.inputs)
        segment.outputs = [name for name in written if name in needed]
        segment.inputs = [name for name in read if name not in written]
        needed.update(segment.inputs)


def subnetwork(net: Network, layers: Sequence[Layer]) -> Network:
    """A network of only these layers, with the same params."""
    part = net.copy()
    part.layers = {layer.name: layer for layer in layers}
    return part
