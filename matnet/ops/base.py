"""Op, the base class of layer types, and the registry that maps type names to ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum, IntEnum
from functools import wraps
from keyword import iskeyword
from types import FunctionType
from typing import Any, ClassVar, TypeGuard, TypeVar

import numpy as np

from matnet.errors import NetworkError, ShapeError
from matnet.lazy import LazyTable
from matnet.ops.fields import converter
from matnet.ops.modules import DAGNN, SIMPLENN, places
from matnet.shapes import ReceptiveField, Shape

Array = Any  # numpy.ndarray or cupy.ndarray


class Channels(IntEnum):
    """How the channels of an op's outputs relate to those of its inputs. Each level includes the ones before it.

    Inputs in `Op.size_only_inputs` are ignored. Params with values per channel (`Op.channel_axes`) are permuted along
    with the channels.
    """

    UNKNOWN = 0
    COUNT = 1  # every output has as many channels as input 1 (or broadcasts one channel)
    REVERSIBLE = 2  # reversing the channels of all inputs reverses those of the outputs
    PERMUTABLE = 3  # permuting the channels of all inputs permutes those of the outputs
    SEPARATE = 4  # channel c of the outputs depends only on channel c of the inputs


class InputKind(Enum):
    """The content of an input that holds no activations."""

    BOXES = "boxes"  # rows of image, left, top, right, bottom; indices and pixels from 0
    MATLAB_BOXES = "boxes from 1"  # the same, from 1
    INDICES = "indices"  # row indices of param 1
    CONTINUED = "continued"  # 0 at the first step of a sequence, else 1

    @property
    def is_boxes(self) -> bool:
        """Whether the input holds boxes of 5 numbers."""
        return self in (InputKind.BOXES, InputKind.MATLAB_BOXES)


def _without_warnings(forward: Callable[..., list[Array]]) -> Callable[..., list[Array]]:
    """A forward pass whose NaN and infinite values are results, as in MATLAB and Caffe, without numpy's warnings."""

    @wraps(forward)
    def quiet(*arguments: Any, **named: Any) -> list[Array]:
        with np.errstate(all="ignore"):
            return forward(*arguments, **named)

    return quiet


