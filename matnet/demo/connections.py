"""Close connections that do not send a complete request in time, sooner if there are many."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from matnet.demo import limits


class TimedConnection(H11Protocol):
    """A connection that is closed if the header of its next request takes more than `limits.STALLED` seconds.

    uvicorn closes a connection that is idle after a response, but waits forever for the rest of a header. If more than
    `limits.UNFINISHED` connections have an incomplete request, the one that was silent longest is closed at once.
    """

    _timer: asyncio.TimerHandle | None = None
    _heard = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._heard = self.loop.time()
        self._watch()
        self._give_way()

    def data_received(self, data: bytes) -> None:
        self._heard = self.loop.time()
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop()

    def _watch(self) -> None:
        """Start the timer while no request is in progress."""
        found: Any = self.cycle
        if found is not None and not found.response_complete:
            self._stop()
        elif self._timer is None:
            self._timer = self.loop.call_later(limits.STALLED, self.timeout_keep_alive_handler)

    @property
    def _unfinished(self) -> bool:
        """Whether the connection is open, and its next request, or the body of this one, is incomplete."""
        found: Any = self.cycle
        return not self.transport.is_closing() and (found is None or found.response_complete or found.more_body)

    def _give_way(self) -> None:
        waiting = [one for one in self.connections if isinstance(one, TimedConnection) and one._unfinished]
        if len(waiting) > limits.UNFINISHED:
            min(waiting, key=lambda one: one._heard).transport.close()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
