"""What surrounds the endpoints: figures for Prometheus, and answers that come before the body's end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable

import prometheus_client
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_BYTES = 1 << 22
LINGER_SECONDS = 2.0
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """Counters of one application, in a registry of their own."""

    def __init__(self):
        registry = prometheus_client.CollectorRegistry()
        self._registry = registry
        self.requests = prometheus_client.Counter(
            "gllmm_requests",
            "Requests by endpoint and status; 499: the client hung up.",
            ["endpoint", "status"],
            registry=registry,
        )
        self.seconds = prometheus_client.Histogram(
            "gllmm_request_seconds",
            "From the head of the request to the end of the answer.",
            ["endpoint"],
            buckets=SECONDS,
            registry=registry,
        )
        self.bytes_in = prometheus_client.Counter(
            "gllmm_in_bytes", "Bytes of bodies received.", ["endpoint"], registry=registry
        )
        self.bytes_out = prometheus_client.Counter(
            "gllmm_out_bytes", "Bytes of bodies sent.", ["endpoint"], registry=registry
        )
        self.in_flight = prometheus_client.Gauge(
            "gllmm_in_flight", "Requests being served.", ["endpoint"], registry=registry
        )
        prometheus_client.ProcessCollector(registry=registry)

    async def answer(self, request: Request) -> Response:
        """The endpoint /metrics."""
        del request
        text = prometheus_client.generate_latest(self._registry)
        return Response(text, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})


class MetricsMiddleware:
    """Counts requests, seconds and bytes; paths that no endpoint has are counted as "other"."""

    def __init__(self, app: ASGIApp, metrics: Metrics, endpoints: Iterable[str]):
        self._app = app
        self._metrics = metrics
        self._endpoints = frozenset(endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metrics = self._metrics
        endpoint = scope["path"] if scope["path"] in self._endpoints else "other"
        status = 500  # Where the application raises before it answers, the server says this.

        async def receiving() -> Message:
            message = await receive()
            metrics.bytes_in.labels(endpoint).inc(len(message.get("body", b"")))
            return message

        async def sending(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            metrics.bytes_out.labels(endpoint).inc(len(message.get("body", b"")))
            await send(message)

        start = time.perf_counter()
        with metrics.in_flight.labels(endpoint).track_inprogress():
            try:
                await self._app(scope, receiving, sending)
            finally:
                metrics.seconds.labels(endpoint).observe(time.perf_counter() - start)
                metrics.requests.labels(endpoint, status).inc()


class EarlyAnswers:
    """Gets answers to clients that are still sending, without reading all that they send.

    A server that closes a connection in which unread bytes wait resets it, and the answer may be lost
    on the way. So such an answer says "Connection: close", and a little more is read and thrown away
    before the connection is closed: LINGER_BYTES, for LINGER_SECONDS, at most.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        names = {name for name, value in scope["headers"] if value != b"0"}
        unread = bool(names & {b"content-length", b"transfer-encoding"})

        async def receiving() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and bool(message.get("more_body"))  # A disconnect has none either.
            return message

        async def drain() -> None:
            left = LINGER_BYTES
            while unread and left > 0:
                left -= len((await receiving()).get("body", b""))

        async def sending(message: Message) -> None:
            if unread and message["type"] == "http.response.start":
                close = [(b"connection", b"close")]
                message = {**message, "headers": [*message["headers"], *close]}
            elif unread and not message.get("more_body"):
                await send({**message, "more_body": True})
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(drain(), LINGER_SECONDS)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        await self._app(scope, receiving, sending)
