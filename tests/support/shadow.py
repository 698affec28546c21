"""Worlds of a shadow: version 2 is asked what clients asked champion 1."""

from collections.abc import Mapping
from typing import Any

from support.canary import ago
from support.kinds import make_run, make_server, make_spec, make_version, serving_world

from churn_operator.api.analysis import SCORE_BINS
from churn_operator.api.churnmodel import VersionState
from churn_operator.api.results import encode_result
from churn_operator.api.tasks import ShadowResult
from churn_operator.api.trainingrun import RunPhase
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.core.job import Broken, Finished, JobState
from churn_operator.core.objects import Violation

LOGGED = "http://collector"
SPREAD = (25,) * len(SCORE_BINS)


def make_shadow_result(**fields: Any) -> ShadowResult:
    """Five hundred rows, ten of them decided otherwise."""
    given = {"outcome": "Replayed", "logged": 9000, "requests": 500, "compared": 500, "changed": 10, "agreement": 0.98}
    figures = {"correlation": 0.97, "difference": 0.02, "latency": {"p50": 2.5, "p95": 4.0, "p99": 9.0}}
    return ShadowResult.model_validate(given | figures | {"scores": SPREAD} | fields)


def left(**fields: Any) -> Finished:
    """A Job that left such a result."""
    return Finished(encode_result(make_shadow_result(**fields)))


TOO_FEW = Finished(encode_result(ShadowResult(outcome="TooFew", logged=7)))
FAILED = left(errors=100, problem="503: no upstream")
AWAY = Broken(Violation("StorageUnavailable", "s3://models does not answer"))


def shadow(replay: JobState | None = None, **fields: Any) -> ChurnModelWorld:
    """Version 2 beside champion 1; without a Job's state it has only just answered."""
    began = {"attempt": 1, "since": ago(minutes=2)} | fields.pop("shadow", {})
    rollout: dict[str, Any] = {"version": "v2", "phase": "Starting", "began": ago(minutes=2), "since": ago(minutes=2)}
    if replay is not None:
        rollout |= {"phase": "Shadowing", "shadow": began} | fields.pop("rollout", {})
        fields["replay"] = replay
    return shadowing(rollout, **fields)


def shadowing(rollout: Mapping[str, Any], **fields: Any) -> ChurnModelWorld:
    asked: dict[str, Any] = {"strategy": "Shadow"} | fields.pop("spec", {})
    model = make_spec(rollout=asked, suspend=fields.pop("suspend", False), **fields.pop("model", {}))
    champion = make_version(1, log_url=fields.pop("log_url", LOGGED))
    rolls = make_version(2, VersionState.RollingOut, since=ago(minutes=3), scores=SPREAD)
    world: dict[str, Any] = {
        "status": {"versions": fields.pop("versions", [rolls, champion]), "rollout": rollout},
        "runs": (make_run(1, RunPhase.Accepted), make_run(2, RunPhase.Accepted)),
        "servers": (make_server(1), make_server(2)),
    }
    return serving_world(model, **(world | fields))
