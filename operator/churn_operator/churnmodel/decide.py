"""What to do about a ChurnModel: where traffic goes, and whether to train again. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from churn_operator.api.base import parse_duration
from churn_operator.api.churnmodel import ServedVersion, VersionState
from churn_operator.api.reasons import Reason
from churn_operator.api.trainingrun import RunPhase
from churn_operator.churnmodel.observe import ChurnModelWorld, RunSeen, server_name
from churn_operator.churnmodel.policies import Wish, held, is_served, number, probed, tried, wished
from churn_operator.core import clock
from churn_operator.core.job import Absent
from churn_operator.core.objects import Violation, identity

VERSIONS_KEPT = 10
IDLE = timedelta(minutes=1)
SOON = timedelta(seconds=2)


@dataclass(frozen=True)
class Start:
    """An accepted version gets its server."""

    version: ServedVersion


@dataclass(frozen=True)
class Promote:
    """The version that answered takes the traffic."""

    version: ServedVersion


@dataclass(frozen=True)
class GiveUp:
    """The version did not become ready in time."""

    version: ServedVersion
    violation: Violation


@dataclass(frozen=True)
class Stay:
    """Traffic stays where it is."""


RolloutStep = Start | Promote | GiveUp | Stay


@dataclass(frozen=True)
class Rollout:
    """What becomes of the versions, and which of them have servers."""

    step: RolloutStep
    versions: tuple[ServedVersion, ...]
    served: tuple[ServedVersion, ...]

    @property
    def champion(self) -> ServedVersion | None:
        return next((v for v in self.versions if v.state is VersionState.Champion), None)


@dataclass(frozen=True)
class Open:
    """A TrainingRun is opened, for the state of the data that the probe found, where one was needed."""

    number: int
    wish: Wish
    revision: str | None


@dataclass(frozen=True)
class Held:
    """A retraining is wanted, and waits."""

    wish: Wish
    violation: Violation


@dataclass(frozen=True)
class Content:
    """No retraining is wanted beyond what is under way."""


Retraining = Open | Held | Content


@dataclass(frozen=True)
class Decision:
    """Both answers; `probe` asks for the state of the source in the present slot."""

    rollout: Rollout
    retraining: Retraining
    probe: bool
    wake: timedelta | None


def decide(world: ChurnModelWorld, now: datetime) -> Decision:
    rollout = decide_rollout(world, now)
    retraining = decide_retraining(world, now)
    return Decision(rollout, retraining, _needs_probe(world, retraining), _wake(world, rollout, retraining, now))


def decide_rollout(world: ChurnModelWorld, now: datetime) -> Rollout:
    step = _step(world, now)
    versions = _versions(world, step, now)
    return Rollout(step, versions, tuple(v for v in versions if _has_server(world, v, now)))


def _step(world: ChurnModelWorld, now: datetime) -> RolloutStep:
    rolling = next((v for v in world.status.versions if v.state is VersionState.RollingOut), None)
    if world.spec.suspend:
        return Stay()
    if rolling is None:
        run = _accepted(world)
        return Stay() if run is None else Start(_version(world, run, now))
    server = world.server(rolling.version)
    if server is not None and server.answers:
        return Promote(rolling)
    deadline = clock.parse(rolling.since) + parse_duration(world.spec.rollout.progress_deadline)
    if now < deadline or world.kserve_missing:
        return Stay()
    heard = "its InferenceService was not made" if server is None else server.message
    if server is not None and server.answer is not None:
        heard = server.answer.message
    message = f"{rolling.version} was not ready after {world.spec.rollout.progress_deadline}: {heard}"
    return GiveUp(rolling, Violation(Reason.RolledBack, message))


def _accepted(world: ChurnModelWorld) -> RunSeen | None:
    """The newest accepted run that no version was made of; an older one than the newest version is past its time."""
    newest = max((number(version.version) for version in world.status.versions), default=0)
    return next(
        (r for r in reversed(world.runs) if r.status.phase is RunPhase.Accepted and r.number > newest),
        None,
    )


def _version(world: ChurnModelWorld, run: RunSeen, now: datetime) -> ServedVersion:
    result, resolved = run.status.result, run.status.resolved
    if result is None or resolved is None or run.status.version is None:
        raise ValueError(f"TrainingRun {run.name} was accepted without a result")
    return ServedVersion(
        version=run.status.version,
        run=run.name,
        state=VersionState.RollingOut,
        reason=_accepted_because(run),
        since=clock.stamp(now),
        model=result.model,
        revision=result.data.revision,
        spec_digest=resolved.spec_digest,
        registry_version=result.registry_version,
        image=world.settings.predictor_image,
        fetch_image=world.settings.jobs_image,
        log_url=world.settings.collector_url or None,
        golden=result.golden,
        metric=f"{resolved.task.training.metric}={run.status.metric}",
    )


def _accepted_because(run: RunSeen) -> str:
    approved = run.status.condition("Approved")
    said = f" {approved.message}" if approved is not None and approved.reason == Reason.Approved else ""
    return f"{run.name} passed every gate.{said}"[:1024]


def _versions(world: ChurnModelWorld, step: RolloutStep, now: datetime) -> tuple[ServedVersion, ...]:
    before = world.status.versions
    match step:
        case Start(version):
            return _bounded((version, *before))
        case Promote(chosen):
            return tuple(_promoted(version, chosen, now) for version in before)
        case GiveUp(chosen, violation):
            return tuple(
                _moved(version, VersionState.RolledBack, violation.message, now) if version == chosen else version
                for version in before
            )
        case Stay():
            return before


def _bounded(versions: tuple[ServedVersion, ...]) -> tuple[ServedVersion, ...]:
    """The newest ones, and the champion however old."""
    kept = versions[: VERSIONS_KEPT - 1]
    rest = versions[VERSIONS_KEPT - 1 :]
    return kept + (tuple(v for v in rest if v.state is VersionState.Champion) or rest)[:1]


def _promoted(version: ServedVersion, chosen: ServedVersion, now: datetime) -> ServedVersion:
    if version == chosen:
        return _moved(version, VersionState.Champion, f"{version.version} answered a prediction as expected.", now)
    if version.state is VersionState.Champion:
        return _moved(version, VersionState.Retired, f"{chosen.version} took its place.", now)
    return version


def _moved(version: ServedVersion, state: VersionState, reason: str, now: datetime) -> ServedVersion:
    return version.model_copy(update={"state": state, "reason": reason[:1024], "since": clock.stamp(now)})


def _has_server(world: ChurnModelWorld, version: ServedVersion, now: datetime) -> bool:
    """The champion, the one on its way, and for the guard time the one before; once that is gone it stays gone."""
    if version.state is VersionState.Retired:
        was_retired = version in world.status.versions
        return now < _guard_ends(world, version) and (not was_retired or _is_live(world, version))
    return version.state in (VersionState.Champion, VersionState.RollingOut)


def _is_live(world: ChurnModelWorld, version: ServedVersion) -> bool:
    server = ("InferenceService", server_name(world.name, version.version))
    return any(identity(child) == server for child in world.children)


def _guard_ends(world: ChurnModelWorld, version: ServedVersion) -> datetime:
    return clock.parse(version.since) + parse_duration(world.spec.rollout.guard)


def decide_retraining(world: ChurnModelWorld, now: datetime) -> Retraining:
    wish = wished(world)
    if wish is None or is_served(world, wish):
        return Content()
    violation = held(world, wish, now)
    return Open(next_number(world), wish, probed(world)) if violation is None else Held(wish, violation)


def next_number(world: ChurnModelWorld) -> int:
    """One more than any run of this model ever had."""
    used = [run.number for run in world.runs] + [number(version.version) for version in world.status.versions]
    return max([*used, world.status.last_run]) + 1


def _needs_probe(world: ChurnModelWorld, retraining: Retraining) -> bool:
    """The source is asked for its state while an answer matters; what was asked stays until the run is there."""
    if world.spec.suspend or not tried(world):
        return False
    waits_for_data = isinstance(retraining, Held) and retraining.violation.reason not in (
        Reason.RunInFlight,
        Reason.CoolingDown,
        Reason.TrackingUnavailable,
    )
    opens = isinstance(retraining, Open) and not isinstance(world.probe, Absent)
    return waits_for_data or opens or "NewData" in world.spec.retraining.triggers


def _wake(world: ChurnModelWorld, rollout: Rollout, retraining: Retraining, now: datetime) -> timedelta:
    """The soonest of: the next look at the servers, the next probe, the end of a guard time or cooldown."""
    champion = rollout.champion and world.server(rollout.champion.version)
    if not isinstance(rollout.step, Stay) or isinstance(retraining, Open) or (champion and not champion.answers):
        return SOON
    wakes = [IDLE]
    if any(v.state is not VersionState.Retired for v in rollout.served):
        wakes.append(timedelta(seconds=world.settings.probe_seconds))
    wakes += [_guard_ends(world, v) - now for v in rollout.served if v.state is VersionState.Retired]
    if _needs_probe(world, retraining):
        interval = parse_duration(world.spec.retraining.probe_interval).total_seconds()
        wakes.append(timedelta(seconds=(world.probe_slot + 1) * interval - now.timestamp()))
    return max(min(wakes), timedelta(seconds=1))
