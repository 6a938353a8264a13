"""MatConvNet and Caffe layers that torch lacks; their source is copied into generated modules.

Nothing in matnet imports this module. Definitions may use only torch and other definitions of this file.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Pair = tuple[int, int]


class PaddedMaxPool2d(nn.MaxPool2d):
    """Max pooling after a pad (left, right, top, bottom) of -inf."""

    def __init__(self, kernel_size: int | Pair, stride: int | Pair, pad: tuple[int, int, int, int]) -> None:
        super().__init__(kernel_size, stride)
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.pad, value=-math.inf))


class PaddedAvgPool2d(nn.AvgPool2d):
    """Average pooling after a pad (left, right, top, bottom) that is not counted."""

    def __init__(self, kernel_size: int | Pair, stride: int | Pair, pad: tuple[int, int, int, int]) -> None:
        super().__init__(kernel_size, stride)
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        inside = F.pad(torch.ones_like(x[:1, :1]), self.pad)
        return super().forward(F.pad(x, self.pad)) / super().forward(inside)


class Scale(nn.Module):
    """x * weight + bias with broadcasting; weight may be an argument instead of a parameter, bias may be absent."""

    def __init__(self, weight: tuple[int, ...] | None = None, bias: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(weight)) if weight else None
        self.bias = nn.Parameter(torch.zeros(bias)) if bias else None

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        x = x * (weight if self.weight is None else self.weight)
        return x if self.bias is None else x + self.bias


class Learned(nn.Module):
    """An array of parameters."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(shape))

    def forward(self) -> Tensor:
        return self.value


def pooled_size(size: int, kernel: int, stride: int, pad: int, clip: bool, ceil_mode: bool = True) -> int:
    """Caffe's number of windows; with `clip` the last one must start inside the input or its leading pad."""
    room = size + 2 * pad - kernel
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    return count - 1 if clip and (count - 1) * stride >= size + pad else count


def caffe_pool2d(x: Tensor, method: str, kernel: Pair, stride: Pair, pad: Pair, ceil_mode: bool = True) -> Tensor:
    """Caffe's pooling, including windows outside the input, which are -FLT_MAX or NaN."""
    sizes, clip = x.shape[2:], pad[0] > 0 or pad[1] > 0
    counts = [pooled_size(sizes[i], kernel[i], stride[i], pad[i], clip, ceil_mode) for i in (0, 1)]
    after = [(counts[i] - 1) * stride[i] + kernel[i] - sizes[i] - pad[i] for i in (0, 1)]
    border = (pad[1], after[1], pad[0], after[0])
    if method == "max":
        lowest = torch.finfo(torch.float32).min
        return F.max_pool2d(F.pad(x, border, value=lowest), kernel, stride)
    totals = F.avg_pool2d(F.pad(x, border), kernel, stride, divisor_override=1)
    spans = []
    for i in (0, 1):
        start = torch.arange(counts[i], device=x.device) * stride[i] - pad[i]
        spans.append((start + kernel[i]).clamp(max=sizes[i] + pad[i]) - start)
    return totals / (spans[0][:, None] * spans[1]).to(x.dtype)


def stochastic_pool2d(x: Tensor, kernel: Pair, stride: Pair, ceil_mode: bool = True) -> Tensor:
    """Caffe's expectation at test time, sum x^2 / sum x; 0 if the sum is not positive."""
    counts = [pooled_size(x.shape[2 + i], kernel[i], stride[i], 0, False, ceil_mode) for i in (0, 1)]
    after = [(counts[i] - 1) * stride[i] + kernel[i] - x.shape[2 + i] for i in (0, 1)]
    x = F.pad(x, (0, after[1], 0, after[0]))
    total = F.avg_pool2d(x, kernel, stride, divisor_override=1)
    squares = F.avg_pool2d(x * x, kernel, stride, divisor_override=1)
    return torch.where(total > 0, squares / torch.where(total > 0, total, 1), 0)


