"""The kinds, as the API server takes, completes, keeps and prints them."""

import json
import re
from typing import Any

import pytest
from support import kinds
from support.canary import FEW as FEW_CAME
from support.control_plane import ROOT, ControlPlane
from support.labels import LAST, RIGHT, labelled
from support.labels import left as has_come
from support.manifests import DATA, EVIDENCE, MONITOR, MONITORING, RUN, gate, manifest, resources, source
from support.shadow import left, shadow

from churn_operator.api.base import Model
from churn_operator.api.churnmodel import ChurnModelSpec, ChurnModelStatus, VersionState
from churn_operator.api.driftmonitor import DriftMonitorSpec
from churn_operator.api.trainingrun import RunPhase, TrainingRunSpec, TrainingRunStatus
from churn_operator.churnmodel.rollout import decide_rollout

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
        "monitored by its predictions": {
            "data": DATA,
            "monitoring": {"current": {"predictions": {"window": "999d", "minRows": 50}}},
        },
        "monitored as usual": {"data": DATA, "monitoring": {}},
        "that asks for approval": {"data": DATA, "approval": {"required": True, "timeout": "2d"}},
        "whose file approves a version": {
            "data": DATA,
            "approval": {"required": True, "approved": [{"version": "v3", "evidenceDigest": f"sha256:{kinds.HEX}"}]},
        },
        "that replays what was logged": {
            "data": DATA,
            "rollout": {"strategy": "Shadow", "shadow": {"requests": 100, "requestsPerSecond": 5, "minAgreement": 0.9}},
        },
        "that is autoscaled": {"data": DATA, "serving": {"replicas": 2, "autoscaling": {"maxReplicas": 2}}},
        "that is autoscaled by memory": {
            "data": DATA,
            "serving": {
                "autoscaling": {"maxReplicas": 100, "metric": "Memory", "targetUtilization": 100},
                "resources": {"requests": {"memory": "1Gi"}},
            },
        },
        "that is put beside the champion": {
            "data": DATA,
            "serving": {"gateway": {"parentRefs": [{"name": "public"}]}},
            "rollout": {"strategy": "ABTest", "abTest": {"weight": 30, "metric": "Latency", "sample": 500}},
        },
        "whose canaries are judged by labels": {
            "data": DATA | {"idColumn": "id", "pii": [{"column": "id", "action": "Hash"}]},
            "serving": {"gateway": {"parentRefs": [{"name": "public"}]}},
            "rollout": {
                "strategy": "Canary",
                "analysis": {"labels": {"source": {"uri": "s3://crm/left.csv"}, "interval": "1d", "required": True}},
            },
        },
        "with personal data": {
            "data": DATA | {"idColumn": "id", "pii": [{"column": "email"}, {"column": "id", "action": "Hash"}]}
        },
        "that follows its registry": {"data": DATA, "registry": {"follow": True}},
        "with a schedule of its own": {"data": DATA, "monitoring": MONITORING | {"schedule": "@every 10s"}},
    }.items()
] + [
    pytest.param("TrainingRun", "telco-7", RUN, id="a run by hand"),
    pytest.param("TrainingRun", "telco-7", RUN | {"requestedBy": "alice@example.com"}, id="a run somebody asked for"),
    pytest.param("TrainingRun", "telco-x-7", RUN | {"modelRef": {"name": "telco-x"}}, id="a run of a dashed model"),
    pytest.param("TrainingRun", "telco-7", RUN | {"trigger": "Drift", "evidence": EVIDENCE}, id="a run with evidence"),
    pytest.param(
        "TrainingRun",
        "telco-7",
        RUN | {"trigger": "RegistryMoved", "candidate": {"registryVersion": "7"}},
        id="a run of a registered version",
    ),
    pytest.param(
        "TrainingRun",
        "telco-7",
        RUN | {"candidate": {"registryVersion": "7"}},
        id="a run by hand of a registered version",
    ),
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


FOUND = labelled({"begun": LAST, "reason": "DataNotFound", "message": "away"}, has_come(RIGHT), counters=FEW_CAME)
JUDGED = {"shadow": {"minAgreement": 0.9}, "paused": True}
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
                "versions": [
                    kinds.make_version(2, log_url="http://collector"),
                    kinds.make_version(1, VersionState.Retired),
                ],
                "traffic": [{"version": "v2", "percent": 100}],
                "last_run": 2,
                "data": {"revision": "etag:1", "since": kinds.EARLIER, "probed_at": kinds.EARLIER, "problem": "none"},
                "retraining": {"trigger": "Drift", "held_by": "CoolingDown", "message": "wait"},
                "summary": {"champion": "v2", "traffic": "v2=100%", "metric": "roc_auc=0.84", "drift": "0.40"},
                "rollout": decide_rollout(shadow(left(), spec=JUDGED), kinds.NOW).progress,
                "command": {
                    "action": "Rollback",
                    "version": "v1",
                    "by": "alice",
                    "at": kinds.EARLIER,
                    "reason": "worse",
                },
                "links": {"endpoint": "http://telco", "experiment": "http://m/1", "registered_model": "http://m/2"},
            }
        ),
        id="a model's",
    ),
    pytest.param(
        "ChurnModel",
        "telco",
        {"data": DATA},
        ChurnModelStatus.model_validate({"rollout": decide_rollout(FOUND, kinds.NOW).progress}),
        id="a model's whose decisions are judged",
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
                "approval_terms": {"required": True, "timeout": "2d"},
                "evidence_digest": f"sha256:{kinds.HEX}",
                "awaiting_since": kinds.EARLIER,
                "approval": {
                    "decision": "Approved",
                    "by": "system:serviceaccount:team:pipeline",
                    "at": kinds.EARLIER,
                    "evidence_digest": f"sha256:{kinds.HEX}",
                    "comment": "looks good",
                },
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
            failures=1,
            problem="none",
            links={"report": "http://m/r"},
            checks=[
                {
                    "window": kinds.make_predictions(1, kinds.EARLIER, kinds.EARLIER),
                    "share": 0.4,
                    "at": kinds.EARLIER,
                }
            ],
            unjudged=kinds.make_predictions(2, kinds.EARLIER, kinds.EARLIER, 3),
            columns=[{"name": "probability", "kind": "Prediction", "score": 0.2, "drifted": True}],
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
        "chm": "NAME READY PHASE CHAMPION TRAFFIC ROLLOUT METRIC DRIFT AGE",
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
