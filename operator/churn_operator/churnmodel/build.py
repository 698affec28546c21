"""The objects a ChurnModel is to have."""

from collections.abc import Mapping
from typing import Any

from churn_operator.api.analysis import ROUTE_HEADER
from churn_operator.api.base import API_VERSION, LocalRef
from churn_operator.api.churnmodel import ServedVersion
from churn_operator.api.driftmonitor import DriftMonitorSpec, MonitoringSpec
from churn_operator.api.inference_log import KIND_HEADERS
from churn_operator.api.rollout import GatewaySpec
from churn_operator.api.trainingrun import TrainingRunSpec
from churn_operator.churnmodel.decide import Decision, Open
from churn_operator.churnmodel.jobs import labels, probe, replay
from churn_operator.churnmodel.metrics import PORT
from churn_operator.churnmodel.observe import (
    GATEWAY_API,
    ChurnModelWorld,
    Constant,
    predictor_service,
    server_name,
    tracking_uri,
)
from churn_operator.churnmodel.policies import answered, moved
from churn_operator.churnmodel.servers import GRPC_PORT, constant, server
from churn_operator.core.objects import CHAMPION_ALIAS, MODEL_LABEL, Alias, Desired, child_metadata

MARK = {
    "type": "RequestHeaderModifier",
    "requestHeaderModifier": {"set": [{"name": ROUTE_HEADER, "value": "true"}], "remove": [*KIND_HEADERS]},
}
"""Clients of the stable Service ask the champion alone: versions are judged by what both are asked at the gateway. No
client of that passes for a probe, of whom nothing is counted or logged as a client's."""
AGENT_PORT = 9081
"""Where KServe's agent takes the requests that it logs, in front of PORT."""


def build(world: ChurnModelWorld, decision: Decision) -> tuple[Desired | Alias, ...]:
    desired: list[Desired | Alias] = []
    if not world.kserve_missing:
        desired += [Desired(server(world, version)) for version in decision.rollout.served]
        desired += [] if world.constant is None else [Desired(constant(world, world.constant))]
    champion = decision.rollout.champion
    if champion is not None:
        desired += [Desired(_service(world, decision.rollout.serves or champion)), *_alias(world)]
    if champion is not None and world.spec.serving.gateway is not None and world.has_routes:
        desired.append(Desired(_route(world, world.spec.serving.gateway, decision.rollout.weights)))
    monitoring = world.spec.monitoring or (MonitoringSpec() if world.settings.collector_url else None)
    if monitoring is not None:
        desired.append(Desired(_monitor(world, monitoring)))
    if isinstance(decision.retraining, Open):
        desired.append(Desired(_run(world, decision.retraining), once=True))
    if decision.probe:
        desired.append(Desired(probe(world), once=True))
    desired += replay(world, decision)
    desired += labels(world, decision)
    return tuple(desired)


def _service(world: ChurnModelWorld, version: ServedVersion | Constant) -> dict[str, Any]:
    """The address that never changes; its selector is the whole of a BlueGreen switch."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(world.object, world.name, **{MODEL_LABEL: world.name}),
        "spec": {
            "selector": {
                "serving.kserve.io/inferenceservice": server_name(world.name, version.version),
                "component": "predictor",
            },
            "ports": [
                {
                    "name": "http",
                    "port": 80,
                    "protocol": "TCP",
                    "targetPort": AGENT_PORT if version.log_url else PORT,
                },
                {"name": "grpc", "port": GRPC_PORT, "protocol": "TCP", "targetPort": GRPC_PORT},
            ],
        },
    }


def _route(world: ChurnModelWorld, gateway: GatewaySpec, weights: Mapping[str, int]) -> dict[str, Any]:
    """How a Gateway splits its clients. What the API server would add is written, so that it never looks changed.

    So is that there are no hostnames: they would else be theirs who write some.
    """
    parents = [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": world.namespace} | parent.to_dict()
        for parent in gateway.parent_refs
    ]
    backends = [
        {
            "group": "",
            "kind": "Service",
            "name": predictor_service(world.name, version),
            "port": 80,
            "weight": weight,
        }
        for version, weight in weights.items()
    ]
    everything = {"path": {"type": "PathPrefix", "value": "/"}}
    return {
        "apiVersion": GATEWAY_API,
        "kind": "HTTPRoute",
        "metadata": child_metadata(world.object, world.name, **{MODEL_LABEL: world.name}),
        "spec": {
            "parentRefs": parents,
            "hostnames": list(gateway.hostnames),
            "rules": [{"matches": [everything], "filters": [MARK], "backendRefs": backends}],
        },
    }


def _alias(world: ChurnModelWorld) -> tuple[Alias, ...]:
    """At the champion of the status, which is the one that serves a look later at most.

    Where somebody pointed it elsewhere, and that is followed, it stays there until their wish is kept in a run: whoever
    dies between the two writes finds it, in one place or the other.
    """
    champion, asked = world.champion, moved(world)
    why = "" if asked is None else answered(world, asked)
    if champion is None or why is None:
        return ()
    alias = Alias(
        tracking_uri=tracking_uri(world.settings, world.spec),
        model=f"{world.namespace}.{world.name}",
        alias=CHAMPION_ALIAS,
        version=champion.registry_version,
        seen=world.alias,
        why=why,
    )
    return (alias,)


def _monitor(world: ChurnModelWorld, monitoring: MonitoringSpec) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "DriftMonitor",
        "metadata": child_metadata(world.object, world.name, **{MODEL_LABEL: world.name}),
        "spec": DriftMonitorSpec(model_ref=LocalRef(name=world.name), **monitoring.model_dump()).to_dict(),
    }


def _run(world: ChurnModelWorld, opened: Open) -> dict[str, Any]:
    wish = opened.wish
    spec = TrainingRunSpec(
        model_ref=LocalRef(name=world.name),
        trigger=wish.trigger,
        reason=wish.reason[:1024],
        revision=opened.revision,
        evidence=wish.evidence,
        candidate=wish.candidate,
    )
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "metadata": child_metadata(world.object, f"{world.name}-{opened.number}", **{MODEL_LABEL: world.name}),
        "spec": spec.to_dict(),
    }
