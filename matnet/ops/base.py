"""What an op is, and the registry under which file formats find it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from matnet.errors import NetworkError, ShapeError
from matnet.ops.fields import converter
from matnet.shapes import ReceptiveField, Shape

Array = Any  # numpy.ndarray, or cupy.ndarray when an engine says so


@dataclass(frozen=True, kw_only=True)
class Op:
    """One layer's meaning: its fields (with MatConvNet's names), its shapes, and its reference forward pass.

    Activations are N x C x H x W; params come in MatConvNet's shapes (filters h x w x c/groups x K).
    A subclass is a frozen dataclass; a field made by `fields.of(convert, default)`, or with a plain
    default, accepts whatever a MATLAB file holds and always keeps the canonical value. Only `forward` must
    be written; an op that changes sizes also writes `output_shapes`, one that looks beyond its own pixel
    `receptive_fields`.
    """

    dagnn: ClassVar[str] = ""  # class name in DagNN files
    simplenn: ClassVar[tuple[str, ...]] = ()  # `type` in SimpleNN files; the first one is written
    caffe: ClassVar[tuple[str, ...]] = ()  # Caffe types that convert into this op through `from_caffe`
    simplenn_fields: ClassVar[Mapping[str, str]] = {}  # where SimpleNN spells a field differently
    stock: ClassVar[bool] = False  # whether MatConvNet itself has it
    training_only: ClassVar[bool] = False  # losses and metrics: dropped by Network.for_inference
    input_count: ClassVar[tuple[int, int | None]] = (1, 1)  # fewest and most inputs; None: any number
    param_count: ClassVar[tuple[int, int]] = (0, 0)  # fewest and most params
    size_only_inputs: ClassVar[frozenset[int]] = frozenset()  # inputs of which only the size matters
    uses_host: ClassVar[bool] = False  # whether forward works on values on the host: no CUDA graph can hold it

    def __post_init__(self) -> None:
        for item in fields(self):
            convert = converter(item)
            if convert is None:
                continue
            try:
                object.__setattr__(self, item.name, convert(getattr(self, item.name)))
            except NetworkError as error:
                raise NetworkError(f"field {item.name!r}: {error}") from None

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        """Shapes of the outputs for these input and param shapes; ShapeError where they do not fit."""
        return [inputs[0]]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        """Per input, what one output pixel sees of it; None where that is undefined or nothing."""
        return [ReceptiveField()] * len(inputs)

    def multiply_adds(self, inputs: Sequence[Shape], params: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        """Multiply-add operations of one forward pass; 0 for ops that are not matrix products."""
        return 0

    def prepare(self, xp: Any, params: Sequence[Array]) -> Any:
        """Params in whatever form `forward` wants them, made once per network; NetworkError for unusable values."""
        return list(params)

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        """Outputs for these inputs, in test mode; `xp` is numpy or cupy, `params` what `prepare` returned."""
        raise NetworkError(f"{type(self).__name__} has no forward pass")

    @classmethod
    def from_caffe(cls, param: Any) -> Op:
        """The op for a Caffe layer's parameter message; user-registered ops override it where fields differ."""
        return cls(**{item.name: param.get(item.name) for item in fields(cls) if param and param.has(item.name)})


@dataclass(frozen=True, kw_only=True)
class Unknown(Op):
    """A layer type that is not registered: it loads, shows and saves, and fails by name only when it must run."""

    kind: str
    input_count: ClassVar[tuple[int, int | None]] = (0, None)
    param_count: ClassVar[tuple[int, int]] = (0, 1 << 30)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        raise ShapeError(f"layer type {self.kind!r} is not known, so its output size is not known either")

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [None] * len(inputs)


class Registry:
    """The ops that file formats can name: three tables, each key owned by exactly one class."""

    def __init__(self) -> None:
        self.dagnn: dict[str, type[Op]] = {}
        self.simplenn: dict[str, type[Op]] = {}
        self.caffe: dict[str, type[Op]] = {}

    def add(self, op: type[Op], dagnn: str, simplenn: Sequence[str], caffe: Sequence[str]) -> None:
        """Enter `op` under these names; NetworkError where a name is taken (nothing is entered then)."""
        wanted = [(self.dagnn, dagnn)] if dagnn else []
        wanted += [(self.simplenn, name) for name in simplenn] + [(self.caffe, name) for name in caffe]
        for table, name in wanted:
            if name in table:
                raise NetworkError(f"layer type {name!r} is already registered by {table[name].__name__}")
        for table, name in wanted:
            table[name] = op

    def remove(self, op: type[Op]) -> None:
        """Take `op` out of every table (the undo of `add`)."""
        for table in (self.dagnn, self.simplenn, self.caffe):
            for name in [name for name, known in table.items() if known is op]:
                del table[name]

    def __iter__(self) -> Iterable[type[Op]]:  # type: ignore[override]
        seen = {op: None for table in (self.dagnn, self.simplenn, self.caffe) for op in table.values()}
        return iter(seen)


REGISTRY = Registry()
OpClass = TypeVar("OpClass", bound=type[Op])


def register(
    dagnn: str = "",
    *,
    simplenn: str | Sequence[str] = (),
    caffe: str | Sequence[str] = (),
    simplenn_fields: Mapping[str, str] | None = None,
    stock: bool = False,
) -> Callable[[OpClass], OpClass]:
    """Class decorator: enter an op under its DagNN class name, SimpleNN types and Caffe types.

    `simplenn_fields` maps the op's field names to those of SimpleNN layers where they differ. Raises
    NetworkError where a name is taken. A user's own layer takes a few lines:

    >>> @register("mylab.Double", simplenn="double")
    ... @dataclass(frozen=True, kw_only=True)
    ... class Double(Op):
    ...     def forward(self, xp, inputs, params):
    ...         return [2 * inputs[0]]
    >>> REGISTRY.remove(Double)
    """

    def enter(op: OpClass) -> OpClass:
        types = (simplenn,) if isinstance(simplenn, str) else tuple(simplenn)
        caffe_types = (caffe,) if isinstance(caffe, str) else tuple(caffe)
        REGISTRY.add(op, dagnn, types, caffe_types)
        op.dagnn, op.simplenn, op.caffe = dagnn, types, caffe_types
        op.simplenn_fields = dict(simplenn_fields or {})
        op.stock = stock
        return op

    return enter
