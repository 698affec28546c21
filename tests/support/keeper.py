"""The smallest kind: keeps what it is told to. It stands in for the three, to test the loop around them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from churn_operator.api.base import Condition
from churn_operator.api.churnmodel import ChurnModelStatus
from churn_operator.core.clock import stamp
from churn_operator.core.conditions import Judgement
from churn_operator.core.errors import KindMissing
from churn_operator.core.kind import Cluster, Kind
from churn_operator.core.objects import (
    MANAGED_BY,
    MANAGER,
    Alias,
    Desired,
    Key,
    Object,
    Violation,
    child_metadata,
    is_controlled_by,
)

API_VERSION = "churnops.dev/v1alpha1"
CHILDREN = (("v1", "Service"), ("batch/v1", "Job"), ("serving.kserve.io/v1beta1", "InferenceService"))

Look = Callable[[Kind[Any, Any], Object], Awaitable[timedelta | None]]
"""Reconcile one object."""


@dataclass(frozen=True)
class Kept:
    """What was seen."""

    object: Object
    children: tuple[Object, ...]


@dataclass(frozen=True)
class Keep:
    """What was decided."""

    wake: timedelta | None


@dataclass
class Keeper:
    """Wants what `wanted` says of its owner; reports the problem in the condition Ready."""

    wanted: Callable[[Object], Sequence[Desired | Alias]] = lambda _: ()
    wake: timedelta | None = None
    name: str = "ChurnModel"
    condition: dict[str, Any] = field(default_factory=lambda: {"status": "True", "reason": "RunAccepted"})
    told: tuple[Judgement, ...] = ()

    async def observe(self, cluster: Cluster, key: Key, now: datetime) -> Kept | None:  # noqa: ARG002 - the interface
        owner = await cluster.get(API_VERSION, key.kind, key.namespace, key.name)
        if owner is None:
            return None
        children: list[Object] = []
        for api_version, kind in CHILDREN:
            try:
                children += await cluster.list(api_version, kind, key.namespace, labels=f"{MANAGED_BY}={MANAGER}")
            except KindMissing:
                continue
        return Kept(owner, tuple(child for child in children if is_controlled_by(child, owner)))

    def decide(self, world: Kept, now: datetime) -> Keep:  # noqa: ARG002 - the interface
        return Keep(self.wake)

    def build(self, world: Kept, decision: Keep) -> Sequence[Desired | Alias]:  # noqa: ARG002 - the interface
        return self.wanted(world.object)

    def story(self, decision: Keep) -> tuple[Judgement, ...]:  # noqa: ARG002 - the interface
        return self.told

    def report(self, world: Kept, decision: Keep, problem: Violation | None, now: datetime) -> ChurnModelStatus:  # noqa: ARG002 - the interface
        said = {"status": "False", "reason": problem.reason, "message": problem.message} if problem else self.condition
        before = ChurnModelStatus.model_validate(world.object.get("status", {})).condition("Ready")
        is_same = before is not None and before.status == said["status"]
        ready = {"type": "Ready", "message": "", "lastTransitionTime": stamp(now), "observedGeneration": 1} | said
        if before is not None and is_same:
            ready["lastTransitionTime"] = before.last_transition_time
        return ChurnModelStatus(conditions=(Condition.model_validate(ready),))


def service(owner: Object, name: str = "web", port: int = 80) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(owner, name),
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": port, "targetPort": 8080}]},
    }


def job(owner: Object, name: str = "work") -> dict[str, Any]:
    container = {"name": "job", "image": "image:1", "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": child_metadata(owner, name),
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }


def inference_service(owner: Object, name: str = "server") -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": child_metadata(owner, name),
        "spec": {"predictor": {"minReplicas": 1, "model": {"resources": {"requests": {"cpu": "0.5"}}}}},
    }


INFERENCE_SERVICES: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "inferenceservices.serving.kserve.io"},
    "spec": {
        "group": "serving.kserve.io",
        "scope": "Namespaced",
        "names": {"kind": "InferenceService", "plural": "inferenceservices", "singular": "inferenceservice"},
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
"""KServe's kind, without KServe."""
