"""What stands before the SDK's application: which paths there are, what a request may cost, what is told of it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import NamedTuple

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from churn_operator.api.analysis import ROUTE_HEADER
from churn_operator.predictor.drain import Drain
from churn_operator.predictor.logs import REQUEST_ID, take_request_id
from churn_operator.predictor.metrics import GONE, Meter, outcome
from churn_operator.predictor.request import (
    CLIENTS,
    MAX_BODY,
    PROBE_HEADER,
    SHADOW_HEADER,
    Caller,
    Refused,
    shown,
)

log = logging.getLogger("churn.access")

MAX_DISCARDED = 64 << 20
"""Bytes of a body that is too large that are read to nowhere: most clients look for an answer only after sending."""
FAILED = "the request failed; the server's log says why, under the request's id"
PATIENCE = 0.1
"""Seconds of an answer after which its client may have lost patience; nobody listens for that before."""
LOOK = 0.002
"""Seconds for an end of the connection that has arrived to be heard of."""
CLOSE = (b"connection", b"close")
PROBE = (PROBE_HEADER.encode(), b"true")
SHADOW = (SHADOW_HEADER.encode(), b"true")
ROUTED = (ROUTE_HEADER.encode(), b"true")

Handler = Callable[[bytes, Mapping[str, str]], Awaitable[Response]]


class Route(NamedTuple):
    """A path that is let through."""

    methods: tuple[str, ...]
    protocol: str | None = None
    """What its requests are counted under, where they are predictions."""
    handler: Handler | None = None
    """None where the SDK answers."""


class Habits(NamedTuple):
    """How the server was told to behave."""

    body_seconds: float
    """How long a client may take to send a body."""
    access_log: bool
    """A line for each answer, not only for refusals."""
    beside: Callable[[], AbstractAsyncContextManager[None]]
    """Lives as long as the server accepts requests."""


class _Stop(Exception):
    """A body that will not be looked at."""

    def __init__(self, status: int, text: str, *, close: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.close = close


class Edge:
    """ASGI middleware.

    Of the SDK's paths only the named ones are let through: `/v2/repository/models/<name>/unload` would let any client
    take the model away. Content types and CloudEvents headers are cut off: a body is JSON, whatever a client calls it,
    and the SDK answers some of these headers with 500.

    While draining, each answer closes its connection.
    """

    def __init__(
        self, app: ASGIApp, *, routes: Mapping[str, Route], meter: Meter, drain: Drain, habits: Habits
    ) -> None:
        self._app = app
        self._routes = routes
        self._meter = meter
        self._drain = drain
        self._body_seconds = habits.body_seconds
        self._beside = habits.beside
        self._level = logging.INFO if habits.access_log else logging.DEBUG

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        route = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        request_id = _take_request_id(scope)
        observed = self._observed(scope, send, route, request_id)
        if route is None:
            await JSONResponse({"error": f"{scope['path']}: no such path"}, 404)(scope, receive, observed)
        elif scope["method"] not in route.methods:
            text = f"{scope['path']}: {' or '.join(route.methods)} only"
            await JSONResponse({"error": text}, 405, {"allow": ", ".join(route.methods)})(scope, receive, observed)
        elif route.handler is None:
            await self._app(scope, receive, observed)
        else:
            await self._answer(route, route.handler, scope, receive, observed)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._drain.begin_on_sigterm()
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._beside())
            except RuntimeError as error:  # uvicorn would take it for an application without a beginning, and go on
                await receive()
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await self._app(scope, receive, send)

    async def _answer(self, route: Route, handler: Handler, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            if route.protocol is None:
                response = await handler(b"", headers)
            else:
                body = await _read(scope, receive, self._body_seconds)
                response = await _unless_gone(handler(body, headers), receive)
        except _Stop as stop:
            response = JSONResponse({"error": str(stop)}, stop.status, {"connection": "close"} if stop.close else None)
        except Refused as error:
            response = JSONResponse({"error": str(error)}, error.status)
        except Exception:  # let through, it would be answered behind `send`'s back: uncounted, and in its own words
            log.exception("the request failed")
            response = JSONResponse({"error": FAILED}, 500)
        await response(scope, receive, send)

    def _observed(self, scope: Scope, send: Send, route: Route | None, request_id: bytes) -> Send:
        """`send` that counts, logs and names the answer and, while draining, closes the connection after it."""
        started = time.perf_counter()

        async def observe(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (REQUEST_ID.encode(), request_id)]
                if self._drain.under_way and CLOSE not in message["headers"]:
                    message["headers"].append(CLOSE)
                seconds, status = time.perf_counter() - started, message["status"]
                caller = _caller(scope)
                if route is not None and route.protocol is not None:
                    self._meter.asked(route.protocol, outcome(status), seconds, caller)
                self._log(scope, status, seconds, caller)
            await send(message)

        return observe

    def _log(self, scope: Scope, status: int, seconds: float, caller: Caller) -> None:
        level = logging.INFO if status >= 400 else self._level
        if caller not in CLIENTS:
            level = logging.DEBUG
        if log.isEnabledFor(level):
            fields = {
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "milliseconds": round(seconds * 1000, 3),
            }
            log.log(level, "request", extra={"fields": fields})


def _caller(scope: Scope) -> Caller:
    """Who asks, as the inference log will call them."""
    if SHADOW in scope["headers"]:
        return "shadow"
    if PROBE in scope["headers"]:
        return "probe"
    return "gateway" if ROUTED in scope["headers"] else "client"


def _take_request_id(scope: Scope) -> bytes:
    """Give the request an id, and leave it no header that the SDK stumbles over."""
    given = None
    headers = []
    for header in scope["headers"]:
        name = header[0]
        if name == b"x-request-id":
            given = header[1].decode("latin-1")
        elif not name.startswith((b"ce-", b"content-type")):
            headers.append(header)
    taken = take_request_id(given).encode()
    headers.append((b"x-request-id", taken))
    scope["headers"] = headers
    return taken


async def _unless_gone(answer: Awaitable[Response], receive: Receive) -> Response:
    """The answer; nobody works on it any longer once its client has gone.

    To listen costs a task, and that as much as many an answer: it begins when one takes its time.

    Raises:
        _Stop: the client went away before it.
    """
    loop, started = asyncio.get_running_loop(), time.perf_counter()
    listening: asyncio.Task[None] | None = None

    async def end_when_gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        limit.reschedule(loop.time())

    def listen() -> None:
        nonlocal listening
        listening = loop.create_task(end_when_gone())

    timer = loop.call_later(PATIENCE, listen)
    try:
        async with asyncio.timeout(None) as limit:
            response = await answer
            # What was scored meanwhile let nobody hear that the client hung up.
            if time.perf_counter() - started > PATIENCE:
                await asyncio.sleep(LOOK)
            return response
    except TimeoutError:
        if not limit.expired():
            raise
        raise _Stop(GONE, "the client went away before its answer") from None
    finally:
        timer.cancel()
        if listening is not None:
            listening.cancel()


async def _read(scope: Scope, receive: Receive, seconds: float) -> bytes:
    """The whole body.

    Raises:
        _Stop: it is too large, or too slow, or its client has gone.
    """
    headers = dict(scope["headers"])
    declared = int(headers.get(b"content-length", b"0"))
    too_large = f"body: must be at most {MAX_BODY} bytes"
    if declared > MAX_BODY and headers.get(b"expect", b"").lower() == b"100-continue":
        raise _Stop(413, too_large, close=True)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Stop(400, "body: ended before it was whole")
                size += len(message["body"])
                if max(size, declared) <= MAX_BODY:
                    chunks.append(message["body"])
                elif size > MAX_DISCARDED:
                    raise _Stop(413, too_large, close=True)
                else:
                    chunks.clear()
                if not message["more_body"]:
                    break
    except TimeoutError:
        raise _Stop(408, f"body: did not arrive within {seconds:g} s", close=True) from None
    if size > MAX_BODY:
        raise _Stop(413, too_large)
    encoding = headers.get(b"content-encoding", b"").decode("latin-1")
    if encoding.lower() not in {"", "identity"}:
        raise _Stop(415, f"content-encoding: must be identity, got {shown(encoding)}")
    return b"".join(chunks)
