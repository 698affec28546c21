"""What is asked of servers and pods, and what is made of it."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from support.canary import canary, guarded
from support.kinds import NOW, SETTINGS, make_object
from support.memory import MemoryCluster

from churn_operator.churnmodel.moves import GiveUp, Restore, Stay
from churn_operator.churnmodel.observe import ChurnModelWorld, observe
from churn_operator.churnmodel.rollout import decide_rollout
from churn_operator.core.kind import Answer
from churn_operator.core.objects import MODEL_LABEL, OWNED, Key

TELCO = Key("ChurnModel", "team", "telco")
ISVC = "serving.kserve.io/inferenceservice"
FALSE = {"type": "Ready", "status": "False", "message": "Deployment does not have minimum availability."}


class Asked(MemoryCluster):
    """Remembers by which address who was asked."""

    async def predict(self, url: str, instance: Any, probability: float) -> Answer:
        self.urls = [*getattr(self, "urls", ()), url]
        return await super().predict(url, instance, probability)


def owned(kind: str, name: str, spec: Mapping[str, Any], **labels: str) -> dict[str, Any]:
    owner = {"kind": "ChurnModel", "name": "telco", "uid": "uid-telco", "controller": True}
    thing = make_object(kind, name, spec)
    thing["metadata"] |= {"labels": {MODEL_LABEL: "telco", **OWNED, **labels}, "ownerReferences": [owner]}
    return thing


def cluster_of(
    world: ChurnModelWorld, *things: dict[str, Any], answering: Iterable[str] = ("v1", "v2"), address: str = "10.0.0.1"
) -> Asked:
    """Where that is true of the model; KServe calls version 1 ready, and version 2 not."""
    model = make_object("ChurnModel", "telco", world.spec.to_dict()) | {"status": world.status.to_dict()}
    service = owned("Service", "telco", {"clusterIP": address, "selector": {ISVC: f"telco-{world.target}"}})
    said = {"v1": {"type": "Ready", "status": "True"}, "v2": FALSE}
    servers = [
        owned("InferenceService", f"telco-{one}", {}) | {"status": {"conditions": [c]}} for one, c in said.items()
    ]
    objects = {(thing["kind"], thing["metadata"]["name"]): thing for thing in (model, service, *servers, *things)}
    return Asked(objects, answering=set(answering))


async def seen(cluster: Asked) -> ChurnModelWorld:
    world = await observe(SETTINGS, cluster, TELCO, NOW)
    assert world is not None
    return world


@pytest.mark.parametrize(
    ("world", "answering", "expected"),
    [
        pytest.param(canary(2), {"v1", "v2"}, Stay, id="a challenger with traffic that answers"),
        pytest.param(canary(2), {"v1"}, GiveUp, id="one that does not"),
        pytest.param(guarded(), {"v1", "v2"}, Stay, id="a new champion that answers"),
        pytest.param(guarded(), {"v1"}, Restore, id="one that does not "),
    ],
)
async def test_who_has_traffic_is_judged_by_its_answer_whatever_kserve_says(
    world: ChurnModelWorld, answering: set[str], expected: type
) -> None:
    """One pod of several that is drained, or more replicas that were asked for, make Ready False."""
    assert isinstance(decide_rollout(await seen(cluster_of(world, answering=answering)), NOW).move, expected)


async def test_who_had_no_traffic_yet_is_asked_when_kserve_calls_it_ready() -> None:
    world = await seen(cluster_of(canary()))
    assert [(server.version, server.answers) for server in world.servers] == [("v2", False), ("v1", True)]
    assert world.server("v2").heard == FALSE["message"]  # type: ignore[union-attr] # it is there


async def test_an_ipv6_address_of_the_service_is_asked_in_brackets() -> None:
    await seen(cluster := cluster_of(canary(1), address="fd00::1"))
    assert "http://[fd00::1]/v1/models/telco:predict" in cluster.urls
