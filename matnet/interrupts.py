"""Ctrl-C and SIGTERM while a command runs: it stops even if a library swallows the exception."""

from __future__ import annotations

import _thread
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

INTERRUPTED = "matnet: interrupted"
AGAIN = 0.2
"""Seconds before a lost signal is sent again."""


class Terminated(KeyboardInterrupt):
    """Raised for SIGTERM, as KeyboardInterrupt is for Ctrl-C."""


def interruptible() -> None:
    """Exit with a one-line message on Ctrl-C until `run_command` takes over. Every command calls this first.

    While modules load there is nothing to clean up, and some modules lose or replace exceptions. If Ctrl-C is ignored,
    as in a background job, it stays ignored. Garbage collection is off as long: modules hardly leave any.
    """
    gc.disable()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: object) -> None:
    with suppress(OSError):
        os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(128 + number)


def ended(status: int) -> int:
    """End the process of an interrupted command, whose threads may still compute; in other processes, the status."""
    if signal.getsignal(signal.SIGINT) is _end:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(status)
    return status


class Interrupts:
    """Records SIGINT and SIGTERM while a command runs.

    KeyboardInterrupt can get lost: a compiled module turns it into an ImportError while it is imported, and C callbacks
    and destructors drop it. `number` keeps the signal. If no handler is active after a while, the signal is sent again,
    until the command ends.
    """

    def __init__(self) -> None:
        self.number = 0
        self._over = self._sent_again = False

    @property
    def status(self) -> int:
        """The exit status for the received signal; 0 if there was none."""
        return 128 + self.number if self.number else 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Within the block, raise KeyboardInterrupt on Ctrl-C and record it, unless SIGINT is ignored or handled."""
        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) not in (_end, signal.default_int_handler)
        ):  # fmt: skip
            yield
            return
        _kept.append(self)
        hook, sys.unraisablehook = sys.unraisablehook, _without_interrupts
        before = signal.signal(signal.SIGINT, raise_interrupt)
        try:
            yield
        finally:
            self._over = True
            signal.signal(signal.SIGINT, before)
            sys.unraisablehook = hook
            _kept.remove(self)

    def came(self, number: int) -> None:
        """Record the signal and raise its exception, unless an interruption is being handled already."""
        again, self._sent_again = self._sent_again, False
        self.number = self.number or number
        if self._over:
            return
        _thread.start_new_thread(self._send_again, (number,))  # threading.Thread could deadlock here
        if not (again and _handled_now()):
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    def _send_again(self, number: int) -> None:
        time.sleep(AGAIN)
        if self._over or self._sent_again:
            return
        self._sent_again = True
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, number)
        else:
            _thread.interrupt_main(signal.Signals(number))


_kept: list[Interrupts] = []
"""Recorders of the running commands, the innermost last."""


def raise_interrupt(number: int, frame: object) -> None:
    """Signal handler that records the signal and raises KeyboardInterrupt or Terminated."""
    if _kept:
        _kept[-1].came(number)
    else:
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _handled_now() -> bool:
    """Whether an `except` or `finally` block is handling an interruption."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _without_interrupts(unraisable: sys.UnraisableHookArgs) -> None:
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


@contextmanager
def termination_raised() -> Iterator[None]:
    """Within the block, SIGTERM raises Terminated in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, raise_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
