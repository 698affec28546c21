"""What is done about a DriftMonitor, and what its status says."""

import json
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kinds import (
    NOW,
    make_check,
    make_drift_result,
    make_drift_status,
    make_predictions,
    make_spec,
    make_version,
    monitor_spec,
    monitor_world,
)

from churn_operator.api.driftmonitor import DriftMonitorStatus
from churn_operator.api.reasons import Reason
from churn_operator.api.results import encode_result
from churn_operator.api.tasks import ColumnDrift, DriftResult
from churn_operator.core import clock
from churn_operator.core.job import RETRIES, Absent, Broken, Finished, JobState, Running
from churn_operator.core.objects import Violation
from churn_operator.core.repeat import LONGEST_PAUSE, WORTH_REPEATING, pause_after
from churn_operator.driftmonitor.build import DEADLINE, build
from churn_operator.driftmonitor.decide import LOOK_AGAIN, Compare, Record, Rest, Wait, decide
from churn_operator.driftmonitor.observe import CheckJob, DriftMonitorWorld
from churn_operator.driftmonitor.policies import breaches
from churn_operator.driftmonitor.report import report
from churn_operator.driftmonitor.schedule import last_tick, next_tick

TICK = NOW
BEFORE = NOW - timedelta(minutes=10)
JOB = {"kind": "Job", "metadata": {"name": "telco-drift-v1-0"}}
MISSING = Broken(Violation("DataNotFound", "no file at s3://churn/current.parquet"))
AWAY = Broken(Violation("StorageUnavailable", "s3://churn: no answer"))
DAILY = monitor_spec(schedule="@daily")
MIDNIGHT, MORROW = NOW.replace(hour=0), NOW.replace(hour=0) + timedelta(days=1)


def job(state: JobState, *, tick: Any = TICK, version: str = "v1") -> CheckJob:
    return CheckJob("telco-drift-v1-0", version, tick, JOB, state)


def finished(*args: Any, **fields: Any) -> Finished:
    return Finished(encode_result(make_drift_result(*args, **fields)))


def settled(tick: Any = BEFORE, **fields: Any) -> dict[str, Any]:
    return make_drift_status(last_scheduled_at=clock.stamp(tick), **fields).to_dict()


def step(world: DriftMonitorWorld) -> tuple[DriftMonitorStatus, Any]:
    decision = decide(world, NOW)
    return report(world, decision, None, NOW), decision


def ready(status: DriftMonitorStatus) -> str:
    condition = next(c for c in status.conditions if c.type == "Ready")
    return f"{condition.status} {condition.reason}"


def within(status: DriftMonitorStatus) -> str:
    condition = next(c for c in status.conditions if c.type == "WithinDriftLimits")
    return f"{condition.status} {condition.reason}"


def told(status: DriftMonitorStatus) -> str:
    return next(c.message for c in status.conditions if c.type == "Ready")


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


def missed(failures: int = 1, at: datetime = NOW, **fields: Any) -> dict[str, Any]:
    """A status after so many checks, of midnight and since, that came to nothing, the next of which is at `at`."""
    return settled(MIDNIGHT, failures=failures, next_check_at=clock.stamp(at), **fields)


def test_a_check_outlives_a_neighbour_that_is_away_for_ten_minutes() -> None:
    """By the same pauses as a training's, and in each attempt a silent store is waited for three minutes."""
    (desired,) = build(world := monitor_world(), decide(world, NOW))
    spec = desired.object["spec"]
    assert spec["backoffLimit"] == RETRIES
    pauses = sum(10 * 2**number for number in range(RETRIES))
    assert spec["activeDeadlineSeconds"] == DEADLINE
    assert DEADLINE - pauses - RETRIES * 180 >= 1800


@pytest.mark.parametrize(
    ("before", "state", "failures", "coming"),
    [
        pytest.param({}, AWAY, 1, NOW + timedelta(minutes=1), id="the first time after a minute"),
        pytest.param(missed(1), AWAY, 2, NOW + timedelta(minutes=2), id="then after two"),
        pytest.param(missed(6), AWAY, 7, NOW + timedelta(hours=1), id="at most after an hour"),
        pytest.param(missed(900), AWAY, 901, NOW + timedelta(hours=1), id="for as long as it lasts"),
        pytest.param(missed(3, version="v0"), AWAY, 1, NOW + timedelta(minutes=1), id="anew for another champion"),
        pytest.param(missed(3), finished(2), 0, MORROW, id="until there is a result"),
        pytest.param(missed(3), MISSING, 0, MORROW, id="or it is the data's own fault"),
        pytest.param({}, Finished("{}"), 1, NOW + timedelta(minutes=1), id="what cannot be read is repeated too"),
    ],
)
def test_a_check_that_missed_a_neighbour_is_repeated_before_the_next_tick(
    before: dict[str, Any], state: JobState, failures: int, coming: datetime
) -> None:
    status, decision = step(monitor_world(DAILY, status=before, jobs=(job(state),)))
    assert (status.failures, status.next_check_at) == (failures, clock.stamp(coming))
    assert decision.wake == coming - NOW


