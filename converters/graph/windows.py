"""The geometry of Caffe's sliding windows: kernel, stride, pad and dilation from a parameter message, checked."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from matnet.converters.files.message import Message
from matnet.converters.lower.sizes import SizeNeededError
from matnet.errors import NetworkError
from matnet.shapes import Pad, extent

Pair = tuple[int, int]


class Window(NamedTuple):
    """Kernel, stride, pad and dilation of a Caffe layer, each (height, width).

    pad: at the top and left. after: at the bottom and right, if a fork gives it separately.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    after: Pair | None = None

    @property
    def pads(self) -> Pad:
        """Top, bottom, left, right."""
        bottom, right = self.pad if self.after is None else self.after
        return self.pad[0], bottom, self.pad[1], right

    @property
    def spans(self) -> Pair:
        """Height and width of the dilated kernel."""
        return extent(self.kernel[0], self.dilation[0]), extent(self.kernel[1], self.dilation[1])

    def centre(self, axis: int) -> Fraction:
        """The centre of the window of output 0, in input pixels: (span - 1) / 2 - pad."""
        return Fraction(self.spans[axis] - 1, 2) - self.pad[axis]


def convolution_window(param: Message) -> Window:
    """The window of a Convolution, Deconvolution or Im2col layer (BVLC Caffe, base convolution layer).

    `pad_l`, `pad_r`, `pad_t` and `pad_b` are the pads of the four sides, instead of `pad` (Synopsys' fork). Raises
    NetworkError for sizes that are missing, zero, given twice, or not for two axes.
    """
    kernel = _pair(param, "kernel", repeated="kernel_size")
    stride = _pair(param, "stride", repeated="stride", default=1)
    pad, after = _pads(param)
    window = Window(kernel, stride, pad, _pair(param, "dilation", repeated="dilation", default=1), after)
    _refuse_zeros(window)
    return window


def pooling_window(param: Message, size: tuple[int | None, int | None]) -> Window:
    """The window of a Pooling layer on an input of `size` (height, width; BVLC Caffe, pooling layer).

    Global pooling needs a known size. Raises NetworkError for missing or zero sizes, for a pad that is not smaller than
    the kernel, and for a kernel, pad or stride with global pooling.
    """
    if param.get("global_pooling"):
        return _global_window(param, size)
    pad, after = _pads(param)
    window = Window(
        _pair(param, "kernel", repeated="kernel_size"),
        _pair(param, "stride", repeated="stride", default=1),
        pad,
        after=after,
    )
    _refuse_zeros(window)
    top, bottom, left, right = window.pads
    largest = max(top, bottom), max(left, right)
    if any(pad >= kernel for pad, kernel in zip(largest, window.kernel, strict=True) if pad):
        raise NetworkError(
            f"pad {_text(largest)} is not smaller than the pooling window {_text(window.kernel)}; use a smaller pad"
        )
    return window


def _global_window(param: Message, size: tuple[int | None, int | None]) -> Window:
    given = [name for name in ("kernel_size", "kernel_h", "kernel_w") if param.has(name)]
    if given:
        raise NetworkError(f"has both global_pooling and {given[0]}; remove one of them")
    others = _pair(param, "stride", repeated="stride", default=1), *_pads(param)
    if others != ((1, 1), (0, 0), None):
        raise NetworkError("global_pooling allows no pad and no stride; remove them")
    height, width = size
    if height is None or width is None:
        raise SizeNeededError("global_pooling needs a known input size")
    return Window((height, width))


SIDES = ("pad_t", "pad_b", "pad_l", "pad_r")


def _pads(param: Message) -> tuple[Pair, Pair | None]:
    """Pads (height, width) before the input, and after it if the four sides are given separately."""
    both = _pair(param, "pad", repeated="pad", default=0)
    top, bottom, left, right = (int(param.get(name)) for name in SIDES)
    if not any((top, bottom, left, right)):
        return both, None
    if both != (0, 0):
        raise NetworkError("has both pad and pad_l, pad_r, pad_t or pad_b; keep only one")
    return (top, left), (bottom, right)


def _pair(param: Message, stem: str, repeated: str, default: int | None = None) -> Pair:
    """(height, width) from `<stem>_h` and `<stem>_w`, or from the list or number `repeated`."""
    value = param.get(repeated)
    listed = list(value) if isinstance(value, list) else [value] if param.has(repeated) else []
    if param.has(f"{stem}_h") or param.has(f"{stem}_w"):
        if listed:
            raise NetworkError(f"has both {repeated} and {stem}_h / {stem}_w; keep only one")
        return int(param.get(f"{stem}_h")), int(param.get(f"{stem}_w"))
    if not listed:
        if default is None:
            raise NetworkError(f"has no {repeated}; add one")
        return default, default
    if len(listed) > 2:
        raise NetworkError(f"{repeated} has {len(listed)} values; only two-dimensional windows are supported")
    return int(listed[0]), int(listed[-1])


def _refuse_zeros(window: Window) -> None:
    for name, pair in (("kernel", window.kernel), ("stride", window.stride), ("dilation", window.dilation)):
        if min(pair) < 1:
            raise NetworkError(f"{name} {_text(pair)} has a zero; kernel, stride and dilation must be at least 1")


def _text(pair: Pair) -> str:
    return f"{pair[0]}x{pair[1]}"
