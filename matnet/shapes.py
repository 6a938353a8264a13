"""Shape arithmetic of MatConvNet and Caffe, as pure integer functions."""

from __future__ import annotations

from typing import Any, NamedTuple

from matnet.errors import ShapeError

Shape = tuple[int, ...]
Pad = tuple[int, int, int, int]


def extent(kernel: int, dilate: int = 1) -> int:
    """(kernel - 1) * dilate + 1: the span of a dilated kernel in pixels."""
    return (kernel - 1) * dilate + 1


def windows(size: int, before: int, after: int, kernel: int, stride: int) -> int:
    """floor((size + before + after - kernel) / stride) + 1; 0 if the padded input is smaller than the kernel.

    >>> windows(227, 0, 0, 11, 4), windows(112, 0, 1, 3, 2), windows(3, 0, 0, 5, 1)
    (55, 56, 0)
    """
    room = size + before + after - kernel
    return room // stride + 1 if room >= 0 else 0


def filtered(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], pad: Pad, dilate: tuple[int, int] = (1, 1)
) -> tuple[int, int]:
    """Output height and width of a convolution or pooling (vl_nnconv, vl_nnpool). Raises ShapeError if empty.

    >>> filtered((7, 11), (3, 5), (2, 3), (1, 2, 0, 3))
    (4, 4)
    """
    top, bottom, left, right = pad
    spans = extent(kernel[0], dilate[0]), extent(kernel[1], dilate[1])
    height = windows(size[0], top, bottom, spans[0], stride[0])
    width = windows(size[1], left, right, spans[1], stride[1])
    if height < 1 or width < 1:
        raise ShapeError(
            f"a window of {spans[0]}x{spans[1]} does not fit in an input of {size[0]}x{size[1]} "
            f"with pad [top bottom left right] = {list(pad)}; use a larger input"
        )
    return height, width


def transposed(size: tuple[int, int], kernel: tuple[int, int], upsample: tuple[int, int], crop: Pad) -> tuple[int, int]:
    """Output height and width of a convolution transpose: upsample * (size - 1) + kernel - crops (vl_nnconvt).

    >>> transposed((3, 4), (5, 4), (3, 2), (1, 0, 2, 1))
    (10, 7)
    """
    top, bottom, left, right = crop
    height = upsample[0] * (size[0] - 1) + kernel[0] - top - bottom
    width = upsample[1] * (size[1] - 1) + kernel[1] - left - right
    if height < 1 or width < 1:
        raise ShapeError(f"crop {list(crop)} exceeds the upsampled map of {size[0]}x{size[1]}; use a larger input")
    return height, width


