"""MLflow by its REST API: runs by their owner's UID, and aliases of registered models."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import aiohttp

from churn_operator.api.tasks import UID_TAG
from churn_operator.core.errors import TrackingUnavailable, WriteRefused
from churn_operator.core.kind import RunView
from churn_operator.core.objects import Alias
from churn_operator.core.outage import Outages

TIMEOUT = 5.0
"""Seconds, of each request."""
BELIEVED = 10.0
"""Seconds for which experiments and aliases are not asked for again; an alias moved by hand is put back after this."""
PAGE = 1000
BUSY = {408, 429}
"""Answers that say when, not what: the same request will be served later."""

V = TypeVar("V")


class _Memory(Generic[V]):
    """Answers that are believed for a while."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], tuple[float, V]] = {}

    def get(self, *key: str) -> V | None:
        until, value = self._known.get(key, (0.0, None))
        return value if _time() < until else None

    def put(self, value: V, *key: str) -> V:
        self._known[key] = (_time() + BELIEVED, value)
        return value

    def drop(self, *key: str) -> None:
        self._known.pop(key, None)


class Tracking:
    """What the loop asks MLflow. A tracking URI is a server."""

    def __init__(self, session: aiohttp.ClientSession, timeout: float = TIMEOUT) -> None:
        self._session = session
        self._timeout = timeout
        self._outages = Outages(TrackingUnavailable)
        self._experiments: _Memory[list[str]] = _Memory()
        self._aliases: _Memory[dict[str, str]] = _Memory()

    async def find_run(self, tracking_uri: str, uid: str) -> RunView | None:
        """The newest run tagged with the UID, in whichever experiment: a spec may have changed its experiment."""
        query = {
            "experiment_ids": await self._all_experiments(tracking_uri),
            "filter": f"tags.`{UID_TAG}` = '{uid}'",
            "order_by": ["attributes.start_time DESC"],
            "max_results": 1,
        }
        reply = await self._call("POST", tracking_uri, "runs/search", json=query) or {}
        with _understood(tracking_uri):
            found = next((_run(run) for run in reply.get("runs", ())), None)
        if found is None:  # its experiment may be newer than what is believed
            self._experiments.drop(tracking_uri)
        return found

    async def alias(self, tracking_uri: str, model: str, alias: str) -> str | None:
        """The version an alias points at; a missing model has no aliases."""
        known = self._aliases.get(tracking_uri, model)
        if known is None:
            reply = await self._call("GET", tracking_uri, "registered-models/get", params={"name": model})
            with _understood(tracking_uri):
                entries = (reply or {}).get("registered_model", {}).get("aliases", ())
                found = {entry["alias"]: str(entry["version"]) for entry in entries}
            known = self._aliases.put(found, tracking_uri, model)
        return known.get(alias)

    async def set_alias(self, alias: Alias) -> None:
        """Move an alias.

        Raises:
            WriteRefused: there is no such model or version.
            TrackingUnavailable: MLflow did not answer.
        """
        what = {"name": alias.model, "alias": alias.alias, "version": alias.version}
        self._aliases.drop(alias.tracking_uri, alias.model)
        if await self._call("POST", alias.tracking_uri, "registered-models/alias", json=what) is None:
            raise WriteRefused(f"MLflow has no version {alias.version} of registered model {alias.model}")

    async def _all_experiments(self, tracking_uri: str) -> list[str]:
        known = self._experiments.get(tracking_uri)
        if known is not None:
            return known
        found: list[str] = []
        page: dict[str, Any] = {"max_results": PAGE}
        while True:
            reply = await self._call("POST", tracking_uri, "experiments/search", json=page) or {}
            with _understood(tracking_uri):
                found += [experiment["experiment_id"] for experiment in reply.get("experiments", ())]
            if not reply.get("next_page_token"):
                return self._experiments.put(found, tracking_uri)
            page["page_token"] = reply["next_page_token"]

    async def _call(self, method: str, tracking_uri: str, path: str, **arguments: Any) -> Any:
        """The answer's JSON; None where MLflow says that there is no such thing."""
        status, body = await self._outages.ask(tracking_uri, lambda: self._send(method, tracking_uri, path, arguments))
        if body.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
            return None
        if status >= 400:
            raise TrackingUnavailable(f"MLflow at {tracking_uri} answered {status} to {path}: {body.get('message')}")
        return body

    async def _send(
        self, method: str, tracking_uri: str, path: str, arguments: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of an answer that MLflow itself gave; an answer about the request is one, too."""
        url = f"{tracking_uri.rstrip('/')}/api/2.0/mlflow/{path}"
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        try:
            async with self._session.request(method, url, timeout=timeout, **arguments) as response:
                if response.status in BUSY or response.status >= 500:
                    said = f"MLflow at {tracking_uri} answers {response.status} {response.reason}"
                    raise TrackingUnavailable(said).wanting(response.headers)
                body = await response.json(content_type=None)
        except TimeoutError as error:
            raise TrackingUnavailable(f"MLflow at {tracking_uri} did not answer within {self._timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise TrackingUnavailable(f"MLflow at {tracking_uri} does not answer: {error}") from error
        except ValueError as error:
            raise TrackingUnavailable(f"what answers at {tracking_uri} is not MLflow: {error}") from error
        if not isinstance(body, dict):
            raise TrackingUnavailable(f"what answers at {tracking_uri} is not MLflow")
        return response.status, body


@contextmanager
def _understood(tracking_uri: str) -> Iterator[None]:
    """Reads an answer; one that is not as MLflow's are is no answer."""
    try:
        yield
    except (AttributeError, LookupError, TypeError) as error:
        raise TrackingUnavailable(f"what answers at {tracking_uri} is not MLflow: {error!r}") from error


def _run(run: Mapping[str, Any]) -> RunView:
    tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", ())}
    return RunView(run["info"]["run_id"], run["info"]["experiment_id"], tags)


def _time() -> float:
    return asyncio.get_running_loop().time()
