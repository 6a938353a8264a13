"""Turn a training definition into one for inference: losses become activations; metrics and labels are dropped."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from matnet.converters.files.message import build
from matnet.converters.graph.assemble import LEFT_OUT
from matnet.converters.graph.axes import FILTERING, OF_MAPS, reaches_filters
from matnet.converters.graph.netdef import LayerDef, NetDef
from matnet.errors import NetworkError, nearest

INFERENCE_FORM = {
    "SoftmaxWithLoss": "Softmax",
    "SoftmaxWithLossOHEM": "Softmax",
    "SoftmaxLoss": "Softmax",
    "InfogainLoss": "Softmax",
    "SigmoidCrossEntropyLoss": "Sigmoid",
}
"""Loss -> the activation that it applies to its input, which replaces it."""

LOSSES = frozenset((*INFERENCE_FORM, "EuclideanLoss", "HingeLoss", "MultinomialLogisticLoss", "ContrastiveLoss"))
SINKS = frozenset(("Accuracy", "Silence", "HDF5Output"))
LABELLED = LOSSES - {"EuclideanLoss", "ContrastiveLoss"} | {"Accuracy"}
"""Types with a label as second input; that of a Euclidean or contrastive loss may be a feature."""


SAMPLERS = ("ProposalTarget", "ProposalTargetLayer")
"""Caffe types, and Python layer classes, that sample boxes for training; at test time all boxes are kept."""
STAYING = OF_MAPS | frozenset(FILTERING)
"""Types that are never a leftover behind a label."""
LOSS_LIKE = re.compile(r"loss|accuracy|metric|eval|triplet|contrastive|err(or)?\d*$", re.IGNORECASE)
"""Patterns of forks' losses and metrics, for layers with unread outputs."""
LABEL_LIKE = re.compile(r"label|(^|_)gt(_|$)|truth|target", re.IGNORECASE)


def inference_layers(
    net: NetDef,
    remove_loss: bool = False,
    append_softmax: Iterable[str] = (),
    convertible: Callable[[LayerDef], bool] = lambda layer: True,
) -> tuple[list[LayerDef], list[str]]:
    """The layers of `net` for inference, and one note per decision.

    Accuracy, Silence and output layers are dropped, with the branches that only prepare labels. A loss becomes its
    inference form (SoftmaxWithLoss: Softmax), or is dropped if it has none, if the same layer already exists, or with
    `remove_loss`. A layer that is not `convertible` is dropped if no kept layer reads it, and it reads a label or is a
    loss by its type or loss_weight. append_softmax: layers with a Softmax to append to their first output. Raises
    NetworkError for an unknown layer name, or if no layer is left.
    """
    notes: list[str] = []
    net = replace(net, layers=[_without_sampling(net, layer, notes) for layer in net.layers])
    dropped = [layer for layer in net.layers if layer.type in LOSSES | SINKS]
    notes += [f"dropped layer {layer.name!r} ({layer.type})" for layer in dropped if layer.type in SINKS]
    gone = {id(layer) for layer in dropped} | _readers_of(net.layers, dropped, notes)
    gone |= _leftovers(net, gone, convertible, notes)
    gone |= _label_branches(net.layers, dropped, gone, notes)
    kept = _Kept(net, [layer for layer in net.layers if id(layer) not in gone])
    for layer in dropped:
        if layer.type in LOSSES:
            _add_inference_form(kept, layer, remove_loss, notes)
    for name in append_softmax:
        kept.add(_softmax_after(kept, name))
        notes.append(f"appended a Softmax to layer {name!r}: blob {kept.layers[-1].tops[0]!r}")
    if not kept.layers:
        others = "".join(f"; {note}" for note in net.notes if note.startswith(LEFT_OUT))
        what = others or "; expected a prototxt with more than data layers and losses"
        raise NetworkError(f"{net.path}: no layer is left for inference{what}")
    return kept.layers, notes


