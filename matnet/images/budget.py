"""A memory budget shared by all decoding threads, so that a few huge images do not exhaust memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Budget:
    """Bytes shared by threads. A request beyond the remaining bytes waits; one beyond the limit runs alone."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._changed = Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Hold `amount` bytes inside the block. Must not be nested in one thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._used == 0 or self._used + amount <= self.limit)
            self._used += amount
        try:
            yield
        finally:
            with self._changed:
                self._used -= amount
                self._changed.notify_all()


DECODING = Budget(1 << 30)
"""The budget of all decoders in this process: hundreds of typical photos, or one 64-megapixel image."""
