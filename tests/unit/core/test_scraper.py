"""Pods and a Prometheus that answer as they like, on the loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client.samples import Sample

from churn_operator.core import scraper
from churn_operator.core.errors import MetricsUnavailable
from churn_operator.core.scraper import Scraper

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]
SERIES = {"metric": {"__name__": "n", "pod": "a"}, "value": [1.5, "12"]}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[TestServer] = []

    async def started(handler: Handler) -> str:
        app = web.Application()
        app.router.add_get("/{path:.*}", handler)
        servers.append(TestServer(app))
        await servers[-1].start_server()
        return str(servers[-1].make_url("")).rstrip("/")

    yield started
    for server in servers:
        await server.close()


@pytest.fixture
async def client() -> AsyncIterator[Scraper]:
    async with aiohttp.ClientSession() as session:
        yield Scraper(session, 0.5)


def replies(body: Any, status: int = 200, **headers: str) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        if isinstance(body, str):
            return web.Response(text=body, status=status, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    return handle


def vector(*series: Any, **more: Any) -> Handler:
    return replies({"status": "success", "data": {"resultType": "vector", "result": list(series)}} | more)


async def silent(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def test_the_series_of_a_vector_are_samples(client: Scraper, serve: Serve) -> None:
    url = await serve(vector(SERIES, infos=["no warning"]))
    assert await client.query(url, "n") == (Sample("n", {"pod": "a"}, 12.0),)


async def test_prometheus_is_asked_below_its_path_and_told_how_long_one_waits(client: Scraper, serve: Serve) -> None:
    asked: list[Any] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append((request.path, dict(request.query)))
        return await vector()(request)

    url = await serve(handle)
    assert await client.query(f"{url}/west/", 'n{a="&="}') == ()
    assert asked == [("/west/api/v1/query", {"query": 'n{a="&="}', "timeout": "0.5s"})]


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        pytest.param(replies("<html>", 404), "what answers 404 at .* is not Prometheus", id="a web page"),
        pytest.param(replies("", 302, Location="/-/quit"), "what answers 302", id="a way elsewhere"),
        pytest.param(replies([]), "is not Prometheus", id="other JSON"),
        pytest.param(replies({"status": "success"}), "is not Prometheus", id="a success of nothing"),
        pytest.param(vector({"metric": {}}), "is not Prometheus", id="a series of no name"),
        pytest.param(vector(SERIES | {"value": [1, "x"]}), "is not Prometheus", id="a value that is none"),
        pytest.param(replies({"status": "error", "error": "bad_data"}, 400), "answers 400: bad_data", id="a refusal"),
        pytest.param(vector(SERIES, warnings=["a store is away"]), "may not know all: .*store is away", id="a part"),
        pytest.param(silent, "did not answer within 0.5 s", id="nothing"),
        pytest.param(replies("", 503), "answers 503", id="too much"),
    ],
)
async def test_what_is_no_answer_is_told_with_the_address(
    client: Scraper, serve: Serve, handler: Handler, message: str
) -> None:
    url = await serve(handler)
    with pytest.raises(MetricsUnavailable, match=message) as raised:
        await client.query(url, "n")
    assert url in str(raised.value)


async def test_a_prometheus_that_asks_for_a_pause_gets_it(client: Scraper, serve: Serve) -> None:
    asked: list[str] = []

    async def busy(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return await replies("", 429, **{"Retry-After": "60"})(request)

    url = await serve(busy)
    for _ in range(3):
        with pytest.raises(MetricsUnavailable, match="answers 429"):
            await client.query(url, "n")
    assert len(asked) == 1


async def test_a_refusal_is_about_the_query_and_silences_nobody_else(client: Scraper, serve: Serve) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        bad = replies({"status": "error", "error": "bad"}, 400)
        return await (bad if request.query["query"] == "bad" else vector(SERIES))(request)

    url = await serve(handle)
    with pytest.raises(MetricsUnavailable):
        await client.query(url, "bad")
    assert await client.query(url, "n")


async def test_what_a_pod_says_is_read(client: Scraper, serve: Serve) -> None:
    assert await client.metrics(await serve(replies("n 1\n"))) == "n 1\n"


@pytest.mark.parametrize("status", [404, 302, 500])
async def test_a_pod_that_says_something_else_is_told(client: Scraper, serve: Serve, status: int) -> None:
    with pytest.raises(MetricsUnavailable, match=f"answers {status}"):
        await client.metrics(await serve(replies("n 1", status)))


async def test_a_pod_that_is_not_there_is_told(client: Scraper) -> None:
    with pytest.raises(MetricsUnavailable, match=r"http://127\.0\.0\.1:1/metrics does not answer"):
        await client.metrics("http://127.0.0.1:1/metrics")


async def test_no_more_is_read_than_an_answer_can_be_long(
    client: Scraper, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scraper, "LIMIT", 1 << 20)
    with pytest.raises(MetricsUnavailable, match="answers more than 1 MiB"):
        await client.metrics(await serve(replies("x" * (1 << 20) + "x")))
    assert len(await client.metrics(await serve(replies("x" * (1 << 20))))) == 1 << 20
