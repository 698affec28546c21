"""When Kopf's tasks end: begin its watches anew, or end the process."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, cast

import kopf
import pytest
from support.fake_time import run
from support.kinds import SETTINGS

from churn_operator.__main__ import LASTED_SECONDS, Watches
from churn_operator.core.client import ApiClient
from churn_operator.core.store import Store
from churn_operator.health import Health

Task = Callable[[], Awaitable[None]]
SHORT, LONG = 1.0, LASTED_SECONDS + 1


def fails_after(seconds: float) -> Task:
    """By the loop's clock, which jumps: nobody waits."""

    async def kopf_task() -> None:
        await asyncio.sleep(seconds)
        raise ValueError("garbage")

    return kopf_task


async def watches_on() -> None:
    await asyncio.Event().wait()


async def does_not_end() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await watches_on()
    await watches_on()


async def watched(monkeypatch: pytest.MonkeyPatch, lives: list[list[Task]], for_seconds: float) -> list[float]:
    """When Kopf was begun: each of its lives is the tasks that it runs."""
    began: list[float] = []
    coming = iter(lives)

    async def spawn_tasks(**_: Any) -> list["asyncio.Task[None]"]:
        began.append(asyncio.get_running_loop().time())
        return [asyncio.ensure_future(task()) for task in next(coming)]

    monkeypatch.setattr(kopf, "spawn_tasks", spawn_tasks)
    store = Store(lambda: 0.0)
    watches = Watches(SETTINGS, cast("ApiClient", None), store, Health(store), asyncio.Event())
    watches.filled.set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(for_seconds):
            await watches.run()
    return began


def test_watches_that_end_soon_begin_anew_after_pauses_that_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    soon: list[Task] = [fails_after(SHORT), watches_on]
    began = run(watched(monkeypatch, [*[soon] * 20, [watches_on]], 3600))
    assert len(began) == 21
    pauses = [later - sooner - SHORT for sooner, later in itertools.pairwise(began)]
    assert pauses[0] <= 1
    assert all(30 <= pause <= 60 for pause in pauses[7:])


def test_watches_that_had_lasted_begin_anew_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    began = run(watched(monkeypatch, [[fails_after(LONG), watches_on]] * 3 + [[watches_on]], 3600))
    assert began == [0.0, LONG, 2 * LONG, 3 * LONG]


def test_watches_that_had_lasted_make_the_next_pause_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = [[fails_after(seconds)] for seconds in (*[SHORT] * 10, LONG, SHORT)]
    began = run(watched(monkeypatch, [*lives, [watches_on]], 3600))
    assert began[-1] - began[-2] - SHORT <= 1


def test_a_process_whose_watches_do_not_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="Kopf's tasks do not end"):
        run(watched(monkeypatch, [[fails_after(SHORT), does_not_end]], 60))
