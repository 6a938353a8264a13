"""The table of a network as data: one row per layer, param and variable, and the totals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

from matnet.display.units import BYTES_PER_ELEMENT
from matnet.errors import MatnetError
from matnet.meta.inputs import InputFacts
from matnet.network import Layer, Network
from matnet.ops.base import Op, Unknown, Unreached
from matnet.shapes import Pad, ReceptiveField, Shape, extent, to_4d

MOST_FIELDS = 16
# If sizes are unknown, receptive fields equal at both trial sizes do not depend on the size.
TRIAL_SIZES = ((1056, 1056), (1440, 1440))

Fields = Mapping[str, ReceptiveField | None]


@dataclass(frozen=True)
class LayerRow:
    """One layer. Shapes are N x C x H x W; None is unknown (sizes) or not applicable (windows)."""

    index: int  # from 1, in file order
    name: str
    full_type: str  # as in DagNN files: `dagnn.Conv`
    kind: str  # as in the file: the SimpleNN type, or the full DagNN class
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: tuple[str, ...]
    filters: Shape | None  # h x w x c x K, or h x w x K x D for a convolution transpose
    window: tuple[int, int] | None  # rows and columns of the filter or pooling window
    method: str  # max or avg for pooling, else ''
    stride: tuple[int, int] | None
    pad: Pad | None
    dilate: tuple[int, int] | None
    settings: str  # other fields with non-default values, such as `leak 0.1`
    fields: Fields  # by data input, for inputs that reach the layer
    output_shapes: tuple[Shape | None, ...]
    param_count: int
    multiply_adds: int | None
    family: str  # see Op.family
    unknown: bool  # the type is not registered
    training_only: bool

    @property
    def type(self) -> str:
        """The type without `dagnn.`."""
        return self.full_type.removeprefix("dagnn.")

    @property
    def support(self) -> tuple[int, int]:
        """The span of the dilated window; 1 for layers without a window and for convolution transpose."""
        if self.window is None or self.type == "ConvTranspose":
            return (1, 1)
        dilate = self.dilate or (1, 1)
        return extent(max(self.window[0], 1), dilate[0]), extent(max(self.window[1], 1), dilate[1])

    @property
    def data_bytes(self) -> int | None:
        """Memory of all outputs; None if the size of any is unknown."""
        sizes = [variable_bytes(shape) for shape in self.output_shapes]
        return None if None in sizes else sum(size or 0 for size in sizes)


class ParamRow(NamedTuple):
    """One parameter array, in MatConvNet's shape; `fanout` counts the layers that use it."""

    name: str
    shape: Shape | None
    fanout: int


class VariableRow(NamedTuple):
    """One variable, N x C x H x W; `fanin` and `fanout` count the layers that write and read it."""

    name: str
    shape: Shape | None
    fanin: int
    fanout: int


