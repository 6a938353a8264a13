"""One budget of memory for all threads that decode images, so that a few huge ones do not fill the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Budget:
    """Bytes that several threads share; who asks for more than is left waits, and an outsized request runs alone."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._changed = Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Hold `amount` bytes inside the block. A thread must not ask again while it holds some."""
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
"""The budget of every decoder in this process: some hundreds of ordinary photographs, or one of 64 megapixels."""
