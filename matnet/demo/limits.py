"""What one visitor, and all together, may take of the machine that serves the page."""

from __future__ import annotations

from dataclasses import dataclass

from matnet.display.table import NetworkTable
from matnet.display.units import count, memory
from matnet.errors import DataError, program

MB = 1_000_000
NETWORKS = 8
"""Dropped networks that are kept; of more the one that was used longest ago goes."""
IMAGES = 64
"""Dropped images that are kept."""
WAITING = 32
"""Requests that may wait for the engine."""
STALLED = 20.0
"""Seconds after which a request whose head or body stops coming is ended, as it holds a connection and room."""
UNFINISHED = 64
"""Connections whose request is not whole; of more, the one that was silent longest is closed, so that others get in."""
LEAST_RATE = 50_000
"""Bytes of a body in a second, on average after the first STALLED seconds."""
EXPANSION = 4
"""How often the size of the largest upload its content may take in memory: weights deflate to about nine tenths."""
MOST_WORK = 10**12
"""Multiply-adds of one image: fifty times those of VGG-16."""
MOST_DATA = 4 << 30
"""Bytes of all variables of one image."""
MOST_STATED = 1 << 20
"""Pixels of an input size that a visitor states."""
LONGEST_SIDE = 500
"""Pixels of an image that is segmented, as in PASCAL VOC; a larger one is reduced first."""


@dataclass(frozen=True)
class DemoLimits:
    """Bytes of one file of a network, of all files that are kept, and of one image."""

    network: int = 1000 * MB
    image: int = 32 * MB

    @property
    def kept(self) -> int:
        return 4 * self.network

    def of(self, kind: str) -> int:
        """The limit of an upload: kind is `network` or `image`."""
        return self.image if kind == "image" else self.network


def check_work(name: str, table: NetworkTable) -> None:
    """DataError for a network that would occupy the engine, which all visitors share, for minutes."""
    if table.multiply_adds > MOST_WORK or table.data_bytes > MOST_DATA:
        raise DataError(
            f"{name}: needs {count(table.multiply_adds)} multiply-adds and {memory(table.data_bytes)} for an image; "
            f"this page runs networks of at most {count(MOST_WORK)} and {memory(MOST_DATA)}; use `{program('predict')}`"
        )
