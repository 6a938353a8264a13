"""Schedules of the GPU engine as plain data: blobs in memory, and steps that read and write them."""

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
    """A variable in device memory, channels last, with pixels `room` elements apart."""

    name: str
    shape: Shape  # N x C x H x W
    dtype: str = "float32"
    pitch: int = 0  # allocated channels per pixel; 0: C

    @property
    def room(self) -> int:
        """Distance of pixels, in elements."""
        return self.pitch or self.shape[1]

    @property
    def pixels(self) -> int:
        """N * H * W."""
        return prod(self.shape) // self.shape[1]

    @property
    def bytes(self) -> int:
        """Size of the buffer in bytes."""
        return self.pixels * self.room * ITEM_BYTES[self.dtype]

    @property
    def strides(self) -> Shape:
        """Strides of N, C, H, W, in elements."""
        return strides_of(self.shape, self.room)

    def view(self, buffer: Any) -> Any:
        """An N x C x H x W view of the blob's buffer, a 1-D array of its dtype."""
        n, c, h, w = self.shape
        pixels = buffer[: self.pixels * self.room].reshape(n, h, w, self.room)
        return pixels[..., :c].transpose(0, 3, 1, 2)


def strides_of(shape: Shape, room: int = 0) -> Shape:
    """Strides in elements of N x C x H x W with channels last and `room` elements per pixel (default: C)."""
    _, c, h, w = shape
    room = room or c
    return (h * w * room, 1, w * room, room)


@dataclass(frozen=True)
class ConvGraph:
    """relu(conv(x) + other + bias) for cuDNN: shapes, strides in elements, and fused operations.

    filters: K x c/groups x h x w, stored as K x h x w x c/groups. leak: None: no ReLU. precision: fp32 excludes all
    algorithms less exact than float32. transposed: the adjoint of the convolution, from its K outputs x to its inputs y
    (a convolution transpose in cuDNN). product: a matrix product, of maps of one pixel.
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
        """Number of groups of channels."""
        return 1 if self.transposed else self.x[1] // self.filters[1]


@dataclass(frozen=True)
class Step:
    """One or several kernel or library calls: the blobs they read and write, and their layer."""

    layer: str
    reads: tuple[DeviceBlob, ...]
    writes: tuple[DeviceBlob, ...]

    @property
    def how(self) -> str:
        """A short description of the computation."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Load(Step):
    """Converts the input `layer`, float32 N x C x H x W, to channels last and the storage type."""

    @property
    def how(self) -> str:
        return "input to channels last"


@dataclass(frozen=True)
class Store(Step):
    """Converts the output `layer` to float32 N x C x H x W."""

    @property
    def how(self) -> str:
        return "output to float32"


@dataclass(frozen=True)
class Convolve(Step):
    """A convolution with fused operations, by cuDNN. Reads x and optionally the other term."""

    op: Op
    params: tuple[str, ...]
    graph: ConvGraph

    @property
    def how(self) -> str:
        kind = "convolution transpose" if self.graph.transposed else "convolution"
        return f"cuDNN {kind}{_fused(self.graph.bias, self.graph.residual is not None, self.graph.leak)}"


@dataclass(frozen=True)
class Multiply(Step):
    """A fully connected layer: a matrix product. `graph`: the convolution of a map of one pixel.

    Reads x and optionally the other term.
    """

    op: Op
    params: tuple[str, ...]
    graph: ConvGraph

    @property
    def how(self) -> str:
        return f"matrix product{_fused(self.graph.bias, self.graph.residual is not None, self.graph.leak)}"


@dataclass(frozen=True)
class Apply(Step):
    """Any other layer: by a kernel if there is one, otherwise by the op's forward pass."""

    op: Op
    params: tuple[str, ...]

    @property
    def how(self) -> str:
        on_host = self.op.uses_host and not computes_as(self.op, ROIPooling)  # which has a kernel
        return f"{type(self.op).__name__}{' with data on the host' if on_host else ''}"


@dataclass(frozen=True)
class Join(Step):
    """Concatenation of channels."""

    @property
    def how(self) -> str:
        return f"concatenation of {len(self.reads)} inputs"


@dataclass(frozen=True)
class Schedule:
    """Steps in execution order and the placement of their buffers, for inputs of certain sizes."""

    inputs: Mapping[str, Shape]
    outputs: Mapping[str, DeviceBlob]
    steps: tuple[Step, ...]
    arena: Arena
    precision: str


def _fused(bias: bool, residual: bool, leak: float | None) -> str:
    parts = [bias and "bias", residual and "sum", leak is not None and ("leaky ReLU" if leak else "ReLU")]
    return "".join(f" + {part}" for part in parts if part)


def schedule_text(schedule: Schedule) -> list[str]:
    """A line per step, followed by the memory."""
    wide = max((len(step.layer) for step in schedule.steps), default=0)
    lines = [f"{step.layer:{wide}}  {step.how}: {_sizes(step)}" for step in schedule.steps]
    size = f"{schedule.arena.size / 2**20:.1f} MiB"
    return [*lines, f"activations are channels last (NHWC), share {size}, in {schedule.precision}"]


def _sizes(step: Step) -> str:
    read = ", ".join(text(blob.shape) for blob in step.reads)
    written = ", ".join(text(blob.shape) for blob in step.writes)
    return f"{read} -> {written}" if read and written else read or written