class _Kept:
    """The kept layers, with lookups for losses."""

    def __init__(self, net: NetDef, layers: Iterable[LayerDef]) -> None:
        self.net = net
        self.layers: list[LayerDef] = []
        self.producers: dict[str, LayerDef] = {}
        self.types_of_readers: set[tuple[str, str]] = set()
        self.types = Counter(layer.type for layer in net.layers)
        self._taken = {*net.inputs, *(used for layer in net.layers for used in (*layer.tops, *layer.outputs))}
        for layer in layers:
            self.add(layer)

    def add(self, layer: LayerDef) -> None:
        self.layers.append(layer)
        for variable in layer.outputs:
            self.producers.setdefault(variable, layer)
        self.types_of_readers.update((layer.type, variable) for variable in layer.inputs)
        self._taken.update(layer.tops, layer.outputs)

    def free_name(self, name: str) -> str:
        """`name`, with `x` appended until no blob or variable has the name."""
        while name in self._taken:
            name += "x"
        return name


def _readers_of(layers: Sequence[LayerDef], dropped: Sequence[LayerDef], notes: list[str]) -> set[int]:
    """Layers that read losses and metrics (such as weighted sums of losses), which are dropped too."""
    lost = {variable for layer in dropped for variable in layer.outputs}
    known = {id(layer) for layer in dropped}
    gone = set()
    for layer in layers:
        if id(layer) not in known and lost.intersection(layer.inputs):
            gone.add(id(layer))
            lost.update(layer.outputs)
            notes.append(f"dropped layer {layer.name!r} ({layer.type}), which reads a loss or metric")
    return gone


def _leftovers(net: NetDef, gone: set[int], convertible: Callable[[LayerDef], bool], notes: list[str]) -> set[int]:
    """Unlisted training layers: no kept layer reads them, and they read labels, are losses or have no tops."""
    labels = _labels(net)
    behind = _behind_labels(net.layers, gone, labels, convertible)
    kept_readers = Counter(name for layer in net.layers if id(layer) not in gone for name in layer.inputs)
    found = set()
    for layer in reversed(net.layers):
        if id(layer) in gone or not layer.inputs or any(kept_readers[name] for name in layer.outputs):
            continue
        if id(layer) in behind:
            leftover = True
        elif convertible(layer):
            leftover = bool(layer.outputs) and not layer.blobs and labels.issuperset(layer.inputs)
        else:
            leftover = bool(labels.intersection(layer.inputs)) or _is_loss(layer) or not layer.outputs
        if leftover:
            found.add(id(layer))
            kept_readers.subtract(layer.inputs)
            why = "used only for training" if layer.outputs else "which has no tops"
            notes.append(f"dropped layer {layer.name!r} ({layer.type}), {why}")
    return found


def _behind_labels(
    layers: Sequence[LayerDef], gone: set[int], labels: set[str], convertible: Callable[[LayerDef], bool]
) -> set[int]:
    """Layers whose values depend on an unknown layer that reads a label, such as a margin added to the true class.

    Only if losses alone read them in the end, and none of them has filters or is of maps: a layer that samples boxes or
    mixes images stays.
    """
    read = {name for layer in layers for name in layer.inputs}
    readers: defaultdict[str, list[LayerDef]] = defaultdict(list)
    for layer in layers:
        if id(layer) not in gone:
            for name in layer.inputs:
                readers[name].append(layer)
    ends: set[int] = set()  # layers from which all ways lead to losses
    for layer in reversed(layers):
        onwards = (id(reader) in ends for name in layer.outputs for reader in readers[name])
        if layer.type not in STAYING and read.issuperset(layer.outputs[:1]) and all(onwards):
            ends.add(id(layer))
    found: set[int] = set()
    made: set[str] = set()
    for layer in layers:
        first = id(layer) in ends and not convertible(layer) and not labels.isdisjoint(layer.inputs)
        if id(layer) not in gone and (first or made.intersection(layer.inputs)):
            found.add(id(layer))
            made.update(layer.outputs)
    return found


def _is_loss(layer: LayerDef) -> bool:
    return bool(LOSS_LIKE.search(layer.type)) or layer.params.has("loss_weight")


def _labels(net: NetDef) -> set[str]:
    """Variables that hold labels: inputs named so and further tops of data layers, both if no filters read them (a
    tracker's `target` is an image), and variables computed only from these.
    """
    named = {net.input_variables[blob] for blob in net.inputs if LABEL_LIKE.search(blob)}
    labels = {variable for variable in named if not reaches_filters(net.layers, variable)}
    for source in net.data_layers:
        if source.type not in ("Input", "DummyData") and len(source.outputs) > 1:
            pairs = zip(source.tops[1:], source.outputs[1:], strict=True)
            further = [variable for blob, variable in pairs if len(net.inputs.get(blob) or ()) < 4]
            labels.update(variable for variable in further if not reaches_filters(net.layers, variable))
    for layer in net.layers:
        if layer.inputs and labels.issuperset(layer.inputs):
            labels.update(layer.outputs)
    return labels


