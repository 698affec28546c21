"""The API server, over HTTP, by the official client: login, TLS and token renewal are its, objects are plain JSON.

Reads and writes go by path. A kind's path is asked of the API server once; where it is not served it is asked again
after a while, so that a CRD that comes later is found without a restart.
"""

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio import client as kubernetes
from kubernetes.aio import config

from churn_operator.core.clock import stamp
from churn_operator.core.errors import (
    Fenced,
    KindMissing,
    NamespaceGoing,
    Outdated,
    Unavailable,
    WebhookUnavailable,
    WriteRefused,
)
from churn_operator.core.metrics import API_REQUESTS
from churn_operator.core.objects import MANAGER, Object, Page, name_of, uid_of
from churn_operator.core.outage import Outages

TIMEOUT = 15.0
"""Seconds, of each call. A watch is Kopf's."""
CONNECT_TIMEOUT = 5.0
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
TOLD = "failed to create typed patch object"
"""A field that the schema does not have."""
WEBHOOK = "failed calling webhook"
"""One such as KServe's does not answer, for who knows how long."""
PAGE = 500
"""Objects in an answer to a list."""
MESSAGE_LIMIT = 1024
"""Bytes of an Event's message."""

_Ready = aiohttp.TraceRequestHeadersSentParams | aiohttp.TraceRequestChunkSentParams
log = logging.getLogger(__name__)


def proxy_for(url: str) -> str | None:
    """The environment's, which a kubeconfig's own goes before."""
    asked = urlsplit(url)
    return None if proxy_bypass(asked.hostname or "") else getproxies().get(asked.scheme)


@dataclass(frozen=True)
class Resource:
    """Where a kind is served."""

    prefix: str
    plural: str
    namespaced: bool

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        inside = f"/namespaces/{namespace}" if self.namespaced else ""
        return "/".join(part for part in (f"{self.prefix}{inside}/{self.plural}", name, subresource) if part)


@dataclass(frozen=True)
class Reply:
    """What the API server answered."""

    status: int
    body: Object

    @property
    def ok(self) -> bool:
        return self.status < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message") or f"the API server answered {self.status}")

    @property
    def is_absent_object(self) -> bool:
        """404 on an object; a 404 without an object's name speaks of the kind."""
        return self.status == 404 and bool(self.body.get("details", {}).get("name"))

    @property
    def namespace_goes(self) -> bool:
        """Nothing can be made in a namespace that is being deleted, which takes all of its objects along."""
        causes = self.body.get("details", {}).get("causes", ())
        return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)

    @property
    def passes(self) -> bool:
        """An error that waiting helps against, and that is not worth telling.

        409 says that somebody was faster. What is left of 4xx is a rule that stays, and so is a sort of 500: see TOLD.
        """
        return (self.status in {401, 408, 409, 429} or self.status >= 500) and TOLD not in self.message


class Fence(Protocol):
    """Who may write, and until when: see core/lease.py."""

    def left(self) -> float:
        """Seconds for which this process may send a write."""

    def rest(self) -> float:
        """Seconds within which what was sent must have arrived."""


