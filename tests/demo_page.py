"""The page of `matnet demo` on a free port of this machine, for tests with and without a browser."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from matnet.demo.limits import DemoLimits


@dataclass
class Served:
    """The address of a page that is served, and its state."""

    address: str
    page: Any

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.address + path, timeout=120, **options)

    def post(self, path: str, data: Any = b"", **options: Any) -> requests.Response:
        return requests.post(self.address + path, data=data, timeout=120, **options)

    def drop(self, *files: tuple[str, bytes]) -> requests.Response:
        """The answer to files of a network, as the page sends them."""
        tokens = [self.post("/api/files", content, params={"name": name}).json()["file"] for name, content in files]
        return requests.post(f"{self.address}/api/models", json={"files": tokens}, timeout=120)


@contextmanager
def served(models: Sequence[str] = (), limits: DemoLimits | None = None, names: Sequence[str] = ()) -> Iterator[Served]:
    """A page with these models, served by a thread until the block ends."""
    import uvicorn

    from matnet.demo.app import Page
    from matnet.demo.folder import Folder
    from matnet.demo.server import configured

    folder = Folder((limits or DemoLimits()).kept)
    try:
        page = Page(folder, limits)
        for model in models:
            page.models.add_stated(model)
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(64)
            server = uvicorn.Server(configured(page.app(names)))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
            thread.start()
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", page)
            server.should_exit = True
            thread.join(20)
            assert not folder.path.exists()
    finally:
        folder.close()
