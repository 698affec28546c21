"""Golden requests against a server on the loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from churn_operator.core import prober
from churn_operator.core.kind import Answer
from churn_operator.core.prober import Prober

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Ask = Callable[..., Awaitable[Answer]]
PATH = "/v1/models/telco:predict"


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Serve with the handlers, one for each request in turn, the last one for all further, and ask for 0.25."""
    servers: list[TestServer] = []

    async def asked(*handlers: Handler) -> Answer:
        left = list(handlers)

        async def handle(request: web.Request) -> web.StreamResponse:
            return await (left.pop(0) if len(left) > 1 else left[0])(request)

        app = web.Application()
        app.add_routes([web.post(PATH, handle)])
        server = TestServer(app)
        servers.append(server)
        await server.start_server()
        async with aiohttp.ClientSession() as session:
            return await Prober(session).predict(str(server.make_url(PATH)), {"tenure": 12}, 0.25)

    yield asked
    for server in servers:
        await server.close()


def replies(body: Any, status: int = 200) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    return handle


def prediction(probability: Any) -> Handler:
    return replies({"predictions": [{"probability": probability}]})


def text(body: str) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(text=body)

    return handle


async def test_the_expected_probability_is_an_answer(ask: Ask) -> None:
    assert (await ask(prediction(0.25005))).ok


async def test_the_request_is_v1_and_marked_as_a_probe(ask: Ask) -> None:
    seen: list[Any] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append((await request.json(), request.headers["x-churn-probe"]))
        return web.json_response({"predictions": [{"probability": 0.25}]})

    await ask(handle)
    assert seen == [({"instances": [{"tenure": 12}]}, "true")]


async def test_one_failure_is_repeated_at_once(ask: Ask) -> None:
    assert (await ask(replies({}, status=503), prediction(0.25))).ok


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        pytest.param(prediction(0.3), "answered probability 0.3 where 0.25 is right", id="another model"),
        pytest.param(replies({"error": "busy"}, status=503), 'answered 503: {"error": "busy"}', id="an error"),
        pytest.param(replies({"predictions": []}), "something that is no prediction", id="no prediction"),
        pytest.param(replies([]), "something that is no prediction", id="another shape"),
        pytest.param(prediction("high"), "something that is no prediction", id="a probability that is no number"),
        pytest.param(prediction(10**400), "something that is no prediction", id="a probability beyond all numbers"),
        pytest.param(text("[" * 100_000), "something that is no prediction", id="brackets without end"),
        pytest.param(prediction("nan"), "answered probability nan", id="a probability that is nothing"),
    ],
)
async def test_a_wrong_answer_is_told_to_people(ask: Ask, handler: Handler, message: str) -> None:
    answer = await ask(handler)
    assert not answer.ok
    assert message in answer.message
    assert PATH in answer.message


async def test_a_server_that_is_not_there_is_told() -> None:
    async with aiohttp.ClientSession() as session:
        answer = await Prober(session).predict("http://127.0.0.1:1/predict", {}, 0.25)
    assert not answer.ok
    assert "does not answer" in answer.message


async def test_a_server_that_is_silent_is_told(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober, "TIMEOUT", aiohttp.ClientTimeout(total=0.05))

    async def handle(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    answer = await ask(handle)
    assert not answer.ok
    assert "did not answer within 0.05 s" in answer.message


async def test_each_request_takes_a_connection_of_its_own(ask: Ask) -> None:
    peers: list[Any] = []

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.append(request.transport.get_extra_info("peername"))
        return web.json_response({"predictions": [{"probability": 0.75}]})

    await ask(handle)
    assert len(set(peers)) == prober.ATTEMPTS
