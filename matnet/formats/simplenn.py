"""Read and write SimpleNN files of all MatConvNet versions: a cell array of layer structs, which form a chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from matnet.errors import MatnetError, NetworkError, ShapeError, in_words, listing
from matnet.formats.mat.values import Cell, Opaque, StructArray, empty
from matnet.formats.names import META_FIELD, identifiers, remember, written_meta
from matnet.formats.options import NONE as NO_OPTIONS
from matnet.formats.options import LayerOptions, judge_unknown, read_options, written_fields
from matnet.formats.plain import as_array, as_text, describe, is_empty, op_from_fields, to_matlab
from matnet.layout import pad_to_4d
from matnet.names import free_name
from matnet.network import Layer, Network, Source
from matnet.ops.activation import ReLU
from matnet.ops.base import REGISTRY, Op, Unknown
from matnet.ops.convolution import Conv
from matnet.ops.fields import as_float
from matnet.params import Param, owned

INPUT, LABEL = "input", "label"

# Defaults that vl_simplenn_tidy fills in, in the form in which it writes them.
TIDY_DEFAULTS: dict[str, dict[str, Any]] = {
    "conv": {"pad": 0, "stride": 1, "dilate": 1, "opts": Cell()},
    "pool": {"pad": 0, "stride": 1, "opts": Cell()},
    "convt": {"crop": 0, "upsample": 1, "numGroups": 1, "opts": Cell()},
    "relu": {"leak": 0},
    "dropout": {"rate": 0.5},
    "normalize": {"param": [5, 1, 0.0001 / 5, 0.75]},
    "lrn": {"param": [5, 1, 0.0001 / 5, 0.75]},
    "pdist": {"noRoot": False, "aggregate": False, "p": 2, "epsilon": 1e-3, "instanceWeights": empty()},
    "bnorm": {"epsilon": 1e-5},
}
# Fields that vl_simplenn requires and tidy does not fill in; an empty one counts as missing.
REQUIRED = {"pool": ("pool",), "noffset": ("param",), "spnorm": ("param",)}
# The types that vl_simplenn supports, by their name in files.
STOCK_TYPES = {"conv", "convt", "pool", "lrn", "bnorm", "relu", "sigmoid", "softmax", "dropout"}
STOCK_TYPES |= {"noffset", "spnorm", "pdist", "softmaxloss"}
# Suffixes of param names in DagNN.fromSimpleNN.
PARAM_SUFFIXES = {"conv": "fb", "convt": "fb", "bnorm": "mbx", "pdist": "cw"}
# Fields of stock types in SimpleNN; other fields of the op (declared sizes, bias flags) are not written.
STOCK_FIELDS: dict[str, set[str]] = {
    "conv": {"pad", "stride", "dilate"},
    "convt": {"crop", "upsample", "numGroups"},
    "pool": {"method", "pool", "pad", "stride"},
    "pdist": {"p", "noRoot", "aggregate", "epsilon"},
    "softmaxloss": set(),
    "loss": set(),
}
# Fields of all layers without effect in test mode; those from the second line on come from training.
COMMON_FIELDS = {"name", "type", "weights", "precious", "opts", "size", "class", "filters", "biases"}
COMMON_FIELDS |= {"learningRate", "weightDecay", "momentum", "rememberOutput"}
COMMON_FIELDS |= {f"{kind}{rate}" for kind in ("filters", "biases") for rate in ("LearningRate", "WeightDecay")}
COMMON_FIELDS |= {"filtersMomentum", "biasesMomentum"}
LEGACY_WEIGHTS = ("filters", "biases")  # up to beta10; also used for bnorm's multipliers and offsets
FIELDS_OF_WEIGHTS = ("weights", *LEGACY_WEIGHTS)


@dataclass(frozen=True)
class _Place:
    """The position of a layer, for names and messages."""

    index: int
    where: str
    repeats: dict[str, int]  # see free_name

    def __str__(self) -> str:
        return f"{self.where}, layers{{{self.index}}}"


def read_simplenn(variables: Mapping[str, Any], source: Source, lenient: bool = False) -> Network:
    """A chain Network from a file's top-level fields, with the defaults of vl_simplenn_tidy.

    `layers` is a cell of structs, or a struct array, where empty fields count as missing. The output of layer i is
    `layer<i>`, the input is `input`, and a loss also reads `label`. One NetworkError lists all invalid layers. Fields
    unknown to MatConvNet are noted; an unknown option in `opts` makes its layer refuse to run, unless `lenient`.
    """
    source.format = "simplenn"
    net = Network(_tidy_meta(variables), source)
    faults = []
    unknown: dict[str, list[str]] = {}
    previous = INPUT
    repeats: dict[str, int] = {}
    for index, struct in enumerate(_structs(variables["layers"]), 1):
        place = _Place(index, str(source), repeats)
        try:
            layer, options = _read_layer(net, struct, place, previous)
            judge_unknown(net, layer, (), options.unknown, lenient)
            net.add(layer)
            for name in _unknown_fields(layer):
                unknown.setdefault(name, []).append(layer.name)
            previous = layer.outputs[0]
        except MatnetError as error:
            faults.append(str(error))
    if faults:
        raise NetworkError(listing(f"{source}: layers that cannot be read:", faults) if len(faults) > 1 else faults[0])
    for name, layers in unknown.items():
        where = ", ".join(layers[:5]) + (f" and {len(layers) - 5} more" if len(layers) > 5 else "")
        source.notes.append(f"field {name!r} of layer {where}: not used by vl_simplenn; ignored")
    return net


def _structs(layers: Any) -> list[Any]:
    """The layers of a cell or struct array; empty fields of a struct array are removed."""
    if isinstance(layers, Cell):
        return layers
    array = layers if isinstance(layers, StructArray) else [layers]
    return [{name: value for name, value in struct.items() if not is_empty(value)} for struct in array]


def _unknown_fields(layer: Layer) -> list[str]:
    """Fields that belong neither to the layer's type nor to training; empty for unknown types."""
    struct = layer.extra.get("simplenn")
    if struct is None or isinstance(layer.op, Unknown) or not layer.op.stock:
        return []
    kind = as_text(struct["type"], "type")
    known = {*COMMON_FIELDS, *TIDY_DEFAULTS.get(kind, {}), *written_names(layer.op)}
    unused = ["opts"] if "opts" in struct and not passes_opts(kind) else []
    return [name for name, value in struct.items() if (name not in known or name in unused) and not is_empty(value)]


