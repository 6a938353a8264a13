"""Figures of matplotlib that need no display, and pictures and tiles in them."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from matnet.errors import EngineError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 130
LONGEST_SHOWN = 1000
"""Longest side of a picture, in pixels, that a figure of 7 inches can resolve."""


def require_matplotlib() -> None:
    """Raise EngineError, with install instructions, if matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise EngineError("plots need matplotlib; install it with `python -m pip install 'matnet[plot]'`") from None


def empty_figure(width: float, height: float) -> Figure:
    """A figure (size in inches) that needs no display and that notebooks show as an image."""
    require_matplotlib()
    drawn: Figure = _figure_class()(figsize=(width, height), dpi=DPI, layout="constrained")
    return drawn


@cache
def _figure_class() -> Any:
    """A Figure with `_repr_png_`: notebooks display matplotlib's own class only after pyplot is imported."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            FigureCanvasAgg(self)

        def _repr_png_(self) -> bytes:
            written = io.BytesIO()
            self.savefig(written, format="png")
            return written.getvalue()

    return ShownFigure


def reduced_tiles(tiles: np.ndarray, columns: int | None) -> np.ndarray:
    """Tiles (N x H x W ...) subsampled to every k-th row and column, to fit the resolution of a figure."""
    across = _across(len(tiles), columns)
    step = max(1, max(across * tiles.shape[2], -(-len(tiles) // across) * tiles.shape[1]) // LONGEST_SHOWN)
    return tiles[:, ::step, ::step]


def _across(number: int, columns: int | None) -> int:
    return columns or int(np.ceil(np.sqrt(number)))


def tiled(tiles: np.ndarray, columns: int | None) -> np.ndarray:
    """N x H x W x C as one image of tiles with white lines between them."""
    number, height, width, channels = tiles.shape
    across = _across(number, columns)
    down = -(-number // across)
    gap = max(1, min(height, width) // 12)
    empty = 1.0 if channels == 3 else np.nan  # both are shown as white
    whole = np.full((down * (height + gap) - gap, across * (width + gap) - gap, channels), empty)
    for index, tile in enumerate(tiles):
        top, left = index // across * (height + gap), index % across * (width + gap)
        whole[top : top + height, left : left + width] = tile
    return whole if channels == 3 else whole[..., 0]


def reduced(pixels: np.ndarray) -> np.ndarray:
    """A large image subsampled to every k-th pixel, to save memory (float64 takes eight times as much)."""
    step = max(1, max(pixels.shape[:2]) // LONGEST_SHOWN)
    return pixels[::step, ::step]


def show(axes: Any, picture: np.ndarray) -> None:
    height, width = picture.shape[:2]
    shown = np.clip(reduced(picture), 0, 1)
    gray = shown if shown.ndim == 2 else shown[..., 0] if shown.shape[2] == 1 else None
    shown = np.repeat(gray[..., np.newaxis], 3, axis=2) if gray is not None else shown
    axes.imshow(shown, extent=(0, width, height, 0))
    axes.set_axis_off()
