"""One layer on its way into a torch module: its submodules as text, its arrays, and the lines of `forward`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from matnet.errors import NetworkError
from matnet.network import Layer
from matnet.shapes import Shape


class NotExpressible(NetworkError):
    """A layer that torch cannot compute exactly; the text says why, to follow the layer's name."""


@dataclass
class Member:
    """A submodule: its attribute, the expression that makes it, and its tensors as arrays, by their torch names."""

    name: str
    constructor: str
    state: Mapping[str, np.ndarray]


@dataclass
class LayerWriter:
    """What a translation reads and writes.

    `inputs` are expressions, `shapes` the inputs' sizes N x C x H x W, of which a translation may rely on the
    channels alone; `params` are the layer's arrays in MatConvNet's shapes. `base` is the attribute that the layer's
    submodule gets. `first` is the expression of a tensor whose device and dtype new ones take.
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
        """The layer's params as its reference forward pass takes them, checked by the op itself."""
        return self.layer.op.prepare(np, self.params)

    def module(self, constructor: str, suffix: str = "", /, **state: np.ndarray) -> str:
        """Add a submodule with its tensors, under the layer's name plus `suffix`; gives the expression `self.name`."""
        name = self.base + suffix
        self.members.append(Member(name, constructor, state))
        return f"self.{name}"

    def write(self, expression: str, place: int = 0) -> None:
        """State what output `place` is."""
        self.results.append(((place,), expression))

    def write_together(self, expression: str) -> None:
        """State an expression that gives a tuple of all outputs."""
        self.results.append((tuple(range(len(self.layer.outputs))), expression))

    def through(self, constructor: str, **state: np.ndarray) -> None:
        """The layer is a submodule applied to its first input."""
        self.write(f"{self.module(constructor, **state)}({self.x})")


def pair(values: Sequence[int]) -> str:
    """(vertical, horizontal) as torch takes it: one number where both are the same."""
    return str(values[0]) if len(set(values)) == 1 else repr(tuple(values))


def call(function: str, *arguments: Any, **keywords: Any) -> str:
    """The text of a call; text arguments are expressions, keywords whose value is None are left out."""
    parts = [value if isinstance(value, str) else repr(value) for value in arguments]
    parts += [f"{name}={value}" for name, value in keywords.items() if value is not None]
    return f"{function}({', '.join(parts)})"


def number(value: float) -> str:
    """A float as text, whole numbers without their fraction."""
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
