"""Assemble a NetDef from an upgraded NetParameter: state filtering, inputs, wiring, in-place layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from matnet.converters.files.message import Message
from matnet.converters.graph.inputs import input_shapes, is_source
from matnet.converters.graph.netdef import LayerDef, NetDef
from matnet.converters.graph.storage import SHARED, with_shared_storage
from matnet.errors import FileFormatError, NetworkError, in_words, listing, nearest

LEFT_OUT = "not part of the net in"
"""The beginning of the note on layers of other phases and stages."""


class NetState(NamedTuple):
    """The state that a layer's include and exclude rules are compared with."""

    phase: str = "TEST"
    level: int = 0
    stages: frozenset[str] = frozenset()

    def meets(self, rule: Message) -> bool:
        """Whether every condition of a NetStateRule holds; an empty rule always holds."""
        return ((not rule.has("phase") or rule.get("phase") == self.phase)
                and (not rule.has("min_level") or self.level >= rule.get("min_level"))
                and (not rule.has("max_level") or self.level <= rule.get("max_level"))
                and self.stages.issuperset(rule.get("stage"))
                and self.stages.isdisjoint(rule.get("not_stage")))

    def keeps(self, layer: Message) -> bool:
        """Whether the layer is part of the net. Raises FileFormatError for include and exclude rules in one layer."""
        include, exclude = layer.get("include"), layer.get("exclude")
        if include and exclude:
            raise FileFormatError(f"{layer.place('include')}: layer {layer.get('name')!r} has both include "
                                  "and exclude rules; use only one kind")
        if include:
            return any(self.meets(rule) for rule in include)
        return not any(self.meets(rule) for rule in exclude)


    def ways_to(self, layers: Sequence[Message]) -> str:
        """The options that would keep the first of these dropped layers, as advice."""
        for layer in layers:
            ways = [way for rule in layer.get("include") if (way := self._way_to_meet(rule))]
            if not layer.get("include") and any(rule.get("phase") == self.phase for rule in layer.get("exclude")):
                other = "TRAIN" if self.phase == "TEST" else "TEST"
                ways = [in_words(f"phase={other!r}", f"--phase {other}")]
            if ways:
                return " or ".join(dict.fromkeys(ways))
        return in_words("another phase, level or stages", "another --phase, --level or --stage")

    def _way_to_meet(self, rule: Message) -> str:
        """The options that would fulfil a rule; "" if none can."""
        ways = []
        if rule.has("phase") and rule.get("phase") != self.phase:
            ways.append(in_words(f"phase={rule.get('phase')!r}", f"--phase {rule.get('phase')}"))
        missing = [stage for stage in rule.get("stage") if stage not in self.stages]
        if missing:
            ways.append(in_words(f"stages={missing!r}", " ".join(f"--stage {stage}" for stage in missing)))
        if rule.has("min_level") and self.level < rule.get("min_level"):
            ways.append(in_words(f"level={rule.get('min_level')}", f"--level {rule.get('min_level')}"))
        return in_words(", ", " ").join(ways)


def net_state(net: Message, phase: str, level: int, stages: Iterable[str]) -> NetState:
    """The requested state; the stages in the file's own `state` are added, as in Caffe."""
    if phase not in ("TRAIN", "TEST"):
        raise NetworkError(f"unknown phase {phase!r}; expected TRAIN or TEST")
    return NetState(phase, level, frozenset(stages) | frozenset(net.get("state").get("stage")))


def filtered(net: Message, state: NetState, notes: list[str]) -> Message:
    """`net` with the layers that `state` keeps; a note lists the dropped ones."""
    kept: list[Message] = []
    dropped: list[Message] = []
    for layer in net.get("layer"):
        (kept if state.keeps(layer) else dropped).append(layer)
    if dropped:
        stages = "".join(f", stage {stage}" for stage in sorted(state.stages))
        names = ", ".join(layer.get("name") for layer in dropped)
        where = f"phase {state.phase}, level {state.level}{stages}"
        notes.append(f"{LEFT_OUT} {where}: {names} (read with {state.ways_to(dropped)})")
    if not kept:
        raise NetworkError(f"{net.source.path}: no layer is part of the net in phase {state.phase}; "
                           f"give {state.ways_to(dropped)}")
    return net.having(layer=kept)