@dataclass(frozen=True)
class NetworkTable:
    """All rows, and their sums. `simplenn`: whether the network is a SimpleNN chain."""

    simplenn: bool
    batch: int
    inputs: tuple[str, ...]  # data inputs: images rather than labels
    layers: tuple[LayerRow, ...]
    params: tuple[ParamRow, ...]
    variables: tuple[VariableRow, ...]

    @property
    def param_count(self) -> int:
        """Elements of all params, including moments; shared params count once."""
        return sum(math.prod(row.shape) for row in self.params if row.shape)

    @property
    def valueless(self) -> list[str]:
        """Params without values."""
        return [row.name for row in self.params if not row.shape or not math.prod(row.shape)]

    @property
    def data_bytes(self) -> int:
        """Memory of all variables of known size, including inputs."""
        return sum(variable_bytes(row.shape) or 0 for row in self.variables)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of all layers of known size."""
        return sum(row.multiply_adds or 0 for row in self.layers)

    @property
    def unsized(self) -> list[str]:
        """Layers of unknown output size, except losses."""
        return [row.name for row in self.layers if None in row.output_shapes and not row.training_only]

    @cached_property
    def shapes(self) -> dict[str, Shape | None]:
        """The shape of every variable, None if unknown."""
        return {row.name: row.shape for row in self.variables}


def variable_bytes(shape: Shape | None) -> int | None:
    """Memory of a variable in single precision."""
    return None if shape is None else BYTES_PER_ELEMENT * math.prod(shape)


def network_table(
    net: Network, batch: int = 1, size: tuple[int, int] | None = None, inputs: Mapping[str, Shape] | None = None
) -> NetworkTable:
    """The table for the declared input shapes, for images of `size` (height, width), or for `inputs`.

    Unknown sizes are None. Receptive fields follow DagNN.getVarReceptiveFields, which equals vl_simplenn_display for
    chains of convolutions and pooling. Two numbers are wrong in MatConvNet and differ here: the size and the field
    after a convolution transpose, and the declared depth of a grouped one. Only the first 16 data inputs have receptive
    fields, since the work would grow with the square of the network's size. Raises NetworkError for a graph with a
    cycle.
    """
    net = _with_filter_sizes(net)
    given = dict(inputs) if inputs is not None else net.default_input_shapes(batch, size)
    shapes = net.infer_shapes(given, partial=True)
    simplenn = net.source.format == "simplenn"
    shapes.update(_loss_shapes(net, shapes, batch, simplenn))
    read = net.data_inputs()
    seen = {name: _receptive_fields(net, name, shapes) for name in read[:MOST_FIELDS]}
    sizes = _Sizes(shapes, seen, {layer.name for layer in net.training_layers()})
    rows = [_layer_row(net, index, layer, sizes) for index, layer in enumerate(net.layers.values(), 1)]
    return NetworkTable(
        simplenn=simplenn,
        batch=batch,
        inputs=tuple(read),
        layers=tuple(rows),
        params=_param_rows(net),
        variables=_variable_rows(net, shapes),
    )


def _with_filter_sizes(net: Network) -> Network:
    """A copy in which the declared `size` of every filter bank is replaced by the size of its filters.

    A DagNN runs with its filters, whatever size the file declares.
    """
    twin = net.copy()
    for layer in twin.layers.values():
        bank = filter_bank(net, layer)
        if bank is not None and hasattr(layer.op, "size"):
            layer.op = replace(layer.op, **{"size": bank})
    return twin


def filter_bank(net: Network, layer: Layer) -> Shape | None:
    """The 4-D shape of a convolution's filters; None for other layers, and for missing or empty filters."""
    if not layer.op.has_filters or not layer.params or layer.params[0] not in net.params:
        return None
    shape = net.param_shapes(layer)[0]
    return to_4d(shape) if math.prod(shape) and math.prod(shape[4:]) == 1 else None


def _loss_shapes(net: Network, shapes: Mapping[str, Shape], batch: int, simplenn: bool) -> dict[str, Shape]:
    """Output sizes of losses in MatConvNet's tables: 1 x 1 x 1 x N in a DagNN, H x W x 1 x 1 in a SimpleNN."""
    found = {}
    for layer in net.training_layers():
        below = shapes.get(layer.inputs[0]) if layer.inputs else None
        if below is not None:
            found.update(dict.fromkeys(layer.outputs, (1, 1, *below[2:]) if simplenn else (batch, 1, 1, 1)))
    return found


# -- receptive fields -------------------------------------------------------------------------------


def _receptive_fields(net: Network, variable: str, shapes: Mapping[str, Shape]) -> Fields:
    """The receptive field of every variable in `variable`; for unknown sizes, only fields independent of size."""
    seen = net.receptive_fields(variable, shapes)
    if any(name not in shapes for layer in net.layers.values() for name in layer.outputs):
        seen = {**_size_free_fields(net, variable), **seen}
    if net.source.format == "simplenn":
        for layer in net.training_layers():  # vl_simplenn_display treats a loss as a layer of support 1
            if layer.inputs[0] in seen:
                seen.update(dict.fromkeys(layer.outputs, seen[layer.inputs[0]]))
    return seen


def _size_free_fields(net: Network, variable: str) -> dict[str, ReceptiveField | None]:
    trials = []
    facts = InputFacts(net)
    for size in TRIAL_SIZES:
        given = {name: (1, facts.channels(name) or 1, *size) for name in facts.names}
        trials.append(net.receptive_fields(variable, net.infer_shapes(given, partial=True)))
    first, second = trials
    return {name: field for name, field in first.items() if name in second and second[name] == field}


