"""What is asked of servers and pods, and what is made of it."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, cast

import pytest
from support.canary import canary, guarded
from support.kinds import NOW, SETTINGS, make_object, make_version, serving_world
from support.memory import MemoryCluster

from churn_operator.__main__ import Loop
from churn_operator.api.churnmodel import VersionState
from churn_operator.api.tasks import Golden
from churn_operator.churnmodel.moves import GiveUp, Restore, Stay
from churn_operator.churnmodel.observe import ChurnModelWorld, observe
from churn_operator.churnmodel.rollout import decide_rollout
from churn_operator.core import clock
from churn_operator.core.cluster import Neighbours
from churn_operator.core.kind import Answer
from churn_operator.core.objects import MODEL_LABEL, OWNED, Key

TELCO = Key("ChurnModel", "team", "telco")
ISVC = "serving.kserve.io/inferenceservice"
FALSE = {"type": "Ready", "status": "False", "message": "Deployment does not have minimum availability."}


class Asked(MemoryCluster):
    """Remembers by which address who was asked."""

    async def predict(self, url: str, golden: Golden) -> Answer:
        self.urls = [*getattr(self, "urls", ()), url]
        return await super().predict(url, golden)


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


@pytest.mark.parametrize(
    ("serving", "pods", "heard"),
    [
        pytest.param({"replicas": 2}, ["True"], "v2 was asked", id="KServe's word is taken for a fixed number of pods"),
        pytest.param(
            {"replicas": 2, "autoscaling": {"maxReplicas": 4}}, ["True", "False"],
            "1 of the 2 pods that serving.replicas asks for are ready", id="not for one of several that is autoscaled",
        ),
        pytest.param(
            {"replicas": 2, "autoscaling": {"maxReplicas": 4}}, ["True", "True"], "v2 was asked",
            id="until it has the fewest",
        ),
    ],
)  # fmt: skip
async def test_who_had_no_traffic_yet_is_to_have_as_many_pods_as_are_asked_for(
    serving: dict[str, Any], pods: list[str], heard: str
) -> None:
    ready = owned("InferenceService", "telco-v2", {}) | {"status": {"conditions": [FALSE | {"status": "True"}]}}
    there = [a_pod(f"pod-{number}", said) for number, said in enumerate(pods)]
    world = await seen(cluster_of(canary(serving=serving), ready, *there))
    assert world.server("v2").heard == heard  # type: ignore[union-attr] # it is there


async def test_who_stands_in_is_one_pod_whatever_autoscaling_says() -> None:
    serving = {"replicas": 2, "autoscaling": {"maxReplicas": 4}, "fallback": {"probability": 0.2}}
    status = {"conditions": [FALSE | {"status": "True"}]}
    constant = owned("InferenceService", "telco-fallback", {}) | {"status": status}
    world = await seen(cluster_of(canary(serving=serving), constant, answering=["v1", "fallback"]))
    assert world.server("fallback").answers  # type: ignore[union-attr] # it is there


async def test_an_ipv6_address_of_the_service_is_asked_in_brackets() -> None:
    await seen(cluster := cluster_of(canary(1), address="fd00::1"))
    assert "http://[fd00::1]/v1/models/telco:predict" in cluster.urls


def predictor(address: str, **labels: str) -> dict[str, Any]:
    """KServe's Service of version 2, behind its agent; it has the labels of the InferenceService."""
    spec = {"clusterIP": address, "ports": [{"port": 80, "targetPort": 9081}]}
    made = owned("Service", "telco-v2-predictor", spec, **labels)
    made["metadata"]["ownerReferences"][0] |= {"kind": "InferenceService", "name": "telco-v2", "uid": "uid-telco-v2"}
    return made


def a_pod(name: str, ready: str = "True", address: str = "10.1.0.7") -> dict[str, Any]:
    status = {"podIP": address, "conditions": [{"type": "Ready", "status": ready}]}
    return owned("Pod", name, {}, **{ISVC: "telco-v2"}) | {"status": status}


@pytest.mark.parametrize(
    ("things", "host"),
    [
        pytest.param([], "telco-v2-predictor.team.svc", id="by name while it has no Service"),
        pytest.param([predictor("")], "telco-v2-predictor.team.svc", id="nor that an address"),
        pytest.param([predictor("10.0.0.2")], "10.0.0.2", id="by its Service's address"),
        pytest.param([predictor("fd00::2")], "[fd00::2]", id="of either family"),
        pytest.param(
            [predictor("None"), a_pod("a", "False", "10.1.0.6"), a_pod("b")], "10.1.0.7:9081",
            id="by that of a pod where it has none",
        ),
        pytest.param(
            [predictor("None"), a_pod("b", address="fd00::7")], "[fd00::7]:9081", id="of either family "
        ),
        pytest.param([predictor("None"), a_pod("a", "False")], "telco-v2-predictor.team.svc", id="if one is ready"),
    ],
)  # fmt: skip
async def test_a_challenger_is_asked_by_address_as_its_champion_is(things: list[Any], host: str) -> None:
    """Else clients would be taken off it because DNS is away."""
    await seen(cluster := cluster_of(canary(1), *things))
    assert set(cluster.urls) == {f"http://{one}/v1/models/telco:predict" for one in ("10.0.0.1", host)}


async def test_a_service_of_that_name_that_somebody_else_made_is_not_asked() -> None:
    cluster = cluster_of(canary(1))
    cluster.objects["Service", "telco"]["metadata"]["ownerReferences"] = []
    world = await seen(cluster)
    assert world.target is None
    assert "http://telco-v1-predictor.team.svc/v1/models/telco:predict" in cluster.urls


async def test_a_version_is_not_given_up_by_an_operator_that_only_begins_to_look() -> None:
    """Nothing got ready while the API server was away."""
    late = make_version(2, VersionState.RollingOut, since=clock.stamp(NOW - timedelta(hours=3)))
    world = serving_world(status={"versions": [late, make_version(1)]}, runs=(), target="v1")
    cluster = cluster_of(world, answering=["v1"])
    await Loop(SETTINGS, cast("Neighbours", cluster)).look(TELCO)
    states = {one["version"]: one["state"] for one in cluster.objects["ChurnModel", "telco"]["status"]["versions"]}
    assert states == {"v2": "RollingOut", "v1": "Champion"}
    assert isinstance(decide_rollout(await seen(cluster), NOW).move, GiveUp)
