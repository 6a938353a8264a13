"""The inference form of a network: training-only layers are dropped or replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from matnet.errors import NetworkError
from matnet.ops.base import Op, Unknown

if TYPE_CHECKING:
    from matnet.network import Layer, Network

LABEL = "label"
PROBABILITIES = "prob"
AT_INFERENCE = "at inference, layer"
"""Start of the note about a training-only layer that was replaced."""
LOSS_WORDS = ("loss", "error", "accuracy", "metric", "objective")


def training_layers(net: Network) -> list[Layer]:
    """The layers not needed for inference, including unused layers of unknown type with a loss-like name."""
    inputs = set(net.inputs)
    read = {name for layer in net.layers.values() for name in layer.inputs}
    return [layer for layer in net.layers.values() if layer.op.training_only or _is_loss(layer, inputs, read)]


def for_inference(net: Network) -> Network:
    """See `Network.for_inference`."""
    twin = _with_inference_forms(net, training_layers(net))
    if not twin.layers:
        raise NetworkError(f"{net.source}: has only training layers; nothing is left for inference")
    return twin


def for_inputs(net: Network, given: Collection[str]) -> Network:
    """See `Network.for_inputs`."""
    missing = set(net.inputs).difference(given)
    training = training_layers(net)
    kept = _with_inference_forms(
        net, (layer for layer in training if missing.intersection(layer.inputs) or isinstance(layer.op, Unknown))
    )
    needs_more = set(kept.inputs).difference(given)
    return for_inference(kept) if needs_more or not kept.layers else kept


def _with_inference_forms(net: Network, training: Iterable[Layer]) -> Network:
    """A copy in which these training-only layers are replaced by their inference form, or dropped if they have none."""
    twin = net.copy()
    made = []
    mentions = _mentions(net)
    for layer in training:
        op = _inference_form(layer, mentions)
        if op is None:
            del twin.layers[layer.name]
            twin.source.notes.append(f"dropped training-only layer {layer.name!r} ({layer.type_name})")
        else:
            inputs, outputs = layer.inputs[:1], layer.outputs[:1]
            form = replace(layer, op=op, inputs=inputs, outputs=outputs, params=[], extra={}, faults=[])
            twin.layers[layer.name] = form
            twin.source.notes.append(f"{AT_INFERENCE} {layer.name!r} ({layer.type_name}) computes {form.type_name}")
            made.append(form)
    if len(made) == 1 and PROBABILITIES not in {*twin.variables, *twin.layers, *twin.aliases}:
        twin.aliases[PROBABILITIES] = made[0].outputs[0]
    used = {name for layer in twin.layers.values() for name in layer.params}
    twin.params = {name: param for name, param in twin.params.items() if name in used}
    twin.unread_inputs |= set(net.inputs).difference(twin.variables)
    return twin


def _is_loss(layer: Layer, inputs: set[str], read: set[str]) -> bool:
    """Whether the layer's output is unused and it reads labels, or has an unknown type and a name that says loss."""
    if any(name in read for name in layer.outputs):
        return False
    compares = any(name not in inputs for name in layer.inputs)
    labelled = compares and any(name in inputs and name.lower().startswith(LABEL) for name in layer.inputs)
    called = f"{layer.type_name} {layer.name}".lower()
    return labelled or (isinstance(layer.op, Unknown) and any(word in called for word in LOSS_WORDS))


def _mentions(net: Network) -> Counter[tuple[type[Op] | None, str]]:
    """How many layers read or write each variable, in total (key None) and per op type."""
    found: Counter[tuple[type[Op] | None, str]] = Counter()
    for layer in net.layers.values():
        for name in {*layer.inputs, *layer.outputs}:
            found[None, name] += 1
            found[type(layer.op), name] += 1
    return found


def _inference_form(layer: Layer, mentions: Counter[tuple[type[Op] | None, str]]) -> Op | None:
    """The op that replaces a training-only layer at inference; None to drop the layer.

    It is dropped if another layer reads its output, or if another layer applies the same op to the same scores.
    """
    op = layer.op.for_inference()
    if op is None or len(layer.outputs) != 1 or not layer.inputs:
        return None
    if mentions[None, layer.outputs[0]] > 1:
        return None
    others = mentions[type(op), layer.inputs[0]] - (type(op) is type(layer.op))
    return None if others else op
