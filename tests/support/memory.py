"""A cluster in memory, for properties of decisions over thousands of histories.

What a real API server makes of the writes is the integration tests' business.
"""

import itertools
import json
import marshal
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client.samples import Sample

from churn_operator.api.tasks import Golden
from churn_operator.churnmodel.counts import Counts
from churn_operator.core.errors import MetricsUnavailable, TrackingUnavailable
from churn_operator.core.kind import Answer, RunView
from churn_operator.core.objects import Alias, Object

CLUSTER_IP = "10.0.0.1"
PEOPLE_WRITE = frozenset({"approval", "command"})
"""Fields of a status that a server-side apply of the operator leaves alone, because it never had them."""
Objects = list[dict[str, Any]]


class Killed(Exception):
    """The operator was killed before a write."""


@dataclass
class MemoryCluster:
    """Both halves of what a kind is given: what it may read, and what the loop writes."""

    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    answering: set[str] = field(default_factory=set)
    """Versions that answer a prediction."""
    told: dict[str, str | None] = field(default_factory=dict)
    """By version: what its pod's /metrics says."""
    accepting: bool = True
    """The Gateway takes up what a route says."""
    tracking: bool = True
    writes_left: int | None = None
    """The operator is killed before the write after so many."""
    uids: Any = field(default_factory=lambda: itertools.count(1))

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> Object | None:  # noqa: ARG002 - the interface
        found: Object | None = _copy(self.objects.get((kind, name)))
        return found

    fresh = get

    async def list(
        self,
        api_version: str,  # noqa: ARG002 - the interface
        kind: str,
        namespace: str,  # noqa: ARG002 - the interface
        *,
        labels: str = "",
        fields: str = "",
    ) -> tuple[Object, ...]:
        wanted = dict(pair.split("=") for pair in labels.split(",") if pair)
        model = fields.removeprefix("spec.modelRef.name=")
        return tuple(
            _copy(obj)
            for (its_kind, _), obj in sorted(self.objects.items())
            if its_kind == kind
            and wanted.items() <= obj["metadata"].get("labels", {}).items()
            and (not model or obj["spec"]["modelRef"]["name"] == model)
        )

    async def list_fresh(self, api_version: str, kind: str, namespace: str, *, labels: str) -> tuple[Object, ...]:
        return await self.list(api_version, kind, namespace, labels=labels)

    async def find_run(self, tracking_uri: str, uid: str) -> RunView | None:  # noqa: ARG002 - the interface
        self._track()
        return None

    async def alias(self, tracking_uri: str, model: str, alias: str) -> str | None:  # noqa: ARG002 - the interface
        self._track()
        return self.aliases.get(alias)

    async def predict(self, url: str, golden: Golden) -> Answer:  # noqa: ARG002 - the interface
        version = url.removeprefix("http://telco-").partition("-predictor")[0]
        if CLUSTER_IP in url:
            service = self.objects["Service", "telco"]
            version = service["spec"]["selector"]["serving.kserve.io/inferenceservice"].removeprefix("telco-")
        return Answer(version in self.answering, f"{version} was asked")

    async def metrics(self, url: str) -> str:
        told = self.told.get(url.removeprefix("http://").partition(":")[0])
        if told is None:
            raise MetricsUnavailable(f"{url} does not answer")
        return told

    async def query(self, url: str, promql: str) -> tuple[Sample, ...]:
        raise NotImplementedError(url, promql)

    async def create(self, obj: Object) -> None:
        self._write()
        key = (str(obj["kind"]), str(obj["metadata"]["name"]))
        assert key not in self.objects, f"{key} was made twice"
        self._store(obj)

    async def apply(self, obj: Object, live: Object | None) -> None:  # noqa: ARG002 - the interface
        self._write()
        self._store(obj)

    async def delete(self, live: Object) -> None:
        self._write()
        self.objects.pop((live["kind"], live["metadata"]["name"]), None)

    async def apply_status(self, live: Object, status: Mapping[str, Any]) -> None:
        self._write()
        obj = self.objects[live["kind"], live["metadata"]["name"]]
        theirs = {key: value for key, value in obj.get("status", {}).items() if key in PEOPLE_WRITE}
        obj["status"] = theirs | _over_the_wire(status)

    async def set_alias(self, alias: Alias) -> None:
        self._write()
        self._track()
        self.aliases[alias.alias] = alias.version

    async def event(self, about: Object, condition: Object, now: datetime) -> None:
        """Nobody listens."""

    def of(self, kind: str) -> Objects:
        return [obj for (its_kind, _), obj in sorted(self.objects.items()) if its_kind == kind]

    def _track(self) -> None:
        if not self.tracking:
            raise TrackingUnavailable("connection refused")

    def _write(self) -> None:
        if self.writes_left == 0:
            raise Killed
        if self.writes_left is not None:
            self.writes_left -= 1

    def _store(self, obj: Object) -> None:
        made = _over_the_wire(obj)
        before = self.objects.get((made["kind"], made["metadata"]["name"]), {})
        uid = before.get("metadata", {}).get("uid", f"uid-{next(self.uids)}")
        made["metadata"] = made["metadata"] | {"uid": uid}
        if made["kind"] == "Service":
            made["spec"] = made["spec"] | {"clusterIP": CLUSTER_IP}
        if made["kind"] == "HTTPRoute" and self.accepting:
            taken = [{"type": "Accepted", "status": "True", "observedGeneration": 0}]
            before = {"status": {"parents": [{"parentRef": {"name": "public"}, "conditions": taken}]}}
        if "status" in before:
            made["status"] = before["status"]
        self.objects[made["kind"], made["metadata"]["name"]] = made


def _over_the_wire(obj: Any) -> Any:
    return json.loads(json.dumps(obj))


def _copy(obj: Any) -> Any:
    """Of what came over the wire: by copy.deepcopy it took half of the time of a history."""
    return marshal.loads(marshal.dumps(obj))  # noqa: S302 - what it reads, it wrote


def counted_text(version: str, counts: Counts) -> str:
    """What a predictor's /metrics says that has counted so much."""
    well = counts.requests - counts.errors
    lines = ["# TYPE churn_predictor_requests_total counter"]
    for outcome, number in (("answered", well), ("failed", counts.errors)):
        labels = f'version="{version}",outcome="{outcome}",caller="gateway"'
        lines.append(f"churn_predictor_requests_total{{{labels}}} {number}")
    return "\n".join(lines) + "\n"
