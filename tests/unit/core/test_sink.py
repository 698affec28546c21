"""A receiver of CloudEvents that answers as it likes, on the loopback."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from hack.bench.ports import free_port
from support.events_receiver import Answer, Receiver
from support.kinds import make_object

from churn_operator.api.churnmodel import ChurnModel
from churn_operator.api.driftmonitor import DriftMonitor
from churn_operator.api.trainingrun import TrainingRun
from churn_operator.core import outage, sink
from churn_operator.core.client import ApiClient
from churn_operator.core.cluster import Neighbours
from churn_operator.core.objects import Object
from churn_operator.core.prober import Prober
from churn_operator.core.scraper import Scraper
from churn_operator.core.sink import Sink, cloud_event
from churn_operator.core.tracking import Tracking

CONDITION = {"type": "Ready", "status": "True", "reason": "ChampionServing", "message": "v1 serves"}
ATTRIBUTES = {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"}


def event(name: str = "telco", message: str = "v1 serves", kind: str = "ChurnModel", **more: str) -> Object:
    about = make_object(kind, name, {})
    involved = {key: about[key] for key in ("apiVersion", "kind")} | about["metadata"]
    del involved["generation"]
    return {"involvedObject": involved, "message": message, "lastTimestamp": "2026-11-21T12:00:00Z"} | more


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.server.start_server()
    yield made
    await made.server.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


@pytest.fixture
def to(session: aiohttp.ClientSession, receiver: Receiver) -> Sink:
    return Sink(session, receiver.url)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """And time enough at the end: leaving `delivering` is how a test waits."""
    monkeypatch.setattr(outage, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(outage, "TRIAL", 0.0)
    monkeypatch.setattr(sink, "FAREWELL", 30.0)


async def delivered(to: Sink, *names: str) -> None:
    async with to.delivering():
        for name in names:
            to.tell(event(name), CONDITION)


async def test_a_message_is_a_cloud_event_in_structured_mode(to: Sink, receiver: Receiver) -> None:
    text = "Größe „neu“ → 4 \r\n\x00"
    async with to.delivering():
        to.tell(event(message=text), CONDITION)
    (message,), (headers,) = receiver.got, receiver.headers
    assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert all(value.isascii() for value in headers.values())
    assert not [name for name in headers if name.lower().startswith("ce-")]
    assert set(message) == ATTRIBUTES
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in message)
    assert all(isinstance(value, str) and value for name, value in message.items() if name != "data")
    assert message["specversion"] == "1.0"
    assert message["source"] == "/apis/churnops.dev/v1alpha1/namespaces/team/churnmodels/telco"
    assert message["type"] == "dev.churnops.churnmodel.ChampionServing"
    assert datetime.fromisoformat(message["time"]) == datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert message["data"] == {
        "apiVersion": "churnops.dev/v1alpha1",
        "kind": "ChurnModel",
        "namespace": "team",
        "name": "telco",
        "uid": "uid-telco",
        "type": "Ready",
        "status": "True",
        "reason": "ChampionServing",
        "message": text,
    }


@pytest.mark.parametrize("kind", [ChurnModel, TrainingRun, DriftMonitor])
def test_the_source_is_where_the_api_server_has_the_object(kind: Any) -> None:
    source = cloud_event(event(kind=kind.__name__), CONDITION)["source"]
    assert source == f"/apis/churnops.dev/v1alpha1/namespaces/team/{kind.plural}/telco"


def test_the_same_news_has_the_same_id_and_other_news_has_another() -> None:
    told = [
        (event(), CONDITION),
        (event("gym"), CONDITION),
        (event(kind="DriftMonitor"), CONDITION),
        (event(message="v2 serves"), CONDITION),
        (event(lastTimestamp="2026-11-21T12:00:01Z"), CONDITION),
        *((event(), CONDITION | {key: "Other"}) for key in ("type", "status", "reason")),
    ]
    ids = [cloud_event(*each)["id"] for each in told]
    assert len(set(ids)) == len(told)
    assert ids == [cloud_event(*each)["id"] for each in told]


@pytest.mark.parametrize(
    "last_words", [b"", b"hello\r\n\r\n", b"HTTP/1.1 20"], ids=["none", "garbage", "half an answer"]
)
async def test_a_sink_that_is_away_gets_each_once_and_in_order_when_it_is_back(
    session: aiohttp.ClientSession, last_words: bytes
) -> None:
    tried, port = asyncio.Event(), free_port()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(last_words)
        writer.close()
        tried.set()

    away = await asyncio.start_server(hang_up, "127.0.0.1", port)
    back = Receiver(port)
    to = Sink(session, f"http://127.0.0.1:{port}/events")
    async with to.delivering():
        for name in "abc":
            to.tell(event(name), CONDITION)
        await asyncio.wait_for(tried.wait(), 30)
        away.close()
        await away.wait_closed()
        await back.server.start_server()
    await back.server.close()
    assert back.names == ["a", "b", "c"]
    assert back.outcomes == {"Delivered": 3}


async def test_what_a_busy_sink_does_not_take_comes_again_before_the_next(to: Sink, receiver: Receiver) -> None:
    receiver.answers = [503, 429, 408, 500, 202, 200]
    await delivered(to, "a", "b", "c")
    assert receiver.names == ["a", "a", "a", "a", "a", "b", "c"]
    assert len({message["id"] for message in receiver.got}) == 3
    assert receiver.outcomes == {"Delivered": 3}


async def test_what_is_not_answered_in_time_comes_again_with_the_same_id(
    to: Sink, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "TIMEOUT", aiohttp.ClientTimeout(total=0.2))
    over = asyncio.Event()
    receiver.answers = [silent(over)]
    await delivered(to, "a", "b")
    over.set()
    assert receiver.names == ["a", "a", "b"]
    assert receiver.got[0] == receiver.got[1]


@pytest.mark.parametrize("status", [400, 404, 413, 302, 307])
async def test_what_the_sink_refuses_is_given_up_and_the_next_goes_on(
    to: Sink, receiver: Receiver, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    receiver.answers = [status]
    await delivered(to, "a", "b")
    assert receiver.names == ["a", "b"]
    assert set(receiver.paths) == {"/events"}, "a redirect was followed"
    assert receiver.outcomes == {"Refused": 1, "Delivered": 1}
    assert f"churnmodels/a does not reach the sink: {receiver.url} answers {status}" in caplog.text


async def test_what_is_no_news_any_more_is_dropped(
    to: Sink, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def busy(request: web.Request) -> web.Response:
        if (await request.json())["subject"] == "old":
            receiver.answers.append(busy)
            return web.Response(status=503)
        return web.Response()

    receiver.answers = [busy]
    with monkeypatch.context() as patch:
        patch.setattr(sink, "PATIENCE", 0.1)
        to.tell(event("old"), CONDITION)
    await delivered(to, "new")
    assert set(receiver.names) == {"old", "new"}
    assert receiver.outcomes == {"Dropped": 1, "Delivered": 1}
    assert "churnmodels/old does not reach the sink: it was not taken within" in caplog.text


async def test_where_too_many_wait_the_oldest_goes(
    session: aiohttp.ClientSession, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "LIMIT", 3)
    to = Sink(session, receiver.url)
    for name in "abcd":
        to.tell(event(name), CONDITION)
    await delivered(to, "e")
    assert receiver.names == ["c", "d", "e"]
    assert receiver.outcomes == {"Dropped": 2, "Delivered": 3}


async def test_an_answer_without_end_is_an_answer(to: Sink, receiver: Receiver) -> None:
    cut = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * (1 << 16))
        finally:
            cut.set()

    receiver.answers = [endless]
    await delivered(to, "a", "b")
    assert receiver.names == ["a", "b"]
    await asyncio.wait_for(cut.wait(), 30)


def silent(over: asyncio.Event) -> Answer:
    """Does not answer before the test is over."""

    async def wait(_: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    return wait


class Api:
    """An API server that takes Events, or that this process may not write to any more."""

    def __init__(self, *, fenced: bool = False) -> None:
        self.fenced = fenced

    async def get(self, *_: str) -> None:
        raise AssertionError

    list = get

    async def event(self, about: Object, condition: Object, now: datetime) -> Object | None:
        del now
        return None if self.fenced else event(about["metadata"]["name"], condition["message"])


def neighbours(session: aiohttp.ClientSession, api: Api, to: Sink | None) -> Neighbours:
    return Neighbours(cast("ApiClient", api), Tracking(session), Prober(session), Scraper(session), sink=to)


async def test_neither_the_loop_nor_the_end_waits_for_a_sink_that_hangs(
    session: aiohttp.ClientSession,
    to: Sink,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sink, "FAREWELL", 0.1)
    over, asked = asyncio.Event(), asyncio.Event()

    async def hangs(request: web.Request) -> web.StreamResponse:
        asked.set()
        return await silent(over)(request)

    receiver.answers = [hangs]
    loop = neighbours(session, Api(), to)
    async with asyncio.timeout(sink.TIMEOUT.total):
        async with to.delivering():
            for _ in range(10):
                await loop.event(make_object("ChurnModel", "telco", {}), CONDITION, datetime.now(UTC))
            await asked.wait()
    over.set()
    assert len(receiver.got) == 1
    assert receiver.outcomes == {}
    assert "the operator ends, and 10 events may not reach the sink" in caplog.text


@pytest.mark.parametrize(("fenced", "told"), [(False, ["telco"]), (True, [])], ids=["the leader", "who led before"])
async def test_only_what_kubernetes_took_is_told(
    session: aiohttp.ClientSession, to: Sink, receiver: Receiver, *, fenced: bool, told: list[str]
) -> None:
    async with to.delivering():
        about = make_object("ChurnModel", "telco", {})
        await neighbours(session, Api(fenced=fenced), to).event(about, CONDITION, datetime.now(UTC))
        await neighbours(session, Api(fenced=fenced), None).event(about, CONDITION, datetime.now(UTC))
    assert receiver.names == told
