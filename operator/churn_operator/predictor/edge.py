"""What stands before the SDK's application: which paths there are, how large a body may be, how the server leaves."""

import asyncio
import logging
import signal
import time
from types import FrameType

from kserve.errors import InvalidInput
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from churn_operator.predictor.request import MAX_BODY, PROBE_HEADER

log = logging.getLogger("churn.access")


class Edge:
    """ASGI middleware.

    Of the SDK's paths only the V1 ones are let through: `/v2/repository/models/<name>/unload` would let any client
    take the model away. Content types and CloudEvents headers are cut off: a body is JSON, whatever a client calls it,
    and the SDK answers some of these headers with 500.

    On SIGTERM the server answers on for `drain_seconds`, each answer closing its connection, so that clients move to
    other pods before the socket closes; then it finishes what is in flight. A second SIGTERM cuts the wait short.
    """

    def __init__(self, app: ASGIApp, *, model: str, drain_seconds: float, access_log: bool) -> None:
        self._app = app
        self._paths = frozenset({"/", "/metrics", "/v1/models", f"/v1/models/{model}", f"/v1/models/{model}:predict"})
        self._drain_seconds = drain_seconds
        self._level = logging.INFO if access_log else logging.DEBUG
        self._draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._drain_on_sigterm()
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http" or scope["path"] not in self._paths:
            answer = JSONResponse({"error": f"{scope['path']}: no such path"}, 404)
            await answer(scope, receive, send)
            return
        scope["headers"] = [
            header for header in scope["headers"] if not header[0].startswith((b"ce-", b"content-type"))
        ]
        await self._app(scope, _bounded(receive), self._observed(scope, send))

    def _observed(self, scope: Scope, send: Send) -> Send:
        """`send` that logs the answer and, while draining, closes the connection after it."""
        started = time.perf_counter()

        async def observe(message: Message) -> None:
            if message["type"] == "http.response.start":
                if self._draining:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
                self._log(scope, message["status"], time.perf_counter() - started)
            await send(message)

        return observe

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        level = logging.INFO if status >= 400 else self._level
        if (PROBE_HEADER.encode(), b"true") in scope["headers"]:
            level = logging.DEBUG
        if log.isEnabledFor(level):
            fields = {
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "milliseconds": round(seconds * 1000, 3),
            }
            log.log(level, "request", extra={"fields": fields})

    def _drain_on_sigterm(self) -> None:
        """Put the drain before the handler that uvicorn has installed by now; off the main thread there is none."""
        stop = signal.getsignal(signal.SIGTERM)
        if not callable(stop):
            return
        loop = asyncio.get_running_loop()

        def begin(number: int, frame: FrameType | None) -> None:
            if self._draining:
                stop(number, frame)
                return
            self._draining = True
            loop.call_soon_threadsafe(loop.call_later, self._drain_seconds, stop, number, None)

        signal.signal(signal.SIGTERM, begin)


def _bounded(receive: Receive) -> Receive:
    """`receive` that refuses a body of more than MAX_BODY bytes."""
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise InvalidInput(f"body: must be at most {MAX_BODY} bytes")
        return message

    return bounded