def passes_opts(kind: str) -> bool:
    """Whether vl_simplenn passes the `opts` of a layer of this type to the layer's function."""
    return "opts" in TIDY_DEFAULTS.get(kind, {})


def written_names(op: Op) -> set[str]:
    """The op's fields by their names in SimpleNN."""
    return {op.simplenn_fields.get(name, name) for name in op.__dataclass_fields__}


def _tidy_meta(variables: Mapping[str, Any]) -> dict[str, Any]:
    """meta, with the top-level `classes` and `normalization` of old files, and cropSize computed from border."""
    meta = dict(variables["meta"]) if isinstance(variables.get("meta"), dict) else {}
    for name in ("classes", "normalization"):
        if name in variables:
            meta[name] = variables[name]
    normalization = meta.get("normalization")
    if isinstance(normalization, dict) and "cropSize" not in normalization:
        size, border = normalization.get("imageSize"), normalization.get("border")
        if isinstance(size, np.ndarray) and isinstance(border, np.ndarray) and size.size >= 2 and border.size in (1, 2):
            pixels = size.ravel()[:2].astype(float)
            fraction = pixels / (pixels + border.ravel())
            meta["normalization"] = {**normalization, "cropSize": fraction.reshape(1, -1)}
    return meta


def _read_layer(net: Network, struct: Any, place: _Place, previous: str) -> tuple[Layer, LayerOptions]:
    if isinstance(struct, Opaque):
        custom = Unknown(kind=f"custom object {struct.class_name or struct.kind}")
        name = f"layer{place.index}"
        return Layer(name, custom, [previous], [name], [], {"object": struct}), NO_OPTIONS
    if not isinstance(struct, dict):
        raise NetworkError(f"{place}: is {describe(struct)}, expected a struct")
    kind = as_text(struct.get("type"), f"{place}.type")
    if not kind:
        raise NetworkError(f"{place}: has no type")
    given = {**_tidy_fields(kind), **{key: value for key, value in struct.items() if value is not None}}
    options = NO_OPTIONS
    if passes_opts(kind):
        options = read_options(REGISTRY.simplenn[kind], given["opts"], str(place))
    op: Any = _op_of(kind, given, options, place)
    name = free_name(as_text(struct.get("name"), f"{place}.name") or f"layer{place.index}", net.layers, place.repeats)
    params = _read_params(net, kind, name, struct, place)
    if {"hasBias", "size"} <= op.__dataclass_fields__.keys():  # both follow from the weights in SimpleNN
        op = replace(op, hasBias=len(params) > 1, size=_filter_shape(net, params, place))
    extra = {"weights" if key in FIELDS_OF_WEIGHTS else key: value for key, value in struct.items()}
    if "weights" in extra:
        extra["weights"] = None  # keep only its position among the fields
    inputs = [previous, *_extra_inputs(net, op)]
    if kind == "pdist" and not params:  # the reference is given at run time, like labels
        inputs.append(LABEL)
    layer = Layer(name, op, inputs, [f"layer{place.index}"], params, {"simplenn": extra})
    missing = [field for field in REQUIRED.get(kind, ()) if is_empty(struct.get(field))]
    layer.faults += [f"field {field!r} is missing, but vl_simplenn requires it" for field in missing]
    return layer, options


