"""Build a Network from a NetDef and options: lower all layers in order, collect all errors, keep Caffe's blob names."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from matnet.converters.files.layer_types import why_left_out
from matnet.converters.files.message import LayerParameters, Message
from matnet.converters.graph.input_sizes import input_sizes
from matnet.converters.graph.naming import named_graph
from matnet.converters.graph.netdef import LayerDef, NetDef
from matnet.converters.graph.training import inference_layers
from matnet.converters.lower import LOWERINGS, Builder
from matnet.converters.lower.builder import Value, describe
from matnet.converters.lower.python_layers import is_known_python
from matnet.converters.lower.sizes import LARGEST, SizeNeededError, known, numbers, padded, text
from matnet.converters.options import ConversionOptions
from matnet.errors import (
    FileFormatError,
    MatnetError,
    NetworkError,
    ShapeError,
    UnsupportedLayersError,
    in_words,
    listing,
    nearest,
)
from matnet.names import free_name
from matnet.network import Layer, Network, Source
from matnet.ops import extensions
from matnet.ops.base import REGISTRY, Unknown, Unreached


def build(
    net_def: NetDef, options: ConversionOptions, with_weights: bool = True, mean_size: tuple[int, int] | None = None
) -> Builder:
    """A builder whose `net` computes the same as the Caffe net at test time.

    `net_def` has its weights attached unless `with_weights` is False; then params are placeholders. mean_size: height
    and width of a mean image, for data layers without a size. Decisions are appended to the network's `source.notes`.
    Raises UnsupportedLayersError that lists all layers of unknown types, or one error that lists all weights that do
    not fit, or all layers that cannot be lowered.
    """
    layers, notes = inference_layers(net_def, options.remove_loss, options.append_softmax, is_convertible)
    if options.unknown == "refuse":
        _refuse_unknown_types(net_def, layers)
    graph, renamed = named_graph(net_def, layers, options.names)
    net = Network(source=Source(Path(net_def.path), "caffe", [*net_def.notes, *notes, *renamed]))
    builder = Builder(graph, options, net, with_weights)
    sizes = input_sizes(net_def, layers, options, mean_size, net.source.notes)
    _declare_inputs(net_def, layers, builder, sizes)
    net.unread_inputs = {blob for blob, variable in net_def.input_variables.items() if variable not in builder.values}
    _lower_all(builder, net_def.path)
    _keep_unread_names(builder)
    _keep_blob_names(builder)
    if builder.joined:
        joined = ", ".join(builder.joined[:3]) + (", ..." if len(builder.joined) > 3 else "")
        net.source.notes.append(f"{len(builder.joined)} Scale layers merged into the BatchNorm before them: {joined}")
    return builder


def is_convertible(layer: LayerDef) -> bool:
    """Whether there is a lowering function or a registered op for the layer's type."""
    if layer.type == "Python":
        return is_known_python(layer) or _registered_name(layer) is not None
    return layer.type in LOWERINGS or layer.type in REGISTRY.caffe


def _refuse_unknown_types(net_def: NetDef, layers: list[LayerDef]) -> None:
    unknown = [layer for layer in layers if not is_convertible(layer)]
    if unknown:
        known_types = {*LOWERINGS, *REGISTRY.caffe}
        reasons = [why_left_out(layer.type) or nearest(_kind(layer), known_types) for layer in unknown]
        lines = [f"{describe(at)}{_python_name(at)}{why}" for at, why in zip(unknown, reasons, strict=True)]
        count = "1 layer is of a type" if len(unknown) == 1 else f"{len(unknown)} layers are of types"
        where = in_words("before the conversion,", "in a file given with --import,")
        raise UnsupportedLayersError(
            listing(f"{net_def.path}: {count} that cannot be converted:", lines)
            + f"\n{_computable(net_def, layers)}Register a type with matnet.ops.register(..., caffe='Type') "
            f"{where} or cut these layers out of the prototxt."
        )


def _kind(layer: LayerDef) -> str:
    return layer.params.get("python_param").get("layer") if layer.type == "Python" else layer.type


def _python_name(layer: LayerDef) -> str:
    """` module.Class` of a Python layer, for appending to its description."""
    param = layer.params.get("python_param")
    return f" {param.get('module')}.{param.get('layer')}" if layer.type == "Python" else ""


