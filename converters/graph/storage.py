"""Blobs that share memory in Caffe: an in-place change of one also changes the others."""

from __future__ import annotations

from collections.abc import Iterable

from matnet.converters.files.message import Message

SHARED = "SharedStorage"
"""The type of a pseudo-layer: its output has the shape of the first bottom and the values of the second."""

SHARING = frozenset(("Flatten", "Reshape", "Split"))
"""Layers with tops in their bottom's memory; also Concat of one bottom, and Slice into one top."""


def with_shared_storage(layers: Iterable[Message], notes: list[str]) -> list[Message]:
    """`layers` with a SHARED step after each in-place layer, for every other blob in the changed memory.

    Dropout needs no step, because it changes nothing at test time. Each step adds a note.
    """
    memory: dict[str, int] = {}
    blobs: list[list[str]] = []
    result: list[Message] = []
    for layer in layers:
        result.append(layer)
        bottoms, shares = layer.get("bottom"), _shares(layer)
        for position, top in enumerate(layer.get("top")):
            in_place = position < len(bottoms) and bottoms[position] == top and top in memory
            if in_place and layer.get("type") != "Dropout":
                result += [_step(layer, top, other, notes) for other in blobs[memory[top]] if other != top]
            elif not in_place:
                if shares and bottoms[0] in memory:
                    memory[top] = memory[bottoms[0]]
                else:
                    memory[top] = len(blobs)
                    blobs.append([])
                blobs[memory[top]].append(top)
    return result


def _shares(layer: Message) -> bool:
    kind, bottoms, tops = layer.get("type"), layer.get("bottom"), layer.get("top")
    alone = (kind == "Concat" and len(bottoms) == 1) or (kind == "Slice" and len(tops) == 1)
    return bool(bottoms) and (kind in SHARING or alone)


def _step(layer: Message, changed: str, other: str, notes: list[str]) -> Message:
    notes.append(f"blob {other!r} shares memory with {changed!r}, which layer {layer.get('name')!r} changes in place")
    step, name = Message("LayerParameter", layer.source, layer.position), f"{other}_with_{layer.get('name')}"
    return step.having(name=name, type=SHARED, bottom=[other, changed], top=[other])
