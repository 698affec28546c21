"""What to do about a DriftMonitor: start a check, wait for it, or record what it found. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from churn_operator.api.driftmonitor import Check
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import DriftResult
from churn_operator.core import clock
from churn_operator.core.job import Absent, Broken, Finished, Running, parse_result
from churn_operator.core.objects import Violation
from churn_operator.core.repeat import WORTH_REPEATING, pause_after
from churn_operator.driftmonitor.observe import CheckJob, DriftMonitorWorld
from churn_operator.driftmonitor.policies import CHECKS_KEPT, overlap
from churn_operator.driftmonitor.schedule import last_tick, next_tick

LOOK_AGAIN = timedelta(seconds=30)


@dataclass(frozen=True)
class Wait:
    """There is nothing to compare with, or no schedule to do it by."""

    violation: Violation
    wake: timedelta | None = LOOK_AGAIN


@dataclass(frozen=True)
class Compare:
    """The check of this tick is to be there and to get on."""

    tick: datetime
    problem: Violation | None = None
    wake: timedelta | None = LOOK_AGAIN


@dataclass(frozen=True)
class Record:
    """The check of this tick has ended: with a result or without."""

    job: CheckJob
    checks: tuple[Check, ...]
    result: DriftResult | None
    violation: Violation | None
    failures: int
    next_check: datetime
    wake: timedelta


@dataclass(frozen=True)
class Rest:
    """Until the next check."""

    wake: timedelta | None


Decision = Wait | Compare | Record | Rest


def decide(world: DriftMonitorWorld, now: datetime) -> Decision:
    if world.model is None:
        name = world.spec.model_ref.name
        message = f"There is no ChurnModel {name} in namespace {world.namespace}."
        return Wait(Violation(Reason.ModelNotFound, message))
    if world.champion is None:
        return Wait(Violation(Reason.NoChampion, f"ChurnModel {world.spec.model_ref.name} has no champion yet."))
    if world.spec.suspend:
        return Wait(Violation(Reason.Suspended, "spec.suspend is true."), wake=None)
    if world.spec.current.predictions is not None and world.champion.log_url is None:
        return Wait(Violation(Reason.NotLogged, _not_logged(world.champion.version)))
    try:
        due, coming = _ticks(world, now)
    except ValueError as error:
        return Wait(Violation(Reason.ScheduleInvalid, f"spec.schedule: {error}."), wake=None)
    done, job = settled(world), world.last_job
    if job is not None and (done is None or job.tick > done):
        return _follow(world, job, due, now)
    if done is None or due > done:
        return Compare(due)
    return Rest(coming - now)


def _not_logged(version: str) -> str:
    return (
        f"The predictions of {version} are not logged: it was made while the chart had no collector. Those of the next "
        "version will be, where it has one; until then, name a table as spec.current.source."
    )


def settled(world: DriftMonitorWorld) -> datetime | None:
    """The last tick whose check against this champion was recorded."""
    status = world.status
    if world.champion is None or status.version != world.champion.version or status.last_scheduled_at is None:
        return None
    return clock.parse(status.last_scheduled_at)


def _ticks(world: DriftMonitorWorld, now: datetime) -> tuple[datetime, datetime]:
    """When a check was last due, and when the next one is: by the schedule, or as a repetition between its ticks.

    Raises:
        ValueError: the schedule is none.
    """
    due, coming = last_tick(world.spec.schedule, now), next_tick(world.spec.schedule, now)
    if not failures_before(world) or world.status.next_check_at is None:
        return due, coming
    again = clock.parse(world.status.next_check_at)
    return (max(due, again), coming) if again <= now else (due, min(coming, again))


def _follow(world: DriftMonitorWorld, job: CheckJob, due: datetime, now: datetime) -> Decision:
    match job.state:
        case Absent():
            return Compare(job.tick)
        case Running(Violation()) if due > job.tick:
            return Compare(due)  # one that cannot start is overtaken: what kept it may be mended in the chart by now
        case Running(problem):
            return Compare(job.tick, problem)
        case Broken(violation):
            return _record(world, job, violation, now)
        case Finished(text):
            return _record(world, job, parse_result(text, DriftResult), now)


def _record(world: DriftMonitorWorld, job: CheckJob, found: DriftResult | Violation, now: datetime) -> Record:
    result, violation = (None, found) if isinstance(found, Violation) else (found, None)
    checks = checks_before(world) if result is None else _checks(world, result, now)
    is_missed = violation is not None and violation.reason in WORTH_REPEATING
    failures = failures_before(world) + 1 if is_missed else 0
    coming = _next_check(world, job, failures, now)
    return Record(job, checks, result, violation, failures, coming, wake=max(coming - now, timedelta(0)))


def failures_before(world: DriftMonitorWorld) -> int:
    """The checks against this champion that came to nothing, up to the last: a promotion starts anew."""
    return world.status.failures if settled(world) is not None else 0


def checks_before(world: DriftMonitorWorld) -> tuple[Check, ...]:
    """The windows that this champion was compared with: a promotion starts anew."""
    return world.status.checks if settled(world) is not None else ()


def _checks(world: DriftMonitorWorld, result: DriftResult, now: datetime) -> tuple[Check, ...]:
    """The same rows again add nothing.

    A window of predictions reaches back, and mostly overlaps the one before: then it takes its place, and only the
    first that shares no row with the one behind stays for good.
    """
    before = checks_before(world)
    if result.outcome != "Compared" or (before and before[0].window.revision == result.window.revision):
        return before
    if len(before) > 1 and overlap(before[1].window, before[0].window):
        before = before[1:]
    return (Check(window=result.window, share=result.share, at=clock.stamp(now)), *before)[:CHECKS_KEPT]


def _next_check(world: DriftMonitorWorld, job: CheckJob, failures: int, now: datetime) -> datetime:
    """A tick that passed while the check ran is made up for at once, and no repetition takes the next one's place.

    It is later than the one that ended, also by a clock that was put back meanwhile: that one would not come again.
    """
    end = max(now, job.tick)
    due, coming = last_tick(world.spec.schedule, end), next_tick(world.spec.schedule, end)
    if due > job.tick:
        return due
    return min(coming, end + pause_after(failures)) if failures else coming