def _filter_shape(net: Network, params: list[str], place: _Place) -> tuple[int, ...]:
    """The 4-D shape of a layer's filters; zeros if it has none."""
    if not params or params[0] not in net.params:
        return (0, 0, 0, 0)
    try:
        return tuple(pad_to_4d(net.params[params[0]].value).shape)
    except ShapeError as error:
        raise NetworkError(f"{place}.weights{{1}}: {error}") from None


def _tidy_fields(kind: str) -> dict[str, Any]:
    return {name: to_matlab(value) for name, value in TIDY_DEFAULTS.get(kind, {}).items()}


def _op_of(kind: str, given: Mapping[str, Any], options: LayerOptions, place: _Place) -> Op:
    known = REGISTRY.simplenn.get(kind)
    if known is None:
        return Unknown(kind=kind)
    try:
        fixed: dict[str, Any] = {"loss": "softmaxlog"} if kind in ("softmaxloss", "loss") else {}
        if kind == "relu" and not is_empty(given["leak"]) and as_float(given["leak"]) <= 0:
            fixed["leak"] = 0  # vl_simplenn only passes on leak > 0
        set_last = {known.simplenn_fields.get(name, name): value for name, value in options.fields.items()}
        return op_from_fields(known, {**given, **fixed, **set_last}, known.simplenn_fields)
    except NetworkError as error:
        raise NetworkError(f"{place} ({kind}): {error}") from None


def _extra_inputs(net: Network, op: Op) -> list[str]:
    """Further inputs of a chain's layer: labels for a loss, a second operand for concat."""
    if op.training_only:
        return [LABEL]
    return [f"input{number}" for number in range(2, op.input_count[0] + 1)]


