"""Ctrl-C and SIGTERM while a command runs: it ends as interrupted, also where a library swallows the exception."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

INTERRUPTED = "matnet: interrupted"
AGAIN = 0.2
"""Seconds after which a signal that something lost is sent again."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where Ctrl-C would be."""


def interruptible() -> None:
    """End this process in one line on Ctrl-C until `run_command` takes over: what a command does first of all.

    While modules load there is nothing to clean up, and some of them would lose an exception or turn it into another.
    Where Ctrl-C is ignored, as in the background, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: object) -> None:
    with suppress(OSError):
        os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(128 + number)


class Interrupts:
    """The signals to stop that came while a command ran.

    A KeyboardInterrupt does not always arrive: a compiled module that is being imported turns it into an ImportError,
    a callback of C drops it, and so does Python while it frees an object. `number` keeps the signal, and a signal whose
    exception nothing handles any more is sent again until the command is over.
    """

    def __init__(self) -> None:
        self.number = 0
        self._over = self._sent_again = False

    @property
    def status(self) -> int:
        """The exit status that says which signal came; 0 where none did."""
        return 128 + self.number if self.number else 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Within the block Ctrl-C raises KeyboardInterrupt and is remembered, unless it is ignored or handled."""
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
        """Raise the exception of this signal in the main thread, but not where one is being handled already."""
        again, self._sent_again = self._sent_again, False
        self.number = self.number or number
        if self._over:
            return
        _thread.start_new_thread(self._send_again, (number,))  # threading.Thread takes locks that may be held here
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
"""Those of the commands that run at the moment."""


def raise_interrupt(number: int, frame: object) -> None:
    """A handler of SIGINT and SIGTERM: KeyboardInterrupt or Terminated, which the command that runs keeps in mind."""
    if _kept:
        _kept[-1].came(number)
    else:
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _handled_now() -> bool:
    """Whether an `except` or `finally` is at work because of an interruption."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _without_interrupts(unraisable: sys.UnraisableHookArgs) -> None:
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


@contextmanager
def termination_raised() -> Iterator[None]:
    """Within the block SIGTERM raises Terminated, as SIGINT raises KeyboardInterrupt; the main thread receives both."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, raise_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
