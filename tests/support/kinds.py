"""Builders: the smallest valid object of each sort, and worlds to put them in."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from churn_operator.api.churnmodel import ChurnModelSpec, ChurnModelStatus, ServedVersion, VersionState
from churn_operator.api.data import DataRead
from churn_operator.api.digest import spec_digest
from churn_operator.api.driftmonitor import Check, DriftMonitorSpec, DriftMonitorStatus
from churn_operator.api.tasks import (
    ColumnDrift,
    ComparisonResult,
    DriftResult,
    Golden,
    ModelRef,
    Resolved,
    TrainResult,
    TrainTask,
    Window,
)
from churn_operator.api.trainingrun import SETTLED, RunPhase, TrainingRunSpec, TrainingRunStatus, Trigger
from churn_operator.churnmodel.observe import ChurnModelWorld, MonitorSeen, RunSeen, ServerSeen
from churn_operator.core import clock
from churn_operator.core.kind import Answer
from churn_operator.driftmonitor.observe import DriftMonitorWorld
from churn_operator.settings import Settings
from churn_operator.trainingrun.observe import ModelView, TrainingRunWorld

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
EARLIER = clock.stamp(NOW - timedelta(hours=3))
HEX = "ab" * 32
GOLDEN = Golden(
    instance={"tenure": 12, "contract": "One year"},
    probability=0.25,
    variants=({"changes": {"tenure": 1}, "probability": 0.75},),
)
DATA = {"source": {"uri": "s3://churn/telco.csv"}, "target": "churn"}
SETTINGS = Settings(
    jobs_image="jobs:1",
    predictor_image="predictor:1",
    tracking_uri="http://mlflow:5000",
    storage_uri="s3://models",
    cluster="cluster-1",
)


def make_object(
    kind: str, name: str, spec: Mapping[str, Any], api_version: str = "churnops.dev/v1alpha1"
) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}", "generation": 3},
        "spec": dict(spec),
    }


def make_spec(**fields: Any) -> ChurnModelSpec:
    return ChurnModelSpec.model_validate({"data": DATA} | fields)


def make_version(number: int, state: VersionState = VersionState.Champion, **fields: Any) -> ServedVersion:
    was_champion = state not in (VersionState.RollingOut, VersionState.RolledBack)
    return ServedVersion.model_validate(
        {
            "version": f"v{number}",
            "run": f"telco-{number}",
            "state": state,
            "reason": "because",
            "since": EARLIER,
            "promoted": EARLIER if was_champion else None,
            "model": ModelRef(uri=f"s3://models/models/{HEX}", digest=f"sha256:{HEX}"),
            "revision": f"version:{number}",
            "spec_digest": spec_digest(make_spec()),
            "registry_version": str(number),
            "image": "predictor:1",
            "fetch_image": "jobs:1",
            "golden": GOLDEN,
            "metric": "roc_auc=0.8400",
        }
        | fields
    )


def make_resolved(number: int = 1, digest: str | None = None, **task: Any) -> Resolved:
    fields = {
        "namespace": "team",
        "model": "telco",
        "run": f"telco-{number}",
        "uid": f"uid-telco-{number}",
        "trigger": "Initial",
        "owner": "cluster-1/team/telco",
        "image": "jobs:1",
        "data": DATA,
        "training": {},
        "tracking_uri": "http://mlflow:5000",
        "experiment": "team.telco",
        "registered_model": "team.telco",
        "storage_uri": "s3://models",
    }
    return Resolved(
        task=TrainTask.model_validate(fields | task), spec_digest=digest or spec_digest(make_spec()), at=EARLIER
    )


def make_result(number: int = 1, *, metrics: Mapping[str, float] | None = None, **fields: Any) -> TrainResult:
    return TrainResult.model_validate(
        {
            "data": DataRead(
                uri="s3://churn/telco.csv",
                revision=f"version:{number}",
                digest=f"sha256:{HEX}",
                rows=7043,
                holdout_rows=1409,
            ),
            "estimator": "LogisticRegression",
            "metrics": dict({"roc_auc": 0.84, "parity": 1e-7} if metrics is None else metrics),
            "threshold": 0.5,
            "model": ModelRef(uri=f"s3://models/models/{HEX}", digest=f"sha256:{HEX}"),
            "registry_version": str(number),
            "run_id": "r1",
            "experiment_id": "1",
            "golden": GOLDEN,
        }
        | fields
    )


def make_comparison(lower_bound: float, *, unseen: bool = True) -> ComparisonResult:
    return ComparisonResult(
        metric="roc_auc",
        confidence=0.95,
        challenger=0.85,
        champion=0.84,
        lower_bound=lower_bound,
        rows=1409,
        unseen=unseen,
    )


def make_run(
    number: int, phase: RunPhase, trigger: Trigger = Trigger.Initial, candidate: str | None = None, **status: Any
) -> RunSeen:
    """A run of telco, as its model sees it."""
    judged = {"candidate": {"registryVersion": candidate}} if candidate else {}
    fields: dict[str, Any] = {"phase": phase, "resolved": make_resolved(number), "revision": f"version:{number}"}
    if phase in SETTLED:
        fields["finished_at"] = EARLIER
    if phase is RunPhase.Accepted:
        fields |= {"result": make_result(number), "version": f"v{number}", "metric": "0.8400"}
    if phase is RunPhase.AwaitingApproval:
        fields |= {"result": make_result(number), "awaiting_since": EARLIER, "metric": "0.8400"}
    return RunSeen(
        name=f"telco-{number}",
        number=number,
        spec=TrainingRunSpec.model_validate({"modelRef": {"name": "telco"}, "trigger": trigger} | judged),
        status=TrainingRunStatus.model_validate(fields | status),
    )


def make_server(number: int, *, ready: bool = True, ok: bool | None = True, made: datetime | None = None) -> ServerSeen:
    answer = None if ok is None else Answer(ok, "answered" if ok else "connection refused")
    return ServerSeen(f"v{number}", "ready" if ready else "pod is starting", answer, made)


def make_drift_status(version: str = "v1", *, within: str = "False", **fields: Any) -> DriftMonitorStatus:
    condition = {
        "type": "WithinDriftLimits",
        "status": within,
        "reason": {"False": "DriftDetected", "True": "WithinLimits", "Unknown": "NoWindow"}[within],
        "message": "40% of the features drifted.",
        "last_transition_time": EARLIER,
    }
    return DriftMonitorStatus.model_validate(
        {
            "version": version,
            "conditions": [condition],
            "checks": [make_check(1)],
            "columns": [ColumnDrift(name="tenure", score=0.4, drifted=True)],
            "share": "0.40",
        }
        | fields
    )


def make_check(window: int, share: float = 0.4) -> Check:
    return Check(window=make_window(window), share=share, at=EARLIER)


def make_window(number: int) -> Window:
    return Window(uri="s3://churn/current.parquet", revision=f"version:w{number}", rows=4000)


def make_predictions(number: int, since: str, until: str, rows: int = 4000) -> Window:
    """A window of the inference log."""
    uri = "s3://models/inference-log/namespace=team/model=telco/version=v1"
    return Window(uri=uri, revision=f"sha256:p{number}", rows=rows, since=since, until=until)


def make_drift_result(window: int | Window, share: float = 0.4, **fields: Any) -> DriftResult:
    return DriftResult.model_validate(
        {
            "outcome": "Compared",
            "window": make_window(window) if isinstance(window, int) else window,
            "share": share,
            "columns": [
                ColumnDrift(name="tenure", score=0.4, drifted=True),
                ColumnDrift(name="partner", score=0.01, drifted=False),
            ],
            "features": 19,
            "run_id": "r9",
            "experiment_id": "1",
            "report": "drift.html",
        }
        | fields
    )


def make_monitor(**fields: Any) -> MonitorSeen:
    return MonitorSeen("telco", make_drift_status(**fields))


def model_world(
    spec: ChurnModelSpec | None = None, status: Mapping[str, Any] | None = None, **fields: Any
) -> ChurnModelWorld:
    spec = spec or make_spec()
    defaults: dict[str, Any] = {
        "settings": SETTINGS,
        "object": make_object("ChurnModel", "telco", spec.to_dict()),
        "children": (),
        "spec": spec,
        "status": ChurnModelStatus.model_validate(status or {}),
        "digest": spec_digest(spec),
        "probe_slot": int(NOW.timestamp() // 600),
    }
    return ChurnModelWorld(**(defaults | fields))


def serving_world(spec: ChurnModelSpec | None = None, **fields: Any) -> ChurnModelWorld:
    """Version 1 of telco serves and answers."""
    defaults: dict[str, Any] = {
        "status": {"versions": [make_version(1)], "last_run": 1},
        "runs": (make_run(1, RunPhase.Accepted),),
        "servers": (make_server(1),),
        "target": "v1",
    }
    return model_world(spec, **(defaults | fields))


def run_world(
    status: Mapping[str, Any] | None = None, *, revision: str | None = None, candidate: str | None = None, **fields: Any
) -> TrainingRunWorld:
    judged = {"trigger": "RegistryMoved", "candidate": {"registryVersion": candidate}} if candidate else {}
    spec = TrainingRunSpec.model_validate(
        {"modelRef": {"name": "telco"}, "trigger": "Initial", "revision": revision} | judged
    )
    defaults: dict[str, Any] = {
        "settings": SETTINGS,
        "object": make_object("TrainingRun", "telco-2", spec.to_dict()),
        "children": (),
        "spec": spec,
        "status": TrainingRunStatus.model_validate(status or {}),
        "model": make_model_view(),
    }
    return TrainingRunWorld(**(defaults | fields))


def make_model_view(status: Mapping[str, Any] | None = None, **spec: Any) -> ModelView:
    model = make_spec(**spec)
    return ModelView(
        make_object("ChurnModel", "telco", model.to_dict()), model, ChurnModelStatus.model_validate(status or {})
    )


def monitor_spec(**fields: Any) -> DriftMonitorSpec:
    return DriftMonitorSpec.model_validate(
        {
            "modelRef": {"name": "telco"},
            "schedule": "@every 10m",
            "current": {"source": {"uri": "s3://churn/current.parquet"}},
        }
        | fields
    )


def monitor_world(
    spec: DriftMonitorSpec | None = None, status: Mapping[str, Any] | None = None, **fields: Any
) -> DriftMonitorWorld:
    spec = spec or monitor_spec()
    defaults: dict[str, Any] = {
        "settings": SETTINGS,
        "object": make_object("DriftMonitor", "telco", spec.to_dict()),
        "children": (),
        "spec": spec,
        "status": DriftMonitorStatus.model_validate(status or {}),
        "model": make_spec(),
        "champion": make_version(1),
    }
    return DriftMonitorWorld(**(defaults | fields))
