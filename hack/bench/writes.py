"""The operator's writes, as the API server's audit log has them."""

import json
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPERATOR = "system:serviceaccount:churn-system:churn-operator"
OURS = ("churnmodels", "trainingruns", "driftmonitors")


@dataclass(frozen=True)
class Write:
    """One request that changes, or could change, an object."""

    resource: str
    namespace: str
    name: str
    verb: str
    code: int

    @property
    def object(self) -> str:
        return f"{self.resource.partition('/')[0]} {self.namespace}/{self.name}"


class AuditLog:
    """The log from the moment of opening on; whatever another user wrote is left out."""

    def __init__(self) -> None:
        self._path = Path(os.environ["AUDIT_LOG"])
        self._start = self._path.stat().st_size

    def writes(self) -> list[Write]:
        """The operator's writes so far. Its Lease, and events, which tell of writes, are not counted."""
        with self._path.open("rb") as log:
            log.seek(self._start)
            events = [json.loads(line) for line in log.read().splitlines() if line.endswith(b"}")]
        return list(_writes(events))


def _writes(events: list[dict[str, Any]]) -> Iterator[Write]:
    for event in events:
        about = event.get("objectRef", {})
        if event["user"]["username"] != OPERATOR or about.get("resource") in {"leases", "events", None}:
            continue
        resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
        code = event.get("responseStatus", {}).get("code", 0)
        yield Write(resource, about.get("namespace", ""), about.get("name", ""), event["verb"], code)


def table(writes: list[Write]) -> list[tuple[str, str, str, int]]:
    """(resource, name, verb, count), the names of Jobs that repeat at a schedule folded together."""
    counted = Counter((write.resource, _folded(write.name), write.verb) for write in writes)
    return [(*key, count) for key, count in sorted(counted.items())]


def _folded(name: str) -> str:
    head, _, tail = name.rpartition("-")
    return f"{head}-*" if tail.isdigit() and len(tail) > 4 else name


@contextmanager
def changes(namespace: str) -> Iterator[Counter[str]]:
    """Counts the changes of our objects that a watch sees: a write that changes nothing is not among them.

    Keys are those of `Write.object`. Both counts are complete only when the context has been left.
    """
    seen: Counter[str] = Counter()
    watches = [_watch(namespace, plural, seen) for plural in OURS]
    try:
        yield seen
    finally:
        for process, thread in watches:
            process.terminate()
            thread.join(10)


def _watch(namespace: str, plural: str, seen: Counter[str]) -> tuple["subprocess.Popen[str]", threading.Thread]:
    kubectl = os.environ.get("KUBECTL", "kubectl")
    path = f"/apis/churnops.dev/v1alpha1/namespaces/{namespace}/{plural}?watch=true&timeoutSeconds=3600"
    process = subprocess.Popen([kubectl, "get", "--raw", path], stdout=subprocess.PIPE, text=True)

    def count() -> None:
        for line in process.stdout or ():
            event = json.loads(line)
            if event["type"] in {"ADDED", "MODIFIED"}:
                seen[f"{plural} {namespace}/{event['object']['metadata']['name']}"] += 1

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    return process, thread
