"""Upgrade a NetParameter of any generation and dialect to V2, with the same steps as BVLC Caffe."""

from __future__ import annotations

from matnet.converters.files import layer_types
from matnet.converters.files.message import Message, build
from matnet.converters.graph.upgrade_v0 import upgrade_v0
from matnet.errors import FileFormatError

MOST_LAYERS = 100_000
"""The most plausible number of layers; the deepest published networks have a few thousand."""
_DATA_PARAMETERS = {"DATA": "data_param", "IMAGE_DATA": "image_data_param", "WINDOW_DATA": "window_data_param"}
_TRANSFORM_FIELDS = ("scale", "mean_file", "crop_size", "mirror")
_SPEC_FIELDS = {"param": "name", "blob_share_mode": "share_mode", "blobs_lr": "lr_mult", "weight_decay": "decay_mult"}
"""List of a V1 layer -> the ParamSpec field for its i-th value."""


def generation(net: Message) -> str:
    """V0, V1 or V2, by the content of the file. Raises FileFormatError if it has no layers, or implausibly many."""
    layers = net.get("layers")
    if len(layers) + len(net.get("layer")) > MOST_LAYERS:
        raise FileFormatError(f"{net.source.path}: found {len(layers) + len(net.get('layer'))} layers, expected at "
                              f"most {MOST_LAYERS}; the file is damaged")
    if any(layer.has("layer") for layer in layers):
        return "V0"
    if layers:
        return "V1"
    if not net.get("layer"):
        raise FileFormatError(f"{net.source.path}: no layers; is it a solver or an empty file?")
    return "V2"


def upgrade(net: Message, notes: list[str]) -> Message:
    """A V2 NetParameter from `net`, which is not changed. Every decision adds a line to `notes`.

    The steps run in Caffe's order, if necessary; the last one turns the forks' forms of dilation and pooling rounding
    into BVLC's. Raises FileFormatError for files that Caffe rejects.
    """
    found = generation(net)
    if found == "V0":
        net = upgrade_v0(net, notes)
    if found != "V2":
        notes.append(f"upgraded from the {found} format")
        net = _upgrade_v1(net)
    return _each_layer(_input_layer(net, notes), notes)


def _with_transform(layer: Message) -> Message:
    """Of a V1 data layer, scale, mean_file, crop_size and mirror in transform_param."""
    name = _DATA_PARAMETERS.get(layer.get("type"))
    given = [field for field in _TRANSFORM_FIELDS if name and layer.get(name).has(field)]
    if name is None or not given:
        return layer
    data, transform = layer.get(name).shallow_copy(), layer.get("transform_param").shallow_copy()
    for field in given:
        transform.set(field, data.get(field))
        data.clear(field)
    return layer.having(**{name: data, "transform_param": transform})


def _upgrade_v1(net: Message) -> Message:
    upgraded = net.having(layer=[_upgrade_v1_layer(_with_transform(layer)) for layer in net.get("layers")])
    upgraded.clear("layers")
    return upgraded


def _upgrade_v1_layer(layer: Message) -> Message:
    upgraded = Message("LayerParameter", layer.source, layer.position)
    for name, value in layer.items():
        if name == "type":
            upgraded.set("type", layer_types.V1_TO_V2.get(value, str(value)))
        elif (name in upgraded.type.fields and name not in _SPEC_FIELDS) or name in layer.unknown():
            upgraded.set(name, value)
    specs = _param_specs(layer)
    if specs:
        upgraded.set("param", specs)
    if layer.get("type") == "ELTWISE_PRODUCT":
        upgraded.set("eltwise_param", upgraded.get("eltwise_param").having(operation="PROD"))
    return upgraded


def _param_specs(layer: Message) -> list[Message]:
    """One ParamSpec per index in any of V1's four lists."""
    count = max(len(layer.get(name)) for name in _SPEC_FIELDS)
    specs = [Message("ParamSpec", layer.source, layer.position) for _ in range(count)]
    for name, target in _SPEC_FIELDS.items():
        for spec, value in zip(specs, layer.get(name), strict=False):
            spec.set(target, value)
    return specs


