"""What is done about a DriftMonitor, and what its status says."""

import json
from datetime import timedelta
from typing import Any

import pytest
from support.kinds import (
    NOW,
    make_check,
    make_spec,
    make_version,
    monitor_spec,
    monitor_world,
)
from unit.driftmonitor.making import BEFORE, JOB, MISSING, TICK, finished, job, ready, settled, step, within

from churn_operator.core.job import Absent, Finished, Running
from churn_operator.core.objects import Violation
from churn_operator.driftmonitor.build import build
from churn_operator.driftmonitor.decide import Compare, Record, Rest, Wait, decide
from churn_operator.driftmonitor.observe import DriftMonitorWorld
from churn_operator.driftmonitor.report import report


@pytest.mark.parametrize(
    ("world", "expected", "said"),
    [
        pytest.param(monitor_world(model=None), Wait, "Unknown ModelNotFound", id="a monitor without a model waits"),
        pytest.param(monitor_world(champion=None), Wait, "Unknown NoChampion", id="or without a champion"),
        pytest.param(
            monitor_world(monitor_spec(schedule="0 0 31 2 *")), Wait, "Unknown ScheduleInvalid", id="or without a tick"
        ),
        pytest.param(monitor_world(), Compare, "Unknown Waiting", id="a new champion is checked at once"),
        pytest.param(
            monitor_world(status=settled(version="v0", tick=TICK)), Compare, "Unknown Waiting", id="so is its successor"
        ),
        pytest.param(monitor_world(status=settled()), Compare, "Unknown Waiting", id="a tick that has come is due"),
        pytest.param(monitor_world(status=settled(TICK)), Rest, "Unknown Waiting", id="one that was recorded is not"),
        pytest.param(
            monitor_world(status=settled(), jobs=(job(Running()),)), Compare, "Unknown Waiting", id="one under way"
        ),
        pytest.param(
            monitor_world(status=settled(), jobs=(job(Running(Violation("ImagePullFailed", "no such image"))),)),
            Compare, "False ImagePullFailed", id="and says what it lacks",
        ),
        pytest.param(
            monitor_world(status=settled(), jobs=(job(Absent(), tick=BEFORE + timedelta(minutes=5)),)),
            Compare, "Unknown Waiting", id="a check that was deleted is repeated",
        ),
        pytest.param(
            monitor_world(status=settled(), jobs=(job(finished(2)),)), Record, "True Monitoring", id="its end"
        ),
        pytest.param(
            monitor_world(status=settled(), jobs=(job(MISSING),)), Record, "False DataNotFound", id="or failure"
        ),
        pytest.param(
            monitor_world(status=settled(), jobs=(job(Finished("{}")),)),
            Record, "False ResultUnreadable", id="or with one that cannot be read",
        ),
        pytest.param(
            monitor_world(jobs=(job(finished(2), version="v0"),)), Compare, "Unknown Waiting",
            id="what a former champion's check found is no news",
        ),
    ],
)  # fmt: skip
def test_each_state_of_a_monitor_has_one_decision(world: DriftMonitorWorld, expected: type, said: str) -> None:
    status, decision = step(world)
    assert isinstance(decision, expected)
    assert ready(status) == said


def test_a_check_is_told_what_to_compare() -> None:
    world = monitor_world(status=settled(last_revision="version:w1"))
    (desired,) = build(world, decide(world, NOW))
    template = desired.object["spec"]["template"]
    task = json.loads(template["metadata"]["annotations"]["churnops.dev/task"])
    assert desired.once
    assert desired.object["metadata"]["name"] == f"telco-drift-v1-{int(TICK.timestamp())}"
    assert (task["version"], task["lastRevision"], task["experiment"]) == ("v1", "version:w1", "team.telco")


