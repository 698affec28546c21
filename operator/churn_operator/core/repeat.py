"""What is worth repeating, and after how long."""

from datetime import timedelta

from churn_operator.api.reasons import Reason

FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
WORTH_REPEATING = frozenset(
    {Reason.TrackingUnavailable, Reason.StorageUnavailable, Reason.DataUnreachable, Reason.ResultUnreadable}
)
"""Failures that say nothing about the data or the spec."""


def pause_after(failures: int, longest: timedelta = LONGEST_PAUSE) -> timedelta:
    """How long after so many failures in a row it is tried again: a pause that doubles each time."""
    doubled: timedelta = FIRST_PAUSE * 2 ** min(failures - 1, 10)
    return min(doubled, longest)
