"""People of one namespace, and every way in which one can write to the API server."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from ssl import create_default_context
from typing import Any

from support.control_plane import ControlPlane

KINDS = {"churnmodels": "ChurnModel", "trainingruns": "TrainingRun"}
GROUP = "/apis/churnops.dev/v1alpha1"
JSON, MERGE, JSON_PATCH, APPLY = (
    "application/json",
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
)


@dataclass(frozen=True)
class Reply:
    """What the API server answered."""

    code: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        return self.code < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


@dataclass(frozen=True)
class Person:
    """A user of TOKENS."""

    plane: ControlPlane
    name: str
    namespace: str

    def call(self, method: str, path: str, body: Any = None, kind: str = JSON, **headers: str) -> Reply:
        headers |= {"Authorization": f"Bearer {self.name}-token", "Content-Type": kind, "Accept": "application/json"}
        url = f"{self.plane.server}{GROUP}/namespaces/{self.namespace}/{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - our own https
        context = create_default_context(cafile=str(self.plane.folder / "certificates/apiserver.crt"))
        try:
            with urllib.request.urlopen(request, timeout=15, context=context) as reply:  # noqa: S310 - our own https
                return Reply(reply.status, json.loads(reply.read()))
        except urllib.error.HTTPError as error:
            return Reply(error.code, json.loads(error.read()))

    def get(self, path: str) -> dict[str, Any]:
        reply = self.call("GET", path)
        assert reply.ok, reply.message
        return reply.body

    def merge(self, path: str, body: Any, **headers: str) -> Reply:
        return self.call("PATCH", path, body, MERGE, **headers)

    def patch(self, path: str, *operations: tuple[Any, ...]) -> Reply:
        """A JSON patch of (operation, path) or (operation, path, value)."""
        body = [dict(zip(("op", "path", "value"), operation, strict=False)) for operation in operations]
        return self.call("PATCH", path, body, JSON_PATCH)

    def apply(self, path: str, body: Any, manager: str = "kubectl", *, force: bool = False) -> Reply:
        """Server-side apply."""
        plural, name, *_ = path.split("/")
        kind = KINDS[plural]
        whole = {"apiVersion": "churnops.dev/v1alpha1", "kind": kind, "metadata": {"name": name}} | body
        query = f"?fieldManager={manager}" + ("&force=true" if force else "")
        return self.call("PATCH", path + query, whole, APPLY)

    def put(self, path: str, **changes: Any) -> Reply:
        """Read the object, change it (`status__phase="Accepted"`; None removes), and write it back."""
        obj = Person(self.plane, "admin", self.namespace).get(path.removesuffix("/status"))
        for where, value in changes.items():
            *parents, last = where.split("__")
            target = obj
            for parent in parents:
                target = target.setdefault(parent, {})
            if value is None:
                target.pop(last, None)
            else:
                target[last] = value
        return self.call("PUT", path, obj)

    def create(self, plural: str, name: str, spec: dict[str, Any], **rest: Any) -> Reply:
        body = {
            "apiVersion": "churnops.dev/v1alpha1",
            "kind": KINDS[plural],
            "metadata": {"name": name},
            "spec": spec,
        } | rest
        return self.call("POST", f"{plural}?fieldValidation=Strict", body)