def without_split_layers(net: Message, notes: list[str]) -> Message:
    """`net` without the Split layers inserted by Caffe; readers of their tops read their bottom instead."""
    alias: dict[str, str] = {}
    kept = []
    for layer in net.get("layer"):
        bottoms = [alias.get(name, name) for name in layer.get("bottom")]
        if _is_automatic_split(layer):
            alias.update(dict.fromkeys(layer.get("top"), bottoms[0]))
            continue
        for top in layer.get("top"):
            alias.pop(top, None)
        if bottoms != layer.get("bottom"):
            layer = layer.having(bottom=bottoms)
        kept.append(layer)
    if len(kept) < len(net.get("layer")):
        notes.append(f"removed {len(net.get('layer')) - len(kept)} Split layers inserted by Caffe")
    return net.having(layer=kept)


def _is_automatic_split(layer: Message) -> bool:
    """Caffe names them `<blob>_<layer>_<j>_split`, and their tops the same with _0, _1, ... appended."""
    name = layer.get("name")
    return (layer.get("type") == "Split" and name.endswith("_split") and len(layer.get("bottom")) == 1
            and layer.get("top") == [f"{name}_{k}" for k in range(len(layer.get("top")))])


def assemble(net: Message, notes: list[str], elsewhere: Mapping[str, str] | None = None) -> NetDef:
    """The wired NetDef of an upgraded, filtered NetParameter; elsewhere: hints for blobs that no kept layer produces.

    Raises NetworkError that lists every bottom without a producer before it, every top with two producers, and every
    blob that both an in-place layer and another layer read, which Caffe rejects.
    """
    layers = with_shared_storage(net.get("layer"), notes)
    names = _layer_names(layers, notes)
    wiring = _Wiring(layers, names, elsewhere or {})
    if wiring.problems:
        raise NetworkError(listing(f"{net.source.path}: errors in the connections of layers:", wiring.problems))
    definitions = [_layer_def(layer, names[index], wiring, index) for index, layer in enumerate(layers)]
    sources = [definition for definition in definitions if is_source(definition.params)]
    shapes: dict[str, tuple[int | None, ...] | None] = {}
    variables: dict[str, str] = {}
    for source in sources:
        shapes.update(input_shapes(source.params, notes))
        variables.update(zip(source.tops, source.outputs, strict=True))
    return NetDef(
        path=net.source.path, name=net.get("name"),
        layers=[definition for definition in definitions if not is_source(definition.params)],
        inputs=shapes, input_variables=variables, data_layers=sources, outputs=wiring.outputs(),
        notes=notes, message=net)


def _layer_names(layers: Sequence[Message], notes: list[str]) -> list[str]:
    """One name per layer: Caffe's, or a new one if it is missing or repeated."""
    given = {layer.get("name") for layer in layers}
    numbers: Counter[str] = Counter()
    names: dict[str, None] = {}
    for layer in layers:
        name = layer.get("name")
        if not name or name in names:
            why = f"has the same name {name!r} as another layer" if name else "has no name"
            stem = name or layer.get("type").lower() or "layer"
            while name in given or name in names or not name:
                numbers[stem] += 1
                name = f"{stem}_{numbers[stem] + 1}"
            notes.append(f"{layer.place()}: the layer {why}; renamed to {name}")
        names[name] = None
    return list(names)


def _layer_def(layer: Message, name: str, wiring: _Wiring, index: int) -> LayerDef:
    return LayerDef(
        name=name, type=layer.get("type"), bottoms=tuple(layer.get("bottom")), tops=tuple(layer.get("top")),
        inputs=wiring.inputs[index], outputs=wiring.outputs_of[index], params=layer,
        share_names=tuple(spec.get("name") for spec in layer.get("param")))


