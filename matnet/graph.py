"""The layers of a network, and functions on its graph: execution order, faults, shapes, receptive fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from matnet.edits import Edited
from matnet.errors import MatnetError, NetworkError, ShapeError, in_words, listing
from matnet.names import RESTORED
from matnet.ops.base import Op, Unknown
from matnet.shapes import ReceptiveField, Shape

if TYPE_CHECKING:
    from matnet.network import Network


@dataclass
class Layer(Edited):
    """One node: an op, the variables it reads and writes, and the params it uses, all by name."""

    counted: ClassVar[frozenset[str]] = frozenset({"inputs", "outputs", "params"})
    name: str
    op: Op
    inputs: list[str]
    outputs: list[str]
    params: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)  # fields of the file not used by the op, for saving
    faults: list[str] = field(default_factory=list)  # why the layer cannot run, found while reading

    @property
    def type_name(self) -> str:
        """The layer's type name in a DagNN file, or the name of an unknown type."""
        return self.op.kind if isinstance(self.op, Unknown) else self.op.dagnn or type(self.op).__name__


@dataclass
class Source:
    """The origin of a network, for messages, for saving in the same format, and for results."""

    path: Path | None = None
    format: str = "dagnn"  # simplenn, dagnn or caffe
    notes: list[str] = field(default_factory=list)  # decisions made while reading
    chosen: str = ""  # selection within the file, if the path alone loads another network
    files: tuple[Path, ...] = ()  # every file that was read

    def __str__(self) -> str:
        return str(self.path) if self.path else "network"


def check_addition(net: Network, layer: Layer) -> None:
    """The checks of `Network.add`."""
    if layer.name in net.layers:
        raise NetworkError(f"{net.source}: two layers are named {layer.name!r}; rename one of them")
    for what, names, (fewest, most) in (
        ("inputs", layer.inputs, layer.op.input_count),
        ("params", layer.params, layer.op.param_count),
    ):
        if len(names) < fewest or (most is not None and len(names) > most):
            wanted = str(fewest) if most == fewest else f"{fewest} to {'any' if most is None else most}"
            raise NetworkError(
                f"{net.source}, layer {layer.name!r} ({layer.type_name}): {len(names)} {what}; expected {wanted}"
            )


def execution_order(net: Network) -> list[Layer]:
    """See `Network.execution_order`."""
    left = Counter(name for layer in net.layers.values() for name in set(layer.outputs))
    writes = Counter(name for layer in net.layers.values() for name in layer.outputs)
    last = {name: place for place, layer in enumerate(net.layers.values()) for name in layer.outputs}
    readers: dict[str, list[str]] = {}  # per variable, to keep the loop linear
    for layer in net.layers.values():
        for name in set(layer.inputs):
            readers.setdefault(name, []).append(layer.name)
    waiting = {layer.name: sum(name in writes for name in set(layer.inputs)) for layer in net.layers.values()}
    position = {name: index for index, name in enumerate(net.layers)}
    ready = [name for name, count in waiting.items() if not count]
    order: list[Layer] = []
    for name in ready:
        order.append(net.layers[name])
        freed = []
        for output in set(net.layers[name].outputs):
            left[output] -= 1
            for reader in () if left[output] else readers.get(output, ()):
                waiting[reader] -= 1
                if not waiting[reader]:
                    freed.append(reader)
        ready += sorted(freed, key=position.__getitem__)
    if len(order) < len(net.layers):
        stuck = [f"{name!r} reads {', '.join(net.layers[name].inputs)}" for name in waiting if waiting[name]]
        raise NetworkError(listing(f"{net.source}: the graph has a cycle; layers in it or after it:", stuck))
    if any(count > 1 for count in writes.values()):
        return _deepest_first(net, order)
    in_file_order = all(last[name] < position[names[0]] for name, names in readers.items() if name in last)
    return list(net.layers.values()) if in_file_order else order


def _deepest_first(net: Network, order: Sequence[Layer]) -> list[Layer]:
    """The layers by the longest path to an output, ties in file order, as MatConvNet runs them.

    If several layers write one variable, the last one in this order wins.
    """
    depth: dict[str, int] = {}
    behind: dict[str, int] = {}  # variable -> depth of its deepest reader
    for layer in reversed(order):
        depth[layer.name] = 1 + max((behind.get(name, 0) for name in layer.outputs), default=0)
        behind.update({name: max(behind.get(name, 0), depth[layer.name]) for name in layer.inputs})
    return sorted(net.layers.values(), key=lambda layer: -depth[layer.name])


