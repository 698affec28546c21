"""Scalars that the API server checks by pattern and the operator reads."""

import re
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_operator.api.base import Duration, Interval, Resources, parse_duration
from churn_operator.api.driftmonitor import SCHEDULE
from churn_operator.driftmonitor.schedule import next_tick

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def pattern(type_: object) -> str:
    return str(next(m.pattern for field in get_args(type_)[1:] for m in field.metadata if hasattr(m, "pattern")))


@given(st.from_regex(pattern(Duration), fullmatch=True))
def test_every_duration_that_is_accepted_can_be_read(text: str) -> None:
    assert parse_duration(text) >= timedelta(0)


@given(st.from_regex(pattern(Interval), fullmatch=True))
def test_no_interval_that_is_accepted_is_zero(text: str) -> None:
    assert parse_duration(text) > timedelta(0)


@pytest.mark.parametrize("text", ["", "10", "m", "-1m", "1.5h", "1w", "10 m", "1234567s"])
def test_what_is_no_duration_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write a whole number"):
        parse_duration(text)


@pytest.mark.parametrize(
    "schedule",
    ["@daily", "@every 10s", "0 0 * * *", "*/15 8-18 1,15 * MON-FRI", "59 23 L DEC SUN", "0 3 * * 1", "0 0 31 */2 *"],
)
def test_schedules_that_are_accepted_have_a_next_tick(schedule: str) -> None:
    assert re.search(SCHEDULE, schedule)
    assert next_tick(schedule, NOW) > NOW


@pytest.mark.parametrize(
    "schedule",
    ["", "daily", "@yearly", "@every 0s", "@every 10", "60 * * * *", "0 24 * * *", "0 0 32 * *", "0 0 * 13 *",
     "0 0 * * 8", "* * * *", "* * * * * *", "*/0 * * * *", " 0 0 * * *", "0  0 * * *", "a b c d e"],
)  # fmt: skip
def test_schedules_that_are_none_are_refused(schedule: str) -> None:
    assert not re.search(SCHEDULE, schedule)


@given(st.from_regex(SCHEDULE, fullmatch=True).filter(lambda text: len(text) <= 64))
def test_a_schedule_that_is_accepted_ticks_or_is_called_invalid(schedule: str) -> None:
    """A range that runs backwards and the 31st of February pass the pattern: the monitor's condition tells of them."""
    try:
        tick = next_tick(schedule, NOW)
    except ValueError:  # any other error would stop the monitor without a word
        return
    assert tick > NOW


def test_a_quantity_may_be_written_as_a_number() -> None:
    assert Resources.model_validate({"limits": {"cpu": 2}}).limits == {"cpu": "2"}
