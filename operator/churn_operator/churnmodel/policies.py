"""When to train again, and what holds it back.

Each policy is a sentence about what was seen. RETRAIN is asked in order for the first wish, HOLD for the first
objection to it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from churn_operator.api.base import parse_duration
from churn_operator.api.churnmodel import VersionState
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import Candidate, ProbeResult
from churn_operator.api.trainingrun import Evidence, RunPhase, Trigger
from churn_operator.churnmodel.observe import ChurnModelWorld, MonitorSeen, RunSeen
from churn_operator.core import clock
from churn_operator.core.job import Absent, Broken, Finished, Running, parse_result
from churn_operator.core.objects import CHAMPION_ALIAS, Violation
from churn_operator.core.repeat import WORTH_REPEATING, pause_after

DATA_AT_FAULT = frozenset(reason for reason in Reason if reason.startswith(("Data", "Column"))) | {
    Reason.TargetMissing,
    Reason.PositiveLabelUnknown,
    Reason.OneClass,
    Reason.TooManyCategories,
    Reason.NoFeatures,
}
"""Failures that only other data can mend."""


@dataclass(frozen=True)
class Wish:
    """A retraining that something calls for."""

    trigger: Trigger
    reason: str
    evidence: Evidence | None = None
    candidate: Candidate | None = None


Retrain = Callable[[ChurnModelWorld], Wish | None]
Hold = Callable[[ChurnModelWorld, Wish, datetime], Violation | None]


def never_trained(world: ChurnModelWorld) -> Wish | None:
    """No version was ever accepted."""
    if world.status.versions or accepted(world) is not None:
        return None
    return Wish(Trigger.Initial, "No version has been accepted yet.")


def registry_moved(world: ChurnModelWorld) -> Wish | None:
    """Somebody pointed the alias at another version, and nothing is known of that one yet."""
    version = moved(world)
    if version is None or answered(world, version) is not None:
        return None
    reason = f"Alias {CHAMPION_ALIAS} was pointed at version {version}."
    return Wish(Trigger.RegistryMoved, reason, candidate=Candidate(registry_version=version))


def spec_changed(world: ChurnModelWorld) -> Wish | None:
    """The champion was made by another specification, and no run has tried this one."""
    if "SpecChanged" not in world.spec.retraining.triggers or not world.status.versions:
        return None
    if any(digest == world.digest for digest, _ in tried(world)):
        return None
    return Wish(Trigger.SpecChanged, "data, training or gates were changed since the last run.")


def drift_detected(world: ChurnModelWorld) -> Wish | None:
    """A monitor found that customers no longer resemble those the champion learned from."""
    monitor = drifting(world)
    if "Drift" not in world.spec.retraining.triggers or monitor is None or not monitor.status.checks:
        return None
    check = monitor.status.checks[0]
    columns = tuple(column for column in monitor.status.columns if column.drifted)
    names = ", ".join(column.name for column in columns if column.kind == "Feature")
    return Wish(
        Trigger.Drift,
        f"DriftMonitor {monitor.name}: {check.share:.0%} of the features drifted: {names}.",
        Evidence(
            monitor=monitor.name,
            window=check.window,
            share=check.share,
            columns=columns,
            report=monitor.status.links.report if monitor.status.links else None,
        ),
    )


def new_data(world: ChurnModelWorld) -> Wish | None:
    """The source holds a state that no run has seen."""
    revision = probed(world) or (world.status.data.revision if world.status.data else None)
    if "NewData" not in world.spec.retraining.triggers or revision is None or (world.digest, revision) in tried(world):
        return None
    return Wish(Trigger.NewData, f"The source is in a new state, {revision}.")


RETRAIN: tuple[Retrain, ...] = (never_trained, registry_moved, spec_changed, drift_detected, new_data)


def suspended(world: ChurnModelWorld, wish: Wish, now: datetime) -> Violation | None:  # noqa: ARG001 - policies look alike
    return Violation(Reason.Suspended, "spec.suspend is true.") if world.spec.suspend else None


def run_in_flight(world: ChurnModelWorld, wish: Wish, now: datetime) -> Violation | None:  # noqa: ARG001 - policies look alike
    """One run at a time, and an accepted one is first rolled out."""
    run = next((run for run in world.runs if not run.is_measured), None)
    if run is not None:
        return Violation(Reason.RunInFlight, f"TrainingRun {run.name} is under way.")
    waiting = unserved(world)
    if waiting is not None:
        return Violation(Reason.RunInFlight, f"{waiting} was accepted and is not yet rolled out.")
    return None


def tracking_away(world: ChurnModelWorld, wish: Wish, now: datetime) -> Violation | None:  # noqa: ARG001 - policies look alike
    if world.tracking_problem is None:
        return None
    return Violation(Reason.TrackingUnavailable, f"{world.tracking_problem}.")


def cooling_down(world: ChurnModelWorld, wish: Wish, now: datetime) -> Violation | None:
    """Runs keep a distance, unless a person or other data has just removed the cause of the last failure."""
    last = next((run for run in reversed(world.runs) if run.is_measured), None)
    if last is None or last.ended_at is None:
        return None
    pause = timedelta(0) if outdated(world, last) else _pause(world, wish, last)
    until = clock.parse(last.ended_at) + pause
    if now >= until:
        return None
    message = f"{last.name} ended at {last.ended_at}; the next may start at {clock.stamp(until)}."
    return Violation(Reason.CoolingDown, message)


def _pause(world: ChurnModelWorld, wish: Wish, last: RunSeen) -> timedelta:
    cooldown = parse_duration(world.spec.retraining.cooldown)
    if worth_repeating(last):
        streak = len(list(takewhile(worth_repeating, (run for run in reversed(world.runs) if run.is_measured))))
        return pause_after(streak, cooldown)
    if wish.trigger is Trigger.RegistryMoved:
        return timedelta(0)
    if last.status.resolved is not None and last.status.resolved.spec_digest != world.digest:
        return timedelta(0)
    if wish.trigger is Trigger.Initial and last.status.reason in DATA_AT_FAULT:
        return timedelta(0)
    return cooldown


def no_new_data(world: ChurnModelWorld, wish: Wish, now: datetime) -> Violation | None:  # noqa: ARG001 - policies look alike
    """Nothing is trained twice on the same data by the same specification."""
    seen = {revision for digest, revision in tried(world) if digest == world.digest}
    if not seen or wish.candidate is not None:
        return None
    match world.probe:
        case Broken(violation) | Running(Violation() as violation):
            return violation
        case Absent() | Running():
            return _last_answer(world)
        case Finished():
            return _already_tried(probed(world), seen)


def _already_tried(revision: str | None, seen: set[str | None]) -> Violation | None:
    if revision is None:
        return Violation(Reason.ResultUnreadable, "The probe's result cannot be read.")
    if revision in seen:
        return Violation(Reason.NoNewData, f"The source is still in state {revision}, which was already trained on.")
    return None


def _last_answer(world: ChurnModelWorld) -> Violation:
    """Until this slot's probe answers, the last one's answer stands: the status does not flicker."""
    last = world.status.retraining
    if last is not None and last.held_by in DATA_AT_FAULT | {Reason.NoNewData}:
        return Violation(last.held_by, last.message)
    return Violation(Reason.ProbingData, "The state of the source is being looked up.")


HOLD: tuple[Hold, ...] = (suspended, run_in_flight, tracking_away, cooling_down, no_new_data)


def wished(world: ChurnModelWorld) -> Wish | None:
    """The first thing that calls for a run."""
    return next((wish for policy in RETRAIN if (wish := policy(world))), None)


def is_served(world: ChurnModelWorld, wish: Wish) -> bool:
    """What is under way, or on its way to traffic, was opened for the same cause and by the present specification."""
    version = unserved(world)
    run = next(
        (r for r in world.runs if not r.is_measured or (version is not None and r.status.version == version)), None
    )
    if run is None or (run.spec.trigger, run.spec.candidate) != (wish.trigger, wish.candidate):
        return False
    return run.status.resolved is None or run.status.resolved.spec_digest == world.digest


def held(world: ChurnModelWorld, wish: Wish, now: datetime) -> Violation | None:
    """The first thing that stands in its way."""
    return next((violation for policy in HOLD if (violation := policy(world, wish, now))), None)


def tried(world: ChurnModelWorld) -> frozenset[tuple[str, str | None]]:
    """Every specification and state of the data that a run has settled; the state is None where none was read.

    A run that judged a registered version has learned nothing from either.
    """
    trained = (version for version in world.status.versions if version.candidate is None)
    by_versions = {(version.spec_digest, version.revision) for version in trained}
    by_runs = {
        (run.status.resolved.spec_digest, run.status.revision)
        for run in world.runs
        if run.status.resolved is not None and run.is_measured and not worth_repeating(run)
        if run.spec.candidate is None and outdated(world, run) is None
    }
    return frozenset(by_versions | by_runs)


def worth_repeating(run: RunSeen) -> bool:
    return run.status.phase is RunPhase.Failed and run.status.reason in WORTH_REPEATING


def moved(world: ChurnModelWorld) -> str | None:
    """The version that somebody pointed the alias at, where that is followed.

    Nobody did where the alias is still where it was last seen to belong: another version is champion since. And the
    operator points it at nothing but what the status calls champion: it cannot die and find its own write.
    """
    champion, known = world.champion, world.status.alias
    if not world.spec.registry.follow or champion is None or known is None:
        return None
    return None if world.alias in (None, known, champion.registry_version) else world.alias


def answered(world: ChurnModelWorld, version: str) -> str | None:
    """What became of the wish to serve the version; None while the alias alone knows of it.

    The run is there before the alias goes back, and is found by what it judges: the same wish opens no second one. One
    that came to a verdict answers whoever asks again, until another champion serves or the spec asks something else.
    """
    for known in world.status.versions:
        if known.registry_version == version and known.state in (VersionState.RollingOut, VersionState.Quarantined):
            return f"Version {version} is {known.version}, {known.state}: {known.reason}"
    run = next((run for run in reversed(world.runs) if _judges(world, run, version)), None)
    if run is None:
        return None
    if not run.is_measured:
        return f"TrainingRun {run.name} judges version {version}."
    reason = f", {run.status.reason}" if run.status.reason else ""
    return f"TrainingRun {run.name} has judged version {version}: {run.status.phase}{reason}."


def _judges(world: ChurnModelWorld, run: RunSeen, version: str) -> bool:
    """Beside the present champion, and by the present specification."""
    if run.spec.candidate is None or run.spec.candidate.registry_version != version:
        return False
    resolved = run.status.resolved
    if resolved is None or not run.is_measured:
        return True
    serves = world.champion.version if world.champion else None
    is_same = (resolved.spec_digest, run.compared_with) == (world.digest, serves)
    return is_same and not worth_repeating(run) and outdated(world, run) is None


def drifting(world: ChurnModelWorld) -> MonitorSeen | None:
    """The monitor that raised the alarm about the version that serves now."""
    champion = world.champion
    for monitor in world.monitors:
        verdict = next((c for c in monitor.status.conditions if c.type == "WithinDriftLimits"), None)
        if champion and monitor.status.version == champion.version and verdict and verdict.status == "False":
            return monitor
    return None


def unserved(world: ChurnModelWorld) -> str | None:
    """A version that was accepted and is on its way to traffic."""
    waiting = accepted(world)
    rolling = [version.version for version in world.status.versions if version.state == "RollingOut"]
    return waiting.status.version if waiting is not None else next(iter(rolling), None)


def accepted(world: ChurnModelWorld) -> RunSeen | None:
    """The newest accepted run that is to be served."""
    return next((run for run in reversed(world.runs) if is_waiting(world, run) and outdated(world, run) is None), None)


def is_waiting(world: ChurnModelWorld, run: RunSeen) -> bool:
    """It was accepted, and no version was made of it, nor of a newer one: then it is past its time."""
    newest = max((number(version.version) for version in world.status.versions), default=0)
    return run.status.phase is RunPhase.Accepted and run.number > newest


def outdated(world: ChurnModelWorld, run: RunSeen) -> str | None:
    """Why an accepted run that waits is not taken: it was accepted by terms, or beside a champion, of another time."""
    if not is_waiting(world, run):
        return None
    if world.spec.approval.required and not run.is_approved:
        return "nobody approved it, and spec.approval asks for that since."
    serves = world.champion.version if world.champion else None
    is_beside = run.is_approved or (run.status.resolved is not None and run.status.resolved.task.comparisons)
    if is_beside and run.compared_with != serves:
        return f"it was compared with {run.compared_with or 'no champion'}, and {serves or 'no version'} serves now."
    return None


def number(version: str) -> int:
    return int(version.removeprefix("v"))


def probed(world: ChurnModelWorld) -> str | None:
    """The state that this slot's probe found the source in."""
    if not isinstance(world.probe, Finished):
        return None
    result = parse_result(world.probe.text, ProbeResult)
    return result.revision if isinstance(result, ProbeResult) else None
