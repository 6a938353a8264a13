"""Collects the parts of one layer for a torch module: submodules as text, arrays, and the lines of `forward`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from matnet.errors import NetworkError
from matnet.network import Layer
from matnet.shapes import Shape


class NotExpressible(NetworkError):
    """A layer that torch cannot compute exactly; the message is the reason."""


@dataclass
class Member:
    """A submodule: its attribute, its constructor expression, and its tensors as arrays by torch name."""

    name: str
    constructor: str
    state: Mapping[str, np.ndarray]


@dataclass
class LayerWriter:
    """The interface of translations.

    `inputs` are expressions. `shapes` are the input sizes N x C x H x W; a translation may rely only on the channels.
    `params` are the layer's arrays in MatConvNet's shapes. `base` is the attribute name for the layer's submodule.
    `first` is the expression of a tensor that provides device and dtype for new tensors.
    """

    layer: Layer
    inputs: Sequence[str]
    shapes: Sequence[Shape]
    params: Sequence[np.ndarray]
    base: str
    first: str
    members: list[Member] = field(default_factory=list)
    results: list[tuple[tuple[int, ...], str]] = field(default_factory=list)

    @property
    def x(self) -> str:
        """The expression of the first input."""
        return self.inputs[0]

    def prepared(self) -> Any:
        """The layer's params as for its reference forward pass, checked by the op."""
        return self.layer.op.prepare(np, self.params)

    def module(self, constructor: str, suffix: str = "", /, **state: np.ndarray) -> str:
        """Add a submodule with its tensors, named after the layer plus `suffix`; returns the expression `self.name`."""
        name = self.base + suffix
        self.members.append(Member(name, constructor, state))
        return f"self.{name}"

    def write(self, expression: str, place: int = 0) -> None:
        """Set the expression of output `place`."""
        self.results.append(((place,), expression))

    def write_together(self, expression: str) -> None:
        """Set one expression that returns a tuple of all outputs."""
        self.results.append((tuple(range(len(self.layer.outputs))), expression))

    def through(self, constructor: str, **state: np.ndarray) -> None:
        """Write the layer as a submodule applied to its first input."""
        self.write(f"{self.module(constructor, **state)}({self.x})")


def pair(values: Sequence[int]) -> str:
    """(vertical, horizontal) as text for torch: one number if both are equal."""
    return str(values[0]) if len(set(values)) == 1 else repr(tuple(values))


def call(function: str, *arguments: Any, **keywords: Any) -> str:
    """The text of a call; str arguments are expressions, keywords with value None are omitted."""
    parts = [value if isinstance(value, str) else repr(value) for value in arguments]
    parts += [f"{name}={value}" for name, value in keywords.items() if value is not None]
    return f"{function}({', '.join(parts)})"


def number(value: float) -> str:
    """A float as text, integers without a fraction."""
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
