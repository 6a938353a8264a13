"""Run the page: the socket, the signals, and the temporary folder, which is always removed."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from matnet.demo.limits import EXPANSION, DemoLimits
from matnet.engines import EngineOptions
from matnet.errors import EngineError, MatnetError
from matnet.formats.mat import limits as of_files
from matnet.interrupts import INTERRUPTED

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)
CONNECTIONS = 200
GRACE = 2
"""Seconds for responses in progress to finish after Ctrl-C."""


def serve(models: Sequence[str], host: str, port: int, limits: DemoLimits, engine: EngineOptions) -> None:
    """Serve the page until Ctrl-C (KeyboardInterrupt) or another signal ends it.

    models: as for `matnet.load`; they may be downloaded before the page is served, and nothing is afterwards.
    """
    with _ended_by_signals(), _listening(host, port) as listening:
        _require_libraries()
        import uvicorn

        from matnet.demo.app import Page
        from matnet.demo.folder import Folder

        folder = Folder(limits.kept)
        try:
            page = Page(folder, limits, engine)
            for model in models:
                page.models.add_stated(model)
            forbid_downloads()
            of_files.ceiling = EXPANSION * limits.network
            server = uvicorn.Server(configured(page.app([host])))
            log.info(f"serving the page at {address(listening)}; stop it with Ctrl-C")
            try:
                server.run(sockets=[listening])
            except (KeyboardInterrupt, SystemExit) as ended:
                if page.turns.working:
                    folder.close()
                    _leave(ended)
                raise
        finally:
            folder.close()


def configured(app: Any) -> uvicorn.Config:
    """The configuration of uvicorn."""
    import uvicorn

    from matnet.demo.connections import TimedConnection

    return uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http=TimedConnection,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE,
    )


def _leave(ended: KeyboardInterrupt | SystemExit) -> None:
    """End the process even while a computation runs, for which Python would wait."""
    interrupted = isinstance(ended, KeyboardInterrupt)
    if interrupted:
        print(INTERRUPTED, file=sys.stderr, flush=True)
    os._exit(130 if interrupted else int(str(ended)))


def forbid_downloads() -> None:
    """Disable downloads in this process from now on."""
    from matnet.zoo.cache import OFFLINE

    os.environ[OFFLINE] = "1"


def address(listening: socket.socket) -> str:
    """The page's address for a browser on this machine."""
    host, port = listening.getsockname()[:2]
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{local}]:{port}/" if ":" in local else f"http://{local}:{port}/"


def _require_libraries() -> None:
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise EngineError(
            f"the page needs starlette and uvicorn ({error}); `python -m pip install 'matnet[demo]'` installs them"
        ) from None
    from matnet.figures import require_matplotlib

    require_matplotlib()


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at host and port. Raises MatnetError if it cannot be opened."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as made:
        if sys.platform != "win32":  # on Windows, two servers could share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host, port))
            made.listen(64)
        except OSError as error:
            raise MatnetError(
                f"cannot listen at {host}, port {port}: {error.strerror or error}; choose others with --host and --port"
            ) from None
        yield made


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn signals that end the process into SystemExit, so that the folder is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
    before = {number: signal.signal(number, _end) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