@pytest.mark.parametrize("reason", list(Reason))
def test_a_check_is_repeated_early_only_for_what_says_nothing_about_the_data(reason: Reason) -> None:
    state = Broken(Violation(reason, "It gave no result."))
    status, _ = step(monitor_world(DAILY, jobs=(job(state),)))
    assert (status.next_check_at == clock.stamp(MORROW)) is (reason not in WORTH_REPEATING)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(missed(), Compare(NOW), id="its moment has come"),
        pytest.param(missed(at=NOW - timedelta(hours=3)), Compare(NOW - timedelta(hours=3)), id="or passed"),
        pytest.param(missed(at=NOW + timedelta(minutes=4)), Rest(timedelta(minutes=4)), id="or is to come"),
        pytest.param(missed(at=MORROW + timedelta(days=9)), Rest(MORROW - NOW), id="but never after the next tick"),
        pytest.param(missed(at=MIDNIGHT - timedelta(hours=3)), Rest(MORROW - NOW), id="nor before the last check"),
        pytest.param(settled(MIDNIGHT, failures=1), Rest(MORROW - NOW), id="a moment that is missing does no harm"),
        pytest.param(missed(0), Rest(MORROW - NOW), id="nor one at which nothing is to be repeated"),
        pytest.param(missed(version="v0"), Compare(MIDNIGHT), id="a new champion's first check is its tick's"),
    ],
)
def test_a_repetition_is_a_check_of_its_own_moment(status: dict[str, Any], expected: Compare | Rest) -> None:
    assert decide(monitor_world(DAILY, status=status), NOW) == expected


def test_a_repetition_is_another_job_and_the_same_after_a_restart() -> None:
    later = NOW + timedelta(seconds=50)
    names = set()
    for now in (NOW, later):
        (desired,) = build(world := monitor_world(DAILY, status=missed()), decide(world, now))
        names.add(desired.object["metadata"]["name"])
    assert names == {f"telco-drift-v1-{int(NOW.timestamp())}"}


def test_nothing_is_repeated_while_a_monitor_is_suspended() -> None:
    spec = monitor_spec(schedule="@daily", suspend=True)
    status, decision = step(world := monitor_world(spec, status=missed()))
    assert (build(world, decision), status.failures) == ((), 1)


@pytest.mark.parametrize("hours", [1, 30])
def test_a_clock_that_was_put_back_lets_nothing_be_repeated_before_what_ended(hours: int) -> None:
    tick = NOW + timedelta(hours=hours)
    status, decision = step(monitor_world(DAILY, jobs=(job(AWAY, tick=tick),)))
    assert status.next_check_at == clock.stamp(tick + timedelta(minutes=1))
    assert decision.wake == timedelta(hours=hours, minutes=1)


def test_who_is_away_is_told_with_the_time_since_when_and_when_it_is_tried_again() -> None:
    """Also while the repetition is under way, whose Job knows of its own attempts alone."""
    again, later = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)
    first, _ = step(monitor_world(DAILY, jobs=(job(AWAY),)))
    assert told(first) == (
        "Since 2026-11-21T12:00:00Z: The last check gave no result and is repeated at 2026-11-21T12:01:00Z: "
        "s3://churn: no answer"
    )
    attempt = Running(Violation("StorageUnavailable", f"Since {clock.stamp(later)}: no answer. Attempt 1 of 7"))
    said = [told(first)]
    for state in (Running(), attempt, Running(), AWAY):
        world = monitor_world(DAILY, status=first.to_dict(), jobs=(job(state, tick=again),))
        first = report(world, decide(world, later), None, later)
        said.append(told(first))
    assert all(message.startswith("Since 2026-11-21T12:00:00Z: ") for message in said)
    assert said[1] == said[0]
    assert said[2].endswith(": no answer. Attempt 1 of 7")
    assert said[4].partition(": ")[2] == (
        "The last check gave no result and is repeated at 2026-11-21T12:04:00Z: s3://churn: no answer"
    )


@given(
    st.sampled_from(["@daily", "@hourly", "@every 10m", "@every 7m", "30 5 * * *"]),
    st.lists(st.tuples(st.sampled_from([AWAY, AWAY, AWAY, MISSING, finished(2)]), st.integers(0, 3700)), min_size=2),
)
def test_no_tick_is_missed_and_none_but_an_outage_brings_a_check_in_between(
    schedule: str, checks: list[tuple[JobState, int]]
) -> None:
    """Each check lasts so many seconds; the pauses after those that missed a neighbour grow."""
    spec, status, now, history = monitor_spec(schedule=schedule), None, NOW, []
    for state, seconds in checks:
        opened = decide(monitor_world(spec, status=status), now)
        assert isinstance(opened, Compare)
        ended = now + timedelta(seconds=seconds)
        world = monitor_world(spec, status=status, jobs=(job(state, tick=opened.tick),))
        decision = decide(world, ended)
        assert isinstance(decision, Record)
        status = report(world, decision, None, ended).to_dict()
        history.append((opened.tick, ended, decision.failures))
        now = ended + decision.wake
    for (tick, ended, failures), (following, _, _) in pairwise(history):
        assert tick < following
        scheduled = max(last_tick(schedule, ended), next_tick(schedule, tick))
        assert following <= scheduled
        if not failures:
            assert following == scheduled
        elif following < scheduled:
            assert following - ended == min(timedelta(minutes=2 ** (failures - 1)), LONGEST_PAUSE)


def test_the_pause_grows_up_to_its_bound() -> None:
    pauses = [pause_after(failures) for failures in range(1, 40)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (timedelta(minutes=1), LONGEST_PAUSE)
    assert pause_after(40, timedelta(0)) == timedelta(0)