def _computable(net_def: NetDef, layers: list[LayerDef]) -> str:
    """A sentence that names the last blob that does not depend on layers of unknown types."""
    lost: set[str] = set()
    last = ""
    for layer in layers:
        if not is_convertible(layer) or lost.intersection(layer.inputs):
            lost.update(layer.outputs)
        elif layer.outputs:
            last = layer.tops[-1]
    return f"The last blob that can be computed is {last!r}. " if last else ""


# -- inputs -----------------------------------------------------------------------------------------


def _declare_inputs(
    net_def: NetDef, layers: list[LayerDef], builder: Builder, sizes: dict[str, tuple[int | None, ...]]
) -> None:
    constants = _constants(net_def)
    net = builder.net
    for blob, shape in sizes.items():
        variable = builder.graph.inputs[blob]
        if len(shape) > 4:
            raise ShapeError(
                f"{net_def.path}: input {blob!r} has {len(shape)} axes ({text(shape)}); expected at most N x C x H x W"
                ", because matnet's layers have at most two spatial dimensions"
            )
        if prod(size or 1 for size in shape) > LARGEST:
            raise NetworkError(f"{net_def.path}: input {blob!r} of {text(shape)} has more values than Caffe supports")
        builder.declare(variable, shape)
        if blob in constants and known(shape):
            n, c, h, w = padded(shape)
            op = extensions.DummyData(size=numbers((h, w, c, n)), value=constants[blob])
            net.add(Layer(_free_name(net, blob, builder), op, [], [variable]))
            net.source.notes.append(f"blob {blob!r} is filled with {constants[blob]:g} (DummyData)")
        elif known(shape):
            net.input_shapes[variable] = numbers(padded(shape))


def _constants(net_def: NetDef) -> dict[str, float]:
    """Blobs that DummyData layers fill with a constant, if there are real inputs; otherwise they are the inputs."""
    if all(layer.type == "DummyData" for layer in net_def.data_layers):
        return {}
    found = {}
    for layer in net_def.data_layers:
        if layer.type != "DummyData":
            continue
        fillers = layer.params.get("dummy_data_param").get("data_filler")
        for index, blob in enumerate(layer.tops):
            filler: Message | None = fillers[min(index, len(fillers) - 1)] if fillers else None
            if filler is None or filler.get("type") == "constant":
                found[blob] = float(filler.get("value")) if filler is not None else 0.0
    return found


def _free_name(net: Network, name: str, builder: Builder) -> str:
    while name in net.layers or any(layer.name == name for layer in builder.graph.layers):
        name += "x"
    return name


# -- layers -----------------------------------------------------------------------------------------


def _lower_all(builder: Builder, path: str) -> None:
    """Lower every layer. Layers that depend on a failed one are skipped; one error lists all failures."""
    failures: list[MatnetError] = []
    for layer in builder.graph.layers:
        if any(variable not in builder.values for variable in layer.inputs):
            continue
        try:
            if is_convertible(layer):
                lower(layer, builder)
            else:
                builder.keep_unknown(layer, Unknown(kind=_kind(layer)))
        except MatnetError as error:
            if builder.unsized.intersection(layer.inputs):
                builder.keep_unknown(layer, Unreached(kind=layer.type))
            else:
                unsized = isinstance(error, SizeNeededError)
                message = f"{describe(layer)}: {error}{builder.give_sizes() if unsized else ''}"
                failures.append(ShapeError(message) if unsized else type(error)(message))
    if builder.problems:
        raise FileFormatError(listing(f"{path}: weights that do not fit ({len(builder.problems)}):", builder.problems))
    if not failures:
        return
    kinds = {type(failure) for failure in failures}
    kind = (
        kinds.pop() if len(kinds) == 1 else UnsupportedLayersError if UnsupportedLayersError in kinds else NetworkError
    )
    texts = [str(failure) for failure in failures]
    raise kind(texts[0] if len(texts) == 1 else listing(f"{path}: {len(texts)} layers cannot be converted:", texts))


