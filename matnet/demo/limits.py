"""Resource limits of the page, per visitor and in total."""

from __future__ import annotations

from dataclasses import dataclass

from matnet.display.table import NetworkTable
from matnet.display.units import count, memory
from matnet.errors import DataError, program

MB = 1_000_000
NETWORKS = 8
"""The most uploaded networks in memory; beyond, the least recently used one is dropped."""
IMAGES = 64
"""The most uploaded images in memory."""
WAITING = 32
"""The most requests waiting for the engine."""
STALLED = 20.0
"""Seconds after which a request with a stalled header or body is ended."""
UNFINISHED = 64
"""The most connections with an incomplete request; beyond, the one that was silent longest is closed."""
LEAST_RATE = 50_000
"""The lowest average rate of a body in bytes per second, after the first STALLED seconds."""
EXPANSION = 4
"""The most memory for the content of an upload, as a multiple of the largest upload (weights deflate to about 0.9)."""
MOST_WORK = 10**12
"""The most multiply-adds per image: fifty times those of VGG-16."""
MOST_DATA = 4 << 30
"""The most bytes of all variables for one image."""
MOST_STATED = 1 << 20
"""The most pixels of an input size that a visitor chooses."""
LONGEST_SIDE = 500
"""The longest side in pixels of an image to segment, as in PASCAL VOC; larger images are reduced first."""


@dataclass(frozen=True)
class DemoLimits:
    """The most bytes of one network file, of all stored files, and of one image."""

    network: int = 1000 * MB
    image: int = 32 * MB

    @property
    def kept(self) -> int:
        return 4 * self.network

    def of(self, kind: str) -> int:
        """The limit of an upload: kind is `network` or `image`."""
        return self.image if kind == "image" else self.network


def check_work(name: str, table: NetworkTable) -> None:
    """Raises DataError for a network that would occupy the shared engine for minutes."""
    if table.multiply_adds > MOST_WORK or table.data_bytes > MOST_DATA:
        raise DataError(
            f"{name}: needs {count(table.multiply_adds)} multiply-adds and {memory(table.data_bytes)} for an image; "
            f"this page runs networks of at most {count(MOST_WORK)} and {memory(MOST_DATA)}; use `{program('predict')}`"
        )
