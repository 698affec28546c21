"""Ticks of a schedule."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_operator.driftmonitor.schedule import last_tick, next_tick

SATURDAY = datetime(2026, 11, 21, 12, 0, 30, 500, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "last", "coming"),
    [
        pytest.param("@every 10s", "2026-11-21T12:00:30", "2026-11-21T12:00:40", id="every ten seconds"),
        pytest.param("@every 1d", "2026-11-21T00:00:00", "2026-11-22T00:00:00", id="every day, from midnight"),
        pytest.param("@hourly", "2026-11-21T12:00:00", "2026-11-21T13:00:00", id="hourly"),
        pytest.param("@daily", "2026-11-21T00:00:00", "2026-11-22T00:00:00", id="daily"),
        pytest.param("@weekly", "2026-11-15T00:00:00", "2026-11-22T00:00:00", id="weekly, on Sundays"),
        pytest.param("@monthly", "2026-11-01T00:00:00", "2026-12-01T00:00:00", id="monthly"),
        pytest.param("*/15 9-17 * * 1-5", "2026-11-20T17:45:00", "2026-11-23T09:00:00", id="working hours"),
    ],
)
def test_the_ticks_around_now(schedule: str, last: str, coming: str) -> None:
    ticks = last_tick(schedule, SATURDAY), next_tick(schedule, SATURDAY)
    assert ticks == (datetime.fromisoformat(f"{last}+00:00"), datetime.fromisoformat(f"{coming}+00:00"))


def test_a_tick_is_its_own_last_tick() -> None:
    noon = SATURDAY.replace(second=0, microsecond=0)
    assert last_tick("@hourly", noon) == noon == last_tick("@every 1h", noon)


@pytest.mark.parametrize("schedule", ["61 * * * *", "0 0 31 2 *"], ids=["no such minute", "no such day ever comes"])
def test_a_schedule_that_names_no_time_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match="is no schedule"):
        next_tick(schedule, SATURDAY)


@given(
    schedule=st.sampled_from(["@every 7s", "@every 3h", "@hourly", "@daily", "*/7 * * * *", "5 4 * * 2"]),
    now=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
)
def test_now_lies_between_two_neighbouring_ticks(schedule: str, now: datetime) -> None:
    last, coming = last_tick(schedule, now), next_tick(schedule, now)
    assert last <= now < coming
    assert next_tick(schedule, last) == coming
    assert last_tick(schedule, coming - timedelta(microseconds=1)) == last