class _Value:
    """The value of a blob between two writes."""

    def __init__(self, blob: str, producer: int) -> None:
        self.blob = blob
        self.producer = producer
        self.readers: list[int] = []
        self.overwritten_by: int | None = None
        self.variable = blob


class _Wiring:
    """The bottoms and tops of all layers, resolved to values that are written only once."""

    def __init__(self, layers: Sequence[Message], names: Sequence[str], elsewhere: Mapping[str, str]) -> None:
        self.layers, self.names, self.elsewhere = layers, names, elsewhere
        self.problems: list[str] = []
        self.current: dict[str, _Value] = {}
        self.first_producer = {top: names[index] for index in reversed(range(len(layers)))
                               for top in layers[index].get("top")}
        self.read: list[list[_Value]] = []
        self.written: list[list[_Value]] = []
        for index, layer in enumerate(layers):
            self.read.append([self._read(index, blob) for blob in layer.get("bottom")])
            self.written.append([self._write(index, position, blob) for position, blob in enumerate(layer.get("top"))])
        self._check_in_place()
        self._name_values()
        self.inputs = [tuple(value.variable for value in values) for values in self.read]
        self.outputs_of = [tuple(value.variable for value in values) for values in self.written]

    def outputs(self) -> list[str]:
        """The blobs with final values that no layer reads, sorted by name as in Caffe."""
        return sorted(blob for blob, value in self.current.items() if not value.readers)

    def _say(self, index: int, text: str) -> None:
        self.problems.append(f"{self.layers[index].place()}: layer {self.names[index]!r} {text}")

    def _read(self, index: int, blob: str) -> _Value:
        value = self.current.get(blob)
        if value is None:
            later = self.first_producer.get(blob)
            self._say(index, f"reads {blob!r}, " + (
                f"which only the later layer {later!r} produces: the graph has a cycle, or its layers are out of order"
                if later
                else f"which no layer produces here; {self.elsewhere[blob]}" if blob in self.elsewhere
                else "which no layer produces" + self._nearest(blob)))
            return _Value(blob, -1)
        value.readers.append(index)
        return value

    def _nearest(self, blob: str) -> str:
        """The nearest names, only for the problems that are shown: the search is slow in a large net."""
        return nearest(blob, self.current) if len(self.problems) < 20 else ""

    def _write(self, index: int, position: int, blob: str) -> _Value:
        bottoms = self.layers[index].get("bottom")
        before = self.current.get(blob)
        if before is not None:
            if position < len(bottoms) and bottoms[position] == blob:
                before.overwritten_by = index
            else:
                self._say(index, f"produces {blob!r}, which {self.names[before.producer]!r} also produces; "
                                 "only an in-place layer (same position in bottoms and tops) may do so")
        value = self.current[blob] = _Value(blob, index)
        return value

    def _check_in_place(self) -> None:
        """Report in-place layers with other readers of their input: Caffe would split it, which breaks in-place."""
        steps = {index for index, layer in enumerate(self.layers) if layer.get("type") == SHARED}
        for value in (value for values in self.written for value in values):
            if value.overwritten_by is None or value.overwritten_by in steps:
                continue
            others = [reader for reader in value.readers if reader != value.overwritten_by and reader not in steps]
            if others or value.readers.count(value.overwritten_by) > 1:
                readers = ", ".join(repr(self.names[i]) for i in others or [value.overwritten_by])
                self._say(value.overwritten_by, f"changes {value.blob!r} in place, but {readers} also reads the "
                          "unchanged value; give the in-place layer its own top")

    def _name_values(self) -> None:
        """A blob's final value keeps its name; an earlier one is named after the layer that overwrites it."""
        taken = set(self.current)
        for value in (value for values in self.written for value in values):
            if value.overwritten_by is None:
                continue
            name = f"{value.blob}_before_{self.names[value.overwritten_by]}"
            while name in taken:
                name += "_"
            taken.add(name)
            value.variable = name
