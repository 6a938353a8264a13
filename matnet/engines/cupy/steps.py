"""What the GPU engine does for inputs of certain sizes, as plain data: blobs in memory and steps between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from matnet.engines.cupy.memory import Arena
from matnet.ops.base import Op, computes_as
from matnet.ops.roi import ROIPooling
from matnet.shapes import Pad, Shape, text

Pair = tuple[int, int]
ITEM_BYTES = {"float32": 4, "float16": 2}


@dataclass(frozen=True)
class DeviceBlob:
    """A variable in device memory, channels last: pixel after pixel, `room` numbers apart."""

    name: str
    shape: Shape  # N x C x H x W
    dtype: str = "float32"
    pitch: int = 0  # channels for which each pixel has room; 0: as many as there are

    @property
    def room(self) -> int:
        """Numbers from pixel to pixel."""
        return self.pitch or self.shape[1]

    @property
    def pixels(self) -> int:
        """N * H * W."""
        return prod(self.shape) // self.shape[1]

    @property
    def bytes(self) -> int:
        """Of the whole buffer."""
        return self.pixels * self.room * ITEM_BYTES[self.dtype]

    @property
    def strides(self) -> Shape:
        """Of N, C, H, W, in numbers."""
        return strides_of(self.shape, self.room)

    def view(self, buffer: Any) -> Any:
        """The blob as an N x C x H x W view of its buffer, a one-dimensional array of the blob's dtype."""
        n, c, h, w = self.shape
        pixels = buffer[: self.pixels * self.room].reshape(n, h, w, self.room)
        return pixels[..., :c].transpose(0, 3, 1, 2)


def strides_of(shape: Shape, room: int = 0) -> Shape:
    """Strides, in numbers, of N x C x H x W with channels last and `room` numbers a pixel (default: C)."""
    _, c, h, w = shape
    room = room or c
    return (h * w * room, 1, w * room, room)


@dataclass(frozen=True)
class ConvGraph:
    """relu(conv(x) + other + bias) as cuDNN gets it: sizes, strides in numbers, and what is fused.

    `filters` is K x c/groups x h x w, which lie in memory as K x h x w x c/groups; `leak` None means no ReLU.
    `precision` fp32 leaves out all ways to compute that are less exact than float32. With `transposed` it is the
    convolution's adjoint, from its K outputs x to its inputs y, as which cuDNN knows a convolution transpose. With
    `product` it is a matrix product, of maps of one pixel.
    """

    x: Shape
    x_strides: Shape
    filters: Shape
    y: Shape
    y_strides: Shape
    pad: Pad
    stride: Pair
    dilate: Pair
    precision: str
    bias: bool = False
    residual: Shape | None = None  # the strides of the other term
    leak: float | None = None
    transposed: bool = False
    product: bool = False
    wide: bool = False  # y is float32 in every precision

    @property
    def groups(self) -> int:
        """Groups of channels."""
        return 1 if self.transposed else self.x[1] // self.filters[1]


@dataclass(frozen=True)
class Step:
    """One kernel or library call, or a few: what it reads and writes, and which layer it computes."""

    layer: str
    reads: tuple[DeviceBlob, ...]
    writes: tuple[DeviceBlob, ...]

    @property
    def how(self) -> str:
        """What computes it, in a few words."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Load(Step):
    """The input `layer`, float32 N x C x H x W, brought to channels last and the precision."""

    @property
    def how(self) -> str:
        return "input to channels last"


@dataclass(frozen=True)
class Store(Step):
    """The output `layer` as float32 N x C x H x W."""

    @property
    def how(self) -> str:
        return "output to float32"


@dataclass(frozen=True)
class Convolve(Step):
    """A convolution with what is fused into it, by cuDNN. Reads x, and the other term where there is one."""

    op: Op
    params: tuple[str, ...]
    graph: ConvGraph

    @property
    def how(self) -> str:
        kind = "convolution transpose" if self.graph.transposed else "convolution"
        return f"cuDNN {kind}{_fused(self.graph.bias, self.graph.residual is not None, self.graph.leak)}"


@dataclass(frozen=True)
class Multiply(Step):
    """A fully connected layer, one matrix product; its `graph` is the convolution of a map of one pixel.

    Reads x, and the other term where there is one.
    """

    op: Op
    params: tuple[str, ...]
    graph: ConvGraph

    @property
    def how(self) -> str:
        return f"matrix product{_fused(self.graph.bias, self.graph.residual is not None, self.graph.leak)}"


@dataclass(frozen=True)
class Apply(Step):
    """Any other layer, by a kernel of its own where there is one, else by the op's own forward pass."""

    op: Op
    params: tuple[str, ...]

    @property
    def how(self) -> str:
        on_host = self.op.uses_host and not computes_as(self.op, ROIPooling)  # for which there is a kernel
        return f"{type(self.op).__name__}{' with data on the host' if on_host else ''}"


@dataclass(frozen=True)
class Join(Step):
    """Channels one after the other."""

    @property
    def how(self) -> str:
        return f"concatenation of {len(self.reads)} inputs"


@dataclass(frozen=True)
class Schedule:
    """Steps in running order, and where the buffers lie that they use, for inputs of certain sizes."""

    inputs: Mapping[str, Shape]
    outputs: Mapping[str, DeviceBlob]
    steps: tuple[Step, ...]
    arena: Arena
    precision: str


def _fused(bias: bool, residual: bool, leak: float | None) -> str:
    parts = [bias and "bias", residual and "sum", leak is not None and ("leaky ReLU" if leak else "ReLU")]
    return "".join(f" + {part}" for part in parts if part)


def schedule_text(schedule: Schedule) -> list[str]:
    """A line per step, then the memory."""
    wide = max((len(step.layer) for step in schedule.steps), default=0)
    lines = [f"{step.layer:{wide}}  {step.how}: {_sizes(step)}" for step in schedule.steps]
    size = f"{schedule.arena.size / 2**20:.1f} MiB"
    return [*lines, f"activations are channels last (NHWC), share {size}, in {schedule.precision}"]


def _sizes(step: Step) -> str:
    read = ", ".join(text(blob.shape) for blob in step.reads)
    written = ", ".join(text(blob.shape) for blob in step.writes)
    return f"{read} -> {written}" if read and written else read or written
