"""What a refused write teaches the store."""

from typing import Any, cast

import aiohttp
import pytest
from support.keeper import service

from churn_operator.core.client import ApiClient
from churn_operator.core.cluster import Neighbours
from churn_operator.core.errors import Outdated
from churn_operator.core.objects import Object
from churn_operator.core.prober import Prober
from churn_operator.core.scraper import Scraper
from churn_operator.core.store import Store
from churn_operator.core.tracking import Tracking

OWNER = {"apiVersion": "v1", "kind": "ChurnModel", "metadata": {"name": "telco", "namespace": "team", "uid": "owner"}}


def at(version: int, **metadata: Any) -> dict[str, Any]:
    made = service(OWNER)
    return made | {"metadata": made["metadata"] | {"uid": "u", "resourceVersion": str(version)} | metadata}


class Changed:
    """An API server in which somebody was faster."""

    def __init__(self, now: Object | None) -> None:
        self.now = now

    async def apply(self, obj: Object, live: Object | None) -> Object:
        raise Outdated(f"{obj['kind']} is not {live} any more")

    async def get(self, *_: str) -> Object | None:
        return self.now

    list = event = get


@pytest.mark.parametrize(
    ("now", "known"),
    [
        pytest.param(at(2), "2", id="what it is now"),
        pytest.param(None, None, id="that it is gone"),
        pytest.param(at(2, labels={}), None, id="that no watch shows what lost our label"),
    ],
)
async def test_a_write_that_comes_too_late_tells(now: Object | None, known: str | None) -> None:
    store = Store(lambda: 0.0)
    store.filled.add("Service")
    store.see(at(1))
    async with aiohttp.ClientSession() as session:
        neighbours = Neighbours(
            cast("ApiClient", Changed(now)), Tracking(session), Prober(session), Scraper(session), store
        )
        with pytest.raises(Outdated):
            await neighbours.apply(service(OWNER, port=81), at(1))
    found = store.get("Service", "team", "web")
    assert (found and found["metadata"]["resourceVersion"]) == known
    store.see(at(3))
    assert store.lag() == 0
    assert (store.get("Service", "team", "web") is None) == (now is None)