@dataclass(frozen=True, kw_only=True)
class Op:
    """A layer type: fields (named as in MatConvNet), output shapes, facts, and the reference forward pass.

    Activations are N x C x H x W; params have MatConvNet's shapes (filters h x w x c/groups x K). A subclass is a
    frozen dataclass. A field made by `fields.of(convert, default)`, or with a plain default, accepts values as stored
    in MATLAB files and keeps the canonical value. Only `forward` is required. An op that changes sizes also implements
    `output_shapes`; an op that reads other pixels states `pixelwise = False`, or implements `receptive_fields`.

    Facts tell engines, converters and displays what they may do with a layer. The defaults are safe: an op without
    facts runs in every engine, on the whole batch, in float32. A subclass states a fact as a class attribute
    (`images_independent = True`), or as a property or method if it depends on the fields:

    - `images_independent`: whether a batch may be split.
    - `sizes_depend_on_values`: whether output sizes are known only after the forward pass.
    - `channels`, `channel_axes`, `input_channel_axis`, `channels_read`: how channels are processed.
    - `has_filters`: whether param 1 is a bank of filters, shown in tables of layers.
    - `axes_alike`, `with_axes_swapped`, `spatial_params`: the equivalent layer for transposed images.
    - `joins_channels`: whether the output is the concatenation of all inputs along the channels.
    - `input_kinds`: which inputs hold boxes, indices or sequence markers instead of activations.
    - `probabilities`, `class_numbers`: whether the output holds class probabilities, or class indices.
    - `lists_detections`: whether output rows are image, class, score and four corners relative to the image.
    - `listed_classes`: the number of classes in these rows, and the index of the background.
    - `listed_from`: the pixel origin (0 or 1) of the annotations used in training.
    - `affine`: the factors and offsets of a layer that computes factor * x + offset per channel.
    - `half_precision`: whether an engine may store outputs as float16.
    - `family`: the group of layers that share a colour in drawings.

    A subclass that overrides an inherited forward pass does not inherit facts; it states its own. `Elementwise` is the
    base of elementwise ops.
    """

    dagnn: ClassVar[str] = ""  # class name in DagNN files
    simplenn: ClassVar[tuple[str, ...]] = ()  # `type` in SimpleNN files; the first one is written
    caffe: ClassVar[tuple[str, ...]] = ()  # Caffe types that convert into this op through `from_caffe`
    simplenn_fields: ClassVar[Mapping[str, str]] = {}  # field -> its name in SimpleNN, if different
    stock: ClassVar[bool] = False  # whether the op is part of MatConvNet
    # Options in `opts` of a layer: lower-case option of the vl_nn function -> field, or index of the param.
    # None: MatConvNet's class has no `opts`, or does not use it.
    opts_fields: ClassVar[Mapping[str, str | int] | None] = None
    inert_properties: ClassVar[frozenset[str]] = frozenset()  # DagNN properties without effect on the output
    removed_properties: ClassVar[frozenset[str]] = frozenset()  # DagNN properties of old versions: read, not written
    implied_fields: ClassVar[frozenset[str]] = frozenset()  # no effect at inference, or visible in the params
    dagnn_params: ClassVar[bool] = True  # whether MatConvNet's DagNN class accepts the params, not only inputs
    recorded_params: ClassVar[frozenset[int]] = frozenset()  # moving averages: recorded in training, not learned
    training_only: ClassVar[bool] = False  # losses and metrics, dropped by Network.for_inference
    input_count: ClassVar[tuple[int, int | None]] = (1, 1)  # minimum and maximum; None: any number
    param_count: ClassVar[tuple[int, int]] = (0, 0)  # minimum and maximum
    size_only_inputs: ClassVar[frozenset[int]] = frozenset()  # inputs used only for their size
    input_kinds: ClassVar[Mapping[int, InputKind]] = {}  # of inputs that hold no activations
    uses_host: ClassVar[bool] = False  # whether forward reads values on the host, which excludes CUDA graphs
    sizes_depend_on_values: ClassVar[bool] = False  # `output_shapes` then returns the maximum sizes
    axes_alike: ClassVar[bool] = False  # the layer itself computes the transposed outputs from transposed inputs
    pixelwise: ClassVar[bool] = True  # whether an output pixel depends only on the same pixel of each input
    spatial_params: ClassVar[frozenset[int]] = frozenset()  # params with rows and columns as the first two axes
    has_filters: ClassVar[bool] = False  # whether param 1 is a bank of filters h x w x c x K with shape `size`
    half_precision: ClassVar[bool] = False  # float16 outputs are accurate enough for float16 inputs
    lists_detections: ClassVar[bool] = False  # rows of 7: image, class, score, corners relative to the image
    probabilities: ClassVar[bool] = False  # class probabilities, from the scores in the channels of input 1
    family: ClassVar[str] = "other"  # a key of display.svg.COLOURS

    @property
    def joins_channels(self) -> bool:
        """Whether output 1 is the concatenation of all inputs along the channels."""
        return False

    @property
    def class_numbers(self) -> bool:
        """Whether the output holds class indices."""
        return False

    @property
    def listed_classes(self) -> tuple[int, int] | None:
        """For a layer that lists detections: the number of classes including the background, and its index.

        None if unknown.
        """
        return None

    @property
    def listed_from(self) -> int:
        """The pixel origin (0 or 1) of the annotations used in training, for a layer that lists detections."""
        return 1

    @property
    def images_independent(self) -> bool:
        """Whether image n of every output depends only on image n of the inputs, or on no image.

        An input with one image may be shared by all. If true, engines may split a batch.
        """
        return False

    @property
    def channels(self) -> Channels:
        """How the channels of the outputs relate to those of the inputs."""
        return Channels.UNKNOWN

    @property
    def input_channel_axis(self) -> int | None:
        """The axis of param 1 for the channels of input 1, in an op that mixes channels.

        None if there is no such axis, or if it does not span all channels (groups).
        """
        return None

    def affine(self, params: Sequence[Array]) -> tuple[Array, Array] | None:
        """Factors and offsets (float64, C values or one) of a layer that computes factor * x + offset per channel.

        None for other layers. Engines fold such a layer into an adjacent convolution.
        """
        return None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        inherited = [getattr(base, "forward", Op.forward) for base in cls.__bases__]
        if "forward" in vars(cls) and any(forward is not Op.forward for forward in inherited):
            for name in FACTS - vars(cls).keys():
                setattr(cls, name, vars(Op)[name])
        forward = vars(cls).get("forward")
        if isinstance(forward, FunctionType) and not hasattr(forward, "__wrapped__"):  # not that of another class
            setattr(cls, "forward", _without_warnings(forward))  # noqa: B010 - a method, for mypy

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
        """The output shapes for these input and param shapes. Raises ShapeError if they do not match."""
        return [inputs[0]]

    def receptive_fields(self, inputs: Sequence[Shape]) -> list[ReceptiveField | None]:
        """The receptive field of an output pixel in each input; None if undefined or empty."""
        return [ReceptiveField() if self.pixelwise else None] * len(inputs)

    def multiply_adds(self, inputs: Sequence[Shape], params: Sequence[Shape], outputs: Sequence[Shape]) -> int:
        """Number of multiply-adds of one forward pass; 0 for ops other than matrix products."""
        return 0

    def channels_read(self, params: Sequence[Shape]) -> int | None:
        """The required number of channels of input 1 for these param shapes; None if any."""
        return None

    def channel_axes(self, params: Sequence[Shape]) -> list[int]:
        """For each param (padded to four axes) the axis with a value per channel, or one for all.

        Required if `channels` is REVERSIBLE or higher and the op has params.
        """
        return []

    def with_axes_swapped(self) -> Op | None:
        """The op that computes the transposed outputs from transposed inputs, or None.

        Height and width of activations and the first two axes of params in `spatial_params` are transposed.
        """
        return self if self.axes_alike else None

    def for_inference(self) -> Op | None:
        """For a training-only op: the op to apply to its first input at inference; None to drop the layer.

        Called only for layers with unused outputs.
        """
        return None

    def prepare(self, xp: Any, params: Sequence[Array]) -> Any:
        """Prepare params for `forward`, once per network. Raises NetworkError for invalid values."""
        return list(params)

    def forward(self, xp: Any, inputs: Sequence[Array], params: Any) -> list[Array]:
        """Compute the outputs in test mode. xp: numpy or cupy. params: the result of `prepare`."""
        raise NetworkError(f"{type(self).__name__} has no forward pass")

    @classmethod
    def from_caffe(cls, param: Any) -> Op:
        """The op for a Caffe layer definition. User-registered ops override this if field names differ.

        `param.has(name)` and `param.get(name)` accept the name of a parameter message (`python_param`, `relu_param`, or
        an unknown one) or of a field in any of them. An attribute named like a Python keyword ends with an underscore:
        `lambda_`.
        """
        names = {item.name: spelling_in_files(item.name) for item in fields(cls)}
        given = {own: param.get(name) for own, name in names.items() if param is not None and param.has(name)}
        return cls(**given)


