"""The service as an ASGI application (Starlette): endpoints, limits, answers.

    POST /compress?quality=Q   a picture -> the bytes of a .gllmm file; target_size=20k, target_bpp=B
                               or target_psnr=D in place of the quality
    POST /decompress           the bytes of a .gllmm file -> PNG
    GET  /                     a page to try it on
    GET  /health               model and limits, JSON
    GET  /metrics              Prometheus text format

Bodies go to temporary files as they arrive and are held in no buffer. Work is done by a few threads.
A request takes one of `threads + waiting` places before its body is read and gives it back when the
work has ended, also where the client has long had its answer, so that memory and disk are bounded
whatever clients do.

    400  input that cannot be coded or decoded, an unknown parameter; the text says why, in one line
    408  the body did not arrive in time        413  more bytes or pixels than allowed
    503  no place or no memory free; try again  504  coding took longer than allowed
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import math
import os
import pathlib
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import gllmm_tf
from gllmm_tf import work
from gllmm_tf.codec import wanted
from gllmm_tf.errors import GllmmError, OutOfMemoryError, running_out_of_memory
from gllmm_tf.files import container, images
from gllmm_tf.files.atomic import reason
from gllmm_tf.serve import forms
from gllmm_tf.serve.limits import Limits
from gllmm_tf.serve.middleware import EarlyAnswers, Metrics, MetricsMiddleware
from gllmm_tf.zoo import registry

if TYPE_CHECKING:
    from gllmm_tf.codec.base import Codec

CLIENT_GONE = 499  # What servers log where nobody is left to answer; it is never sent.
PAGE = pathlib.Path(__file__).with_name("page.html")
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src blob: data:; connect-src 'self'; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
}
NO_SNIFF = {"X-Content-Type-Options": "nosniff"}
WARM_UP = 64  # Pixels a side.
ANY_SIZE = 1 << 60
TARGETS = ("target_size", "target_bpp", "target_psnr")

Action = Callable[..., Response]
"""Answers a request whose body lies at the path that it gets, with the parameters beside it."""


def create_app(codec: Codec, limits: Limits | None = None) -> Starlette:
    """Returns the application for a loaded `Codec`, which it uses once so that no client waits for it."""
    service = _Service(codec, limits or Limits())
    metrics = Metrics()
    routes = [
        Route("/", service.page),
        Route("/compress", service.compress, methods=["POST"]),
        Route("/decompress", service.decompress, methods=["POST"]),
        Route("/health", service.health),
        Route("/metrics", metrics.answer),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(
                MetricsMiddleware, metrics=metrics, endpoints=[route.path for route in routes]
            ),
            Middleware(EarlyAnswers),
        ],
        exception_handlers={
            HTTPException: _refused,
            GllmmError: _bad_input,
            ClientDisconnect: _client_gone,
        },
        lifespan=service.lifespan,
    )


class _Service:
    """The endpoints and what they share."""

    def __init__(self, codec: Codec, limits: Limits):
        self._codec = codec
        self._limits = limits
        self._places = threading.BoundedSemaphore(limits.threads + limits.waiting)
        self._pool = concurrent.futures.ThreadPoolExecutor(limits.threads, "codec")
        self._page = PAGE.read_text(encoding="utf-8")
        grey = np.full([WARM_UP, WARM_UP, 3], 128, np.uint8)
        codec.decompress(codec.compress(grey))

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """The server calls this; at its end the last request has been answered."""
        del app
        yield
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def page(self, request: Request) -> Response:
        del request
        return HTMLResponse(self._page, headers={**PAGE_HEADERS, **NO_SNIFF})

    async def health(self, request: Request) -> Response:
        """Answers as soon as requests can be served; nothing is listening before."""
        del request
        codec, limits = self._codec, self._limits
        name = registry.name_of(codec.identity) or codec.info.get("name")
        models = [{"model": name, "identity": codec.identity.hex()}]
        higher = codec.scale.continuation
        if higher:
            models.append({"model": higher.name, "identity": higher.identity.hex()})
        return JSONResponse(
            {
                "status": "ok",
                "version": gllmm_tf.__version__,
                **models[0],  # of the lower qualities
                "models": models,
                "qualities": codec.num_qualities,
                "lowest_quality": codec.qualities[0] if codec.qualities else None,
                "highest_quality": codec.qualities[-1] if codec.qualities else None,
                "default_quality": codec.config.default_quality,
                "max_bytes": limits.bytes,
                "max_pixels": limits.pixels,
                "max_seconds": limits.seconds,
            }
        )

    async def compress(self, request: Request) -> Response:
        return await self._work(request, self._compress_file, ("quality", "strip", *TARGETS))

    async def decompress(self, request: Request) -> Response:
        return await self._work(request, self._decompress_file, ())

    async def _work(self, request: Request, action: Action, known: Sequence[str]) -> Response:
        """Receives the body, lets a thread answer it, and gives up at the limit of time.

        Args:
            request: whose body is the input.
            action: called in a thread.
            known: parameters that it has.
        """
        parameters = forms.parameters(request.query_params.multi_items(), known)
        boundary = forms.boundary_of(request.headers.get("content-type", ""))
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._limits.seconds
        with contextlib.ExitStack() as stack:
            if not self._places.acquire(blocking=False):
                raise self._busy("all places are taken")
            stack.callback(self._places.release)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gllmm-"))
            path = os.path.join(folder, "body")
            try:
                await asyncio.wait_for(self._receive(request, path), self._limits.seconds)
            except asyncio.TimeoutError:
                raise HTTPException(
                    408, f"the body did not arrive within {self._limits.seconds:g} s: send it again"
                ) from None
            if boundary:
                parameters = forms.unpack(path, boundary, parameters, known)
            action = functools.partial(action, parameters=parameters)
            future = self._pool.submit(_without_folder, action, path)
            kept = stack.pop_all()
        future.add_done_callback(lambda _: kept.close())
        return await self._answer_of(future, request, deadline - clock())

    async def _receive(self, request: Request, path: str) -> None:
        declared = request.headers.get("content-length", "")
        self._check_bytes(int(declared) if declared.isdecimal() else 0)
        received = 0
        try:
            with open(path, "wb") as file:
                async for chunk in request.stream():
                    received += len(chunk)
                    self._check_bytes(received)
                    file.write(chunk)
        except OSError as error:
            raise self._busy(f"no place for the body ({reason(error)})") from error
        if not received:
            raise HTTPException(400, "the body is empty: send the bytes of one file")

    def _check_bytes(self, count: int) -> None:
        if count > self._limits.bytes:
            raise HTTPException(
                413, f"the body has more than {self._limits.bytes} bytes: send a smaller file"
            )

    def _check_pixels(self, width: int, height: int) -> None:
        excess = work.excess(width, height, self._limits.pixels)
        if excess:
            raise HTTPException(413, f"{excess}: send a smaller picture")

    async def _answer_of(
        self, future: concurrent.futures.Future, request: Request, seconds: float
    ) -> Response:
        job = asyncio.wrap_future(future)
        gone = asyncio.ensure_future(_disconnected(request))
        await asyncio.wait({job, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        has_gone = gone.done()
        gone.cancel()
        if job.done():
            try:
                with running_out_of_memory("this picture"):
                    return job.result()
            except OutOfMemoryError:
                raise self._busy("not enough memory") from None
        job.cancel()  # What waits will not begin; what runs keeps its place until it ends.
        if has_gone:
            raise ClientDisconnect()
        raise HTTPException(
            504, f"not done within {self._limits.seconds:g} s: send a smaller picture"
        )

    def _busy(self, why: str) -> HTTPException:
        seconds = self._limits.retry_after
        return HTTPException(
            503, f"{why}: try again in {seconds} s", headers={"Retry-After": str(seconds)}
        )

    def _compress_file(self, path: str, parameters: Mapping[str, str]) -> Response:
        options = _options(parameters)
        size = _declared_size(path)
        if size:
            self._check_pixels(*size)
        strip = parameters.get("strip", "")
        picture = images.read_image(path, self._limits.pixels, strip=strip)
        encoded = self._codec.encode(picture.pixels, **options, metadata=picture.metadata)
        headers = {"Server-Timing": _timing(encoded.seconds), **NO_SNIFF}
        if encoded.quality is not None:
            headers["X-Gllmm-Quality"] = f"{encoded.quality:g}"
        notes = [*picture.notes, *encoded.notes]
        if notes:
            headers["X-Gllmm-Note"] = "; ".join(notes)
        return Response(encoded.data, media_type="application/octet-stream", headers=headers)

    def _decompress_file(self, path: str, parameters: Mapping[str, str]) -> Response:
        del parameters
        data = pathlib.Path(path).read_bytes()
        header = container.unpack(data, ANY_SIZE)
        self._check_pixels(header.width, header.height)
        decoded = self._codec.decode(data, max_pixels=self._limits.pixels)
        png = f"{path}.png"
        images.write_image(png, decoded.image, decoded.metadata)
        headers = {"Server-Timing": _timing(decoded.seconds), **NO_SNIFF}
        return Response(pathlib.Path(png).read_bytes(), media_type="image/png", headers=headers)


def _options(parameters: Mapping[str, str]) -> dict[str, Any]:
    """What `Codec.encode` takes, of the parameters of a request."""
    options: dict[str, Any] = {"quality": _quality(parameters.get("quality"))}
    options.update({name: parameters[name] for name in TARGETS if name in parameters})
    given = {name[len("target_") :]: options.get(name) for name in TARGETS}
    wanted.check_beside_quality(wanted.chosen(**given), options["quality"])
    return options


def _quality(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        quality = float(text)
    except ValueError:
        quality = math.nan
    if not math.isfinite(quality):
        raise HTTPException(400, "quality is not a number: give one, as in /compress?quality=4")
    return quality


def _without_folder(action: Action, path: str) -> Response:
    """Calls action(path); its errors call the file "body" and keep to themselves where it lay."""
    try:
        return action(path)
    except GllmmError as error:
        raise type(error)(str(error).replace(path, os.path.basename(path))) from None


def _declared_size(path: str) -> tuple[int, int] | None:
    """(width, height) in the header of a picture, or None where `read_image` will say what is wrong."""
    with contextlib.suppress(Exception), Image.open(path, formats=images.FORMATS) as image:
        return image.size
    return None


def _timing(seconds: dict[str, float]) -> str:
    """Seconds per stage as the header Server-Timing has them, in milliseconds."""
    return ", ".join(f"{stage.replace(' ', '-')};dur={1e3 * s:.1f}" for stage, s in seconds.items())


async def _disconnected(request: Request) -> None:
    """Returns when the client has hung up; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _one_line(text: str) -> str:
    return " ".join(text.split())


async def _refused(request: Request, error: HTTPException) -> Response:
    del request
    headers = {**NO_SNIFF, **(error.headers or {})}
    return PlainTextResponse(f"{_one_line(error.detail)}\n", error.status_code, headers)


async def _bad_input(request: Request, error: GllmmError) -> Response:
    del request
    return PlainTextResponse(f"{_one_line(str(error))}\n", 400, NO_SNIFF)


async def _client_gone(request: Request, error: ClientDisconnect) -> Response:
    del request, error
    return Response(status_code=CLIENT_GONE)
