"""Takes events over HTTP: 200 once one is on disk, 503 at once where that cannot be, and never a wait without end."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from churn_operator.collector import metrics
from churn_operator.collector.buffer import Buffer, NotKept
from churn_operator.collector.clock import StoreClock
from churn_operator.collector.contracts import Contracts, Unknown
from churn_operator.collector.event import Event, NotAnEvent, believed, parse
from churn_operator.collector.halves import encode, request_half, response_half
from churn_operator.collector.rows import Forbidden, Unreadable, answers

_MOST_IN_FLIGHT = 128 << 20
"""Bytes of events that are being read or written at one time."""
_BODY_SECONDS = 10.0
_DISK_SECONDS = 5.0
_RETRY_AFTER = {"Retry-After": "5"}


class Receiver:
    """The handler of events."""

    def __init__(self, buffer: Buffer, contracts: Contracts, clock: StoreClock, max_bytes: int) -> None:
        self._buffer = buffer
        self._contracts = contracts
        self._clock = clock
        self._max_bytes = max_bytes
        self._in_flight = 0
        self.draining = False
        """Whoever sets it sends clients to other replicas: each answer is its connection's last."""

    async def receive(self, request: web.Request) -> web.Response:
        """Answer an event: what it became is also counted."""
        answer = await self._answered(request)
        if self.draining:
            answer.force_close()
        return answer

    async def _answered(self, request: web.Request) -> web.Response:
        try:
            event = parse(request.headers)
        except NotAnEvent as error:
            return _answer("none", 400, "NotAnEvent", str(error))
        expected = request.content_length or self._max_bytes
        if request.content_length and expected > self._max_bytes:
            return _answer(event.role, 413, "TooLarge", f"the body must be at most {self._max_bytes} bytes")
        if self._buffer.is_full or self._in_flight + expected > _MOST_IN_FLIGHT:
            return _answer(event.role, 503, "BufferFull", "too much is waiting for the object store")
        self._in_flight += expected
        try:
            return await self._receive(request, event)
        finally:
            self._in_flight -= expected

    async def _receive(self, request: web.Request, event: Event) -> web.Response:
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _answer(event.role, 413, "TooLarge", f"the body must be at most {self._max_bytes} bytes")
        except TimeoutError:
            return _answer(event.role, 408, "TooSlow", f"the body took longer than {_BODY_SECONDS:.0f} s")
        try:
            record = await self._record(event, body)
            started = time.perf_counter()
            async with asyncio.timeout(_DISK_SECONDS):
                await self._buffer.append(record)
        except Forbidden as error:
            return _answer(event.role, 200, "Forbidden", str(error))
        except Unreadable as error:
            return _answer(event.role, 200, "Unreadable", str(error))
        except Unknown as error:
            return _answer(event.role, 503, "NoContract", str(error))
        except NotKept as error:
            return _answer(event.role, 503, error.reason, str(error))
        except TimeoutError:
            return _answer(event.role, 503, "DiskFailed", f"the disk took longer than {_DISK_SECONDS:.0f} s")
        metrics.COMMIT_SECONDS.observe(time.perf_counter() - started)
        return _answer(event.role, 200, None, "")

    async def _record(self, event: Event, body: bytes) -> bytes:
        """What is kept of the event: nothing of it is on disk before personal data is out of it."""
        now = self._clock.now()
        time_ = believed(event.time, now)
        if time_ != event.time:
            metrics.WRONG_CLOCKS.inc()
        if event.role == "response":
            half = response_half(event, body, answers(body), time_)
        else:
            reader = await self._contracts.get(event.model_uri)
            half = request_half(event, body, reader.columns, reader.rows(body), time_)
        return encode(event.partition, half)


def _answer(role: str, status: int, reason: str | None, text: str) -> web.Response:
    outcome = {200: "Ignored" if reason else "Stored", 503: "Later"}.get(status, "Refused")
    metrics.EVENTS.labels(role, outcome).inc()
    if reason:
        metrics.DROPPED.labels(reason).inc()
    return web.Response(status=status, text=text, headers=_RETRY_AFTER if status == 503 else None)


def application(
    receiver: Receiver, max_bytes: int, healthy: Callable[[], str | None], ready: Callable[[], str | None]
) -> web.Application:
    """The server's paths; `healthy` and `ready` tell what is wrong, or None."""

    def check(ask: Callable[[], str | None]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(_: web.Request) -> web.Response:
            wrong = ask()
            return web.Response(status=503 if wrong else 200, text=wrong or "ok")

        return answer

    app = web.Application(client_max_size=max_bytes)
    app.router.add_post("/", receiver.receive)
    app.router.add_get("/healthz", check(healthy))
    app.router.add_get("/readyz", check(ready))
    app.router.add_get("/metrics", make_aiohttp_handler())
    return app