FACTS = frozenset({
    "affine", "axes_alike", "channel_axes", "channels", "channels_read", "class_numbers", "family", "half_precision",
    "has_filters", "images_independent", "input_channel_axis", "joins_channels", "listed_classes", "listed_from",
    "lists_detections", "probabilities", "sizes_depend_on_values", "spatial_params", "with_axes_swapped",
})  # fmt: skip
"""The attributes of Op that describe its forward pass."""


AnyOp = TypeVar("AnyOp", bound=Op)


def computes_as(op: Op, kind: type[AnyOp]) -> TypeGuard[AnyOp]:
    """Whether `op` is of this class, or of a subclass with the same forward pass.

    Engines with their own implementation of a layer check this.
    """
    return isinstance(op, kind) and type(op).forward is kind.forward and type(op).prepare is kind.prepare


@dataclass(frozen=True, kw_only=True)
class Elementwise(Op):
    """Base of elementwise ops."""

    family = "activation"
    images_independent = True
    channels = Channels.SEPARATE
    axes_alike = True


def spelling_in_files(name: str) -> str:
    """The name of a field in files: without the trailing underscore of names like Python keywords.

    >>> spelling_in_files("lambda_"), spelling_in_files("pad_"), spelling_in_files("pad")
    ('lambda', 'pad_', 'pad')
    """
    return name[:-1] if name.endswith("_") and iskeyword(name[:-1]) else name


@dataclass(frozen=True, kw_only=True)
class Unknown(Op):
    """An unregistered layer type. It can be loaded, shown and saved; running it is an error that names the type."""

    family = "unknown"
    pixelwise = False
    implied_fields = frozenset({"kind"})
    kind: str
    input_count: ClassVar[tuple[int, int | None]] = (0, None)
    param_count: ClassVar[tuple[int, int]] = (0, 1 << 30)

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        raise ShapeError(f"unknown layer type {self.kind!r}, so its output size is unknown")


class Unreached(Unknown):
    """A layer of known type with unknown input sizes, because of a layer of unknown type before it."""

    def output_shapes(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> list[Shape]:
        raise ShapeError("the output size is unknown because of a layer of unknown type before it")


class Registry:
    """Maps type names of each file format to ops; each name belongs to exactly one class."""

    def __init__(self) -> None:
        self.dagnn: LazyTable[type[Op]] = LazyTable(places(DAGNN, "dagnn."))
        self.simplenn: LazyTable[type[Op]] = LazyTable(places(SIMPLENN))
        self.caffe: LazyTable[type[Op]] = LazyTable({})

    def add(self, op: type[Op], dagnn: str, simplenn: Sequence[str], caffe: Sequence[str]) -> None:
        """Add `op` under these names. Raises NetworkError, without adding any, if a name is taken."""
        wanted = [(self.dagnn, dagnn)] if dagnn else []
        wanted += [(self.simplenn, name) for name in simplenn] + [(self.caffe, name) for name in caffe]
        own = op.__module__.startswith("matnet.ops.")
        for table, name in wanted:
            if dict.__contains__(table, name) if own else name in table:
                raise NetworkError(f"layer type {name!r} is already registered by {table[name].__name__}")
        for table, name in wanted:
            table[name] = op

    def remove(self, op: type[Op]) -> None:
        """Remove `op` from every table (undoes `add`)."""
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
    """Class decorator: register an op under its DagNN class name, SimpleNN types and Caffe types.

    simplenn_fields: field -> its name in SimpleNN layers, if different. Raises NetworkError if a name is taken. A
    user-defined layer:

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
