"""A real HTTP proxy before a neighbour: it numbers the writes, and makes the neighbour fail as it is told to."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from ssl import SSLContext
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "expect"}
READ = {"GET", "HEAD", "OPTIONS"}
READ_BY_POST = ("/search", "/get-by-name", "/selfsubjectaccessreviews")
GARBAGE = "<html><body>Welcome to your new web server!</body></html>"


class Moment(StrEnum):
    """When, seen from a write, something is to happen."""

    BEFORE = "before it is forwarded"
    UNANSWERED = "served, but not answered"
    AFTER = "answered"


class Fault(StrEnum):
    """How a neighbour fails."""

    AWAY = "away"
    SLOW = "slow"
    ERROR = "500"
    BUSY = "429"
    GARBAGE = "garbage"
    HALF = "half an answer"


@dataclass(frozen=True)
class Write:
    """A write that was served."""

    method: str
    path: str
    status: int

    @property
    def is_creation(self) -> bool:
        return self.status == 201

    @property
    def is_deletion(self) -> bool:
        return self.method == "DELETE" and self.status < 300


@dataclass
class Ledger:
    """The writes of one process through all of its proxies, in the order in which they were served."""

    writes: list[Write] = field(default_factory=list)
    begun: int = 0
    """How many were asked for."""
    stop_at: tuple[int, Moment] | None = None
    stop: Callable[[], None] = lambda: None
    """Is called at that write and moment; what was asked before it is not served afterwards."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    epoch: int = 0

    def reached(self, number: int, moment: Moment) -> bool:
        """True where the process was stopped here."""
        if self.stop_at != (number, moment):
            return False
        self.stop_at = None
        self.epoch += 1
        self.stop()
        return True


@dataclass
class Proxy:
    """Listens on a port of the loopback and forwards to one server."""

    upstream: str
    tls: SSLContext | None = None
    ledger: Ledger = field(default_factory=Ledger)
    rewrite: Callable[[str], str] = str
    """What a path becomes."""
    fault: Fault | None = None
    ails: Callable[[str, str], bool] = lambda method, path: True  # noqa: ARG005 - the interface
    """Which requests, by method and path, the fault is about."""
    slowness: float = 30.0
    retry_after: float = 1.0
    asked: list[tuple[float, str, str]] = field(default_factory=list)
    """Time, method and path of each request that the fault befell; a watch is a method of its own."""

    def __post_init__(self) -> None:
        self._serving: set[asyncio.Task[Any]] = set()

    async def start(self, certificate: SSLContext | None = None) -> "Proxy":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False
        )
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=certificate)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def stop(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._runner.cleanup()
        await self._session.close()

    def fail(self, fault: Fault) -> None:
        """From now on; one that is away takes its connections along."""
        self.fault = fault
        if fault is Fault.AWAY:
            for task in self._serving:
                task.cancel()

    def heal(self) -> None:
        self.fault = None

    async def idle(self) -> None:
        """Until what was asked has been served, also what nobody waits for any more."""
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.create_task(self._answer(request))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            return await task
        except (aiohttp.ClientError, OSError):  # one of the two ends is gone
            return _hang_up(request)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        is_write = request.method not in READ and not request.path.endswith(READ_BY_POST)
        if self.fault is not None and self.ails(request.method, request.path):
            what = "WATCH" if "watch" in request.query else request.method
            self.asked.append((time.monotonic(), what, request.path))
            answer = await self._fail(self.fault, request, body, is_write=is_write)
            if answer is not None:
                return answer
        if "watch" in request.query:
            return await self._stream(request)
        return await (self._write(request, body) if is_write else self._whole(request, body))

    async def _fail(
        self, fault: Fault, request: web.Request, body: bytes, *, is_write: bool
    ) -> web.StreamResponse | None:
        """The answer of a neighbour that fails; None where it will answer after all."""
        match fault:
            case Fault.AWAY:
                return _hang_up(request)
            case Fault.SLOW:
                await asyncio.sleep(self.slowness)
                return None
            case Fault.ERROR:
                return web.Response(status=500, text="something broke")
            case Fault.BUSY:
                return web.Response(status=429, text="later", headers={"Retry-After": f"{self.retry_after:g}"})
            case Fault.GARBAGE:
                return web.Response(text=GARBAGE, content_type="text/html")
            case Fault.HALF if "watch" in request.query:
                return None  # as soon as it has something to say, it says half of it
            case Fault.HALF:
                whole = await (self._write(request, body) if is_write else self._whole(request, body))
                return await _half(request, whole)

    async def _write(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """One write at a time, so that the numbers mean something."""
        ledger, epoch = self.ledger, self.ledger.epoch
        async with ledger.turn:
            if epoch != ledger.epoch:
                return _hang_up(request)
            ledger.begun += 1
            number = ledger.begun
            if ledger.reached(number, Moment.BEFORE):
                return _hang_up(request)
            answer = await self._whole(request, body)
            ledger.writes.append(Write(request.method, _addressed(request, body), answer.status))
            ledger.news.set()
            if ledger.reached(number, Moment.UNANSWERED):
                return _hang_up(request)
            if ledger.stop_at == (number, Moment.AFTER):
                await answer.prepare(request)
                await answer.write_eof()
                ledger.reached(number, Moment.AFTER)
            return answer

    async def _whole(self, request: web.Request, body: bytes) -> web.Response:
        async with self._forward(request, body) as reply:
            data = await reply.read()
            return web.Response(status=reply.status, body=data, headers=_headers(reply))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        async with self._forward(request, b"") as reply:
            answer = web.StreamResponse(status=reply.status, headers=_headers(reply))
            await answer.prepare(request)
            async for chunk in reply.content.iter_any():
                if self.fault is not None and self.ails(request.method, request.path):
                    await answer.write(chunk[: len(chunk) // 2])
                    return _hang_up(request)
                await answer.write(chunk)
            return answer

    def _forward(self, request: web.Request, body: bytes) -> "aiohttp.client._RequestContextManager":
        path, _, query = request.raw_path.partition("?")
        url = self.upstream + self.rewrite(path) + (f"?{query}" if query else "")
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
        headers["Accept-Encoding"] = "identity"
        return self._session.request(
            request.method, URL(url, encoded=True), data=body or None, headers=headers, ssl=self.tls or True
        )


def _addressed(request: web.Request, body: bytes) -> str:
    """The path of what is written, with its name also where that stands in the body only."""
    if request.method != "POST" or not body or request.content_type != "application/json":
        return request.path
    name = json.loads(body).get("metadata", {}).get("name")
    return f"{request.path}/{name}" if name else request.path


def _headers(reply: aiohttp.ClientResponse) -> dict[str, str]:
    return {key: value for key, value in reply.headers.items() if key.lower() not in HOP_BY_HOP}


def _hang_up(request: web.Request) -> web.StreamResponse:
    """No answer, and no connection any more."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


async def _half(request: web.Request, whole: web.StreamResponse) -> web.StreamResponse:
    """All of the head, half of the body, and then nothing."""
    body = whole.body if isinstance(whole, web.Response) and isinstance(whole.body, bytes) else b""
    if not body:
        return _hang_up(request)
    part = web.StreamResponse(status=whole.status, headers=whole.headers)
    part.content_length = len(body)
    await part.prepare(request)
    await part.write(body[: len(body) // 2])
    return _hang_up(request)
