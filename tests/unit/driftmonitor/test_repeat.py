"""A check that missed a neighbour is repeated, and no tick is missed for it."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kinds import (
    NOW,
    monitor_spec,
    monitor_world,
)
from unit.driftmonitor.making import AWAY, MISSING, finished, job, settled, step, told

from churn_operator.api.reasons import Reason
from churn_operator.core import clock
from churn_operator.core.job import RETRIES, Broken, Finished, JobState, Running
from churn_operator.core.objects import Violation
from churn_operator.core.repeat import LONGEST_PAUSE, WORTH_REPEATING, pause_after
from churn_operator.driftmonitor.build import DEADLINE, build
from churn_operator.driftmonitor.decide import Compare, Record, Rest, decide
from churn_operator.driftmonitor.report import report
from churn_operator.driftmonitor.schedule import last_tick, next_tick

DAILY = monitor_spec(schedule="@daily")
MIDNIGHT, MORROW = NOW.replace(hour=0), NOW.replace(hour=0) + timedelta(days=1)


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
