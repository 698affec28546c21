"""Worlds of a canary: version 2 beside champion 1."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from support.kinds import NOW, make_run, make_server, make_spec, make_version, serving_world

from churn_operator.api.churnmodel import VersionState
from churn_operator.api.rollout import Counters
from churn_operator.api.trainingrun import RunPhase
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.churnmodel.route import RouteSeen
from churn_operator.core import clock

GATEWAY = {"parentRefs": [{"name": "public", "namespace": "gateways"}], "hostnames": ["telco.example.com"]}
STEPS = [{"weight": 10, "pause": "1m"}, {"weight": 50, "pause": "1m"}]
OTHER = f"sha256:{'cd' * 32}"


def counters(requests: int, errors: int = 0, slow: int = 0) -> tuple[Counters, ...]:
    return (Counters(pod="pod", requests=requests, errors=errors, slow=slow),)


GOOD = {"v1": counters(9000, 90), "v2": counters(1000, 10)}
BAD = {"v1": counters(9000, 90), "v2": counters(1000, 100)}
FEW = {"v1": counters(90), "v2": counters(10)}
BLIND = {"v1": counters(9000)}


def ago(**time: float) -> str:
    return clock.stamp(NOW - timedelta(**time))


def canary(step: int = 0, *, since: str = ago(minutes=2), **fields: Any) -> ChurnModelWorld:
    """Version 2 beside champion 1, in a step of a canary; 0 is before the first."""
    phase = "Shifting" if step else "Starting"
    weight = 0 if not step else (10, 50)[step - 1]
    rollout = {"version": "v2", "phase": phase, "step": step, "weight": weight, "since": since}
    return rolling(rollout, **({"route": RouteSeen({"v1": 100 - weight, "v2": weight})} | fields))


def abtest(*, since: str = ago(minutes=2), declared: Mapping[str, Any] | None = None, **fields: Any) -> ChurnModelWorld:
    """Version 2 and champion 1 share the traffic, until one of them is better or 1,000 requests have come."""
    asked: dict[str, Any] = {"metric": "ErrorRate", "sample": 1000}
    comparison = {"declared": asked | dict(declared or {}), "message": "Nothing was counted yet."}
    rollout = {"version": "v2", "phase": "Shifting", "step": 1, "weight": 50, "since": since, "comparison": comparison}
    spec = {"strategy": "ABTest", "ab_test": asked} | fields.pop("spec", {})
    return rolling(rollout, **({"route": RouteSeen({"v1": 50, "v2": 50})} | fields), spec=spec)


def guarded(**fields: Any) -> ChurnModelWorld:
    """Version 2 took the place of version 1, which is still warm."""
    rollout = {"version": "v2", "phase": "Guarding", "step": 2, "weight": 100, "since": ago(minutes=2)}
    rollout |= {"verdict": fields.pop("verdict", None)}
    versions = [make_version(2), make_version(1, VersionState.Retired, since=ago(minutes=2))]
    return rolling(rollout, **({"versions": versions, "target": "v2"} | fields))


def rolling(rollout: Mapping[str, Any], **fields: Any) -> ChurnModelWorld:
    spec: dict[str, Any] = {"strategy": "Canary", "steps": STEPS} | fields.pop("spec", {})
    rolls = make_version(2, VersionState.RollingOut, since=ago(minutes=3))
    versions = fields.pop("versions", [rolls, make_version(1)])
    serving = {"gateway": GATEWAY} | fields.pop("serving", {})
    model = make_spec(serving=serving, rollout=spec, suspend=fields.pop("suspend", False))
    unheard = [{"version": version, "pods": [{"pod": "pod"}]} for version in ("v1", "v2")]
    begun = {"began": ago(minutes=3), "baselines": unheard} | dict(rollout)
    world: dict[str, Any] = {
        "status": {"versions": versions, "rollout": begun},
        "runs": (make_run(1, RunPhase.Accepted), make_run(2, RunPhase.Accepted)),
        "servers": (make_server(1), make_server(2)),
        "counters": {"v1": counters(0), "v2": counters(0)},
        "route": RouteSeen({"v2": 100}),
    }
    return serving_world(model, **(world | fields))


SILENT = (make_server(1), make_server(2, ok=False))
NOBODY = (make_server(1, ok=False), make_server(2, ok=False))