def _without_sampling(net: NetDef, layer: LayerDef, notes: list[str]) -> LayerDef:
    """Replace a layer that samples boxes and computes targets by one that passes its boxes on."""
    kind = layer.params.get("python_param").get("layer") if layer.type == "Python" else layer.type
    if kind not in SAMPLERS or not layer.inputs or not layer.outputs:
        return layer
    notes.append(f"layer {layer.name!r} ({kind}) passes {layer.bottoms[0]!r} on: it samples boxes only for training")
    message = build("LayerParameter", name=layer.name, type="Split")
    return replace(
        layer,
        type="Split",
        bottoms=layer.bottoms[:1],
        inputs=layer.inputs[:1],
        tops=layer.tops[:1],
        outputs=layer.outputs[:1],
        params=message,
    )


def _label_branches(
    layers: Sequence[LayerDef], dropped: Sequence[LayerDef], gone: set[int], notes: list[str]
) -> set[int]:
    """Layers without weights that only compute labels for dropped layers."""
    labels = {variable for layer in dropped if layer.type in LABELLED for variable in layer.inputs[1:]}
    scores = {
        variable for layer in dropped if layer.type not in ("Silence", "HDF5Output") for variable in layer.inputs[:1]
    }
    readers = Counter(variable for layer in layers if id(layer) not in gone for variable in layer.inputs)
    readers.update(scores)
    branches = set()
    for layer in reversed(layers):
        if id(layer) in gone or layer.blobs or not labels.intersection(layer.outputs):
            continue
        if any(readers[variable] for variable in layer.outputs):
            continue
        branches.add(id(layer))
        labels.update(layer.inputs)
        readers.subtract(layer.inputs)
        notes.append(f"dropped layer {layer.name!r} ({layer.type}), which only prepares labels")
    return branches


def _add_inference_form(kept: _Kept, loss: LayerDef, remove: bool, notes: list[str]) -> None:
    form = INFERENCE_FORM.get(loss.type)
    what = f"layer {loss.name!r} ({loss.type})"
    score = loss.inputs[0] if loss.inputs else ""
    producer = kept.producers.get(score)
    if producer is None and score not in kept.net.input_variables.values():
        notes.append(f"dropped {what}: no layer is left that produces its input")
        return
    if remove or form is None:
        notes.append(f"dropped {what}; its input {loss.bottoms[0] if loss.bottoms else ''!r} is an output")
        return
    if (form, score) in kept.types_of_readers:
        notes.append(f"dropped {what}: the network already has a {form} of its input")
        return
    if loss.type == "InfogainLoss" and producer is not None and producer.type == "Softmax":
        notes.append(f"dropped {what}: its input is already a Softmax")
        return
    blob = _output_name(kept, loss, "prob" if form == "Softmax" else "sigmoid")
    notes.append(f"{what} became {form}: blob {blob!r}")
    added = replace(loss, type=form, inputs=(score,), tops=(blob,), outputs=(blob,), share_names=(), blobs=())
    kept.add(replace(added, bottoms=loss.bottoms[:1]))


def _output_name(kept: _Kept, loss: LayerDef, usual: str) -> str:
    """The loss's own second top, else `prob` if it is free and this is the only loss, else `<layer>_prob`."""
    if len(loss.tops) > 1 and loss.type != "SigmoidCrossEntropyLoss":
        return loss.tops[1]
    return kept.free_name(usual if kept.types[loss.type] == 1 else f"{loss.name}_{usual}")


def _softmax_after(kept: _Kept, name: str) -> LayerDef:
    source = next((layer for layer in kept.layers if layer.name == name), None)
    if source is None or not source.outputs:
        hint = nearest(name, [layer.name for layer in kept.layers])
        raise NetworkError(f"{kept.net.path}: cannot append a Softmax to unknown layer {name!r}{hint}")
    blob = kept.free_name("prob")
    return LayerDef(
        "softmax",
        "Softmax",
        source.tops[:1],
        (blob,),
        source.outputs[:1],
        (blob,),
        build("LayerParameter", name="softmax", type="Softmax"),
    )
