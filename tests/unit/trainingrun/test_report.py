"""What a TrainingRun's status says."""

from typing import Any

import pytest
from support.kinds import NOW, make_resolved, make_result, run_world

from churn_operator.api.results import encode_result
from churn_operator.api.tasks import Progress
from churn_operator.api.trainingrun import TrainingRunStatus
from churn_operator.core.job import Absent, Broken, Finished, Running
from churn_operator.core.kind import RunView
from churn_operator.core.objects import Violation
from churn_operator.trainingrun.decide import decide
from churn_operator.trainingrun.report import report

RESOLVED = {"resolved": make_resolved(2), "gates": [{"name": "quality", "metric": "roc_auc", "min": 0.8}]}
GOOD = Finished(encode_result(make_result(2)))
BAD = Finished(encode_result(make_result(2, metrics={"roc_auc": 0.5, "parity": 0.0})))
TRACKED = RunView("r1", "4", {})


def status_of(problem: Violation | None = None, **fields: Any) -> TrainingRunStatus:
    defaults: dict[str, Any] = {"job": Absent(), "status": RESOLVED}
    world = run_world(**(defaults | fields))
    return report(world, decide(world, NOW), problem, NOW)


@pytest.mark.parametrize(
    ("fields", "phase", "reason", "succeeded", "gates_passed"),
    [
        pytest.param({"status": {}}, "Pending", None, "Unknown", "Unknown", id="a new run is pending"),
        pytest.param({"status": {}, "model": None}, "Pending", "ModelNotFound", "Unknown", "Unknown", id="or told"),
        pytest.param({"job": Running()}, "Pending", None, "Unknown", "Unknown", id="pending until the Job reports"),
        pytest.param(
            {"job": Running(Violation("Unschedulable", "0/1 nodes"))},
            "Pending", "Unschedulable", "Unknown", "Unknown", id="says what keeps the pod from running",
        ),
        pytest.param(
            {"job": Running(), "progress": Progress(step="fit")},
            "Running", None, "Unknown", "Unknown", id="running while the Job fits",
        ),
        pytest.param(
            {"job": Running(), "progress": Progress(step="evaluate")},
            "Evaluating", None, "Unknown", "Unknown", id="evaluating when it evaluates",
        ),
        pytest.param(
            {"job": Running(), "progress": Progress(step="done")},
            "Evaluating", None, "Unknown", "Unknown", id="and until the verdict falls",
        ),
        pytest.param({"job": GOOD}, "Accepted", None, "True", "True", id="accepted with every gate passed"),
        pytest.param({"job": BAD}, "Rejected", "GateFailed", "True", "False", id="rejected with the gate's reason"),
        pytest.param(
            {"job": Broken(Violation("TargetMissing", "no column churn"), "version:2")},
            "Failed", "TargetMissing", "False", "Unknown", id="failed with the Job's reason",
        ),
    ],
)  # fmt: skip
def test_phase_reason_and_conditions_say_the_same(
    fields: dict[str, Any], phase: str, reason: str | None, succeeded: str, gates_passed: str
) -> None:
    status = status_of(**fields)
    assert (status.phase, status.reason) == (phase, reason)
    assert {c.type: c.status for c in status.conditions} == {
        "Succeeded": succeeded,
        "GatesPassed": gates_passed,
        "Approved": "True" if phase == "Accepted" else "Unknown",
    }


def test_what_stands_in_the_way_of_a_write_is_told() -> None:
    assert status_of(Violation("Refused", "quota exceeded")).reason == "Refused"
    assert status_of(Violation("Refused", "quota exceeded"), status={}, model=None).reason == "Refused"


def test_an_accepted_run_makes_the_version_of_its_number() -> None:
    status = status_of(job=GOOD)
    assert (status.version, status.metric, status.revision) == ("v2", "0.8400", "version:2")
    assert [verdict.verdict for verdict in status.verdicts] == ["Passed"]
    assert status.progress == Progress(percent=100, step="done")


def test_a_rejected_run_makes_none_and_tells_value_and_bound() -> None:
    status = status_of(job=BAD)
    refused = status.condition("GatesPassed")
    assert status.version is None
    assert refused is not None
    assert "roc_auc is 0.5 on 1409 held-out rows; at least 0.8 is asked for" in refused.message


def test_a_failed_run_remembers_the_state_of_the_data_it_read() -> None:
    status = status_of(job=Broken(Violation("OneClass", "only No"), "version:9"))
    assert (status.revision, status.result) == ("version:9", None)


def test_a_run_whose_job_said_nothing_settles_the_state_it_was_pinned_to() -> None:
    killed = Broken(Violation("OutOfMemory", "killed"))
    status = status_of(job=killed, status=RESOLVED | {"resolved": make_resolved(2, revision="version:7")})
    assert status.revision == "version:7"


def test_a_run_without_gates_says_so() -> None:
    status = status_of(job=GOOD, status=RESOLVED | {"gates": []})
    passed = status.condition("GatesPassed")
    assert passed is not None
    assert passed.message == "No gate is asked for."


def test_a_metric_that_was_not_measured_is_not_printed() -> None:
    result = Finished(encode_result(make_result(2, metrics={"parity": 0.0})))
    assert status_of(job=result).metric is None


@pytest.mark.parametrize(
    ("before", "seen", "printed"),
    [
        pytest.param(None, (37, "fit"), (30, "fit"), id="a tenth is printed"),
        pytest.param((30, "fit"), (39, "fit"), (30, "fit"), id="less than a tenth more changes nothing"),
        pytest.param((30, "fit"), (41, "fit"), (40, "fit"), id="a tenth more does"),
        pytest.param((30, "fit"), (38, "evaluate"), (30, "evaluate"), id="so does the next step"),
        pytest.param((30, "fit"), None, (30, "fit"), id="silence leaves what was printed"),
    ],
)
def test_progress_is_written_when_a_reader_would_notice(
    before: tuple[int, str] | None, seen: tuple[int, str] | None, printed: tuple[int, str]
) -> None:
    status = RESOLVED | ({"progress": {"percent": before[0], "step": before[1]}} if before else {})
    progress = Progress(percent=seen[0], step=seen[1], eta_seconds=9) if seen else None
    shown = status_of(status=status, job=Running(), progress=progress).progress
    assert shown is not None
    assert (shown.percent, shown.step) == printed


def test_the_run_links_to_mlflow() -> None:
    links = status_of(job=Running(), run=TRACKED).links
    assert links is not None
    assert links.run == "http://mlflow:5000/#/experiments/4/runs/r1"


def test_a_run_of_a_registered_version_does_not_say_that_it_trained_one() -> None:
    status = status_of(job=Finished(encode_result(make_result(2, registry_version="7"))), candidate="7")
    succeeded = status.condition("Succeeded")
    assert succeeded is not None
    assert succeeded.message == (
        "Version 7 of the registered model, LogisticRegression, was measured on 1409 held-out rows of "
        "s3://churn/telco.csv (version:2)."
    )
