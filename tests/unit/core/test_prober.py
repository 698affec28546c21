"""Golden requests against a server on the loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from churn_operator.api.tasks import Golden
from churn_operator.core import prober
from churn_operator.core.kind import Answer
from churn_operator.core.prober import Prober

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Ask = Callable[..., Awaitable[Answer]]
PATH = "/v1/models/telco:predict"
GOLDEN = Golden(
    instance={"tenure": 12, "plan": "basic"},
    probability=0.25,
    variants=({"changes": {"tenure": 1}, "probability": 0.75},),
)


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Serve with the handlers, one for each request in turn, the last one for all further, and ask about two rows."""
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
            return await Prober(session).predict(str(server.make_url(PATH)), GOLDEN)

    yield asked
    for server in servers:
        await server.close()


def replies(body: Any, status: int = 200) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    return handle


def predictions(*probabilities: Any) -> Handler:
    return replies({"predictions": [{"probability": each} for each in probabilities]})


def text(body: str) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(text=body)

    return handle


async def test_the_expected_probabilities_are_an_answer(ask: Ask) -> None:
    answer = await ask(predictions(0.25005, 0.75))
    assert answer == Answer(ok=True, message="probability 0.25005, 0.75 as expected")


async def test_the_request_is_v1_and_marked_as_a_probe(ask: Ask) -> None:
    seen: list[Any] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append((await request.json(), request.headers["x-churn-probe"]))
        return web.json_response({"predictions": [{"probability": 0.25}, {"probability": 0.75}]})

    await ask(handle)
    assert seen == [({"instances": [{"tenure": 12, "plan": "basic"}, {"tenure": 1, "plan": "basic"}]}, "true")]


async def test_one_failure_is_repeated_at_once(ask: Ask) -> None:
    assert (await ask(replies({}, status=503), predictions(0.25, 0.75))).ok


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        pytest.param(predictions(0.3, 0.75), "answered probability 0.3 where 0.25 is right", id="another model"),
        pytest.param(
            predictions(0.25, 0.25), "answered probability 0.25 where 0.75 is right", id="a model of one answer"
        ),
        pytest.param(predictions(0.25), "answered 1 predictions where 2 were asked for", id="too few"),
        pytest.param(predictions(0.25, 0.75, 0.75), "answered 3 predictions where 2 were asked for", id="too many"),
        pytest.param(replies({"error": "busy"}, status=503), 'answered 503: {"error": "busy"}', id="an error"),
        pytest.param(replies({"predictions": []}), "answered 0 predictions", id="no prediction"),
        pytest.param(replies({"predictions": [{}, {}]}), "something that is no prediction", id="no probability"),
        pytest.param(replies([]), "something that is no prediction", id="another shape"),
        pytest.param(
            predictions("high", 0.75), "something that is no prediction", id="a probability that is no number"
        ),
        pytest.param(
            predictions(10**400, 0.75), "something that is no prediction", id="a probability beyond all numbers"
        ),
        pytest.param(text("[" * 100_000), "something that is no prediction", id="brackets without end"),
        pytest.param(predictions("nan", 0.75), "answered probability nan", id="a probability that is nothing"),
    ],
)
async def test_a_wrong_answer_is_told_to_people(ask: Ask, handler: Handler, message: str) -> None:
    answer = await ask(handler)
    assert not answer.ok
    assert message in answer.message
    assert PATH in answer.message


async def test_a_server_that_is_not_there_is_told() -> None:
    async with aiohttp.ClientSession() as session:
        answer = await Prober(session).predict("http://127.0.0.1:1/predict", GOLDEN)
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
