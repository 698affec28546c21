"""A DriftMonitor that judges what clients asked, by the inference log."""

import json
from datetime import timedelta
from typing import Any

import pytest
from support.kinds import (
    NOW,
    make_drift_result,
    make_predictions,
    make_spec,
    make_version,
    monitor_spec,
    monitor_world,
)
from unit.driftmonitor.making import BEFORE, MISSING, TICK, job, ready, settled, step, within

from churn_operator.api.results import encode_result
from churn_operator.api.tasks import ColumnDrift, DriftResult
from churn_operator.core import clock
from churn_operator.core.job import Finished
from churn_operator.driftmonitor.build import build
from churn_operator.driftmonitor.decide import LOOK_AGAIN, Record, decide
from churn_operator.driftmonitor.observe import DriftMonitorWorld
from churn_operator.driftmonitor.policies import breaches

PREDICTIONS = monitor_spec(current={"predictions": {"window": "7d"}})
LOGGED = make_version(1, log_url="http://collector")


def logged_world(spec: Any = PREDICTIONS, **fields: Any) -> DriftMonitorWorld:
    return monitor_world(spec, **({"champion": LOGGED} | fields))


def test_a_window_of_predictions_ends_with_its_tick() -> None:
    world = logged_world()
    (desired,) = build(world, decide(world, NOW))
    task = json.loads(desired.object["spec"]["template"]["metadata"]["annotations"]["churnops.dev/task"])
    assert "source" not in task
    assert (task["namespace"], task["churnModel"], task["version"]) == ("team", "telco", "v1")
    assert task["predictions"] == {
        "uri": "s3://models/inference-log",
        "since": "2026-11-14T12:00:00Z",
        "until": "2026-11-21T12:00:00Z",
        "minRows": 500,
    }


def test_the_log_is_read_with_the_charts_credentials_wherever_the_model_is() -> None:
    world = logged_world(model=make_spec(storage={"secretRef": {"name": "mine"}}))
    (desired,) = build(world, decide(world, NOW))
    template = desired.object["spec"]["template"]
    assert template["spec"]["containers"][0]["envFrom"] == [
        {"secretRef": {"name": "mine"}},
        {"prefix": "LOG_", "secretRef": {"name": "churn-storage"}},
    ]


def test_a_champion_that_is_not_logged_cannot_be_judged_by_its_predictions() -> None:
    status, decision = step(monitor_world(PREDICTIONS))
    assert (decision.wake, ready(status), within(status)) == (LOOK_AGAIN, "Unknown NotLogged", "Unknown NoWindow")


def test_a_suspended_monitor_starts_no_check_and_keeps_what_it_found() -> None:
    world = monitor_world(monitor_spec(suspend=True), status=settled())
    status, decision = step(world)
    assert (decision.wake, build(world, decision)) == (None, ())
    assert (ready(status), within(status)) == ("Unknown Suspended", "False DriftDetected")


def predicted(number: int, since: int, until: int, share: float = 0.4, **fields: Any) -> Finished:
    """A result about the days from `since` to `until` of November."""
    window = make_predictions(number, f"2026-11-{since:02}T00:00:00Z", f"2026-11-{until:02}T00:00:00Z")
    answers = ColumnDrift(name="probability", kind="Prediction", score=0.31 if share > 0 else 0.06, drifted=share > 0)
    columns = [ColumnDrift(name="tenure", score=share, drifted=share > 0), answers]
    return Finished(encode_result(make_drift_result(window, share, **({"columns": columns} | fields))))


