"""Read and write DagNN files: struct arrays of layers, params and variables, as DagNN.saveobj writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from matnet.errors import MatnetError, NetworkError, listing
from matnet.formats.mat.values import Cell, Opaque, StructArray, empty
from matnet.formats.names import META_FIELD, identifiers, remember, written_meta
from matnet.formats.options import LayerOptions, judge_unknown, read_options, set_params, written_fields
from matnet.formats.plain import as_array, as_names, as_structs, as_text, is_empty, op_from_fields, to_matlab
from matnet.formats.simplenn import passes_opts
from matnet.layout import pad_to_4d
from matnet.network import Layer, Network, Source
from matnet.ops.base import REGISTRY, Op, Unknown
from matnet.params import Param, owned

LAYER_FIELDS = ("name", "type", "inputs", "outputs", "params", "block")


def read_dagnn(variables: Mapping[str, Any], source: Source, lenient: bool = False) -> Network:
    """A Network from the struct arrays `layers`, `params`, `vars` and `meta`, by the rules of DagNN.loadobj.

    `vars` may be missing, blocks may be empty, single names may be plain text; unused params are ignored. One
    NetworkError lists all invalid layers. A property unknown to MatConvNet's class makes its layer refuse to run;
    with `lenient` it is ignored with a note.
    """
    source.format = "dagnn"
    meta = variables.get("meta")
    net = Network(dict(meta) if isinstance(meta, dict) else {}, source)
    faults = []
    for index, struct in enumerate(as_structs(variables["layers"], f"{source}, layers"), 1):
        try:
            layer, options = _read_layer(struct, f"{source}, layers({index})")
            judge_unknown(net, layer, _unknown_properties(layer), options.unknown, lenient)
            set_params(net, layer, options)
            net.add(layer)
        except MatnetError as error:
            faults.append(str(error))
    if faults:
        raise NetworkError(listing(f"{source}: layers that cannot be read:", faults) if len(faults) > 1 else faults[0])
    _read_params(net, variables.get("params"))
    for struct in as_structs(variables.get("vars"), f"{source}, vars"):
        precious = struct.get("precious")
        if isinstance(precious, np.ndarray) and precious.size and bool(precious.any()):
            net.precious.add(as_text(struct.get("name"), f"{source}, vars.name"))
    return net


def _unknown_properties(layer: Layer) -> list[str]:
    """Properties in the file that MatConvNet's class does not have or does not use."""
    op = layer.op
    if not op.stock:
        return []
    known = {*op.__dataclass_fields__, *op.inert_properties, *op.removed_properties}
    if op.opts_fields is not None:
        known.add("opts")
    return [name for name, value in layer.extra["block"].items() if name not in known and not is_empty(value)]


def _read_layer(struct: Mapping[str, Any], where: str) -> tuple[Layer, LayerOptions]:
    name = as_text(struct.get("name"), f"{where}.name")
    kind = as_text(struct.get("type"), f"{where}.type")
    if not name or not kind:
        raise NetworkError(f"{where}: has no {'name' if not name else 'type'}")
    where = f"{where} {name!r} ({kind})"
    block = struct.get("block")
    properties = block if isinstance(block, dict) else {}
    known = REGISTRY.dagnn.get(kind)
    options = read_options(known or Unknown, properties.get("opts"), where)
    try:
        op: Op = Unknown(kind=kind) if known is None else op_from_fields(known, {**properties, **options.fields}, {})
    except NetworkError as error:
        raise NetworkError(f"{where}: {error}") from None
    params = as_names(struct.get("params"), f"{where}.params")
    if op.has_filters and getattr(op, "hasBias", True) is False:
        params = params[:1]
    extra: dict[str, Any] = {"block": dict(properties)}
    if isinstance(block, Opaque):
        extra["opaque"] = block
    others = {key: value for key, value in struct.items() if key not in LAYER_FIELDS}
    if others:
        extra["fields"] = others
    inputs = as_names(struct.get("inputs"), f"{where}.inputs")
    return Layer(name, op, inputs, as_names(struct.get("outputs"), f"{where}.outputs"), params, extra), options


def _read_params(net: Network, stored: Any) -> None:
    used = {name for layer in net.layers.values() for name in layer.params}
    where = f"{net.source}, params"
    for index, struct in enumerate(as_structs(stored, where), 1):
        name = as_text(struct.get("name"), f"{where}({index}).name")
        if name not in used or name in net.params or is_empty(struct.get("value")):
            continue
        value = as_array(struct["value"], f"{where}({index}) {name!r}")
        net.params[name] = Param(owned(value), _factor(struct, "learningRate"), _factor(struct, "weightDecay"))


