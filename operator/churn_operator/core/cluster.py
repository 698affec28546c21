"""All neighbours in one: what a kind may read (`Cluster`) and what the loop may write (`Writer`)."""

import time
from collections.abc import Awaitable
from datetime import datetime
from typing import Any

from churn_operator.core.client import ApiClient
from churn_operator.core.errors import Outdated
from churn_operator.core.objects import MANAGED_BY, MANAGER, Alias, Object, name_of
from churn_operator.core.prober import Prober
from churn_operator.core.scraper import Scraper
from churn_operator.core.sink import Sink
from churn_operator.core.store import Store
from churn_operator.core.tracking import Tracking


class Neighbours:
    """The API server, MLflow and the servers, each through its own client.

    What the store knows is not asked for. What a write was answered, the store knows at once.
    """

    def __init__(
        self,
        api: ApiClient,
        tracking: Tracking,
        prober: Prober,
        scraper: Scraper,
        store: Store | None = None,
        sink: Sink | None = None,
    ) -> None:
        self.store = store or Store(time.monotonic)
        self._sink = sink
        self._api = api
        self._tracking = tracking
        self.fresh = api.get
        self.list_fresh = api.list
        self.find_run = tracking.find_run
        self.alias = tracking.alias
        self.predict = prober.predict
        self.metrics = scraper.metrics
        self.query = scraper.query

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> Object | None:
        if kind in self.store.filled:
            return self.store.get(kind, namespace, name)
        return await self._api.get(api_version, kind, namespace, name)

    async def list(
        self, api_version: str, kind: str, namespace: str, *, labels: str = "", fields: str = ""
    ) -> tuple[Object, ...]:
        if kind in self.store.filled:
            return self.store.list(kind, namespace, labels=labels, fields=fields)
        return await self._api.list(api_version, kind, namespace, labels=labels, fields=fields)

    async def create(self, obj: Object) -> None:
        await self._learn(obj, None, self._api.create(obj))

    async def apply(self, obj: Object, live: Object | None) -> None:
        await self._learn(obj, live, self._api.apply(obj, live))

    async def apply_status(self, live: Object, status: dict[str, Any]) -> None:
        await self._learn(live, live, self._api.apply_status(live, status))

    async def delete(self, live: Object) -> None:
        await self._learn(live, live, self._api.delete(live))

    async def set_alias(self, alias: Alias) -> None:
        self._api.check()
        await self._tracking.set_alias(alias)

    async def event(self, about: Object, condition: Object, now: datetime) -> None:
        """Only what Kubernetes took goes to the sink: who may not write any more tells nobody anything."""
        written = await self._api.event(about, condition, now)
        if written is not None and self._sink is not None:
            self._sink.tell(written, condition)

    async def _learn(self, obj: Object, live: Object | None, write: Awaitable[Object | None]) -> None:
        """Remember the answer: the object, or None where it is gone. What changed meanwhile is read anew.

        What was read has perhaps lost the label by which it is watched: no watch will show it.
        """
        if obj["kind"] not in self.store.filled:
            await write
            return
        try:
            answer = await write
        except Outdated:
            if live is not None:
                self._replace(live, await self._api.get(*_address(live)), watched=_is_ours(obj))
            raise
        self._replace(live or obj, answer)

    def _replace(self, known: Object, answer: Object | None, *, watched: bool = False) -> None:
        if answer is None:
            self.store.drop(known)
        elif watched and not _is_ours(answer):
            self.store.see(answer, gone=True)
        else:
            self.store.learn(answer)


def _is_ours(obj: Object) -> bool:
    return bool(obj["metadata"].get("labels", {}).get(MANAGED_BY) == MANAGER)


def _address(obj: Object) -> tuple[str, str, str, str]:
    return obj["apiVersion"], obj["kind"], obj["metadata"]["namespace"], name_of(obj)
