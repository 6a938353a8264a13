"""What an op is, and the registry under which file formats find it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from importlib import import_module
from keyword import iskeyword
from typing import Any, ClassVar, TypeGuard, TypeVar

from matnet.errors import NetworkError, ShapeError
from matnet.ops.fields import converter
from matnet.ops.modules import DAGNN, SIMPLENN, places
from matnet.shapes import ReceptiveField, Shape

Array = Any  # numpy.ndarray, or cupy.ndarray when an engine says so


class Channels(IntEnum):
    """How the channels of an op's outputs relate to those of its inputs; each level includes those below it.

    The inputs of `Op.size_only_inputs` do not count. Where params hold values per channel
    (`Op.channel_axes`), they are put into the same order as the channels.
    """

    UNKNOWN = 0
    COUNT = 1  # every output has as many channels as input 1 (one channel may be spread over many)
    REVERSIBLE = 2  # the channels of all inputs in reverse order give the outputs in reverse order
    PERMUTABLE = 3  # the channels of all inputs in any other order give the outputs in that order
    SEPARATE = 4  # channel c of the outputs depends on channel c of the inputs alone


@dataclass(frozen=True, kw_only=True)
class Op:
    """One layer's meaning: its fields (with MatConvNet's names), its shapes, its facts, its reference forward pass.

    Activations are N x C x H x W; params come in MatConvNet's shapes (filters h x w x c/groups x K).
    A subclass is a frozen dataclass; a field made by `fields.of(convert, default)`, or with a plain
    default, accepts whatever a MATLAB file holds and always keeps the canonical value. Only `forward` must
    be written; an op that changes sizes also writes `output_shapes`, one that looks beyond its own pixel
    `receptive_fields`.

    Facts state what engines, converters and displays may do with a layer. Their defaults are safe: an op
    that states nothing runs in every engine, on the whole batch, in float32. A subclass states a fact as a class
    attribute, `images_independent = True`, or as a property or method where it depends on the fields:

    - `images_independent`: whether a batch may be divided.
    - `sizes_depend_on_values`: whether output sizes are known only after the forward pass.
    - `channels`, `channel_axes`, `input_channel_axis`, `channels_read`: what happens to channels.
    - `has_filters`: whether param 1 is a bank of filters, which tables of layers show.
    - `with_axes_swapped`, `spatial_params`: the same layer for images whose height and width are exchanged.
    - `usual_inputs`: the size that an input, such as boxes, always has.
    - `lists_detections`: whether an output row is image, class, score and four corners relative to the image.
    - `listed_classes`: how many classes these rows count, and the number of the background.
    - `listed_from`: the number of the first pixel in the annotations whose corners these are.
    - `affine`: the factors and offsets of a layer that computes factor * x + offset per channel.
    - `half_precision`: whether an engine may store its outputs as float16.
    - `family`: the group of layers by which a drawing is coloured.

    A subclass of an op that has a forward pass and writes another one inherits no facts: it states its own.
    `Elementwise` is the base of ops with one value in, one value out.
    """

    dagnn: ClassVar[str] = ""  # class name in DagNN files
    simplenn: ClassVar[tuple[str, ...]] = ()  # `type` in SimpleNN files; the first one is written
    caffe: ClassVar[tuple[str, ...]] = ()  # Caffe types that convert into this op through `from_caffe`
    simplenn_fields: ClassVar[Mapping[str, str]] = {}  # where SimpleNN spells a field differently
    stock: ClassVar[bool] = False  # whether MatConvNet itself has it
    # What `opts` of a layer can set: option of the vl_nn function in lower case -> field, or place among the params.
    # None: MatConvNet's class has no `opts`, or makes no use of it.
    opts_fields: ClassVar[Mapping[str, str | int] | None] = None
    inert_properties: ClassVar[frozenset[str]] = frozenset()  # of the DagNN class, without influence on the output
    removed_properties: ClassVar[frozenset[str]] = frozenset()  # of old versions of the class: read, and not written
    training_only: ClassVar[bool] = False  # losses and metrics: not part of Network.for_inference
    input_count: ClassVar[tuple[int, int | None]] = (1, 1)  # fewest and most inputs; None: any number
    param_count: ClassVar[tuple[int, int]] = (0, 0)  # fewest and most params
    size_only_inputs: ClassVar[frozenset[int]] = frozenset()  # inputs of which only the size matters
    usual_inputs: ClassVar[Mapping[int, tuple[int, int, int]]] = {}  # C, H, W that an input has where nothing states it
    uses_host: ClassVar[bool] = False  # whether forward works on values on the host: no CUDA graph can hold it
    sizes_depend_on_values: ClassVar[bool] = False  # `output_shapes` then gives the greatest sizes
    spatial_params: ClassVar[frozenset[int]] = frozenset()  # params whose first two axes are rows and columns
    has_filters: ClassVar[bool] = False  # whether param 1 is a bank of filters h x w x c x K, and `size` its sizes
    half_precision: ClassVar[bool] = False  # float16 outputs for float16 inputs lose nothing that matters
    lists_detections: ClassVar[bool] = False  # rows of 7: image, class, score, corners relative to the image
    family: ClassVar[str] = "other"  # a key of display.svg.COLOURS

    @property
    def listed_classes(self) -> tuple[int, int] | None:
        """Of a layer that lists detections: the number of classes, the background among them, and which class that is.

        None where the layer does not state them.
        """
        return None

    @property
    def listed_from(self) -> int:
        """Of a layer that lists detections: the number of the first pixel in the annotations of its training."""
        return 1

    @property
    def images_independent(self) -> bool:
        """Whether image n of every output depends on image n of the inputs alone, or on no image.

        An input of one image may stand for all. True lets engines divide a batch.
        """
        return False

    @property
    def channels(self) -> Channels:
        """How the channels of the outputs relate to those of the inputs."""
        return Channels.UNKNOWN

    @property
    def input_channel_axis(self) -> int | None:
        """The axis of param 1 along which its values belong to the channels of input 1, which the op mixes.

        None where param 1 has no such axis, or not one for all channels (groups).
        """
        return None

    def affine(self, params: Sequence[Array]) -> tuple[Array, Array] | None:
        """Factors and offsets, float64 of C values or one, of a layer that computes factor * x + offset per channel.

        None where it computes something else. Engines fold such a layer into a convolution beside it.
        """
        return None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        inherited = [getattr(base, "forward", Op.forward) for base in cls.__bases__]
        if "forward" in vars(cls) and any(forward is not Op.forward for forward in inherited):
            for name in FACTS - vars(cls).keys():
                setattr(cls, name, vars(Op)[name])

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

    def channels_read(self, params: Sequence[Shape]) -> int | None:
        """The channels that input 1 must have for params of these shapes; None where they leave it open."""
        return None

    def channel_axes(self, params: Sequence[Shape]) -> list[int]:
        """For each param, padded to four axes, the one along which it has a value per channel, or one for all.

        Needed where `channels` is REVERSIBLE or more and the op has params.
        """
        return []

    def with_axes_swapped(self) -> Op | None:
        """The op that gives the transposed outputs for transposed inputs; None where there is none.

        Transposed are height and width of activations, and the first two axes of the params in `spatial_params`.
        """
        return None

    def for_inference(self) -> Op | None:
        """Of a training-only op: the op that computes at inference, of its first input, what a user wants; else None.

        None: the layer is dropped. Asked only of layers whose outputs no other layer reads.
        """
        return None

    def prepare(self, xp: Any, params: Sequence[Array]) -> Any:
        """Params in the form that `forward` takes, made once per network; NetworkError for unusable values."""
        return list(params)

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        """Outputs for these inputs, in test mode; `xp` is numpy or cupy, `params` what `prepare` returned."""
        raise NetworkError(f"{type(self).__name__} has no forward pass")

    @classmethod
    def from_caffe(cls, param: Any) -> Op:
        """The op for what a Caffe layer's definition says; user-registered ops override it where fields differ.

        `param.has(name)` and `param.get(name)` take the name of a parameter message (`python_param`, `relu_param`, or
        one that no Caffe knows) or of a field in any of them. A field called like a Python keyword stands in an
        attribute with an underscore behind it: `lambda_`.
        """
        names = {item.name: spelling_in_files(item.name) for item in fields(cls)}
        given = {own: param.get(name) for own, name in names.items() if param is not None and param.has(name)}
        return cls(**given)


FACTS = frozenset({
    "affine", "channel_axes", "channels", "channels_read", "family", "half_precision", "has_filters",
    "images_independent", "input_channel_axis", "listed_classes", "listed_from", "lists_detections",
    "sizes_depend_on_values", "spatial_params", "with_axes_swapped",
})  # fmt: skip
"""The attributes of Op that describe what its forward pass does."""


AnyOp = TypeVar("AnyOp", bound=Op)


def computes_as(op: Op, kind: type[AnyOp]) -> TypeGuard[AnyOp]:
    """Whether `op` is of this class, or of a subclass that computes the same way.

    Engines that compute a layer in their own way ask this: a subclass with another forward pass is another layer.
    """
    return isinstance(op, kind) and type(op).forward is kind.forward and type(op).prepare is kind.prepare


@dataclass(frozen=True, kw_only=True)
class Elementwise(Op):
    """Base of ops with one input, whose outputs are one function of the value at the same place."""

    family = "activation"
    images_independent = True
    channels = Channels.SEPARATE

    def with_axes_swapped(self) -> Op | None:
        return self


def spelling_in_files(name: str) -> str:
    """What a field is called in files: without the underscore that keeps it apart from a keyword of Python.

    >>> spelling_in_files("lambda_"), spelling_in_files("pad_"), spelling_in_files("pad")
    ('lambda', 'pad_', 'pad')
    """
    return name[:-1] if name.endswith("_") and iskeyword(name[:-1]) else name


@dataclass(frozen=True, kw_only=True)
class Unknown(Op):
    """A layer type that is not registered: it loads, shows and saves, and fails by name only when it must run."""

    family = "unknown"
    kind: str
    input_count: ClassVar[tuple[int, int | None]] = (0, None)
    param_count: ClassVar[tuple[int, int]] = (0, 1 << 30)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        raise ShapeError(f"layer type {self.kind!r} is not known, so its output size is not known either")

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        return [None] * len(inputs)


class Names(dict[str, "type[Op]"]):
    """Ops by name. The module of one of matnet's own, which `places` states, is imported when its name is asked for;
    all are where the names are listed.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        super().__init__()
        self._places = dict(places)

    def completed(self) -> Names:
        """The same names, with those of all modules."""
        for module in dict.fromkeys(self._places.values()):
            import_module(module)
        return self

    def __missing__(self, name: str) -> type[Op]:
        if name in self._places:
            import_module(self._places[name])
        if dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._places

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def __iter__(self) -> Iterator[str]:
        return super(Names, self.completed()).__iter__()

    def __len__(self) -> int:
        return super(Names, self.completed()).__len__()

    def keys(self) -> Any:
        return super(Names, self.completed()).keys()

    def values(self) -> Any:
        return super(Names, self.completed()).values()

    def items(self) -> Any:
        return super(Names, self.completed()).items()


class Registry:
    """The ops that file formats can name: three tables, each key owned by exactly one class."""

    def __init__(self) -> None:
        self.dagnn = Names(places(DAGNN, "dagnn."))
        self.simplenn = Names(places(SIMPLENN))
        self.caffe = Names({})

    def add(self, op: type[Op], dagnn: str, simplenn: Sequence[str], caffe: Sequence[str]) -> None:
        """Enter `op` under these names; NetworkError where a name is taken (nothing is entered then)."""
        wanted = [(self.dagnn, dagnn)] if dagnn else []
        wanted += [(self.simplenn, name) for name in simplenn] + [(self.caffe, name) for name in caffe]
        own = op.__module__.startswith("matnet.ops.")
        for table, name in wanted:
            if dict.__contains__(table, name) if own else name in table:
                raise NetworkError(f"layer type {name!r} is already registered by {table[name].__name__}")
        for table, name in wanted:
            table[name] = op

    def remove(self, op: type[Op]) -> None:
        """Take `op` out of every table (the undo of `add`)."""
        for table in (self.dagnn, self.simplenn, self.caffe):
            for name in [name for name, known in table.items() if known is op]:
                del table[name]

    def __iter__(self) -> Iterator[type[Op]]:
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