def caffe_pooled(
    size: int,
    kernel: int,
    stride: int,
    pad: int,
    floor: bool = False,
    clip: bool | None = None,
    after: int | None = None,
) -> int:
    """Caffe's pooled size: ceil (or floor) of (size + 2 pad - kernel) / stride, plus one, then its clip rule.

    after: the pad after the input, if a Caffe fork states it separately. clip: whether the last window must start
    inside the padded image; Caffe applies it to both axes if either pad is non-zero (BVLC Caffe, pooling layer).
    Default: pad > 0.

    >>> [caffe_pooled(112, 3, 2, 0), caffe_pooled(112, 3, 2, 1), caffe_pooled(4, 1, 2, 0), caffe_pooled(2, 3, 2, 0)]
    [56, 57, 3, 1]
    """
    room = size + pad + (pad if after is None else after) - kernel
    count = (room // stride if floor else -(-room // stride)) + 1
    if count < 1:  # rounding up keeps a window that overhangs by less than a stride
        raise ShapeError(f"a pooling window of {kernel} does not fit in an input of {size} with pad {pad}")
    if (pad > 0 if clip is None else clip) and (count - 1) * stride >= size + pad:
        count -= 1
    return count


def caffe_pool_trailing_pad(kernel: int, stride: int, pad: int) -> int:
    """The bottom / right pad for which MatConvNet's floor rule gives Caffe's ceil size, for any input size.

    min(pad + stride - 1, kernel - 1); exact if stride <= kernel or pad > 0 (MatConvNet's Caffe importer).

    >>> [caffe_pool_trailing_pad(*ksp) for ksp in [(3, 2, 0), (2, 2, 0), (3, 1, 1), (7, 1, 0), (3, 2, 1), (5, 3, 0)]]
    [1, 1, 1, 0, 2, 2]
    """
    return min(pad + stride - 1, kernel - 1)


def to_4d(shape: Shape) -> Shape:
    """`shape` with trailing ones appended or removed to four dimensions. Raises ShapeError for more.

    >>> to_4d((3, 5, 6)), to_4d((7, 1)), to_4d((3, 5, 6, 8, 1))
    ((3, 5, 6, 1), (7, 1, 1, 1), (3, 5, 6, 8))
    """
    if any(size != 1 for size in shape[4:]):
        raise ShapeError(f"an array of {text(shape)} has more than four dimensions; at most 4 are supported")
    return (*shape[:4], *(1,) * (4 - len(shape)))


def text(shape: Shape) -> str:
    """A shape for messages: `1x3x224x224`."""
    return "x".join(str(size) for size in shape)


class ReceptiveField(NamedTuple):
    """The input region of one output pixel: output i (1-based) is centred on stride * (i - 1) + offset.

    Each attribute is (rows, columns) in input pixels; offset is the 1-based centre for output pixel 1.
    """

    size: tuple[float, float] = (1.0, 1.0)
    stride: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (1.0, 1.0)

    def then(self, after: ReceptiveField) -> ReceptiveField:
        """The field of this layer followed by one with field `after` (DagNN.getVarReceptiveFields)."""
        size, stride, offset = [], [], []
        for axis in range(2):
            step = self.stride[axis]
            size.append(step * (after.size[axis] - 1) + self.size[axis])
            stride.append(step * after.stride[axis])
            offset.append(step * (after.offset[axis] - 1) + self.offset[axis])
        return ReceptiveField((size[0], size[1]), (stride[0], stride[1]), (offset[0], offset[1]))

    def union(self, other: ReceptiveField) -> ReceptiveField | None:
        """The field that covers both, where two paths meet; None (undefined) if strides differ."""
        if self.stride != other.stride:
            return None
        size, offset = [], []
        for axis in range(2):
            low = min(self.offset[axis] - (self.size[axis] - 1) / 2, other.offset[axis] - (other.size[axis] - 1) / 2)
            high = max(self.offset[axis] + (self.size[axis] - 1) / 2, other.offset[axis] + (other.size[axis] - 1) / 2)
            size.append(high - low + 1)
            offset.append((high + low) / 2)
        return ReceptiveField((size[0], size[1]), self.stride, (offset[0], offset[1]))


def window_field(
    kernel: tuple[int, int], stride: tuple[int, int], pad: Pad, dilate: tuple[int, int] = (1, 1)
) -> ReceptiveField:
    """The receptive field of a convolution or pooling window (DagNN Filter.getReceptiveFields)."""
    spans = extent(kernel[0], dilate[0]), extent(kernel[1], dilate[1])
    offset = 1 - pad[0] + (spans[0] - 1) / 2, 1 - pad[2] + (spans[1] - 1) / 2
    return ReceptiveField((float(spans[0]), float(spans[1])), (float(stride[0]), float(stride[1])), offset)


def transposed_field(kernel: tuple[int, int], upsample: tuple[int, int], crop: Pad) -> ReceptiveField:
    """The receptive field of a convolution transpose (DagNN ConvTranspose.getReceptiveFields).

    >>> transposed_field((4, 4), (2, 2), (1, 1, 1, 1))
    ReceptiveField(size=(2.5, 2.5), stride=(0.5, 0.5), offset=(0.75, 0.75))
    """
    size, stride, offset = [], [], []
    for span, step, cut in zip(kernel, upsample, (crop[0], crop[2]), strict=True):
        size.append((span - 1) / step + 1)
        stride.append(1 / step)
        offset.append((2 * cut - span + 1) / (2 * step) + 1)
    return ReceptiveField((size[0], size[1]), (stride[0], stride[1]), (offset[0], offset[1]))


def swapped(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Sizes or offsets [rows columns ...] with rows and columns exchanged; a single value is unchanged.

    >>> swapped((3, 5, 2, 7))
    (5, 3, 2, 7)
    """
    return (values[1], values[0], *values[2:]) if len(values) > 1 else values


def swapped_pad(pad: Pad) -> Pad:
    """The pad (top, bottom, left, right) with rows and columns exchanged.

    >>> swapped_pad((1, 2, 3, 4))
    (3, 4, 1, 2)
    """
    top, bottom, left, right = pad
    return left, right, top, bottom