def _input_layer(net: Message, notes: list[str]) -> Message:
    """`input` with `input_shape` or `input_dim` becomes an Input layer before all others."""
    inputs, shapes, dims = net.get("input"), net.get("input_shape"), net.get("input_dim")
    if not inputs:
        return net
    if not shapes and dims:
        if len(dims) != 4 * len(inputs):
            raise FileFormatError(f"{net.place('input_dim')}: {len(dims)} input_dim values for {len(inputs)} "
                                  "inputs; expected 4 (num, channels, height, width) for each")
        shapes = [build("BlobShape", dim=dims[i:i + 4]) for i in range(0, len(dims), 4)]
    elif shapes and len(shapes) != len(inputs):
        raise FileFormatError(f"{net.place('input_shape')}: {len(shapes)} input_shape blocks for "
                              f"{len(inputs)} inputs; expected one for each")
    if not shapes:
        notes.append(f"inputs without a shape: {', '.join(inputs)}")
    layer = Message("LayerParameter", net.source, net.position).having(name="input", type="Input", top=list(inputs))
    if shapes:
        layer.set("input_param", build("InputParameter", shape=shapes))
    upgraded = net.having(layer=[layer, *net.get("layer")])
    for name in ("input", "input_shape", "input_dim"):
        upgraded.clear(name)
    return upgraded


def _each_layer(net: Message, notes: list[str]) -> Message:
    """The steps that change one V2 layer at a time."""
    layers = net.get("layer")
    for change in (_freeze_batch_norm, _one_dilation, _one_round_mode):
        layers = [change(layer, notes) for layer in layers]
    return net.having(layer=layers)


def _freeze_batch_norm(layer: Message, notes: list[str]) -> Message:
    """Set lr_mult = decay_mult = 0 for the three ParamSpecs of a BatchNorm, because its statistics are not learned."""
    if layer.get("type") != "BatchNorm" or len(layer.get("param")) != 3:
        return layer
    return layer.having(param=[spec.having(lr_mult=0.0, decay_mult=0.0) for spec in layer.get("param")])


def _one_dilation(layer: Message, notes: list[str]) -> Message:
    """`hole`, `hole_h` with `hole_w` (DeepLab) and `filter_stride` (ParseNet) become `dilation`."""
    convolution = layer.get("convolution_param")
    ways = ("dilation", "hole", "filter_stride", "hole_h", "hole_w")
    given = [name for name in ways if convolution.has(name)]
    if given in ([], ["dilation"]):
        return layer
    if len(given) > 1 and given != ["hole_h", "hole_w"]:
        raise FileFormatError(f"{convolution.place(given[0])}: several fields give the dilation "
                              f"({', '.join(given)}); keep only one")
    pair = given[0].startswith("hole_")
    values = [convolution.get("hole_h"), convolution.get("hole_w")] if pair else [convolution.get(given[0])]
    convolution = convolution.shallow_copy()
    for name in given:
        convolution.clear(name)
    notes.append(f"layer {layer.get('name')!r}: {' and '.join(given)} read as dilation {'x'.join(map(str, values))}")
    return layer.having(convolution_param=convolution.having(dilation=values))


def _one_round_mode(layer: Message, notes: list[str]) -> Message:
    """A fork's `ceil_mode` becomes BVLC's `round_mode`, which has the opposite sense: 1 is FLOOR."""
    pooling = layer.get("pooling_param")
    if not pooling.has("ceil_mode"):
        return layer
    if pooling.has("round_mode"):
        raise FileFormatError(f"{pooling.place('ceil_mode')}: both ceil_mode and round_mode are given; keep only one")
    mode = "CEIL" if pooling.get("ceil_mode") else "FLOOR"
    pooling = pooling.having(round_mode=mode)
    pooling.clear("ceil_mode")
    notes.append(f"layer {layer.get('name')!r}: ceil_mode read as round_mode {mode}")
    return layer.having(pooling_param=pooling)
