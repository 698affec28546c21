"""The kinds, as the API server takes, completes, prints and refuses them."""

import json
import re
from typing import Any

import pytest
from support import kinds
from support.control_plane import ROOT, ControlPlane

from churn_operator.api.base import Model
from churn_operator.api.churnmodel import ChurnModelSpec, ChurnModelStatus, VersionState
from churn_operator.api.driftmonitor import DriftMonitorSpec
from churn_operator.api.trainingrun import RunPhase, TrainingRunSpec, TrainingRunStatus

DATA = {"source": {"uri": "s3://churn/telco.csv"}, "target": "churn"}
MONITORING = {"current": {"source": {"uri": "s3://churn/current.csv"}}}
MONITOR = {"modelRef": {"name": "telco"}} | MONITORING
RUN = {"modelRef": {"name": "telco"}, "reason": "to see"}
WINDOW = {"uri": "s3://churn/current.csv", "revision": "etag:1"}
EVIDENCE = {"monitor": "telco", "window": WINDOW, "share": 0.5}


def manifest(kind: str, name: str, spec: dict[str, Any]) -> str:
    body = {"apiVersion": "churnops.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    return json.dumps(body)


def source(**fields: Any) -> dict[str, Any]:
    return {"data": {"source": fields, "target": "churn"}}


def gate(**fields: Any) -> dict[str, Any]:
    return {"data": DATA, "gates": [{"name": "quality"} | fields]}


def resources(**fields: Any) -> dict[str, Any]:
    return {"data": DATA, "training": {"resources": fields}}


REFUSED_MODELS = {
    "without data": ({}, "spec.data: Required value"),
    "without a target": ({"data": {"source": DATA["source"]}}, "spec.data.target: Required value"),
    "with a misspelt field": ({"data": DATA, "trainig": {}}, 'unknown field "spec.trainig"'),
    "with a source of no sort": (source(), "spec.data.source: .*exactly one of uri and claim is required"),
    "with a source of two sorts": (
        source(uri="s3://churn/a.csv", claim={"name": "data", "path": "a.csv"}),
        "spec.data.source: .*exactly one of uri and claim is required",
    ),
    "with a source of an unknown scheme": (source(uri="ftp://churn/a.csv"), "spec.data.source: .*uri must be s3://"),
    "with a bucket and no key": (source(uri="s3://churn.csv"), "spec.data.source: .*uri must be s3://bucket/key"),
    "with a password in the address": (
        source(uri="https://me:secret@example.com/a.csv"),
        "spec.data.source: .*uri must not hold credentials",
    ),
    "with a table that is none": (source(uri="s3://churn/a.xlsx"), "the file must end in .csv or .parquet"),
    "with a claim's path from the root": (
        source(claim={"name": "data", "path": "/a.csv"}),
        "spec.data.source.claim: .*path must not start with a slash",
    ),
    "with a claim's path that leads out": (
        source(claim={"name": "data", "path": "../etc/a.csv"}),
        "spec.data.source.claim: .*path must not lead out of the volume",
    ),
    "that excludes its target": (
        {"data": DATA | {"exclude": ["churn"]}},
        "spec.data: .*target must not be listed in exclude",
    ),
    "that excludes its id": (
        {"data": DATA | {"idColumn": "id", "exclude": ["id"]}},
        "spec.data: .*idColumn must not be listed in exclude",
    ),
    "whose target is its id": (
        {"data": DATA | {"idColumn": "churn"}},
        "spec.data: .*idColumn and target must be different columns",
    ),
    "that excludes a column twice": (
        {"data": DATA | {"exclude": ["a", "a"]}},
        r"spec.data.exclude\[1\]: Duplicate value",
    ),
    "with a label that YAML takes for a boolean": (
        {"data": DATA | {"positiveLabel": True}},
        "spec.data.positiveLabel: .*must be of type string",
    ),
    "with an unknown metric": (
        {"data": DATA, "training": {"metric": "auc"}},
        'spec.training.metric: Unsupported value: "auc"',
    ),
    "with an unknown estimator": (
        {"data": DATA, "training": {"estimators": [{"name": "XGBoost"}]}},
        r'spec.training.estimators\[0\].name: Unsupported value: "XGBoost"',
    ),
    "with an estimator twice": (
        {"data": DATA, "training": {"estimators": [{"name": "RandomForest"}, {"name": "RandomForest"}]}},
        r"spec.training.estimators\[1\]: Duplicate value",
    ),
    "without an estimator": (
        {"data": DATA, "training": {"estimators": []}},
        "spec.training.estimators: .*should have at least 1 items",
    ),
    "with one fold": (
        {"data": DATA, "training": {"crossValidation": {"folds": 1}}},
        "spec.training.crossValidation.folds: .*should be greater than or equal to 2",
    ),
    "with a resource that no container has": (
        resources(requests={"mem": "1Gi"}),
        "spec.training.resources: .*requests and limits name cpu, memory",
    ),
    "with a quantity that is none": (
        resources(requests={"memory": "a lot"}),
        "spec.training.resources.requests.memory: .*should match",
    ),
    "with requests above limits": (
        resources(requests={"memory": "2Gi"}, limits={"memory": "1024Mi"}),
        "spec.training.resources: .*requests must not exceed limits",
    ),
    "with a gate of no sort": (gate(), r"spec.gates\[0\]: .*exactly one of metric and champion is required"),
    "with a gate of two sorts": (
        gate(metric="roc_auc", min=0.8, champion={}),
        r"spec.gates\[0\]: .*exactly one of metric and champion is required",
    ),
    "with a gate without a bound": (gate(metric="roc_auc"), r"spec.gates\[0\]: .*a metric needs min, max or both"),
    "with a bound on a comparison": (gate(champion={}, min=0.8), r"spec.gates\[0\]: .*min and max belong to metric"),
    "with bounds that cross": (
        gate(metric="roc_auc", min=0.9, max=0.8),
        r"spec.gates\[0\]: .*min must not exceed max",
    ),
    "with a bound in percent": (
        gate(metric="roc_auc", min=80),
        r"spec.gates\[0\]: .*min and max must lie between 0 and 1",
    ),
    "with a gate twice": (
        {"data": DATA, "gates": [{"name": "a", "champion": {}}, {"name": "a", "metric": "f1", "min": 0.5}]},
        r"spec.gates\[1\]: Duplicate value",
    ),
    "with a confidence of one": (
        gate(champion={"confidence": 1}),
        r"spec.gates\[0\].champion.confidence: .*confidence must lie between 0.5 and 0.999",
    ),
    "without a replica": (
        {"data": DATA, "serving": {"replicas": 0}},
        "spec.serving.replicas: .*should be greater than or equal to 1",
    ),
    "with a strategy to come": (
        {"data": DATA, "rollout": {"strategy": "Canary"}},
        'spec.rollout.strategy: Unsupported value: "Canary"',
    ),
    "with a deadline of zero": (
        {"data": DATA, "rollout": {"progressDeadline": "0s"}},
        "spec.rollout.progressDeadline: .*should match",
    ),
    "with a length of time without a unit": (
        {"data": DATA, "rollout": {"guard": "60"}},
        "spec.rollout.guard: .*should match",
    ),
    "with a trigger that is none": (
        {"data": DATA, "retraining": {"triggers": ["Full moon"]}},
        r'spec.retraining.triggers\[0\]: Unsupported value: "Full moon"',
    ),
    "with more breaches than windows": (
        {"data": DATA, "monitoring": MONITORING | {"persistence": {"breaches": 3, "of": 2}}},
        "spec.monitoring.persistence: .*breaches must not exceed of",
    ),
    "with a share of nothing": (
        {"data": DATA, "monitoring": MONITORING | {"share": 0}},
        "spec.monitoring.share: .*should be greater than 0",
    ),
    "with a schedule in words": (
        {"data": DATA, "monitoring": MONITORING | {"schedule": "every day"}},
        "spec.monitoring.schedule: .*schedule must be five fields of cron",
    ),
    "with a schedule in the 25th hour": (
        {"data": DATA, "monitoring": MONITORING | {"schedule": "0 24 * * *"}},
        "spec.monitoring.schedule: .*schedule must be five fields of cron",
    ),
    "with a schedule of no length": (
        {"data": DATA, "monitoring": MONITORING | {"schedule": "@every 0s"}},
        "spec.monitoring.schedule: .*schedule must be five fields of cron",
    ),
    "with model files outside the object store": (
        {"data": DATA, "storage": {"uri": "file:///tmp"}},
        "spec.storage.uri: .*should match",
    ),
    "with MLflow at no address": (
        {"data": DATA, "tracking": {"uri": "mlflow:5000"}},
        "spec.tracking.uri: .*should match",
    ),
}

REFUSED = [
    *(pytest.param("ChurnModel", "telco", *case, id=f"a model {what}") for what, case in REFUSED_MODELS.items()),
    pytest.param("ChurnModel", "telco.v1", {"data": DATA}, "metadata.name must start", id="a model with a dotted name"),
    pytest.param("ChurnModel", "7telco", {"data": DATA}, "metadata.name must start", id="a name that starts with 7"),
    pytest.param("ChurnModel", "t" * 41, {"data": DATA}, "at most 40", id="a model with a long name"),
    pytest.param("DriftMonitor", "m" * 41, MONITOR, "at most 40", id="a monitor with a long name"),
    pytest.param("DriftMonitor", "telco", MONITORING, "spec.modelRef: Required value", id="a monitor of no model"),
    pytest.param(
        "DriftMonitor",
        "telco",
        MONITOR | {"tests": {"numerical": "ks"}},
        'spec.tests.numerical: Unsupported value: "ks"',
        id="a monitor with an unknown test",
    ),
    pytest.param("TrainingRun", "telco-07", RUN, "metadata.name.*such as telco-7", id="a run whose number has a zero"),
    pytest.param("TrainingRun", "telco", RUN, "metadata.name.*such as telco-7", id="a run without a number"),
    pytest.param("TrainingRun", "telco-x-7", RUN, "metadata.name.*such as telco-7", id="a run named after another"),
    pytest.param("TrainingRun", "telco-7", {}, "spec.modelRef: Required value", id="a run of no model"),
    pytest.param(
        "TrainingRun",
        "telco-7",
        RUN | {"evidence": EVIDENCE},
        "spec: .*evidence belongs to the trigger Drift",
        id="a run with evidence and without drift",
    ),
]


@pytest.mark.parametrize(("kind", "name", "spec", "message"), REFUSED)
def test_kubectl_refuses_naming_field_and_rule(
    control_plane: ControlPlane, kind: str, name: str, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        control_plane.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifest(kind, name, spec))


ACCEPTED = [
    pytest.param("ChurnModel", "telco", spec, id=f"a model {what}")
    for what, spec in {
        "with a file on a claim": source(claim={"name": "data", "path": "2026..11/telco.parquet"}),
        "with a file on a web server": source(uri="https://example.com/data/telco.csv"),
        "whose column is called like a field": {"data": DATA | {"target": "target", "exclude": ["idColumn"]}},
        "with a whole number of processors": resources(requests={"cpu": 1}, limits={"cpu": "1500m", "memory": "1Gi"}),
        "with a vendor's processor": resources(limits={"nvidia.com/gpu": 1}),
        "with a gate on a loss above one": gate(metric="log_loss", max=2),
        "with a gate of whole numbers": gate(metric="f1", min=0, max=1),
        "without gates": {"data": DATA, "gates": []},
        "with parameters of an estimator": {
            "data": DATA,
            "training": {"estimators": [{"name": "RandomForest", "params": {"max_depth": 8, "criterion": "gini"}}]},
        },
        "with a schedule in cron": {
            "data": DATA,
            "monitoring": MONITORING | {"schedule": "*/15 8-18 1,15 * MON-FRI"},
        },
        "with a schedule of its own": {"data": DATA, "monitoring": MONITORING | {"schedule": "@every 10s"}},
    }.items()
] + [
    pytest.param("TrainingRun", "telco-7", RUN, id="a run by hand"),
    pytest.param("TrainingRun", "telco-x-7", RUN | {"modelRef": {"name": "telco-x"}}, id="a run of a dashed model"),
    pytest.param("TrainingRun", "telco-7", RUN | {"trigger": "Drift", "evidence": EVIDENCE}, id="a run with evidence"),
    pytest.param("DriftMonitor", "telco-weekly", MONITOR | {"schedule": "@weekly"}, id="a second monitor"),
]
SPECS: dict[str, type[Model]] = {
    "ChurnModel": ChurnModelSpec,
    "TrainingRun": TrainingRunSpec,
    "DriftMonitor": DriftMonitorSpec,
}


@pytest.mark.parametrize(("kind", "name", "spec"), ACCEPTED)
def test_kubectl_accepts(control_plane: ControlPlane, kind: str, name: str, spec: dict[str, Any]) -> None:
    stored = control_plane.kubectl(
        "create", "--dry-run=server", "-o", "json", "-f", "-", stdin=manifest(kind, name, spec)
    )
    assert SPECS[kind].model_validate(json.loads(stored)["spec"]) == SPECS[kind].model_validate(spec)


def test_the_smallest_model_is_completed_with_the_defaults_of_the_operator(control_plane: ControlPlane) -> None:
    sample = ROOT / "samples/minimal.yaml"
    assert len(sample.read_text().splitlines()) == 10
    spec = json.loads(control_plane.kubectl("create", "--dry-run=server", "-o", "json", "-f", str(sample)))["spec"]
    written = {"data": DATA, "training": {"metric": "roc_auc"}}
    assert spec == ChurnModelSpec.model_validate(written).to_dict()


FIXED_RUN = "spec: .*a TrainingRun's spec cannot be changed: create another run"
CHANGES = [
    pytest.param("TrainingRun", RUN, {"reason": "another"}, FIXED_RUN, id="the reason of a run"),
    pytest.param("TrainingRun", RUN, {"trigger": "NewData"}, FIXED_RUN, id="the trigger of a run"),
    pytest.param(
        "DriftMonitor",
        MONITOR,
        {"modelRef": {"name": "other"}},
        "spec: .*modelRef cannot be changed",
        id="the model of a monitor",
    ),
]


@pytest.mark.parametrize(("kind", "spec", "change", "message"), CHANGES)
def test_what_cannot_be_changed(
    control_plane: ControlPlane,
    namespace: str,
    kind: str,
    spec: dict[str, Any],
    change: dict[str, Any],
    message: str,
) -> None:
    before, after = (manifest(kind, "telco-7", body) for body in (spec, spec | change))
    control_plane.kubectl("-n", namespace, "apply", "-f", "-", stdin=before)
    with pytest.raises(AssertionError, match=message):
        control_plane.kubectl("-n", namespace, "apply", "-f", "-", stdin=after)


def test_a_monitor_can_be_rescheduled_and_a_run_be_labelled(control_plane: ControlPlane, namespace: str) -> None:
    monitor = manifest("DriftMonitor", "telco", MONITOR)
    control_plane.kubectl("-n", namespace, "apply", "-f", "-", stdin=monitor)
    rescheduled = manifest("DriftMonitor", "telco", MONITOR | {"schedule": "@hourly"})
    control_plane.kubectl("-n", namespace, "apply", "-f", "-", stdin=rescheduled)
    control_plane.kubectl("-n", namespace, "apply", "-f", "-", stdin=manifest("TrainingRun", "telco-7", RUN))
    control_plane.kubectl("-n", namespace, "label", "trainingrun", "telco-7", "note=mine")


STATUSES: list[Any] = [
    pytest.param(
        "ChurnModel",
        "telco",
        {"data": DATA},
        ChurnModelStatus.model_validate(
            {
                "observed_generation": 1,
                "phase": "Ready",
                "conditions": kinds.make_drift_status().conditions,
                "versions": [kinds.make_version(2), kinds.make_version(1, VersionState.Retired)],
                "traffic": [{"version": "v2", "percent": 100}],
                "last_run": 2,
                "data": {"revision": "etag:1", "since": kinds.EARLIER, "probed_at": kinds.EARLIER, "problem": "none"},
                "retraining": {"trigger": "Drift", "held_by": "CoolingDown", "message": "wait"},
                "summary": {"champion": "v2", "traffic": "v2=100%", "metric": "roc_auc=0.84", "drift": "0.40"},
                "links": {"endpoint": "http://telco", "experiment": "http://m/1", "registered_model": "http://m/2"},
            }
        ),
        id="a model's",
    ),
    pytest.param(
        "TrainingRun",
        "telco-2",
        RUN,
        TrainingRunStatus.model_validate(
            {
                "phase": RunPhase.Accepted,
                "resolved": kinds.make_resolved(
                    2,
                    champion={"version": "v1", "model": kinds.make_version(1).model},
                    comparisons=[{"metric": "roc_auc", "confidence": 0.95}],
                ),
                "gates": kinds.make_spec().gates,
                "progress": {"percent": 40, "step": "search", "eta_seconds": 9, "metric": 0.83},
                "result": kinds.make_result(2, comparisons=[kinds.make_comparison(0.01)]),
                "verdicts": [{"name": "champion", "verdict": "Passed", "message": "better"}],
                "metric": "0.84",
                "version": "v2",
                "started_at": kinds.EARLIER,
                "finished_at": kinds.EARLIER,
                "links": {"run": "http://m/r", "registered_model": "http://m/2"},
            }
        ),
        id="a run's",
    ),
    pytest.param(
        "DriftMonitor",
        "telco",
        MONITOR,
        kinds.make_drift_status(
            last_revision="etag:1",
            last_check_at=kinds.EARLIER,
            last_scheduled_at=kinds.EARLIER,
            next_check_at=kinds.EARLIER,
            problem="none",
            links={"report": "http://m/r"},
        ),
        id="a monitor's",
    ),
]


@pytest.mark.parametrize(("kind", "name", "spec", "status"), STATUSES)
def test_a_whole_status_is_kept_to_the_letter(
    control_plane: ControlPlane, namespace: str, kind: str, name: str, spec: dict[str, Any], status: Model
) -> None:
    """The API server drops a field that the CRD does not have without a word."""
    run = "-n", namespace
    control_plane.kubectl(*run, "create", "-f", "-", stdin=manifest(kind, name, spec))
    patch = json.dumps({"status": status.to_dict()})
    control_plane.kubectl(*run, "patch", kind, name, "--subresource=status", "--type=merge", f"--patch={patch}")
    stored = json.loads(control_plane.kubectl(*run, "get", kind, name, "-o", "json"))["status"]
    assert stored == status.to_dict()


def test_an_object_without_a_status_is_given_none(control_plane: ControlPlane, namespace: str) -> None:
    """A default in a status would be an observation that nobody made."""
    control_plane.kubectl("-n", namespace, "create", "-f", "-", stdin=manifest("TrainingRun", "telco-1", RUN))
    patch = '{"status": {"phase": "Running"}}'
    control_plane.kubectl("-n", namespace, "patch", "trun/telco-1", "--subresource=status", "--type=merge", "-p", patch)
    stored = json.loads(control_plane.kubectl("-n", namespace, "get", "trun", "telco-1", "-o", "json"))
    assert stored["status"] == {"phase": "Running"}


def test_get_churn_lists_all_three_kinds_with_their_columns(control_plane: ControlPlane, namespace: str) -> None:
    for kind, name, spec in (
        ("ChurnModel", "telco", {"data": DATA}),
        ("TrainingRun", "telco-1", RUN),
        ("DriftMonitor", "telco", MONITOR),
    ):
        control_plane.kubectl("-n", namespace, "create", "-f", "-", stdin=manifest(kind, name, spec))
    listed = control_plane.kubectl("-n", namespace, "get", "churn", "--no-headers", "-o", "name")
    assert sorted(listed.split()) == [
        "churnmodel.churnops.dev/telco",
        "driftmonitor.churnops.dev/telco",
        "trainingrun.churnops.dev/telco-1",
    ]
    headers = {
        "chm": "NAME READY PHASE CHAMPION TRAFFIC METRIC DRIFT AGE",
        "trun": "NAME TRIGGER PHASE REASON PROGRESS STEP METRIC VERSION AGE",
        "dmon": "NAME MODEL VERSION DRIFT SHARE LAST CHECK NEXT CHECK AGE",
    }
    for short, columns in headers.items():
        table = control_plane.kubectl("-n", namespace, "get", short)
        assert " ".join(table.splitlines()[0].split()) == columns


def test_runs_and_monitors_are_selected_by_their_model(control_plane: ControlPlane, namespace: str) -> None:
    for kind, name, spec in (
        ("TrainingRun", "telco-1", RUN),
        ("TrainingRun", "gym-1", {"modelRef": {"name": "gym"}}),
        ("DriftMonitor", "telco", MONITOR),
    ):
        control_plane.kubectl("-n", namespace, "create", "-f", "-", stdin=manifest(kind, name, spec))
    selector = "--field-selector=spec.modelRef.name=telco"
    listed = control_plane.kubectl("-n", namespace, "get", "trun,dmon", selector, "-o", "name")
    assert sorted(listed.split()) == ["driftmonitor.churnops.dev/telco", "trainingrun.churnops.dev/telco-1"]


EXPLAINED = [
    ("churnmodel.spec.retraining", "At least this long between the end of a run.*Defaults to 1h."),
    ("churnmodel.spec.data", "target.*-required-.*The column that says who left."),
    ("churnmodel.spec.training", "One of roc_auc, .*expected_calibration_error. Defaults to roc_auc."),
    ("trainingrun.spec", "The ChurnModel."),
    ("driftmonitor.spec", "Cron \\(five fields, UTC\\)"),
]


@pytest.mark.parametrize(("path", "text"), EXPLAINED, ids=[path for path, _ in EXPLAINED])
def test_explain_tells_what_a_field_is_and_what_it_defaults_to(
    control_plane: ControlPlane, path: str, text: str
) -> None:
    told = " ".join(control_plane.kubectl("explain", path).split())
    assert re.search(text, told)
