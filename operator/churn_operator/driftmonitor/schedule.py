"""Ticks of a schedule."""

from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from churn_operator.api.base import parse_duration

ALIASES = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}
EVERY = "@every "
EPOCH = datetime.fromtimestamp(0, UTC)


def last_tick(schedule: str, now: datetime) -> datetime:
    """The last tick that is not later than `now`; `@every` ticks at whole multiples of its length since 1970.

    Raises:
        ValueError: the schedule is none.
    """
    if schedule.startswith(EVERY):
        step = parse_duration(schedule.removeprefix(EVERY))
        return EPOCH + (now - EPOCH) // step * step
    return _cron(schedule, now.replace(microsecond=0) + timedelta(seconds=1), reverse=True)


def next_tick(schedule: str, now: datetime) -> datetime:
    """The first tick that is later than `now`.

    Raises:
        ValueError: the schedule is none.
    """
    if schedule.startswith(EVERY):
        return last_tick(schedule, now) + parse_duration(schedule.removeprefix(EVERY))
    return _cron(schedule, now, reverse=False)


def _cron(schedule: str, start: datetime, *, reverse: bool) -> datetime:
    try:
        return next(CronSim(ALIASES.get(schedule, schedule), start.astimezone(UTC), reverse=reverse))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"{schedule!r} is no schedule: {error}") from error