def _read_params(net: Network, kind: str, name: str, struct: Mapping[str, Any], place: _Place) -> list[str]:
    values = _weights(kind, struct, place)
    usual = _default_params(kind, name)
    while values and is_empty(values[-1]):
        values.pop()
    if values and is_empty(values[0]) and kind == "pdist":
        raise NetworkError(f"{place} (pdist): has instance weights, but no reference in `class`")
    rates, decays = _factors(struct, "learningRate"), _factors(struct, "weightDecay")
    names = []
    for position, value in enumerate(values):
        if position >= len(usual):
            raise NetworkError(f"{place} ({kind}): has {len(values)} weights, expected at most {len(usual)}")
        array = as_array(value, f"{place}.weights{{{position + 1}}}")
        param = usual[position]
        net.params[param] = Param(owned(array), rates.get(position), decays.get(position))
        names.append(param)
    if not names and kind in ("conv", "convt"):  # no weights in the file: the param gets a name but no value
        return usual[:1]
    return names


def _default_params(kind: str, layer: str) -> list[str]:
    return [f"{layer}{suffix}" for suffix in PARAM_SUFFIXES.get(kind, "123456789")]


def _weights(kind: str, struct: Mapping[str, Any], place: _Place) -> list[Any]:
    if kind == "pdist":
        return [struct.get("class"), struct.get("instanceWeights")]
    stored = struct.get("weights")
    if stored is None and any(name in struct for name in LEGACY_WEIGHTS):
        values = [struct.get(name) for name in LEGACY_WEIGHTS]
    elif isinstance(stored, Cell):
        values = list(stored)
    elif is_empty(stored):
        values = []
    else:
        raise NetworkError(f"{place} ({kind}): weights is {describe(stored)}, expected a cell array")
    if kind == "bnorm" and len(values) == 2:  # no moments before beta17; like tidy, write zeros for unknown
        values.append(np.zeros((as_array(values[0], f"{place}.weights{{1}}").size, 2), np.float32))
    return values


def _factors(struct: Mapping[str, Any], field: str) -> dict[int, float]:
    """learningRate or weightDecay by index of the weight."""
    value = struct.get(field)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        return {}
    return {index: float(item) for index, item in enumerate(value.ravel())}


# -- writing ----------------------------------------------------------------------------------------


def simplenn_obstacles(net: Network, stock_only: bool = False) -> list[str]:
    """The reasons why this network cannot be written as SimpleNN; empty if it can.

    stock_only: also reject types that vl_simplenn does not support.
    """
    obstacles = []
    previous = None
    uses: dict[str, int] = {}
    inputs = set(net.inputs)
    for layer in net.layers.values():
        op = layer.op
        if "object" in layer.extra:
            obstacles.append(f"layer {layer.name!r}: {layer.type_name} can only be written by MATLAB")
        elif not (op.simplenn or (isinstance(op, Unknown) and "simplenn" in layer.extra)):
            obstacles.append(f"layer {layer.name!r}: SimpleNN has no type for {layer.type_name}")
        elif (stock_only or op.stock) and "simplenn" not in layer.extra and op.simplenn[0] not in STOCK_TYPES:
            obstacles.append(f"layer {layer.name!r}: vl_simplenn does not support type {op.simplenn[0]!r}")
        elif isinstance(op, ReLU) and op.leak < 0:
            obstacles.append(f"layer {layer.name!r}: vl_simplenn ignores a negative leak ({op.leak:g})")
        if len(layer.outputs) != 1 or (previous is not None and layer.inputs[:1] != [previous]):
            obstacles.append(f"layer {layer.name!r}: its input is not the output of the previous layer")
        elif any(name not in inputs for name in layer.inputs[1:]) or not _may_read_more(layer):
            obstacles.append(f"layer {layer.name!r}: has more than one input")
        for name in layer.params:
            uses[name] = uses.get(name, 0) + 1
        previous = layer.outputs[0] if layer.outputs else None
    obstacles += [f"param {name!r}: is shared by several layers" for name, count in uses.items() if count > 1]
    return obstacles


def _may_read_more(layer: Layer) -> bool:
    """Whether the caller may give further inputs of this layer: labels, or the map of a `concat` layer."""
    return len(layer.inputs) < 2 or layer.op.training_only or "simplenn" in layer.extra


