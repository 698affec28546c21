"""What a ChurnModel's status says."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from support.kinds import (
    EARLIER,
    NOW,
    make_monitor,
    make_run,
    make_server,
    make_spec,
    make_version,
    model_world,
    serving_world,
)

from churn_operator.api.churnmodel import ChurnModelStatus, VersionState
from churn_operator.api.trainingrun import RunPhase
from churn_operator.churnmodel.decide import decide
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.churnmodel.report import report
from churn_operator.core import clock
from churn_operator.core.job import Finished
from churn_operator.core.objects import Violation

REFUSED = Violation("Refused", "quota exceeded")
ROLLING = make_version(2, VersionState.RollingOut, since=clock.stamp(NOW - timedelta(minutes=1)))
LATE = make_version(2, VersionState.RollingOut, since=clock.stamp(NOW - timedelta(minutes=11)))
RUNS = (make_run(1, RunPhase.Accepted), make_run(2, RunPhase.Accepted))
ASKED = {"type": "Approved", "status": "Unknown", "reason": "AwaitingApproval", "lastTransitionTime": EARLIER}
AWAITING = make_run(
    2, RunPhase.AwaitingApproval, conditions=[ASKED | {"message": "kubectl churn approve telco-2 -n team."}]
)


def status_of(world: ChurnModelWorld, problem: Violation | None = None) -> ChurnModelStatus:
    return report(world, decide(world, NOW), problem, NOW)


def said(world: ChurnModelWorld, type_: str, problem: Violation | None = None) -> str:
    condition = status_of(world, problem).condition(type_)
    assert condition is not None
    return f"{condition.status} {condition.reason}"


def rolling(*servers: Any, **fields: Any) -> ChurnModelWorld:
    return serving_world(
        **({"status": {"versions": [ROLLING, make_version(1)]}, "runs": RUNS, "servers": servers} | fields)
    )


def settling(seconds: int, status: str = "False", reason: str = "RollingOut") -> ChurnModelWorld:
    """Promoted so long ago, the Service points at it, and it does not answer there; Ready was this before."""
    ready = {"type": "Ready", "status": status, "reason": reason, "message": "", "last_transition_time": EARLIER}
    champion = make_version(1, since=clock.stamp(NOW - timedelta(seconds=seconds)))
    return serving_world(status={"versions": [champion], "conditions": [ready]}, servers=(make_server(1, ok=False),))


def first(*servers: Any) -> ChurnModelWorld:
    return model_world(status={"versions": [ROLLING]}, runs=RUNS, servers=servers)


@pytest.mark.parametrize(
    ("world", "problem", "expected"),
    [
        pytest.param(serving_world(), None, "True ChampionServing", id="the champion answers"),
        pytest.param(
            serving_world(servers=(make_server(1, ok=False),)), None, "False ChampionNotAnswering", id="it does not"
        ),
        pytest.param(
            serving_world(servers=(make_server(1, ready=False, ok=None),)), None,
            "False ChampionNotAnswering", id="it was not asked",
        ),
        pytest.param(serving_world(servers=()), None, "False ChampionNotAnswering", id="its server is gone"),
        pytest.param(
            serving_world(servers=(make_server(1, ready=False),)), None,
            "True ChampionServing", id="a new pod that fails does not matter while an old one answers",
        ),
        pytest.param(serving_world(target=None), None, "False RollingOut", id="no Service points at it yet"),
        pytest.param(
            settling(5), None, "False RollingOut", id="the Service does not lead to it everywhere yet"
        ),
        pytest.param(settling(20), None, "False ChampionNotAnswering", id="nor after a while"),
        pytest.param(settling(-3600), None, "False ChampionNotAnswering", id="nor when the clock was put back"),
        pytest.param(
            settling(5, reason="ChampionNotAnswering"), None, "False ChampionNotAnswering", id="nor does it any more"
        ),
        pytest.param(
            settling(5, status="True", reason="ChampionServing"), None, "True ChampionServing",
            id="the one before answers while the Service moves",
        ),
        pytest.param(
            settling(20, status="True", reason="ChampionServing"), None, "False ChampionNotAnswering",
            id="but not for ever",
        ),
        pytest.param(serving_world(), REFUSED, "True ChampionServing", id="a refused write does not stop it"),
        pytest.param(serving_world(target=None), REFUSED, "False Refused", id="unless it is the Service's"),
        pytest.param(serving_world(kserve_missing=True), None, "False KServeMissing", id="KServe was removed"),
        pytest.param(model_world(kserve_missing=True), None, "False KServeMissing", id="KServe was never there"),
        pytest.param(model_world(), None, "False NoChampion", id="nothing was trained yet"),
        pytest.param(model_world(), REFUSED, "False Refused", id="the first run is refused"),
        pytest.param(first(), None, "False RollingOut", id="the first version is being made"),
        pytest.param(first(make_server(2, ready=False, ok=None)), None, "False RollingOut", id="or starting"),
        pytest.param(rolling(make_server(1)), None, "True ChampionServing", id="whatever a challenger does"),
    ],
)  # fmt: skip
def test_ready_means_that_the_champion_answers(world: Any, problem: Violation | None, expected: str) -> None:
    assert said(world, "Ready", problem) == expected


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(model_world(), "Unknown TrainingInProgress", id="a run is opened"),
        pytest.param(model_world(make_spec(suspend=True)), "Unknown Suspended", id="none may be"),
        pytest.param(model_world(tracking_problem="timeout"), "Unknown TrackingUnavailable", id="none can be"),
        pytest.param(serving_world(runs=()), "Unknown Waiting", id="the runs were deleted"),
        pytest.param(serving_world(tracking_problem="timeout"), "Unknown TrackingUnavailable", id="MLflow is away"),
        pytest.param(serving_world(), "True RunAccepted", id="the last was accepted"),
        pytest.param(serving_world(runs=(make_run(2, RunPhase.Rejected),)), "False RunRejected", id="rejected"),
        pytest.param(serving_world(runs=(make_run(2, RunPhase.Failed),)), "False RunFailed", id="failed"),
        pytest.param(
            serving_world(runs=(make_run(2, RunPhase.Running),)), "Unknown TrainingInProgress", id="it is under way"
        ),
        pytest.param(serving_world(runs=(AWAITING,)), "Unknown AwaitingApproval", id="a person is to approve it"),
        pytest.param(
            serving_world(runs=(make_run(2, RunPhase.Rejected, reason="Rejected"),)),
            "False RunNotApproved",
            id="a person rejected it",
        ),
        pytest.param(serving_world(runs=(make_run(2, RunPhase.Expired),)), "False RunNotApproved", id="nobody came"),
        pytest.param(serving_world(runs=(make_run(2, RunPhase.Superseded),)), "False RunNotApproved", id="outdated"),
    ],
)
def test_trained_tells_what_the_last_run_came_to(world: Any, expected: str) -> None:
    assert said(world, "Trained") == expected


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param((AWAITING,), id="is the last"),
        pytest.param((AWAITING, make_run(3, RunPhase.Running)), id="has a newer one beside it"),
        pytest.param((AWAITING, make_run(3, RunPhase.Rejected)), id="outlives a newer one"),
    ],
)
def test_a_model_tells_of_the_run_that_awaits_approval_when_it(runs: Any) -> None:
    trained = status_of(serving_world(runs=runs)).condition("Trained")
    assert trained is not None
    assert trained.message.count("awaits approval: kubectl churn approve telco-2") == 1


def test_the_look_after_a_run_was_opened_has_nothing_new_to_say() -> None:
    """Each status write wakes others and is one more line of history."""
    reason = "No version has been accepted yet."
    opened = status_of(model_world())
    run = make_run(1, RunPhase.Pending)
    run = replace(run, spec=run.spec.model_copy(update={"reason": reason}))
    assert opened == status_of(model_world(status=opened.to_dict(), runs=(run,)))
    trained = opened.condition("Trained")
    assert trained is not None
    assert trained.message == f"TrainingRun telco-1 (Initial) is under way: {reason}"


def test_a_run_that_could_not_be_opened_is_not_under_way_and_uses_up_no_number() -> None:
    status = status_of(model_world(), REFUSED)
    trained = status.condition("Trained")
    assert trained is not None
    assert trained.message.startswith("TrainingRun telco-1 (Initial) is to be opened: ")
    assert status.last_run == 0


def test_a_retraining_that_waits_is_told_with_its_reason() -> None:
    status = status_of(serving_world(monitors=(make_monitor(),)))
    trained, within = status.condition("Trained"), status.condition("WithinDriftLimits")
    assert status.retraining is not None
    assert (status.retraining.trigger, status.retraining.held_by) == ("Drift", "ProbingData")
    assert trained is not None
    assert trained.message.endswith("Another run (Drift) waits: The state of the source is being looked up.")
    assert within is not None
    assert within.message.endswith("Retraining waits: The state of the source is being looked up.")


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(model_world(), "Unknown NothingToRollOut", id="there is no version"),
        pytest.param(rolling(), "Unknown RollingOut", id="one is starting"),
        pytest.param(rolling(make_server(2)), "True RolloutComplete", id="it answered"),
        pytest.param(
            rolling(make_server(2, ok=False), status={"versions": [LATE, make_version(1)]}),
            "False RolledBack", id="it was given up",
        ),
    ],
)  # fmt: skip
def test_rollout_healthy_tells_whether_traffic_is_where_it_should_be(world: Any, expected: str) -> None:
    assert said(world, "RolloutHealthy") == expected


@pytest.mark.parametrize(
    ("monitors", "expected"),
    [
        pytest.param((), "Unknown NotMonitored", id="nobody looks"),
        pytest.param((make_monitor(version="v0"),), "Unknown NoWindow", id="nobody looked at this champion"),
        pytest.param((make_monitor(within="True"),), "True WithinLimits", id="all is well"),
        pytest.param((make_monitor(within="True"), make_monitor()), "False DriftDetected", id="bad news goes first"),
    ],
)
def test_the_monitors_verdict_is_repeated(monitors: Any, expected: str) -> None:
    assert said(serving_world(monitors=monitors), "WithinDriftLimits") == expected


@pytest.mark.parametrize(
    ("world", "phase"),
    [
        pytest.param(model_world(), "Training", id="training first"),
        pytest.param(model_world(runs=(make_run(1, RunPhase.Running),)), "Training", id="while the run is under way"),
        pytest.param(model_world(runs=(AWAITING,)), "AwaitingApproval", id="while a first run awaits approval"),
        pytest.param(serving_world(runs=(AWAITING,)), "Serving", id="a champion serves while another awaits approval"),
        pytest.param(first(), "RollingOut", id="then rolling out"),
        pytest.param(serving_world(), "Serving", id="then serving"),
        pytest.param(serving_world(servers=()), "Degraded", id="degraded when it does not answer"),
        pytest.param(serving_world(make_spec(suspend=True)), "Suspended", id="suspended when asked to be"),
        pytest.param(model_world(tracking_problem="timeout"), "Pending", id="pending when nothing can start"),
        pytest.param(
            model_world(runs=(make_run(1, RunPhase.Failed, reason="OneClass"),)), "Failed", id="failed without a model"
        ),
        pytest.param(
            serving_world(runs=(make_run(1, RunPhase.Accepted), make_run(2, RunPhase.Failed))),
            "Serving",
            id="a failed challenger does not touch what serves",
        ),
    ],
)
def test_the_phase_is_one_word(world: Any, phase: str) -> None:
    assert status_of(world).phase == phase


def test_traffic_is_what_was_read_back_not_what_is_wanted() -> None:
    status = status_of(rolling(make_server(1), make_server(2)))
    assert [(share.version, share.percent) for share in status.traffic] == [("v1", 100)]
    assert (status.summary.champion, status.summary.traffic) == ("v2", "v1=100%")
    ready = status.condition("Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "RollingOut")


def test_the_columns_show_metric_and_drift() -> None:
    summary = status_of(serving_world(monitors=(make_monitor(), make_monitor(share="0.10")))).summary
    assert (summary.metric, summary.drift) == ("roc_auc=0.8400", "0.40")


def test_links_open_from_the_desk() -> None:
    settings = serving_world().settings.model_copy(update={"tracking_ui": "https://mlflow.example"})
    links = status_of(serving_world(settings=settings)).links
    assert links is not None
    assert links.endpoint == "http://telco.team.svc/v1/models/telco:predict"
    assert links.registered_model == "https://mlflow.example/#/models/team.telco"


@pytest.mark.parametrize(
    ("last", "probe", "expected"),
    [
        pytest.param(None, None, None, id="nothing was probed"),
        pytest.param("version:1", None, ("version:1", "2026-11-21T09:00:00Z"), id="the last answer stays"),
        pytest.param("version:1", "version:1", ("version:1", "2026-11-21T09:00:00Z"), id="so does its time"),
        pytest.param(
            "version:1", "version:2", ("version:2", "2026-11-21T12:00:00Z"), id="until another state is found"
        ),
    ],
)
def test_the_state_of_the_source_is_written_when_it_changes(
    last: str | None, probe: str | None, expected: tuple[str, str] | None
) -> None:
    status: dict[str, Any] = {"versions": [make_version(1)]}
    if last is not None:
        status["data"] = {"revision": last, "since": "2026-11-21T09:00:00Z"}
    fields: dict[str, Any] = {"probe": Finished(f'{{"outcome": "Probed", "revision": "{probe}"}}')} if probe else {}
    data = status_of(serving_world(status=status, **fields)).data
    assert (data and (data.revision, data.since)) == expected


def test_a_second_look_at_the_same_world_reports_the_same() -> None:
    world = serving_world(monitors=(make_monitor(within="True"),))
    once = status_of(world)
    again = report(
        serving_world(status=once.to_dict(), monitors=(make_monitor(within="True"),)),
        decide(world, NOW),
        None,
        NOW + timedelta(hours=1),
    )
    assert again == once


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        pytest.param(REFUSED, "False Refused", id="a refused write is told"),
        pytest.param(Violation("TrackingUnavailable", "timeout"), "True RolloutComplete", id="serving needs no MLflow"),
    ],
)
def test_what_stands_in_the_way_of_a_rollout(problem: Violation, expected: str) -> None:
    assert said(serving_world(), "RolloutHealthy", problem) == expected