def with_mask(pooled: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Maxima, and their positions h W + w in the same dtype."""
    return pooled[0], pooled[1].to(pooled[0].dtype)


def spatial_pyramid(x: Tensor, method: str, height: int) -> Tensor:
    """The map pooled in 1, 2 x 2, 4 x 4 ... windows, concatenated by level: N x values x 1 x 1."""
    levels = []
    for level in range(height):
        kernel = (-(-x.shape[2] // 2**level), -(-x.shape[3] // 2**level))
        pad = ((kernel[0] * 2**level - x.shape[2] + 1) // 2, (kernel[1] * 2**level - x.shape[3] + 1) // 2)
        if any(p > 0 and p >= k for p, k in zip(pad, kernel, strict=True)):
            raise ValueError(f"the map of {x.shape[2]}x{x.shape[3]} is too small for pyramid level {level + 1}")
        levels.append(caffe_pool2d(x, method, kernel, kernel, pad).flatten(1))
    return torch.cat(levels, dim=1)[..., None, None]


def image_to_columns(x: Tensor, kernel: Pair, stride: Pair, dilation: Pair) -> Tensor:
    """The values of every window as channels (c kh + i) kw + j."""
    columns = F.unfold(x, kernel, dilation=dilation, stride=stride)
    height = (x.shape[2] - (kernel[0] - 1) * dilation[0] - 1) // stride[0] + 1
    return columns.unflatten(2, (height, -1))


def spatial_norm(x: Tensor, window: Pair, pad: tuple[int, int, int, int], alpha: float, beta: float) -> Tensor:
    """x * (1 + alpha * mean x^2)^(-beta), with the mean over a window clipped at the border."""
    inside = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), pad), window, 1)
    mean = F.avg_pool2d(F.pad(x * x, pad), window, 1) / inside
    return x * (1 + alpha * mean) ** -beta


def mean_variance_norm(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """(x - mean) / (sigma + eps), with the biased standard deviation sigma."""
    centred = x - x.mean(dims, keepdim=True)
    return centred / ((centred**2).mean(dims, keepdim=True).sqrt() + eps)


def crop_like(x: Tensor, like: Tensor, top: int, left: int) -> Tensor:
    """x cropped to the size of `like` at (top, left), limited so that the crop fits."""
    height, width = like.shape[2:]
    top, left = min(top, x.shape[2] - height), min(left, x.shape[3] - width)
    return x[:, :, top : top + height, left : left + width]


def cut_like(x: Tensor, like: Tensor, starts: dict[int, int]) -> Tensor:
    """x cropped to the size of `like` along the axes in `starts`, from these positions."""
    for axis, start in starts.items():
        x = x.narrow(axis, start, like.shape[axis])
    return x


def channels_to_pixels(x: Tensor, s: int) -> Tensor:
    """Channel c s s + b s + a moves to row a, column b of each s x s block: rows fastest, unlike pixel_shuffle."""
    n, c, h, w = x.shape
    return x.reshape(n, c // (s * s), s, s, h, w).permute(0, 1, 4, 3, 5, 2).reshape(n, c // (s * s), h * s, w * s)


def pixels_to_channels(x: Tensor, s: int) -> Tensor:
    """The inverse of channels_to_pixels."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // s, s, w // s, s).permute(0, 1, 5, 3, 2, 4).reshape(n, c * s * s, h // s, w // s)


def distance(
    x: Tensor, x0: Tensor, p: float, root: bool = True, weights: Tensor | None = None, total: bool = False
) -> Tensor:
    """The Lp distance over channels, N x 1 x H x W; without the root unless `root`; summed if `total`."""
    found = ((x - x0).abs() ** p).sum(1, keepdim=True)
    if root and p != 1:
        found = found ** (1 / p)
    if weights is not None:
        found = found * weights
    return found.sum().reshape(1, 1, 1, 1) if total else found


def matlab_reshape(x: Tensor, height: int, width: int, channels: int) -> Tensor:
    """MATLAB's reshape of the H x W x C array of each item, rows fastest; one size may be -1."""
    return x.transpose(2, 3).reshape(x.shape[0], channels, width, height).transpose(2, 3)


def reorg(x: Tensor, s: int) -> Tensor:
    """Darknet's reorg: C x H x W to C s s x H / s x W / s."""
    n, c, h, w = x.shape
    moved = x.reshape(n, c // s**2, h, s, w, s).permute(0, 3, 5, 1, 2, 4)
    return moved.reshape(n, c * s**2, h // s, w // s)


def reorg_back(x: Tensor, s: int) -> Tensor:
    """Channel d C / s^2 + c moves to row d / s, column d % s of each s x s block of map c."""
    n, c, h, w = x.shape
    moved = x.reshape(n, s, s, c // s**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return moved.reshape(n, c // s**2, h * s, w * s)


def greatest(x: Tensor, dim: int, count: int) -> tuple[Tensor, Tensor]:
    """0-based positions and values of the largest along an axis, in descending order; ties: last first."""
    values, places = torch.sort(x.flip(dim), dim=dim, descending=True, stable=True)
    places = x.shape[dim] - 1 - places
    return places.narrow(dim, 0, count).to(x.dtype), values.narrow(dim, 0, count)


def zoomed(x: Tensor, pad: int, shrink: int, zoom: int) -> list[int]:
    """Height and width after Interp's shrinking and zooming."""
    shrunk = [(size + pad - 1) // shrink + 1 for size in x.shape[2:]]
    return [size + (size - 1) * (zoom - 1) for size in shrunk]


def positions(x: Tensor, count: int) -> Tensor:
    """MATLAB's linspace(-1, 1, count), which is 1 for a count of 1."""
    ends = (-1.0, 1.0) if count > 1 else (1.0, 1.0)
    return torch.linspace(*ends, count, device=x.device, dtype=x.dtype)


def affine_grid(x: Tensor, height: int, width: int) -> Tensor:
    """v' = c1 v + c2 u + c5, u' = c3 v + c4 u + c6 with six numbers per image: N x width x (v', u') x height."""
    c = x.reshape(x.shape[0], 6, 1, 1)
    v, u = positions(x, height), positions(x, width)[:, None]
    rows, columns = c[:, 0] * v + c[:, 1] * u + c[:, 4], c[:, 2] * v + c[:, 3] * u + c[:, 5]
    return torch.stack([rows, columns], dim=2)


def scaling_grid(x: Tensor, height: int, width: int) -> Tensor:
    """v' = s v + ty, u' = s u + tx with (s, ty, tx) per image: N x width x (v', u') x height."""
    c = x.reshape(x.shape[0], 3, 1, 1)
    v, u = positions(x, height)[None, None], positions(x, width)[None, :, None]
    rows, columns = torch.broadcast_tensors(c[:, 0] * v + c[:, 1], c[:, 0] * u + c[:, 2])
    return torch.stack([rows, columns], dim=2)


def sample(x: Tensor, grid: Tensor) -> Tensor:
    """x interpolated at the points of a grid No x Wo x (v, u) x Ho, zero outside; allows several grids per image."""
    points = grid.permute(0, 3, 1, 2).flip(3)
    x = x.repeat_interleave(grid.shape[0] // x.shape[0], dim=0)
    return F.grid_sample(x, points, mode="bilinear", padding_mode="zeros", align_corners=True)


def roi_pool(
    x: Tensor,
    boxes: Tensor,
    method: str,
    tiles: Pair,
    transform: object = 1.0,
    flatten: bool = False,
    refuse: bool = False,
) -> Tensor:
    """MatConvNet's ROI pooling; a box is five 1-based numbers: image, left, top, right, bottom.

    `transform` is one scale, two scales, or two rows of three numbers. Corners are rounded half away from zero; empty
    tiles are 0. Boxes with an image index outside the batch use the nearest image, or raise ValueError if `refuse`.
    """
    table = boxes.detach().cpu().permute(0, 1, 3, 2).reshape(-1, 5).double()
    images = table[:, 0].trunc().long() - 1
    if refuse and bool(((images < 0) | (images >= x.shape[0])).any()):
        raise ValueError(f"a box has an image index outside 1..{x.shape[0]}")
    images = images.clamp(0, x.shape[0] - 1)
    corners = transformed(table[:, 1:], transform).float().double()
    corners = corners.sign() * (corners.abs() + 0.5).floor() - 1
    down = tile_edges(corners[:, 1], corners[:, 3], tiles[0], x.shape[2])
    across = tile_edges(corners[:, 0], corners[:, 2], tiles[1], x.shape[3])
    pooled = [
        torch.stack([torch.stack([fold(x[image], method, row, column) for column in right], 1) for row in below], 1)
        for image, below, right in zip(images.tolist(), down, across, strict=True)
    ]
    found = torch.stack(pooled) if pooled else x.new_zeros(0, x.shape[1], *tiles)
    return found.transpose(2, 3).flatten(1)[..., None, None] if flatten else found


def fold(image: Tensor, method: str, rows: list[int], columns: list[int]) -> Tensor:
    """The maximum or mean of C x H x W over a tile; 0 if it is empty."""
    tile = image[:, rows[0] : rows[1], columns[0] : columns[1]]
    if tile.shape[1] == 0 or tile.shape[2] == 0:
        return image.new_zeros(image.shape[0])
    return tile.amax((1, 2)) if method == "max" else tile.mean((1, 2))


def transformed(corners: Tensor, transform: object) -> Tensor:
    """Corners x, y, x, y of boxes in 1-based pixels of the map."""
    x, y = corners[:, 0::2], corners[:, 1::2]
    if not isinstance(transform, tuple):
        transform = (transform, transform)
    if isinstance(transform[0], tuple):
        right, below = (row[0] * x + row[1] * y + row[2] for row in transform)
    else:
        right, below = transform[0] * (x - 1) + 1, transform[1] * (y - 1) + 1
    return torch.stack([right[:, 0], below[:, 0], right[:, 1], below[:, 1]], dim=1)


def tile_edges(first: Tensor, last: Tensor, count: int, size: int) -> list[list[list[int]]]:
    """Start and end of each tile of each box along an axis; products in single precision, as in vl_nnroipool."""
    step = ((last - first + 1).clamp(min=1).float() / count)[:, None]
    tile = torch.arange(count, dtype=torch.float32)
    begin = (tile * step).floor().double() + first[:, None]
    end = ((tile + 1) * step).ceil().double() + first[:, None]
    edges = torch.stack([begin, end], dim=-1).clamp(0, size).long()
    edges[..., 1] = torch.maximum(edges[..., 1], edges[..., 0])
    return edges.tolist()
