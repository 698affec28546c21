"""Clients that hang up before their answer, on real connections."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp

from churn_operator.predictor import edge
from churn_operator.predictor.drain import Drain
from churn_operator.predictor.edge import Edge, Habits, Route
from churn_operator.predictor.metrics import outcome

DEADLINE = 10.0
REQUEST = b"POST /predict HTTP/1.1\r\nHost: telco\r\nContent-Length: 2\r\n\r\n{}"

Work = Callable[[socket.socket], Awaitable[None]]


class Meter:
    """Keeps what it is to count."""

    def __init__(self) -> None:
        self._asked: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()

    def asked(self, protocol: str, outcome: str, _seconds: float, caller: str) -> None:
        self._asked.put_nowait((protocol, outcome, caller))

    async def next(self) -> tuple[str, str, str]:
        return await asyncio.wait_for(self._asked.get(), DEADLINE)


@asynccontextmanager
async def asked(sent: bytes, work: Work) -> AsyncIterator[tuple[socket.socket, Meter]]:
    """A client's connection on which `sent` was sent, to a server that does `work` before its answer."""
    meter = Meter()
    with socket.socket() as listening, socket.socket() as client:
        listening.bind(("127.0.0.1", 0))

        async def answer(_body: bytes, _headers: Mapping[str, str]) -> Response:
            await work(client)
            return Response(b"{}")

        routes = {"/predict": Route(("POST",), "predict", answer)}
        habits = Habits(body_seconds=DEADLINE, access_log=False, beside=nullcontext)
        async with serving(Edge(Starlette(), routes=routes, meter=meter, drain=Drain(0), habits=habits), listening):  # type: ignore[arg-type] # a Meter that keeps
            client.connect(listening.getsockname())
            client.sendall(sent)
            yield client, meter


@asynccontextmanager
async def serving(app: ASGIApp, listening: socket.socket) -> AsyncIterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup([listening])
    try:
        yield
    finally:
        await server.shutdown([listening])


async def test_who_hangs_up_while_the_answer_takes_its_time_has_given_up_and_nobody_works_on_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(edge, "PATIENCE", 0.0)
    caplog.set_level(logging.INFO, "churn.access")
    ended = asyncio.Event()

    async def hang(client: socket.socket) -> None:
        client.close()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        ended.set()
        raise asyncio.CancelledError

    async with asked(REQUEST, hang) as (_, meter):
        assert await meter.next() == ("predict", "abandoned", "client")
    assert ended.is_set()
    (record,) = [record for record in caplog.records if record.name == "churn.access"]
    assert vars(record)["fields"].items() >= {"path": "/predict", "status": 499}.items()


async def test_who_hangs_up_while_nothing_else_can_go_on_has_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "PATIENCE", 0.0)
    monkeypatch.setattr(edge, "LOOK", DEADLINE)

    async def block(client: socket.socket) -> None:
        client.close()

    async with asked(REQUEST, block) as (_, meter):
        assert await meter.next() == ("predict", "abandoned", "client")


@pytest.mark.parametrize("part", [REQUEST[:-2], REQUEST[:-1]], ids=["after its head", "within its body"])
async def test_who_hangs_up_in_the_middle_of_a_request_never_asked(
    part: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "churn.access")

    async def never(_client: socket.socket) -> None:
        raise AssertionError("half a request was answered")

    async with asked(part, never) as (client, meter):
        client.close()
        assert await meter.next() == ("predict", "refused", "client")
    (record,) = [record for record in caplog.records if record.name == "churn.access"]
    assert vars(record)["fields"].items() >= {"path": "/predict", "status": 400}.items()


async def test_who_waits_is_answered_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "PATIENCE", 0.0)

    async def wait(_client: socket.socket) -> None:
        await asyncio.sleep(edge.LOOK)

    async with asked(REQUEST, wait) as (client, meter):
        assert await meter.next() == ("predict", "answered", "client")
        client.settimeout(DEADLINE)
        assert (await asyncio.to_thread(client.recv, 4096)).startswith(b"HTTP/1.1 200")


async def test_an_answer_that_comes_too_late_by_its_own_words_is_a_failure() -> None:
    async def give_up(_client: socket.socket) -> None:
        raise TimeoutError

    async with asked(REQUEST, give_up) as (_, meter):
        assert await meter.next() == ("predict", "failed", "client")


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, "answered"), (400, "refused"), (415, "refused"), (499, "abandoned"), (500, "failed"), (503, "failed")],
)
def test_a_status_says_what_became_of_a_request(status: int, expected: str) -> None:
    assert outcome(status) == expected