# -- rows -------------------------------------------------------------------------------------------


class _Sizes(NamedTuple):
    """Shapes by variable, receptive fields by data input and variable, and training-only layers."""

    shapes: Mapping[str, Shape]
    fields: Mapping[str, Fields]
    training: Set[str]


def _layer_row(net: Network, index: int, layer: Layer, known: _Sizes) -> LayerRow:
    op = layer.op
    bank = filter_bank(net, layer)
    source = layer.outputs[0] if layer.outputs else None
    return LayerRow(
        index=index,
        name=layer.name,
        full_type=layer.type_name,
        kind=_kind(layer),
        inputs=tuple(layer.inputs),
        outputs=tuple(layer.outputs),
        params=tuple(layer.params),
        filters=bank,
        window=(bank[0], bank[1]) if bank else getattr(op, "poolSize", None),
        method=str(getattr(op, "method", "")) if hasattr(op, "poolSize") else "",
        stride=getattr(op, "stride", None),
        pad=getattr(op, "pad", None),
        dilate=getattr(op, "dilate", None) if bank else None,
        settings=_settings(op, {"dilate"} if bank else {"method"} if hasattr(op, "poolSize") else set()),
        fields={name: seen[source] for name, seen in known.fields.items() if source is not None and source in seen},
        output_shapes=tuple(known.shapes.get(name) for name in layer.outputs),
        param_count=sum(net.params[name].value.size for name in layer.params if name in net.params),
        multiply_adds=0 if layer.name in known.training else _multiply_adds(net, layer, known.shapes),
        family=op.family,
        unknown=isinstance(op, Unknown) and not isinstance(op, Unreached),
        training_only=layer.name in known.training,
    )


def _kind(layer: Layer) -> str:
    struct = layer.extra.get("simplenn")
    return str(struct.get("type", layer.type_name)) if isinstance(struct, dict) else layer.type_name


def _settings(op: Op, columns: Set[str]) -> str:
    """The fields with non-default values as `name value`, except fields with their own column."""
    changed, left_out = [], {"pad", "stride", "poolSize", *columns, *op.implied_fields}
    for item in fields(op):
        value = getattr(op, item.name)
        default = item.default if item.default_factory is MISSING else item.default_factory()
        convert = item.metadata.get("convert")
        if convert is not None and default is not MISSING:
            default = convert(default)
        if item.name not in left_out and value != default and _is_plain(value):
            changed.append(f"{item.name} {_plain(value)}")
    return ", ".join(changed)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str)) or (
        isinstance(value, tuple) and 0 < len(value) <= 6 and all(isinstance(item, (int, float)) for item in value)
    )


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    items: Iterable[Any] = value if isinstance(value, tuple) else (value,)
    if isinstance(value, tuple) and len(set(value)) == 1:
        items = value[:1]
    return " ".join(f"{item:.6g}" if isinstance(item, float) else str(item) for item in items)


def _multiply_adds(net: Network, layer: Layer, shapes: Mapping[str, Shape]) -> int | None:
    """Multiply-adds of a layer; None if a size or the layer type is unknown."""
    known = layer.outputs and all(name in shapes for name in [*layer.inputs, *layer.outputs])
    if isinstance(layer.op, Unknown) or not known:
        return None
    try:
        return layer.op.multiply_adds(
            [shapes[name] for name in layer.inputs], net.param_shapes(layer), [shapes[name] for name in layer.outputs]
        )
    except MatnetError:
        return None


def _param_rows(net: Network) -> tuple[ParamRow, ...]:
    uses = Counter(name for layer in net.layers.values() for name in layer.params)
    named = dict.fromkeys([*uses, *net.params])
    return tuple(
        ParamRow(name, net.params[name].value.shape if name in net.params else None, uses[name]) for name in named
    )


def _variable_rows(net: Network, shapes: Mapping[str, Shape]) -> tuple[VariableRow, ...]:
    written = Counter(name for layer in net.layers.values() for name in layer.outputs)
    read = Counter(name for layer in net.layers.values() for name in layer.inputs)
    return tuple(VariableRow(name, shapes.get(name), written[name], read[name]) for name in net.variables)
