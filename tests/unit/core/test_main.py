"""What the process tells of itself."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
from hack.bench.ports import free_port
from pydantic import ValidationError
from support.fake_time import run
from support.kinds import SETTINGS

from churn_operator import health as process
from churn_operator.__main__ import Loop
from churn_operator.core.client import ApiClient
from churn_operator.core.cluster import Neighbours
from churn_operator.core.errors import Unavailable
from churn_operator.core.lease import Lease
from churn_operator.core.objects import Key
from churn_operator.core.queue import Queue
from churn_operator.core.store import Store
from churn_operator.health import Health
from churn_operator.settings import Settings

STORE = Store(lambda: 0.0)
KEY = Key("ChurnModel", "team", "telco")


async def work(_: Key) -> timedelta | None:
    return None


@pytest.fixture
def settings() -> Settings:
    return SETTINGS.model_copy(update={"health_port": free_port(), "metrics_port": free_port()})


async def ask(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


def leading(queue: Queue) -> Health:
    health = Health(STORE)
    health.queue = queue
    return health


class Silent:
    """Neighbours that never answer."""

    async def get(self, *_: str) -> None:
        await asyncio.Event().wait()


def test_a_look_that_takes_too_long_says_so() -> None:
    with pytest.raises(Unavailable, match="the look took longer than 60 s"):
        run(Loop(SETTINGS, cast("Neighbours", Silent())).look(KEY))


async def test_a_process_with_nothing_to_do_is_healthy(settings: Settings) -> None:
    async with process.served(leading(Queue(work, 1)), settings):
        assert await ask(settings.health_port, "/healthz") == (200, "0 waiting, nothing finished for 0 s\n")


async def test_a_process_that_finishes_nothing_is_dead(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STALLED_SECONDS", -1.0)
    queue = Queue(work, 1)
    queue.add(KEY)
    async with process.served(leading(queue), settings):
        status, text = await ask(settings.health_port, "/healthz")
    assert status == 503
    assert text.startswith("1 waiting")


async def test_who_leads_is_ready_when_it_watches(settings: Settings) -> None:
    health = leading(Queue(work, 1))
    async with process.served(health, settings):
        before = await ask(settings.health_port, "/readyz")
        health.watches = True
        after = await ask(settings.health_port, "/readyz")
    assert (before, after) == ((503, "is about to watch\n"), (200, "leads\n"))


async def test_who_stands_by_is_ready_when_it_knows_who_leads(settings: Settings) -> None:
    lease = Lease(ApiClient(SimpleNamespace(configuration=SimpleNamespace())), "team/lease", "me", 15)
    async with process.served(Health(STORE, lease), settings):
        before = await ask(settings.health_port, "/readyz")
        lease.holder = "other"
        after = await ask(settings.health_port, "/readyz")
        alive = await ask(settings.health_port, "/healthz")
    assert before == (503, "starts\n")
    assert after == alive == (200, "stands by; other leads\n")


async def test_metrics_are_served_on_their_own_port(settings: Settings) -> None:
    async with process.served(Health(STORE), settings):
        status, text = await ask(settings.metrics_port, "/metrics")
    assert status == 200
    assert "churn_operator_queue_depth" in text


def test_the_settings_have_defaults_for_all_but_the_addresses_and_images() -> None:
    given = {
        "CHURN_JOBS_IMAGE": "jobs:1",
        "CHURN_PREDICTOR_IMAGE": "predictor:1",
        "CHURN_TRACKING_URI": "http://mlflow",
        "CHURN_STORAGE_URI": "s3://models",
        "OTHER": "ignored",
    }
    settings = Settings.from_environment(given)
    assert (settings.workers, settings.cluster, settings.log_format) == (32, "", "text")


WRONG_SINKS = {
    "no address": "sink",
    "another protocol": "amqp://sink:5672",
    "credentials": "http://me:secret@sink",
    "a query": "http://sink/?token=secret",
    "two lines": "http://sink\n",
}


@pytest.mark.parametrize("url", WRONG_SINKS.values(), ids=WRONG_SINKS)
def test_an_address_for_events_that_is_none_is_refused_by_a_sentence(url: str) -> None:
    with pytest.raises(ValidationError, match=r"must be http\(s\)://host, with port .* and no credentials or query"):
        Settings.model_validate(SETTINGS.model_dump() | {"events_sink": url})


@pytest.mark.parametrize("url", ["", "http://sink", "https://broker.events.svc:8443/churn/default"])
def test_events_may_go_nowhere_else_or_to_an_address(url: str) -> None:
    assert Settings.model_validate(SETTINGS.model_dump() | {"events_sink": url}).events_sink == url