def _factor(struct: Mapping[str, Any], field: str) -> float | None:
    value = struct.get(field)
    return float(value.ravel()[0]) if isinstance(value, np.ndarray) and value.size else None


# -- writing ----------------------------------------------------------------------------------------


def write_dagnn(net: Network) -> dict[str, Any]:
    """The top-level variables `vars`, `params`, `layers`, `meta` in the order of DagNN.saveobj.

    Names become MATLAB identifiers (originals in meta.matnet). `block` holds only properties of the class. A param
    without a value is written as [], which MATLAB's initParams fills. Raises NetworkError for a cycle.
    """
    net.execution_order()
    objects = [layer.name for layer in net.layers.values() if "object" in layer.extra]
    if objects:
        raise NetworkError(f"{net.source}: layer {objects[0]!r} is a MATLAB object, which only MATLAB can write")
    faulty = [layer for layer in net.layers.values() if layer.faults and "simplenn" in layer.extra]
    if faulty:
        raise NetworkError(f"{net.source}: layer {faulty[0].name!r} cannot be written as DagNN: {faulty[0].faults[0]}")
    layer_names = identifiers(net.layers)
    used = dict.fromkeys(name for layer in net.layers.values() for name in layer.params)
    param_names = identifiers(used)
    variables = identifiers(net.variables)
    vars_ = StructArray(
        ({"name": variables[name], "precious": np.array([[name in net.precious]])} for name in net.variables),
        fields=("name", "precious"),
    )
    recorded = {
        name
        for layer in net.layers.values()
        for place, name in enumerate(layer.params)
        if place in layer.op.recorded_params
    }
    params = StructArray(
        (_write_param(net, name, param_names[name], name in recorded) for name in used),
        fields=("name", "value", "learningRate", "weightDecay"),
    )
    layers = StructArray(
        (_write_layer(net, layer, layer_names, param_names, variables) for layer in net.layers.values()),
        fields=LAYER_FIELDS,
    )
    meta = written_meta(net, variables)
    kept = remember(net, {"layers": layer_names, "params": param_names, "variables": variables})
    if kept:
        meta[META_FIELD] = kept
    return {"vars": _scalar(vars_), "params": _scalar(params), "layers": _scalar(layers), "meta": meta}


def constant_operands(net: Network) -> list[str]:
    """The layers with params that MatConvNet's class takes as inputs only, such as the reference of a pdist."""
    return [layer.name for layer in net.layers.values() if layer.params and not layer.op.dagnn_params]


def _scalar(array: StructArray) -> Any:
    """A struct array with one element as a plain struct, as in MATLAB."""
    return array[0] if len(array) == 1 else array


def _write_param(net: Network, name: str, written: str, average: bool) -> dict[str, Any]:
    param = net.params.get(name) or Param(empty())
    rate = param.learning_rate if param.learning_rate is not None else (0.1 if average else 1.0)
    decay = param.weight_decay if param.weight_decay is not None else 1.0
    return {"name": written, "value": param.value, "learningRate": to_matlab(rate), "weightDecay": to_matlab(decay)}


def _write_layer(
    net: Network, layer: Layer, layers: Mapping[str, str], params: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "name": layers[layer.name],
        "type": layer.type_name,
        "inputs": _names(variables[name] for name in layer.inputs),
        "outputs": _names(variables[name] for name in layer.outputs),
        "params": _names(params[name] for name in layer.params),
        "block": _write_block(net, layer),
    }


def _names(names: Any) -> Cell:
    found = Cell(names)
    found.shape = (1, len(found))
    return found


def _write_block(net: Network, layer: Layer) -> dict[str, Any]:
    original = layer.extra.get("block", {})
    if isinstance(layer.op, Unknown):
        return dict(original)
    block = written_fields(layer.op, original, {})
    old = layer.extra.get("simplenn", {})
    if "opts" in old and passes_opts(as_text(old.get("type"), "type")):
        options = {"opts": old["opts"]}
        block |= {**options, **written_fields(layer.op, options, {})}
    dropped = layer.op.removed_properties
    block.update({key: value for key, value in original.items() if key not in block and key not in dropped})
    if "size" in block and layer.params and layer.params[0] in net.params and not np.any(block["size"]):
        block["size"] = to_matlab([float(n) for n in pad_to_4d(net.params[layer.params[0]].value).shape])
    if "numChannels" in layer.op.inert_properties and layer.params and layer.params[0] in net.params:
        block.setdefault("numChannels", to_matlab(float(net.params[layer.params[0]].value.size)))
    return block
