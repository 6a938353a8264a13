"""The page's server: the handler of each address. A single worker thread does the computing."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.resources import files
from typing import Any, TypeVar

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

import matnet
from matnet.demo import downloads, images, views
from matnet.demo.folder import Folder
from matnet.demo.guard import (
    ENDED,
    FRAME_POLICY,
    JSON_BODY,
    Guard,
    JsonResponse,
    StalledError,
    TooLargeError,
    check_length,
)
from matnet.demo.limits import LEAST_RATE, MB, STALLED, WAITING, DemoLimits
from matnet.demo.models import BrokenError, Kept, Models
from matnet.engines import EngineOptions
from matnet.errors import DataError, MatnetError

log = logging.getLogger(__name__)
T = TypeVar("T")
STATIC = {"page.js": "text/javascript", "page.css": "text/css", "index.html": "text/html", "icon.svg": "image/svg+xml"}
"""All static files."""


class BusyError(MatnetError):
    """Too many requests are waiting."""


class Turns:
    """A worker thread with a queue; all visitors share it, because they share the engine.

    The thread is a daemon, so that the command can end while it works.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]]] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._work, name="matnet demo", daemon=True).start()

    @property
    def working(self) -> bool:
        """Whether a job is running or waiting."""
        return self._waiting > 0

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread, and return or raise what it does. Raises BusyError if too many jobs wait."""
        with self._lock:
            if self._waiting >= WAITING:
                raise BusyError(f"{WAITING} requests are waiting already; try again in a moment")
            self._waiting += 1
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put((work, future))
        return await future

    def _work(self) -> None:
        while True:
            work, future = self._queue.get()
            result, error = None, None
            if not future.cancelled():
                try:
                    result = work()
                except Exception as raised:
                    error = raised
            with self._lock:
                self._waiting -= 1
            with suppress(RuntimeError):  # the server has ended
                future.get_loop().call_soon_threadsafe(_settle, future, result, error)


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


class Page:
    """The state of one server, and the handlers of its addresses."""

    def __init__(self, folder: Folder, limits: DemoLimits | None = None, engine: EngineOptions | None = None) -> None:
        self.folder = folder
        self.limits = limits or DemoLimits()
        self.engine = engine or EngineOptions(backend="auto")
        self.models = Models(folder)
        self.images = images.DemoImages()
        self.turns = Turns()

    def app(self, names: Collection[str] = ()) -> Starlette:
        """The application; names: the host names of the page, besides addresses and `localhost`."""
        model = "/api/models/{model}"
        routes = [
            Route("/", self.static),
            Route("/static/{name}", self.static),
            Route("/api/page", self.page),
            Route("/api/files", self.add_file, methods=["POST"]),
            Route("/api/files/{token}", self.file),
            Route("/api/models", self.add_model, methods=["POST"]),
            Route(model, self.model),
            Route(f"{model}/close", self.close_model, methods=["POST"]),
            Route(f"{model}/drawing", self.drawing),
            Route(f"{model}/filters", self.filters),
            Route(f"{model}/images", self.add_image, methods=["POST"]),
            Route(f"{model}/images/{{image}}/{{picture}}", self.picture),
            Route(f"{model}/convert/{{kind}}", self.convert, methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {
            MatnetError: _refused, ClientDisconnect: _gone, HTTPException: _no_such, Exception: _failed
        }  # fmt: skip
        return Starlette(
            routes=routes, middleware=[Middleware(Guard, names=names)], exception_handlers=handlers, lifespan=self._life
        )

    @asynccontextmanager
    async def _life(self, app: Starlette) -> AsyncIterator[None]:
        yield
        self.folder.close()

    # -- the page -----------------------------------------------------------------------------------

    async def static(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in STATIC:
            raise HTTPException(404)
        content = (files("matnet.demo") / "static" / name).read_bytes()
        return Response(content, media_type=STATIC[name])

    async def page(self, request: Request) -> Response:
        """The models, classes and limits that the page offers at the start."""
        known = await anyio.to_thread.run_sync(self.models.known)
        return JsonResponse(
            {
                "version": matnet.__version__,
                "given": [{"id": kept.id, "name": kept.name} for kept in self.models.stated],
                "known": [name for name in known if name not in {kept.name for kept in self.models.stated}],
                "largest": {"network": self.limits.network, "image": self.limits.image},
                "torch": "" if downloads.torch_is_here() else downloads.NO_TORCH,
            }
        )

    # -- networks -----------------------------------------------------------------------------------

    async def add_file(self, request: Request) -> Response:
        """Receive one file of a network as the body; `name` is its name. Responds with a token."""
        name = request.query_params.get("name", "file")
        most = self.limits.of("network")
        check_length(request, most, name[:80])
        token, path = self.folder.new(name)  # a size that is stated and never sent takes no room from others
        try:
            with path.open("wb") as file:
                async for piece in _pieces(request, most, name[:80]):
                    self.folder.grow(token, len(piece))
                    file.write(piece)
        except BaseException:
            self.folder.remove([token])
            raise
        self.folder.finish(token)
        return JsonResponse({"file": token})

    async def add_model(self, request: Request) -> Response:
        """Receive {"name": a known model} or {"files": tokens}. Responds with everything about the network."""
        asked = await _json(request)
        name, tokens = asked.get("name"), asked.get("files")
        if isinstance(name, str):
            work = partial(self.models.named, name)
        elif isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
            work = partial(self.models.dropped, tokens)
        else:
            raise DataError('expected {"name": ...} or {"files": [...]}')
        return JsonResponse(await self.turns.run(lambda: views.network_view(work())))

    async def model(self, request: Request) -> Response:
        kept = self._kept(request)
        return JsonResponse(await self.turns.run(lambda: views.network_view(kept)))

    async def close_model(self, request: Request) -> Response:
        self.models.close(request.path_params["model"])
        return Response(status_code=204)

    async def drawing(self, request: Request) -> Response:
        kept = self._kept(request)
        text = await self.turns.run(lambda: views.drawing_page(kept))
        encoded = text.encode("utf-8", "replace")  # names in a file may contain lone surrogates
        return HTMLResponse(encoded, headers={"Content-Security-Policy": FRAME_POLICY})

    async def filters(self, request: Request) -> Response:
        kept, layer = self._kept(request), request.query_params.get("layer")
        return await self._png(lambda: views.filters_picture(kept, layer), kept)

    async def convert(self, request: Request) -> Response:
        """Create a file to download. Responds with its token."""
        kept, kind = self._kept(request), request.path_params["kind"]
        token = await self._of(kept, lambda: downloads.conversion(kept, kind, self.folder))
        return JsonResponse({"file": token})

    async def file(self, request: Request) -> Response:
        """Send a converted network."""
        token = request.path_params["token"]
        path = self.folder.file(token)
        if self.folder.is_kept(token):
            raise HTTPException(404)
        return FileResponse(path, media_type="application/octet-stream", filename=path.name)

    # -- images -------------------------------------------------------------------------------------

    async def add_image(self, request: Request) -> Response:
        """Receive an image as the body. Responds with its best classes, and a token for its pictures."""
        kept, name = self._kept(request), request.query_params.get("name", "image")
        given, order = images.stated(request.query_params), images.stated_order(request.query_params)
        most = self.limits.of("image")
        check_length(request, most, name[:80])
        content = b"".join([piece async for piece in _pieces(request, most, name[:80])])
        token = self.images.add(name, content)
        image = self.images.get(token)
        found = await self._of(kept, lambda: images.answers(kept, image, given, order, self.engine))
        return JsonResponse({**found, "image": token})

    async def picture(self, request: Request) -> Response:
        """Send a PNG: `steps`, `maps` (of the layer in `layer`), `segmentation`, `objects` of a detector."""
        kept, image = self._kept(request), self.images.get(request.path_params["image"])
        given, layer = images.stated(request.query_params), request.query_params.get("layer", "")
        makers: dict[str, Callable[[], bytes]] = {
            "steps": lambda: images.steps_picture(kept, image, given),
            "maps": lambda: images.maps_picture(kept, image, layer, given, self.engine),
            "segmentation": lambda: images.segmentation_picture(kept, image, given, self.engine),
        }
        if request.path_params["picture"] == "objects":
            order = images.stated_order(request.query_params)
            return await self._png(lambda: images.objects_picture(kept, image, given, order, self.engine), kept)
        if request.path_params["picture"] not in makers:
            raise HTTPException(404)
        return await self._png(makers[request.path_params["picture"]], kept)

    # -- shared -------------------------------------------------------------------------------------

    def _kept(self, request: Request) -> Kept:
        return self.models.get(request.path_params["model"])

    async def _png(self, work: Callable[[], bytes], kept: Kept) -> Response:
        return Response(await self._of(kept, work), media_type="image/png")

    async def _of(self, kept: Kept, work: Callable[[], T]) -> T:
        """Run a job on one network; its errors do not reveal the folders of the files."""
        try:
            return await self.turns.run(work)
        except MatnetError as error:
            raise type(error)(kept.text(str(error)).replace(f"{self.folder.path}/", "")) from None


async def _pieces(request: Request, most: int, what: str) -> AsyncIterator[bytes]:
    """Yields the body in pieces. Raises TooLargeError if it exceeds the limit, StalledError if it is too slow."""
    size, begun = 0, time.monotonic()
    stream = request.stream().__aiter__()
    while True:
        left = begun + STALLED + size / LEAST_RATE - time.monotonic()
        try:
            piece = await asyncio.wait_for(stream.__anext__(), max(0.0, min(STALLED, left)))
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:
            raise StalledError(f"{what}: the upload stalled after {size / MB:,.1f} MB; send it again") from None
        size += len(piece)
        if size > most:
            raise TooLargeError(f"{what}: larger than the page's limit of {most / MB:,.0f} MB")
        yield piece


async def _json(request: Request) -> dict[str, Any]:
    check_length(request, JSON_BODY, "the request")
    body = b"".join([piece async for piece in _pieces(request, JSON_BODY, "the request")])
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError("the request is not a JSON object")
    return found


# -- errors -----------------------------------------------------------------------------------------


async def _refused(request: Request, error: Exception) -> Response:
    """The message of a MatnetError, which the page shows."""
    statuses = {TooLargeError: 413, StalledError: 408, BusyError: 503}
    status = next((statuses[kind] for kind in statuses if isinstance(error, kind)), 400)
    found: dict[str, Any] = {"error": str(error)}
    if isinstance(error, BrokenError):
        found["findings"] = [finding.record() for finding in error.findings]
    return JsonResponse(found, status_code=status)


async def _gone(request: Request, error: Exception) -> Response:
    """The browser closed the connection, so nobody reads the response. Starlette re-raises errors of `Exception`."""
    return JsonResponse({"error": ENDED}, status_code=400)


async def _no_such(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return JsonResponse({"error": "not found"}, status_code=status)


async def _failed(request: Request, error: Exception) -> Response:
    """An unexpected exception: one sentence on the page, the traceback in the log."""
    if isinstance(error, MemoryError):
        return JsonResponse({"error": "out of memory; try a smaller network or image"}, status_code=400)
    if isinstance(error, OSError):
        return JsonResponse({"error": f"{error.strerror or type(error).__name__}"}, status_code=500)
    log.error("%s %s", request.method, request.url.path, exc_info=error)
    return JsonResponse({"error": f"{type(error).__name__}; this is a bug in matnet"}, status_code=500)
