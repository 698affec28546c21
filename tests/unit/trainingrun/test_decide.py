"""What is done about a TrainingRun."""

import json
from datetime import timedelta
from typing import Any

import pytest
from support.kinds import NOW, make_model_view, make_resolved, make_result, make_version, run_world

from churn_operator.api.churnmodel import VersionState
from churn_operator.api.results import encode_result
from churn_operator.api.tasks import Candidate
from churn_operator.core import clock
from churn_operator.core.job import RETRIES, Absent, Broken, Finished, Running
from churn_operator.core.objects import Violation
from churn_operator.trainingrun.build import build
from churn_operator.trainingrun.decide import (
    JOB_KEPT,
    Accept,
    Fail,
    Reject,
    Resolve,
    Rest,
    Train,
    Wait,
    decide,
    resolve,
)
from churn_operator.trainingrun.report import report

RESOLVED = {"resolved": make_resolved(2), "gates": [{"name": "quality", "metric": "roc_auc", "min": 0.8}]}
GOOD = Finished(encode_result(make_result(2)))
BAD = Finished(encode_result(make_result(2, metrics={"roc_auc": 0.5, "parity": 0.0})))
OOM = Broken(Violation("OutOfMemory", "killed"), revision="version:2")
SERVES_V3 = make_model_view({"versions": [make_version(3)], "last_run": 4})
PULL = Running(Violation("ImagePullFailed", "no such image"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, Resolve, id="a new run is first resolved"),
        pytest.param({"model": None}, Wait, id="a run without its model waits"),
        pytest.param({"tracking_problem": "timeout", "job": Absent()}, Wait, id="a run waits for MLflow to start"),
        pytest.param({"status": RESOLVED}, Train, id="a resolved run gets its Job"),
        pytest.param({"status": RESOLVED, "job": Running(), "tracking_problem": "x"}, Train, id="but not once it runs"),
        pytest.param({"status": RESOLVED, "job": GOOD}, Accept, id="a challenger that passes is accepted"),
        pytest.param({"status": RESOLVED, "job": BAD}, Reject, id="a challenger that does not is rejected"),
        pytest.param({"job": Absent(), "model": SERVES_V3}, Fail, id="a run that would never serve is not begun"),
        pytest.param({"status": RESOLVED, "job": OOM}, Fail, id="a Job that gave up fails the run"),
        pytest.param({"status": RESOLVED, "job": Finished("{")}, Fail, id="so does a result that cannot be read"),
        pytest.param({"status": RESOLVED, "job": Finished("zlib:!")}, Fail, id="or unpacked"),
        pytest.param({"status": {"finished_at": clock.stamp(NOW)}}, Rest, id="a finished run rests"),
    ],
)
def test_each_state_of_a_run_has_one_decision(fields: dict[str, Any], expected: type) -> None:
    fields = {"job": Absent()} | fields
    assert isinstance(decide(run_world(**fields), NOW), expected)


def test_a_run_outlives_a_neighbour_that_is_away_for_ten_minutes() -> None:
    """By Kubernetes' pauses alone, of 10 s and then twice as long each time, and at most ten minutes."""
    (job,) = build(world := run_world(status=RESOLVED, job=Absent()), decide(world, NOW))
    limit = job.object["spec"]["backoffLimit"]
    assert limit == RETRIES
    assert sum(min(10 * 2**number, 600) for number in range(limit)) > 600


def test_a_run_between_two_attempts_says_who_is_away() -> None:
    away = Violation("StorageUnavailable", "Since noon: no answer.")
    world = run_world(status=RESOLVED, job=Running(away, began=True))
    status = report(world, decide(world, NOW), None, NOW)
    condition = status.condition("Succeeded")
    assert condition is not None
    assert (condition.status, condition.reason, condition.message) == ("Unknown", away.reason, away.message)
    assert (status.phase, status.reason) == ("Pending", away.reason)


@pytest.mark.parametrize(
    ("taken", "pause"),
    [
        pytest.param(timedelta(seconds=10), 2, id="every two seconds at first"),
        pytest.param(timedelta(minutes=10), 30, id="a twentieth of what it took"),
        pytest.param(timedelta(hours=10), 60, id="once a minute at least"),
    ],
)
def test_the_progress_of_a_run_is_looked_at(taken: timedelta, pause: int) -> None:
    resolved = make_resolved(2).model_copy(update={"at": clock.stamp(NOW - taken)})
    world = run_world(RESOLVED | {"resolved": resolved}, job=Running(began=True))
    assert decide(world, NOW).wake == timedelta(seconds=pause)


