"""Check model cards: build the definition, compare it with the card, and run it with random weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from matnet.errors import MatnetError
from matnet.network import Network
from matnet.samples import sample_inputs
from matnet.shapes import Shape, text
from matnet.zoo.cards import Card
from matnet.zoo.random_weights import random_params, skeleton

OK, FAILED, UNDEFINED = "ok", "failed", "undefined"
ANY_SIZE = ("segmentation", "edges")  # tasks whose networks take images of any size
SMALL = (96, 128)  # height and width of the test images for them


@dataclass(kw_only=True)
class CardTrial:
    """The result for one card. status: ok, failed, or undefined if the architecture is unknown.

    faults: all differences between the card and the network. outputs: shapes N x C x H x W of the outputs. seconds: for
    building, drawing weights and running.
    """

    model: str
    status: str = OK
    faults: list[str] = field(default_factory=list)
    layers: int | None = None
    parameters: int | None = None
    outputs: dict[str, Shape] = field(default_factory=dict)
    ran: bool = False
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        """The result as one line."""
        if self.status == UNDEFINED:
            return f"{self.status:9} {self.model}: works only with your own prototxt"
        if self.faults:
            return f"{self.status:9} {self.model}: {'; '.join(self.faults)}"
        sizes = ", ".join(f"{name} {text(size)}" for name, size in self.outputs.items())
        how = "ran" if self.ran else "built"
        return f"{self.status:9} {self.model}: {how}, {self.parameters:,} parameters, {sizes} ({self.seconds:.1f} s)"


def trials(cards: Iterable[Card], forward: bool, backend: str = "auto", seed: int = 0) -> Iterator[CardTrial]:
    """A trial of each card; each network is freed before the next is built.

    forward: also run each with random weights on one random image, a small one if the network takes any size.
    """
    for card in cards:
        started = time.perf_counter()
        trial = CardTrial(model=card.name)
        if card.prototxt is None:
            trial.status = UNDEFINED
        else:
            _try(card, trial, _runner(backend, seed) if forward else None)
        trial.seconds = time.perf_counter() - started
        yield trial


Run = Callable[[Network, Mapping[str, Shape], tuple[str, ...]], dict[str, np.ndarray]]


def _runner(backend: str, seed: int) -> Run:
    def run(net: Network, shapes: Mapping[str, Shape], outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
        random_params(net, seed)
        return net.forward(sample_inputs(net, shapes, seed), outputs, backend=backend)

    return run


def _try(card: Card, trial: CardTrial, run: Run | None) -> None:
    try:
        net = skeleton(card)
        trial.layers = len(net.layers)
        trial.parameters = sum(param.value.size for param in net.params.values())
        trial.faults += [*_differences(card, trial), *_size_faults(card, net, trial)]
        if run is not None and not trial.faults:
            trial.faults += _run_faults(card, net, trial, run)
            trial.ran = True
    except MatnetError as error:
        trial.faults.append(str(error))
    trial.status = FAILED if trial.faults else OK


def _differences(card: Card, trial: CardTrial) -> Iterator[str]:
    if trial.parameters != card.parameters:
        said = f"{card.parameters:,}" if card.parameters else "nothing"
        yield f"the network has {trial.parameters:,} parameters, the card says {said}"
    if card.layers not in (None, trial.layers):
        yield f"the network has {trial.layers} layers, the card says {card.layers}"
    if not card.outputs:
        yield "the card lists no outputs"


def _size_faults(card: Card, net: Network, trial: CardTrial) -> Iterator[str]:
    """Check that the card's inputs lead to its outputs, with as many channels as labels."""
    shapes = net.infer_shapes(card_inputs(card, net))
    for name in net.variables:
        if name not in shapes:
            yield f"{name!r} has no size"
    for name in card.outputs:
        trial.outputs[name] = shapes[net.resolve(name)]
    count = card.labels.get("count")
    if count and len(card.outputs) == 1 and count not in trial.outputs[card.outputs[0]]:
        yield f"{card.outputs[0]!r} is {text(trial.outputs[card.outputs[0]])}, but the card has {count} labels"
    if len(card.labels.get("names", ())) not in (0, count):
        yield f"the card names {len(card.labels['names'])} of {count} labels"


def _run_faults(card: Card, net: Network, trial: CardTrial, run: Run) -> Iterator[str]:
    """Run the network; every output must have its inferred size, finite values, and more than one distinct value."""
    inputs = card_inputs(card, net, SMALL if card.task in ANY_SIZE else None)
    foretold = net.infer_shapes(inputs)
    for name, value in run(net, inputs, card.outputs).items():
        trial.outputs[name] = value.shape
        if value.shape != foretold[net.resolve(name)]:
            yield f"{name!r} has shape {text(value.shape)}; expected {text(foretold[net.resolve(name)])}"
        if not np.isfinite(value).all():
            yield f"{name!r} holds {np.count_nonzero(~np.isfinite(value)):,} NaN or infinite values"
        elif value.min() == value.max() and not _is_label_map(net, name):
            yield f"{name!r} is {value.flat[0]:g} everywhere"


def _is_label_map(net: Network, name: str) -> bool:
    """Whether an output may be constant: a map of the top class."""
    wanted = net.resolve(name)
    return any(wanted in layer.outputs and layer.op.class_numbers for layer in net.layers.values())


# -- inputs -----------------------------------------------------------------------------------------------


def card_inputs(card: Card, net: Network, size: tuple[int, int] | None = None) -> dict[str, Shape]:
    """Shapes N x C x H x W of all inputs: the definition's, updated by the card's, and images of `size` if given."""
    shapes = dict(net.input_shapes)
    for name, shape in card.inputs.items():
        known = shapes.get(net.resolve(name))
        shapes[net.resolve(name)] = (known[0] if known else 1, *shape)
    if size is not None:
        shapes = {name: (n, c, *size) if (h, w) != (1, 1) else (n, c, h, w) for name, (n, c, h, w) in shapes.items()}
    return shapes