def upto(net: Network, outputs: Iterable[str]) -> list[Layer]:
    """See `Network.upto`."""
    wanted = set(outputs)
    kept = []
    for layer in reversed(net.execution_order()):
        if wanted.intersection(layer.outputs):
            kept.append(layer)
            wanted.difference_update(layer.outputs)
            wanted.update(layer.inputs)
    return kept[::-1]


def check(net: Network, wanted: Iterable[str] | None = None) -> None:
    """See `Network.check`."""
    faults, broken = [], list[str]()
    layers = net.execution_order() if wanted is None else net.upto(wanted)
    without = [layer.name for layer in layers if any(name not in net.params for name in layer.params)]
    filters = [layer.params[0] for layer in layers if layer.params and layer.op.has_filters]
    if net.source.format == "caffe" and without and not any(name in net.params for name in filters):
        way = in_words("matnet.load('net.prototxt', 'net.caffemodel')", "NET.prototxt NET.caffemodel")
        need = "1 layer needs" if len(without) == 1 else f"{len(without)} layers need"
        raise NetworkError(
            f"{net.source}: no weights, but {need} them "
            f"({', '.join(without[:3])}{', ...' if len(without) > 3 else ''}); pass the caffemodel too: {way}"
        )
    for layer in layers:
        missing = [f"param {name!r} is missing or empty" for name in layer.params if name not in net.params]
        faults += [f"layer {layer.name!r} ({layer.type_name}): {fault}" for fault in (*layer.faults, *missing)]
        broken += [layer.name] if layer.faults or missing else []
    if faults:
        computable = "" if wanted is None else computable_without(net, broken)
        raise NetworkError(listing(f"{net.source}: cannot run:", faults) + computable)


def computable_without(net: Network, broken: Collection[str]) -> str:
    """A line that names the last variable computable without the layers `broken`, or ""."""
    lost: set[str] = set()
    last = ""
    for layer in net.execution_order():
        if layer.name in broken or lost.intersection(layer.inputs):
            lost.update(layer.outputs)
        elif layer.outputs and not layer.name.endswith(RESTORED):
            last = layer.outputs[0]
    if not last:
        return ""
    way = in_words(f"outputs=[{last!r}]", f"--outputs {last}")
    return f"\nThe last variable that can be computed is {last!r} ({way})."


def infer_shapes(
    net: Network, inputs: Mapping[str, Shape], wanted: Iterable[str] | None = None, partial: bool = False
) -> dict[str, Shape]:
    """See `Network.infer_shapes`."""
    shapes: dict[str, Shape] = dict(inputs)
    layers = net.execution_order() if wanted is None else net.upto(wanted)
    for layer in layers:
        missing = [name for name in layer.inputs if name not in shapes]
        if missing:
            if partial:
                continue
            raise NetworkError(f"{net.source}, layer {layer.name!r}: input {missing[0]!r} is missing")
        try:
            if layer.faults:
                raise ShapeError(layer.faults[0])
            found = layer.op.output_shapes([shapes[name] for name in layer.inputs], net.param_shapes(layer))
            if len(found) < len(layer.outputs):
                raise ShapeError(f"has {len(layer.outputs)} outputs; expected {len(found)} for its type")
        except MatnetError as error:
            if partial:
                continue
            sizes = ", ".join(f"{name!r} {'x'.join(map(str, shapes[name]))}" for name in layer.inputs)
            where = f"{net.source}, layer {layer.name!r} ({layer.type_name}) on {sizes}"
            raise ShapeError(f"{where}: {error}") from None
        shapes.update(zip(layer.outputs, found, strict=False))
    return shapes


def receptive_fields(net: Network, variable: str, shapes: Mapping[str, Shape]) -> dict[str, ReceptiveField | None]:
    """See `Network.receptive_fields`."""
    seen: dict[str, ReceptiveField | None] = {variable: ReceptiveField()}
    for layer in net.execution_order():
        if not all(name in shapes for name in layer.inputs):
            continue
        merged: list[ReceptiveField | None] = []
        fields = layer.op.receptive_fields([shapes[name] for name in layer.inputs])
        for position, (name, own) in enumerate(zip(layer.inputs, fields, strict=True)):
            if name in seen and position not in layer.op.size_only_inputs:
                below = seen[name]
                merged.append(below.then(own) if below is not None and own is not None else None)
        if merged:
            total = merged[0]
            for other in merged[1:]:
                total = total.union(other) if total is not None and other is not None else None
            seen.update(dict.fromkeys(layer.outputs, total))
    return seen