def lower(layer: LayerDef, builder: Builder) -> None:
    """Add one Caffe layer to the network, by its lowering function or a user's registered op."""
    registered = _registered_name(layer)
    if registered is None:
        LOWERINGS[layer.type](layer, builder)
        return
    op = REGISTRY.caffe[registered].from_caffe(LayerParameters(layer.params))
    params = [builder.param(layer, str(index), np.asarray(blob.data)) for index, blob in enumerate(layer.blobs, 1)]
    builder.finish(layer, op, params=params)


def _registered_name(layer: LayerDef) -> str | None:
    """The Caffe name of the registered op for the layer; None if there is a lowering function.

    Python layers are looked up by `module.Class`, then by the class alone.
    """
    if layer.type != "Python":
        return None if layer.type in LOWERINGS else layer.type
    param = layer.params.get("python_param")
    names = (f"{param.get('module')}.{param.get('layer')}", param.get("layer"))
    return None if is_known_python(layer) else next((name for name in names if name in REGISTRY.caffe), None)


# -- names ------------------------------------------------------------------------------------------


def _keep_unread_names(builder: Builder) -> None:
    """Add a layer for a blob that is only another name of an input and that no layer reads; it would be lost."""
    variables = set(builder.net.variables)
    for layer in builder.graph.layers:
        for variable in layer.outputs:
            held = builder.values.get(variable)
            if held is not None and held.variable not in variables:
                variables.update((held.variable, builder.carry_out(variable)))


def _keep_blob_names(builder: Builder) -> None:
    """Keep Caffe's blob names and shapes: rename variables, and record aliases and ranks.

    A variable that holds only the final value of one blob gets the blob's name, unless it is that of another blob.
    """
    net, graph = builder.net, builder.graph
    if builder.options.names == "caffe":
        _rename_to_blobs(builder)
    _rename_merged(builder)
    variables, ranked = set(net.variables), set()
    for blob, variable in graph.finals.items():
        value = builder.values.get(variable)
        if value is None or value.variable not in variables:
            continue
        if value.variable != blob and blob in variables and variable != blob:
            continue  # MatConvNet's naming: a blob's first value has the blob's name
        if value.variable != blob and blob not in variables:
            net.aliases[blob] = value.variable
        _keep_rank(net, blob, len(value.shape))
        ranked.add(blob)
    for value in builder.values.values():
        own = len(value.shape) <= 4 and padded(value.shape) == builder.sizes.get(value.variable)
        if own and value.variable in variables and value.variable not in ranked:
            _keep_rank(net, value.variable, len(value.shape))


def _keep_rank(net: Network, name: str, rank: int) -> None:
    if rank < 4 or (rank == 4 and name in net.aliases):
        net.blob_ranks[name] = rank


def _rename_to_blobs(builder: Builder) -> None:
    """Rename variables to their blobs if a removed layer left them with another blob's name."""
    net, graph = builder.net, builder.graph
    own_names = {*graph.finals, *graph.inputs.values()}
    renamed: dict[str, str] = {}
    for blob, variable in graph.finals.items():
        value = builder.values.get(variable)
        if value is None or value.variable == blob or value.variable in own_names or value.variable in renamed:
            continue
        if blob not in net.variables:
            renamed[value.variable] = blob
    _rename(builder, renamed)


def _rename_merged(builder: Builder) -> None:
    """Rename variables with a blob's values before its axes are merged: the blob's name is for the merged ones."""
    finals, variables = builder.graph.finals, builder.net.variables
    values = {blob: builder.values.get(variable) for blob, variable in finals.items()}
    merged = [
        blob
        for blob, value in values.items()
        if value and blob in (value.variable, finals[blob]) and blob in variables
        if builder.is_merged(Value(blob, value.shape))
    ]
    taken = {*variables, *values}
    _rename(builder, {blob: free_name(f"{blob}_unmerged", taken, {}) for blob in merged})


def _rename(builder: Builder, renamed: dict[str, str]) -> None:
    """Rename variables in the network and in the builder."""
    builder.net.rename(renamed)
    for caffe, value in list(builder.values.items()):
        if value.variable in renamed:
            new = renamed[value.variable]
            builder.sizes.setdefault(new, builder.sizes[value.variable])
            builder.values[caffe] = type(value)(new, value.shape)