def test_too_few_predictions_are_no_verdict() -> None:
    few = make_predictions(1, "2026-11-14T12:00:00Z", "2026-11-21T12:00:00Z", 12)
    found = DriftResult(outcome="TooFew", window=few)
    status, decision = step(logged_world(status=settled(), jobs=(job(Finished(encode_result(found))),)))
    assert isinstance(decision, Record)
    assert (ready(status), within(status), status.phase) == (
        "True Monitoring", "Unknown TooFewPredictions", "TooFewPredictions",
    )  # fmt: skip
    message = next(c.message for c in status.conditions if c.type == "WithinDriftLimits")
    assert message == (
        "Whether customers changed is not known: there are 12 predictions from 2026-11-14T12:00:00Z to "
        "2026-11-21T12:00:00Z at s3://models/inference-log/namespace=team/model=telco/version=v1, and fewer than 500 "
        "are not judged."
    )
    assert (len(status.checks), status.share, status.last_revision) == (1, None, None)
    return_to = logged_world(status=status.to_dict(), jobs=())
    assert step(return_to)[0].unjudged == few


def test_silence_is_over_when_a_window_is_judged_again_or_is_the_one_that_was() -> None:
    few = make_predictions(1, "2026-11-14T12:00:00Z", "2026-11-21T12:00:00Z", 12)
    status = settled(unjudged=few)
    assert within(step(logged_world(status=status, jobs=(job(predicted(2, 14, 21, 0.0)),)))[0]) == "True WithinLimits"
    unchanged = predicted(2, 14, 21, outcome="Unchanged")
    assert within(step(logged_world(status=status, jobs=(job(unchanged),)))[0]) == "False DriftDetected"
    assert within(step(logged_world(status=status, jobs=(job(MISSING),)))[0]) == "Unknown TooFewPredictions"


def test_a_monitor_that_turned_to_a_table_says_nothing_of_predictions() -> None:
    few = make_predictions(1, "2026-11-14T12:00:00Z", "2026-11-21T12:00:00Z", 12)
    assert within(step(monitor_world(status=settled(TICK, unjudged=few)))[0]) == "False DriftDetected"


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.4, " The predictions moved by 0.31: at least 0.1, which is reported and no alarm by itself."),
        (0.0, "from 20% on it is an alarm. The predictions moved by 0.06: less than 0.1."),
    ],
)
def test_predictions_that_moved_are_told_beside_the_features(share: float, said: str) -> None:
    status, _ = step(logged_world(jobs=(job(predicted(1, 14, 21, share)),)))
    message = next(c.message for c in status.conditions if c.type == "WithinDriftLimits")
    assert message.endswith(said)
    assert "in the window of 4000 predictions from 2026-11-14T00:00:00Z to 2026-11-21T00:00:00Z at s3://" in message


@pytest.mark.parametrize(
    ("until", "alarms"),
    [
        pytest.param([8, 9, 10, 14], [], id="windows that overlap are one witness"),
        pytest.param([8, 15], [15], id="windows that do not are two"),
        pytest.param([8, 9, 14, 15, 16], [15, 16], id="and the days after find the two again"),
        pytest.param([8, 14, 16, 21, 22], [16, 21, 22], id="counted from the newest backwards"),
    ],
)
def test_persistence_counts_windows_that_do_not_overlap(until: list[int], alarms: list[int]) -> None:
    spec = monitor_spec(current={"predictions": {"window": "7d"}}, persistence={"breaches": 2, "of": 3})
    status, found = None, []
    for day in until:
        world = logged_world(spec, status=status, jobs=(job(predicted(day, day - 7, day)),))
        report_of_day, _ = step(world)
        status = report_of_day.to_dict() | {"lastScheduledAt": clock.stamp(BEFORE)}
        found += [day] if within(report_of_day) == "False DriftDetected" else []
    assert found == alarms


def test_ten_windows_that_do_not_overlap_are_kept_beside_the_newest() -> None:
    status = None
    for day in range(80):
        end = NOW + timedelta(days=day)
        window = make_predictions(day, clock.stamp(end - timedelta(days=7)), clock.stamp(end))
        result = Finished(encode_result(make_drift_result(window)))
        found, _ = step(logged_world(status=status, jobs=(job(result),)))
        status = found.to_dict() | {"lastScheduledAt": clock.stamp(BEFORE)}
    assert len(found.checks) == 11
    spec = monitor_spec(persistence={"breaches": 10, "of": 10})
    assert breaches(spec, found.checks) == 10