def test_a_run_whose_job_has_not_begun_is_left_alone_until_an_event_tells() -> None:
    assert decide(run_world(RESOLVED, job=Running()), NOW).wake == timedelta(minutes=1)


@pytest.mark.parametrize("revision", ["version:7", None], ids=["the state it names", "or the one its Job finds"])
def test_a_run_reads(revision: str | None) -> None:
    """Not what its model last heard of: that may be older, or not yet written."""
    model = make_model_view({"data": {"revision": "version:6", "since": clock.stamp(NOW)}})
    world = run_world(job=Absent(), model=model, revision=revision)
    assert resolve(world, model, NOW).task.revision == revision


def test_a_run_is_resolved_with_the_champion_and_the_comparisons_its_gates_ask_for() -> None:
    model = make_model_view(
        {"versions": [make_version(3, VersionState.RollingOut), make_version(1)]},
        tracking={"uri": "http://other:5000", "experiment": "mine"},
        storage={"uri": "s3://elsewhere"},
    )
    task = resolve(run_world(job=Absent(), model=model), model, NOW).task
    assert task.champion is not None
    assert task.champion.version == "v1"
    assert [(c.metric, c.confidence) for c in task.comparisons] == [("roc_auc", 0.95)]
    assert (task.tracking_uri, task.experiment, task.storage_uri) == ("http://other:5000", "mine", "s3://elsewhere")
    assert (task.owner, task.registered_model) == ("cluster-1/team/telco", "team.telco")


def test_a_run_of_a_registered_version_hands_it_to_the_job() -> None:
    task = resolve(run_world(job=Absent(), candidate="7"), make_model_view(), NOW).task
    assert (task.candidate, task.trigger) == (Candidate(registry_version="7"), "RegistryMoved")
    assert resolve(run_world(job=Absent()), make_model_view(), NOW).task.candidate is None


def test_the_job_carries_the_frozen_task_and_no_token() -> None:
    world = run_world(RESOLVED, job=Absent())
    (desired,) = build(world, decide(world, NOW))
    template = desired.object["spec"]["template"]
    assert desired.once
    assert json.loads(template["metadata"]["annotations"]["churnops.dev/task"]) == make_resolved(2).task.to_dict()
    assert template["spec"]["automountServiceAccountToken"] is False
    assert desired.object["metadata"]["name"] == "telco-2-train"


def test_the_storage_secret_of_the_model_replaces_the_charts() -> None:
    world = run_world(RESOLVED, job=Absent(), model=make_model_view(storage={"secretRef": {"name": "mine"}}))
    (desired,) = build(world, decide(world, NOW))
    assert desired.object["spec"]["template"]["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "mine"}}]


JOB = {"kind": "Job", "metadata": {"name": "telco-2-train"}}


@pytest.mark.parametrize(
    ("age", "kept"),
    [
        pytest.param(timedelta(hours=1), True, id="the Job of a verdict stays for its logs"),
        pytest.param(JOB_KEPT, False, id="and goes when nobody looked for a day"),
    ],
)
def test_a_finished_job_stays_for_a_while(age: timedelta, *, kept: bool) -> None:
    world = run_world({"finished_at": clock.stamp(NOW - age)}, job=Absent(), children=(JOB,))
    decision = decide(world, NOW)
    assert bool(build(world, decision)) is kept
    assert (decision.wake is not None) is kept
    assert report(world, decision, None, NOW) == world.status


@pytest.mark.parametrize("job", [GOOD, BAD, OOM], ids=["accepted", "rejected", "failed"])
def test_the_job_stays_when_the_verdict_falls(job: Any) -> None:
    world = run_world(RESOLVED, job=job, children=(JOB,))
    assert [d.object for d in build(world, decide(world, NOW))] == [JOB]


def test_nothing_is_made_before_the_run_is_resolved() -> None:
    world = run_world(job=Absent())
    assert build(world, decide(world, NOW)) == ()