def require_chain(net: Network) -> None:
    """Raise NetworkError with all reasons why the network cannot be written as SimpleNN."""
    obstacles = simplenn_obstacles(net)
    if obstacles:
        option = in_words("format='dagnn'", "--format dagnn")
        raise NetworkError(listing(f"{net.source}: cannot be written as SimpleNN; use {option}:", obstacles))


def write_simplenn(net: Network) -> dict[str, Any]:
    """The top-level variables `layers` (1 x L cell) and `meta` of a file for vl_simplenn.

    Raises NetworkError with all reasons why the network cannot be written.
    """
    require_chain(net)
    written = identifiers(net.layers)
    chain = {layer.outputs[0]: f"layer{index}" for index, layer in enumerate(net.layers.values(), 1)}
    names = {variable: chain.get(variable, variable) for variable in net.variables}
    first = next(iter(net.layers.values())).inputs[0] if net.layers else INPUT
    names[first] = INPUT
    layers = Cell(_write_layer(net, layer, written[layer.name]) for layer in net.layers.values())
    meta = written_meta(net, names)
    kept = remember(net, {"layers": written, "params": _param_names(net, written), "variables": names})
    if kept:
        meta[META_FIELD] = kept
    return {"layers": layers, "meta": meta}


def _param_names(net: Network, layers: Mapping[str, str]) -> dict[str, str]:
    """Param -> its name when the file is read again."""
    names: dict[str, str] = {}
    for layer in net.layers.values():
        kind = as_text(layer.extra.get("simplenn", {}).get("type"), "type") or next(iter(layer.op.simplenn), "")
        names.update(zip(layer.params, _default_params(kind, layers[layer.name]), strict=False))
    return names


def _write_layer(net: Network, layer: Layer, name: str) -> dict[str, Any]:
    original = layer.extra.get("simplenn", {})
    op = layer.op
    kind = as_text(original.get("type"), "type") or op.simplenn[0]
    struct: dict[str, Any] = {"name": name, "type": kind}
    if not isinstance(op, Unknown):
        found = written_fields(op, original, op.simplenn_fields)
        known = STOCK_FIELDS.get(kind, set(found))
        struct.update({key: value for key, value in found.items() if key in known or key == "opts"})
        if isinstance(op, Conv) and "dilate" not in original:  # a column vector, as vl_simplenn_display expects
            down, across = op.dilate
            struct["dilate"] = to_matlab(float(down) if down == across else np.array([[down], [across]], float))
    if layer.faults:  # do not add missing required fields
        struct = {key: value for key, value in struct.items() if key in original or key not in REQUIRED.get(kind, ())}
    struct.update(_write_weights(net, layer, kind))
    struct["precious"] = original.get("precious", np.array([[layer.outputs[0] in net.precious]]))
    merged = {**_tidy_fields(kind), **original, **struct}
    return {key: merged[key] for key in dict.fromkeys(("name", "type", *original, *merged))}


def _write_weights(net: Network, layer: Layer, kind: str) -> dict[str, Any]:
    values: list[Any] = [net.params[name].value if name in net.params else empty() for name in layer.params]
    if kind == "pdist":
        reference, weights = [*values, empty(), empty()][:2]
        return {"class": reference, "instanceWeights": weights, "weights": Cell()}
    if kind in ("conv", "convt") and len(values) == 1:
        values.append(empty())  # vl_simplenn reads weights{2} of every convolution
    struct: dict[str, Any] = {"weights": Cell(values)}
    factors = [net.params[name] for name in layer.params if name in net.params]
    if factors and all(param.learning_rate is not None for param in factors):
        struct["learningRate"] = to_matlab([float(param.learning_rate or 0) for param in factors])
    if factors and all(param.weight_decay is not None for param in factors):
        struct["weightDecay"] = to_matlab([float(param.weight_decay or 0) for param in factors])
    return struct
