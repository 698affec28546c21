"""The API server, by the official client and the user's own kubeconfig."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import yaml
from kubernetes.aio import client as kubernetes
from kubernetes.aio import config

from churn_operator.api.base import API_VERSION
from churn_operator.cli.failure import Absent, Code, Conflict, Failure
from churn_operator.cli.summary import Object, name_of

Query = Sequence[tuple[str, str]]
MANAGER = "kubectl-churn"
APPLY = "application/apply-patch+yaml"
TIMEOUT = 15.0
"""Seconds, of each call but a watch."""
WATCH_SECONDS = 300
"""After these the API server ends a watch, and the next begins where it ended."""
PAUSE = 0.2
"""Seconds between two, should somebody in between end them at once."""
PATIENCE = 60
"""Seconds for which a watch that was cut off is tried again."""
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Kind(Protocol):
    """What the API package says of each kind."""

    @property
    def kind(self) -> str: ...
    @property
    def plural(self) -> str: ...


@dataclass(frozen=True)
class Flags:
    """What the user said of the cluster; the rest is the kubeconfig's."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    user: str | None = None
    """Whom to act as, where the cluster lets the one of the kubeconfig do that."""


class Cluster:
    """One namespace of a cluster."""

    def __init__(self, api: Any, namespace: str) -> None:
        self._api = api
        self.namespace = namespace

    @classmethod
    async def connect(cls, flags: Flags) -> "Cluster":
        """By the flags, KUBECONFIG, ~/.kube/config, or as a pod's service account: in this order, as kubectl does.

        Raises:
            Failure: there is no kubeconfig, or it leads nowhere.
        """
        settings = kubernetes.Configuration()
        paths = _kubeconfig(flags)
        if paths is None:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call] # the library's
            return cls(_client(settings, flags), flags.namespace or _pod_namespace())
        try:
            loader = await config.load_kube_config(  # type: ignore[no-untyped-call] # the library's
                paths, context=flags.context, client_configuration=settings, persist_config=False
            )
            own = loader.current_context["context"].get("namespace") or "default"
        except (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, AttributeError) as error:
            said = " ".join(str(error).split()).rstrip(".")
            raise Failure(f"The kubeconfig {paths} cannot be used: {said}.", Code.Usage) from error
        return cls(_client(settings, flags), flags.namespace or own)

    async def close(self) -> None:
        await self._api.close()

    async def get(self, kind: Kind, name: str) -> dict[str, Any]:
        """Raises Absent, with what there is instead."""
        reply = await self._call("GET", self._path(kind, name))
        if reply.is_absent_object:
            raise Absent(await self._instead(kind, name))
        return {"apiVersion": API_VERSION, "kind": kind.kind} | self._good(reply, kind)

    async def list(self, kind: Kind, fields: str) -> tuple[dict[str, Object], str]:
        """What is selected, by name, and the resourceVersion to watch from."""
        reply = await self._call("GET", self._path(kind), [("fieldSelector", fields)])
        body = self._good(reply, kind)
        items = (dict(item, apiVersion=API_VERSION, kind=kind.kind) for item in body["items"])
        return {name_of(item): item for item in items}, body["metadata"]["resourceVersion"]

    async def create(self, kind: Kind, obj: Object) -> Object:
        return self._good(await self._call("POST", self._path(kind), [("fieldManager", MANAGER)], obj), kind)

    async def apply_status(self, kind: Kind, live: Object, status: Mapping[str, Any]) -> Object:
        """Into this very object, as it was read: Conflict where it has changed since.

        What people write there is nobody else's: by force, it is taken over from who wrote it by another tool.
        """
        metadata = {key: live["metadata"][key] for key in ("name", "uid", "resourceVersion")}
        body = {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": metadata, "status": status}
        query = [("fieldManager", MANAGER), ("force", "true")]
        reply = await self._call("PATCH", self._path(kind, name_of(live), "status"), query, body, APPLY)
        return self._good(reply, kind)

    async def whoami(self) -> str:
        """The name that `kubectl auth whoami` prints."""
        kind, version = "SelfSubjectReview", "authentication.k8s.io/v1"
        path = f"/apis/{version}/selfsubjectreviews"
        reply = await self._call("POST", path, body={"apiVersion": version, "kind": kind})
        return str(_checked(reply)["status"]["userInfo"]["username"])

    async def changes(self, kind: Kind, fields: str) -> AsyncGenerator[Mapping[str, Object], None]:
        """What is selected, by name: now, and again after each change."""
        known, version = await self.list(kind, fields)
        yield known
        while True:
            try:
                async for event in self._events(kind, fields, version):
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        known = _after(known, event["type"], dict(event["object"]))
                        yield known
                await asyncio.sleep(PAUSE)
            except _Expired:
                known, version = await self._again(kind, fields)
                yield known

    async def _again(self, kind: Kind, fields: str) -> tuple[dict[str, Object], str]:
        """A listing, as soon as there is one to be had."""
        left = PATIENCE
        while True:
            await asyncio.sleep(1)
            left -= 1
            try:
                return await self.list(kind, fields)
            except Failure as failure:
                if failure.code is not Code.Unreachable or left <= 0:
                    raise

    async def _events(self, kind: Kind, fields: str, version: str) -> AsyncGenerator[Object, None]:
        """Until the API server ends the watch.

        Raises:
            _Expired: it cannot be gone on with from here.
        """
        query = [
            ("watch", "true"),
            ("fieldSelector", fields),
            ("resourceVersion", version),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(WATCH_SECONDS)),
        ]
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=WATCH_SECONDS + TIMEOUT)
        try:
            response = await self._send("GET", self._path(kind), query, None, "application/json", timeout)
        except Failure as failure:
            raise _Expired from failure
        try:
            async with response.response as stream:
                if stream.status >= 300:
                    raise _refused(_Reply(stream.status, _parsed(await stream.read())))
                async for line in stream.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise _Expired
                    yield event
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise _Expired from error

    async def _instead(self, kind: Kind, name: str) -> str:
        """A sentence on what is there; the namespace itself, which may be wrong, is not for everybody to see."""
        namespace = await self._call("GET", f"/api/v1/namespaces/{self.namespace}")
        if namespace.status == 404:
            return f"There is no namespace {self.namespace}."
        absent = f"There is no {kind.kind} {name} in namespace {self.namespace}"
        try:
            names, _ = await self.list(kind, "")
        except Failure:
            return f"{absent}."
        return f"{absent}: there is {', '.join(sorted(names)[:10]) or 'none at all'}."

    def _path(self, kind: Kind, name: str = "", subresource: str = "") -> str:
        parts = (f"/apis/{API_VERSION}/namespaces/{self.namespace}/{kind.plural}", name, subresource)
        return "/".join(part for part in parts if part)

    def _good(self, reply: "_Reply", kind: Kind) -> dict[str, Any]:
        if reply.status == 404 and not reply.is_absent_object:
            raise Failure(f"This cluster does not serve {kind.kind} ({API_VERSION}): install churn-operator.")
        return _checked(reply)

    async def _call(
        self,
        method: str,
        path: str,
        query: Query = (),
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> "_Reply":
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        response = await self._send(method, path, query, body, content_type, timeout)
        try:
            text = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error
        return _Reply(response.status, _parsed(text))

    async def _send(
        self,
        method: str,
        path: str,
        query: Query,
        body: Object | None,
        content_type: str,
        limit: aiohttp.ClientTimeout,
    ) -> Any:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        parameters = [(key, value) for key, value in query if value]
        request = await self._api.param_serialize(
            method, path, query_params=parameters, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        try:
            return await self._api.call_api(*request, _request_timeout=limit)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> Failure:
        said = _cause(error)
        return Failure(f"The API server at {self._api.configuration.host} does not answer: {said}.", Code.Unreachable)


def _client(settings: Any, flags: Flags) -> Any:
    api = kubernetes.ApiClient(settings)
    if flags.user is not None:
        api.default_headers["Impersonate-User"] = flags.user
    return api


def _kubeconfig(flags: Flags) -> str | None:
    """None in a pod without one."""
    paths = flags.kubeconfig or os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    if any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path):
        return paths
    if flags.kubeconfig is None and POD_NAMESPACE.exists():
        return None
    raise Failure(f"There is no kubeconfig at {paths}: set --kubeconfig or KUBECONFIG.", Code.Usage)


def _pod_namespace() -> str:
    return POD_NAMESPACE.read_text().strip()


def _cause(error: Exception) -> str:
    """What stands in the way, without the library's own words."""
    if isinstance(error, TimeoutError):
        return "no answer came in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno)
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


class _Expired(Exception):
    """A watch has to begin anew."""


@dataclass(frozen=True)
class _Reply:
    """What the API server answered."""

    status: int
    body: dict[str, Any]

    @property
    def is_absent_object(self) -> bool:
        """404 on an object; a 404 without an object's name speaks of the kind."""
        return self.status == 404 and bool(self.body.get("details", {}).get("name"))


def _checked(reply: _Reply) -> dict[str, Any]:
    if reply.status < 300 and "kind" in reply.body:
        return reply.body
    raise failure_of(reply.status, str(reply.body.get("message", "")))


def failure_of(status: int, message: str) -> Failure:
    """What the API server refused, in a sentence. Its own message says what and why."""
    said = " ".join(message.split())[:1000].rstrip(".")
    match status:
        case 401:
            why = "log in again, or choose another --context"
            return Failure(f"The API server does not know you (401): {why}.", Code.Forbidden)
        case 403:
            return Failure(f"The cluster does not let you: {said}.", Code.Forbidden)
        case 404:
            return Absent(f"It is not there any more: {said}.")
        case 409:
            return Conflict(f"Somebody was faster: {said}.")
        case 429 | 500 | 502 | 503 | 504:
            return Failure(f"The API server cannot answer now ({status}): {said}.", Code.Unreachable)
        case _ if status < 300:
            return Failure("What answers is not a Kubernetes API server.", Code.Unreachable)
        case _:
            return Failure(f"The API server refuses ({status}): {said}.")


def _refused(reply: _Reply) -> Exception:
    """A watch that helps nobody to try again, or one that does."""
    failure = failure_of(reply.status, str(reply.body.get("message", "")))
    return _Expired() if reply.status == 410 or failure.code is Code.Unreachable else failure


def _parsed(text: bytes) -> dict[str, Any]:
    """A 404 on a path that is not served, or a proxy's page, is no JSON."""
    try:
        body = json.loads(text)
    except ValueError:
        return {"message": text.decode(errors="replace").strip()[:200]}
    return body if isinstance(body, dict) else {}


def _after(known: Mapping[str, Object], type_: str, obj: Object) -> dict[str, Object]:
    rest = {name: other for name, other in known.items() if name != name_of(obj)}
    return rest if type_ == "DELETED" else rest | {name_of(obj): obj}