def test_a_new_champion_is_compared_with_the_window_its_predecessor_saw() -> None:
    world = monitor_world(
        status=settled(version="v0", last_revision="version:w1"),
        model=make_spec(storage={"secretRef": {"name": "mine"}}),
    )
    (desired,) = build(world, decide(world, NOW))
    task = json.loads(desired.object["spec"]["template"]["metadata"]["annotations"]["churnops.dev/task"])
    assert "lastRevision" not in task
    assert desired.object["spec"]["template"]["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "mine"}}]


@pytest.mark.parametrize(
    ("world", "kept"),
    [
        pytest.param(monitor_world(status=settled(), jobs=(job(finished(2)),)), [JOB], id="while it is recorded"),
        pytest.param(monitor_world(status=settled(TICK), jobs=(job(finished(2)),)), [JOB], id="and for its logs"),
        pytest.param(monitor_world(status=settled(TICK)), [], id="where there is one"),
        pytest.param(monitor_world(model=None), [], id="and a model"),
    ],
)
def test_the_last_job_stays_until_the_next(world: DriftMonitorWorld, kept: list[Any]) -> None:
    assert [desired.object for desired in build(world, decide(world, NOW))] == kept


def test_a_result_is_reported_with_its_window_columns_and_report() -> None:
    status, _ = step(monitor_world(jobs=(job(finished(2, 0.4)),)))
    assert (status.version, status.share, status.last_revision) == ("v1", "0.40", "version:w2")
    assert (status.last_scheduled_at, status.next_check_at) == ("2026-11-21T12:00:00Z", "2026-11-21T12:10:00Z")
    assert status.links is not None
    assert status.links.report == "http://mlflow:5000/#/experiments/1/runs/r9/artifacts/drift.html"
    message = next(c.message for c in status.conditions if c.type == "WithinDriftLimits")
    assert message == (
        "40% of the features drifted in the window of 4000 rows at s3://churn/current.parquet (version:w2); "
        "from 20% on it is an alarm. Drifted: tenure (0.40); from 0.1 on a column counts as drifted."
    )
    assert status.phase == "DriftDetected"


def test_a_result_without_a_report_has_no_link() -> None:
    assert step(monitor_world(jobs=(job(finished(2, report=None)),)))[0].links is None


def test_an_unchanged_window_adds_nothing() -> None:
    unchanged = finished(1, outcome="Unchanged", columns=())
    status, _ = step(monitor_world(status=settled(), jobs=(job(unchanged),)))
    assert [check.window.revision for check in status.checks] == ["version:w1"]
    assert status.columns[0].name == "tenure"
    assert status.last_check_at == "2026-11-21T12:00:00Z"


def test_the_same_window_compared_again_is_no_second_breach() -> None:
    status, _ = step(monitor_world(status=settled(), jobs=(job(finished(1)),)))
    assert len(status.checks) == 1


def test_a_check_without_a_result_leaves_the_last_verdict() -> None:
    status, _ = step(monitor_world(status=settled(), jobs=(job(MISSING),)))
    assert within(status) == "False DriftDetected"
    assert status.problem == "no file at s3://churn/current.parquet"
    assert status.phase == "DataNotFound"


def test_a_first_check_without_a_result_has_no_verdict() -> None:
    status, _ = step(monitor_world(jobs=(job(MISSING),)))
    assert (within(status), status.share) == ("Unknown NoWindow", None)


def test_a_promotion_starts_the_windows_anew() -> None:
    status, _ = step(monitor_world(status=settled(version="v1"), champion=make_version(2)))
    assert (status.version, status.checks, within(status)) == ("v2", (), "Unknown NoWindow")


def test_a_check_that_cannot_start_is_overtaken_by_the_next_tick() -> None:
    stuck = Running(Violation("ImagePullFailed", "no such image"))
    world = monitor_world(status=settled(BEFORE - timedelta(minutes=10)), jobs=(job(stuck, tick=BEFORE),))
    decision = decide(world, NOW)
    assert isinstance(decision, Compare)
    assert decision.tick == TICK
    (desired,) = build(world, decision)
    assert desired.object["metadata"]["name"].endswith(str(int(TICK.timestamp())))


def test_what_kept_the_first_check_from_starting_is_told_until_one_ends() -> None:
    stuck, _ = step(monitor_world(jobs=(job(Running(Violation("ImagePullFailed", "no such image"))),)))
    again, _ = step(monitor_world(status=stuck.to_dict(), jobs=(job(Running()),)))
    assert ready(stuck) == "False ImagePullFailed"
    assert again == stuck


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        pytest.param([0.1], "True WithinLimits", id="a quiet window is within limits"),
        pytest.param([0.2], "True DriftSuspected", id="one at the bound is suspected"),
        pytest.param([0.2, 0.1, 0.3], "False DriftDetected", id="two of three are an alarm"),
        pytest.param([0.1, 0.3, 0.3], "False DriftDetected", id="even if the last one is quiet"),
        pytest.param([0.2, 0.1, 0.1, 0.3], "True DriftSuspected", id="a fourth does not count"),
    ],
)
def test_persistence_asks_for_several_windows(shares: list[float], expected: str) -> None:
    spec = monitor_spec(persistence={"breaches": 2, "of": 3})
    checks = [make_check(10 - n, share) for n, share in enumerate(shares[1:])]
    world = monitor_world(spec, status=settled(checks=checks), jobs=(job(finished(11, shares[0])),))
    assert within(step(world)[0]) == expected


def test_a_resting_monitor_repeats_what_it_said() -> None:
    first, _ = step(monitor_world(jobs=(job(finished(2)),)))
    again, decision = step(monitor_world(status=first.to_dict(), jobs=(job(finished(2)),)))
    assert isinstance(decision, Rest)
    assert decision.wake == timedelta(minutes=10)
    assert again == first


@pytest.mark.parametrize(
    ("tick", "wake"),
    [
        pytest.param(TICK, timedelta(minutes=10), id="the next tick"),
        pytest.param(BEFORE, timedelta(0), id="at once when a tick passed meanwhile"),
    ],
)
def test_after_a_check_comes_the_next_tick(tick: Any, wake: timedelta) -> None:
    _, decision = step(monitor_world(jobs=(job(finished(2), tick=tick),)))
    assert decision.wake == wake


def test_what_stands_in_the_way_of_a_write_is_told() -> None:
    world = monitor_world()
    status = report(world, decide(world, NOW), Violation("Refused", "quota exceeded"), NOW)
    assert ready(status) == "False Refused"


def test_a_window_without_a_drifted_column_names_none() -> None:
    status, _ = step(monitor_world(jobs=(job(finished(2, 0.0, columns=())),)))
    message = next(c.message for c in status.conditions if c.type == "WithinDriftLimits")
    assert "Drifted:" not in message