class ApiClient:
    """Reads and writes of objects."""

    timeout: float = TIMEOUT
    believed: float = 0.0
    """Seconds for which a kind that is not served is not asked for again."""
    fence: Fence | None = None
    """Asked before each write; without one, this process is the only one that writes."""

    def __init__(self, api: Any, identity: str = MANAGER) -> None:
        self._api = api
        self._identity = identity
        self._resources: dict[tuple[str, str], Resource] = {}
        self._webhooks = Outages(WebhookUnavailable)
        self._missing: dict[tuple[str, str], float] = {}
        api.configuration.trace_configs = [self._trace()]

    @classmethod
    async def connect(cls, kubeconfig: str | None = None) -> "ApiClient":
        """Log in by the kubeconfig; without one, as the pod's service account."""
        settings = kubernetes.Configuration()
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call] # the library's
        else:
            await config.load_kube_config(kubeconfig, client_configuration=settings)  # type: ignore[no-untyped-call] # the library's
        settings.proxy = settings.proxy or proxy_for(settings.host)
        # Else aiohttp reads the environment and looks for a .netrc before each request, in a thread.
        settings.client_session_kwargs = {"trust_env": False}
        return cls(kubernetes.ApiClient(settings), os.environ.get("HOSTNAME", MANAGER))

    def _trace(self) -> aiohttp.TraceConfig:
        """Asks the fence when the head is ready, and again when the body is, which takes the head along.

        In between the event loop may turn, and this process be stopped.
        """

        async def ready(_: Any, __: SimpleNamespace, sent: _Ready) -> None:
            if _is_fenced(sent.method, sent.url.path):
                self.check()

        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(ready)
        trace.on_request_chunk_sent.append(ready)
        return trace

    def check(self) -> None:
        """Let pass who may write.

        Raises:
            Fenced: another may hold the Lease by now.
        """
        if self.fence is not None and self.fence.left() <= 0:
            raise Fenced("this process may not write any more: its Lease was not renewed in time")

    def _timeout(self, method: str, path: str) -> aiohttp.ClientTimeout:
        rest = self.fence.rest() if self.fence is not None and _is_fenced(method, path) else self.timeout
        return aiohttp.ClientTimeout(total=min(self.timeout, max(rest, 0.1)), sock_connect=CONNECT_TIMEOUT)

    async def close(self) -> None:
        await self._api.close()

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> Object | None:
        path = (await self._resource(api_version, kind)).path(namespace, name)
        reply = await self.call("GET", path)
        if reply.is_absent_object:
            return None
        return self._read(reply, api_version, kind)

    async def list(
        self, api_version: str, kind: str, namespace: str, *, labels: str = "", fields: str = ""
    ) -> tuple[Object, ...]:
        selectors = [("labelSelector", labels), ("fieldSelector", fields)]
        path = (await self._resource(api_version, kind)).path(namespace)
        reply = await self.call("GET", path, query=[(key, value) for key, value in selectors if value])
        items = self._read(reply, api_version, kind)["items"]
        typed = (dict(item, apiVersion=api_version, kind=kind) for item in items)
        return tuple(sorted(typed, key=name_of))

    async def create(self, obj: Object) -> Object:
        path = (await self._resource(obj["apiVersion"], obj["kind"])).path(obj["metadata"]["namespace"])
        return await self._write(obj, lambda: self.call("POST", path, body=obj, query=[("fieldManager", MANAGER)]))

    async def apply(self, obj: Object, live: Object | None) -> Object:
        """Only over what was seen: the live object must not have changed since."""
        body = obj if live is None else {**obj, "metadata": obj["metadata"] | _seen(live)}
        path = (await self._resource(obj["apiVersion"], obj["kind"])).path(obj["metadata"]["namespace"], name_of(obj))
        return await self._write(obj, lambda: self._apply(path, body))

    async def delete(self, live: Object) -> Object | None:
        """None where it is gone; the object where somebody's finalizer holds it."""
        path = (await self._resource(live["apiVersion"], live["kind"])).path(
            live["metadata"]["namespace"], name_of(live)
        )
        options = {"propagationPolicy": "Background", "preconditions": _seen(live)}
        reply = await self.call("DELETE", path, body=options)
        if reply.is_absent_object or self._written(reply, live).get("kind") != live["kind"]:
            return None
        return reply.body if "deletionTimestamp" in reply.body["metadata"] else None

    async def apply_status(self, live: Object, status: dict[str, Any]) -> Object | None:
        """None where the object is gone."""
        metadata = {key: live["metadata"][key] for key in ("name", "namespace")} | _seen(live)
        body = {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": metadata, "status": status}
        resource = await self._resource(live["apiVersion"], live["kind"])
        reply = await self._apply(resource.path(metadata["namespace"], metadata["name"], "status"), body)
        return None if reply.is_absent_object else self._written(reply, live)

    async def pages(self, api_version: str, kind: str, namespaces: Sequence[str], labels: str) -> AsyncIterator[Page]:
        """The objects of a kind in these namespaces, or everywhere. A page may be empty."""
        resource = await self._resource(api_version, kind)
        for namespace in namespaces or [""]:
            path = resource.path(namespace) if namespace else f"{resource.prefix}/{resource.plural}"
            more = ""
            while True:
                query = [("labelSelector", labels), ("limit", str(PAGE)), ("continue", more)]
                reply = await self.call("GET", path, query=[(key, value) for key, value in query if value])
                body = self._read(reply, api_version, kind)
                items = [dict(item, apiVersion=api_version, kind=kind) for item in body["items"]]
                yield Page(namespace, int(body["metadata"]["resourceVersion"]), items)
                more = body["metadata"].get("continue", "")
                if not more:
                    break

    async def event(self, about: Object, condition: Object, now: datetime) -> Object | None:
        """The Event as it was sent; None where it is lost."""
        try:
            return await self._event(about, condition, now)
        except NamespaceGoing:
            return None
        except (Unavailable, WriteRefused, KindMissing) as error:
            log.warning("Event %s of %s is lost: %s", condition["reason"], name_of(about), error)
            return None

    async def _event(self, about: Object, condition: Object, now: datetime) -> Object:
        """The same news about the same object is the same Event, counted."""
        time = stamp(now)
        news = "/".join((uid_of(about), condition["type"], condition["status"], condition["reason"]))
        name = f"{name_of(about)}.{hashlib.sha256(news.encode()).hexdigest()[:16]}"
        message = condition["message"].encode()[:MESSAGE_LIMIT].decode(errors="ignore")
        path = f"/api/v1/namespaces/{about['metadata']['namespace']}/events"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": about["metadata"]["namespace"]},
            "type": "Warning" if condition["status"] == "False" else "Normal",
            "reason": condition["reason"],
            "message": message,
            "involvedObject": {key: about[key] for key in ("apiVersion", "kind")}
            | {key: about["metadata"][key] for key in ("name", "namespace", "uid")},
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
            "source": {"component": MANAGER},
            "reportingComponent": MANAGER,
            "reportingInstance": self._identity,
        }
        reply = await self.call("POST", path, body=body)
        if reply.status == 409:
            known = await self.call("GET", f"{path}/{name}")
            again = {"message": message, "lastTimestamp": time, "count": known.body.get("count", 1) + 1}
            reply = await self.call("PATCH", f"{path}/{name}", body=again, content_type=MERGE)
        self._written(reply, body)
        return body

    async def _write(self, obj: Object, call: Callable[[], Awaitable[Reply]]) -> Object:
        """A write that webhooks may look at: where one is away, its kind is left alone for a while."""

        async def written() -> Object:
            return self._written(await call(), obj)

        return await self._webhooks.ask((obj["apiVersion"], obj["kind"]), written)

    async def _apply(self, path: str, body: Object) -> Reply:
        query = [("fieldManager", MANAGER), ("force", "true")]
        return await self.call("PATCH", path, body=body, query=query, content_type=APPLY)

    def _read(self, reply: Reply, api_version: str, kind: str) -> Object:
        if reply.status == 404:
            self._forget(api_version, kind)
        if not reply.ok:
            raise Unavailable(f"reading {kind}: {reply.message}")
        return reply.body

    def _written(self, reply: Reply, obj: Object) -> Object:
        if reply.ok:
            return reply.body
        if reply.status == 404 and not reply.is_absent_object:
            self._forget(obj["apiVersion"], obj["kind"])
        what = f"{obj['kind']} {name_of(obj)}: {reply.message}"
        if reply.status == 409:
            raise Outdated(what)
        if reply.namespace_goes:
            raise NamespaceGoing(what)
        if reply.status >= 500 and WEBHOOK in reply.message:
            raise WebhookUnavailable(what)
        raise Unavailable(what) if reply.passes else WriteRefused(what)

    def _forget(self, api_version: str, kind: str) -> None:
        self._resources.pop((api_version, kind), None)
        raise KindMissing(api_version, kind)

    async def _resource(self, api_version: str, kind: str) -> Resource:
        known = self._resources.get((api_version, kind))
        if known is not None:
            return known
        if _time() < self._missing.get((api_version, kind), 0.0):
            raise KindMissing(api_version, kind)
        prefix = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        reply = await self.call("GET", prefix)
        if not reply.ok and reply.status != 404:
            raise Unavailable(f"looking for {kind}: {reply.message}")
        for served in reply.body.get("resources", ()):
            if served["kind"] == kind and "/" not in served["name"]:
                resource = Resource(prefix, served["name"], served["namespaced"])
                self._resources[api_version, kind] = resource
                return resource
        self._missing[api_version, kind] = _time() + self.believed
        raise KindMissing(api_version, kind)

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Reply:
        """One request, by path.

        Raises:
            Unavailable: no answer came; an answer that is an error is a Reply.
        """
        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            request = await self._api.param_serialize(
                method, path, query_params=list(query), header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            response = await self._api.call_api(*request, _request_timeout=self._timeout(method, path))
            text = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            API_REQUESTS.labels(method, "none").inc()
            raise Unavailable(f"the API server does not answer: {error!r}") from error
        API_REQUESTS.labels(method, str(response.status)).inc()
        answer = _parse(text)
        if response.status in {429, 503}:
            said = f"the API server answers {response.status} {response.reason}: {answer.get('message', '')}"
            raise Unavailable(said).wanting(response.headers)
        if response.status < 300 and "kind" not in answer:
            raise Unavailable(f"what answers is not the API server: {text.decode(errors='replace')[:200]}")
        return Reply(response.status, answer)


def _is_fenced(method: str, path: str) -> bool:
    """All that changes anything but the Lease itself."""
    return method != "GET" and "/leases" not in path


def _seen(live: Object) -> dict[str, str]:
    """Preconditions: this very object, as it was read."""
    return {key: live["metadata"][key] for key in ("uid", "resourceVersion")}


def _parse(text: bytes) -> Object:
    """A 404 on a path that is not served, or a proxy's page, is no JSON."""
    try:
        body = json.loads(text)
    except ValueError:
        return {"message": text.decode(errors="replace").strip()[:200]}
    return body if isinstance(body, dict) else {}


def _time() -> float:
    return asyncio.get_running_loop().time()
