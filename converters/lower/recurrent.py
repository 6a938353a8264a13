"""Sequences and embeddings: Embed, LSTM, RNN, CTC; all are extensions."""

from __future__ import annotations

from math import prod

from matnet.converters.graph.netdef import LayerDef
from matnet.converters.lower.builder import Builder, own_fields
from matnet.converters.lower.registry import lowers
from matnet.converters.lower.sizes import SizeNeededError, Sizes, known, numbers, padded, text
from matnet.ops.extensions.ctc import CTCGreedyDecoder
from matnet.ops.extensions.linear import Embed
from matnet.ops.extensions.recurrent import LSTM, RNN
from matnet.ops.extensions.reshape import CaffeReshape
from matnet.shapes import Shape


@lowers("Embed")
def embed(layer: LayerDef, net: Builder) -> None:
    """One row of a matrix for each index, along a new last axis."""
    param = layer.params.get("embed_param")
    rank, width = len(net.shape(layer.inputs[0])), param.get("num_output")
    table = net.weight(layer, 0, (param.get("input_dim"), width))
    params = [net.param(layer, "table", table.array, table)]
    if param.get("bias_term"):
        bias = net.weight(layer, 1, (width,))
        params.append(net.param(layer, "bias", bias.array.reshape(-1, 1), bias))
    net.finish(layer, Embed(axis=rank, hasBias=len(params) > 1), params=params, rank=rank + 1)


@lowers("LSTM", bottoms=(2, 5), tops=(1, 3))
def lstm(layer: LayerDef, net: Builder) -> None:
    """Gates in Caffe's order i, f, o, g."""
    _settle_marks(layer, net)
    param = layer.params.get("recurrent_param")
    width, exposed = param.get("num_output"), param.get("expose_hidden")
    static = len(layer.inputs) - 2 * exposed > 2
    shapes = {"x_matrix": (4 * width, _values_per_step(layer, net)), "bias": (4 * width,)}
    if static:
        shapes["static_matrix"] = (4 * width, _static_values(layer, net))
    shapes["hidden_matrix"] = (4 * width, width)
    net.finish(layer, LSTM(staticInput=static, exposeHidden=exposed), params=_params(layer, net, shapes), rank=3)


@lowers("RNN", bottoms=(2, 4), tops=(1, 2))
def rnn(layer: LayerDef, net: Builder) -> None:
    """tanh twice: for the state and for the output."""
    _settle_marks(layer, net)
    param = layer.params.get("recurrent_param")
    width, exposed = param.get("num_output"), param.get("expose_hidden")
    static = len(layer.inputs) - exposed > 2
    shapes = {"x_matrix": (width, _values_per_step(layer, net)), "bias": (width,)}
    if static:
        shapes["static_matrix"] = (width, _static_values(layer, net))
    shapes |= {"hidden_matrix": (width, width), "output_matrix": (width, width), "output_bias": (width,)}
    net.finish(layer, RNN(staticInput=static, exposeHidden=exposed), params=_params(layer, net, shapes), rank=3)


@lowers("Lstm", bottoms=(1, 2))
def ctc_lstm(layer: LayerDef, net: Builder) -> None:
    """The CTC forks' LSTM: blobs for input, state and bias, gates i, f, o, g; over T x N x C, or (T N) x C."""
    param = layer.params.get("lstm_param")
    width, streams = param.get("num_output"), param.get("batch_size")
    inputs, rank = net.operands(layer), len(net.shape(layer.inputs[0]))
    flat = rank != 3
    if flat:
        inputs = [
            net.step(layer, part, CaffeReshape(shape=(-1, streams, *sizes), numAxes=axes), [variable])
            for part, variable, sizes, axes in zip(("steps", "cont"), inputs, ((), (1, 1)), (1, -1), strict=False)
        ]
    values = _product(net.shape(layer.inputs[0])[1 if flat else 2 :])
    weights = {suffix: net.weight(layer, index, shape) for index, (suffix, shape) in enumerate(
        {"x_matrix": (4 * width, values), "hidden_matrix": (4 * width, width), "bias": (4 * width,)}.items())}
    names = [
        net.param(layer, suffix, weights[suffix].array.reshape(4 * width, -1), weights[suffix])
        for suffix in ("x_matrix", "bias", "hidden_matrix")
    ]
    op = LSTM(hasCont=len(inputs) > 1)
    if flat:
        states = net.step(layer, "states", op, inputs, names)
        net.finish(layer, CaffeReshape(shape=(-1, width, 1, 1)), [states], rank=rank)
    else:
        net.finish(layer, op, inputs, names, rank=3)


@lowers("CTCGreedyDecoder", bottoms=(1, 2), tops=(1, 2))
def ctc_greedy_decoder(layer: LayerDef, net: Builder) -> None:
    """The labels of every stream; a second top is minus the sum of the best scores."""
    given = own_fields(CTCGreedyDecoder, layer.params.get("ctc_decoder_param"))
    net.finish(layer, CTCGreedyDecoder(**given, withScores=len(layer.outputs) > 1), rank=4)


def _settle_marks(layer: LayerDef, net: Builder) -> None:
    """Set sequence markers of unknown size to T x N, like the values."""
    marks, sizes = layer.inputs[1], net.shape(layer.inputs[0])[:2]
    if marks in net.graph.inputs.values() and not known(net.shape(marks)) and len(sizes) == 2 and known(sizes):
        net.declare(marks, sizes)
        net.net.input_shapes[marks] = numbers(padded(sizes))
        net.note(layer, f"assumed {text(sizes)} for {layer.bottoms[1]!r}: steps x sequences of {layer.bottoms[0]!r}")


def _params(layer: LayerDef, net: Builder, shapes: dict[str, Shape]) -> list[str]:
    names = []
    for index, (suffix, shape) in enumerate(shapes.items()):
        weight = net.weight(layer, index, shape)
        names.append(net.param(layer, suffix, weight.array.reshape(shape[0], -1), weight))
    return names


def _values_per_step(layer: LayerDef, net: Builder) -> int:
    return _product(net.shape(layer.inputs[0])[2:])


def _static_values(layer: LayerDef, net: Builder) -> int:
    return _product(net.shape(layer.inputs[2])[1:])


def _product(sizes: Sizes) -> int:
    found = [size for size in sizes if size is not None]
    if len(found) < len(sizes):
        raise SizeNeededError("needs a known input size")
    return prod(found)
