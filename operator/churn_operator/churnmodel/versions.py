"""What becomes of the versions, and which of them have servers. Pure."""

from datetime import datetime

from churn_operator.api.base import parse_duration
from churn_operator.api.churnmodel import Quarantine, ServedVersion, VersionState
from churn_operator.churnmodel.fallback import fallback_of
from churn_operator.churnmodel.moves import Decline, GiveUp, Move, Promote, Replay, Restore, Return, Shift, Start, Stay
from churn_operator.churnmodel.observe import ChurnModelWorld, Constant, RunSeen, server_name
from churn_operator.core import clock
from churn_operator.core.objects import identity

VERSIONS_KEPT = 10
QUARANTINED_KEPT = 100
LIVE = frozenset({VersionState.Champion, VersionState.RollingOut})


def champion_of(versions: tuple[ServedVersion, ...]) -> ServedVersion | None:
    return next((v for v in versions if v.state is VersionState.Champion), None)


def rolling_of(versions: tuple[ServedVersion, ...]) -> ServedVersion | None:
    return next((v for v in versions if v.state is VersionState.RollingOut), None)


def guarding(world: ChurnModelWorld, now: datetime) -> ServedVersion | None:
    """The champion before, for the guard time, while it has a server; not for ever by a clock that jumped back."""
    retired = (v for v in world.status.versions if v.state is VersionState.Retired and world.server(v.version))
    newest = max(retired, key=lambda version: version.since, default=None)
    guard = parse_duration(world.spec.rollout.guard)
    return None if newest is None or abs(now - clock.parse(newest.since)) >= guard else newest


def warm(world: ChurnModelWorld, now: datetime) -> ServedVersion | None:
    """The same where it answers: it can take the traffic back."""
    before = guarding(world, now)
    server = None if before is None else world.server(before.version)
    return before if server is not None and server.answers else None


def version_of(world: ChurnModelWorld, run: RunSeen, now: datetime) -> ServedVersion:
    result, resolved = run.status.result, run.status.resolved
    if result is None or resolved is None or run.status.version is None:
        raise ValueError(f"TrainingRun {run.name} was accepted without a result")
    state, reason = _fate(world, run, result.model.digest)
    return ServedVersion(
        version=run.status.version,
        run=run.name,
        state=state,
        reason=reason,
        since=clock.stamp(now),
        model=result.model,
        revision=result.data.revision,
        spec_digest=resolved.spec_digest,
        registry_version=result.registry_version,
        candidate=run.spec.candidate,
        image=world.settings.predictor_image,
        fetch_image=world.settings.jobs_image,
        log_url=world.settings.collector_url or None,
        golden=result.golden,
        scores=result.scores,
        metric=f"{resolved.task.training.metric}={run.status.metric}",
    )


def _fate(world: ChurnModelWorld, run: RunSeen, digest: str) -> tuple[VersionState, str]:
    """A model that was taken off the traffic once does not come back by itself under another number."""
    same = next((known for known in _quarantined(world) if known.digest == digest), None)
    if same is None:
        return VersionState.RollingOut, _accepted_because(run)
    return VersionState.Quarantined, f"It is the same model as {same.version}, which failed at {same.since}."


def _quarantined(world: ChurnModelWorld) -> tuple[Quarantine, ...]:
    """With those that the status called so before it had a list of them."""
    known = {one.digest for one in world.status.quarantine}
    states = (v for v in world.status.versions if v.state is VersionState.Quarantined and v.model.digest not in known)
    older = {v.model.digest: Quarantine(digest=v.model.digest, version=v.version, since=v.since) for v in states}
    return (*world.status.quarantine, *older.values())


def quarantine_after(world: ChurnModelWorld, move: Move, now: datetime) -> tuple[Quarantine, ...]:
    """Who has the traffic is none of them any more: only a person calls one of them back."""
    known, champion = _quarantined(world), champion_of(world.status.versions)
    if isinstance(move, Restore) and champion is not None:
        failed = Quarantine(digest=champion.model.digest, version=champion.version, since=clock.stamp(now))
        known = (failed, *(one for one in known if one.digest != failed.digest))
    if isinstance(move, Promote | Restore):
        known = tuple(one for one in known if one.digest != move.version.model.digest)
    return known[:QUARANTINED_KEPT]


def _accepted_because(run: RunSeen) -> str:
    approved = run.status.condition("Approved")
    said = f" {approved.message}" if approved is not None and run.is_approved else ""
    return f"{run.name} passed every gate.{said}"[:1024]


def versions_after(world: ChurnModelWorld, move: Move, now: datetime) -> tuple[ServedVersion, ...]:
    before = world.status.versions
    match move:
        case Start(version):
            return _bounded((version, *before), fallback_of(world))
        case Promote(chosen, why):
            return tuple(_promoted(version, chosen, why, now) for version in before)
        case GiveUp(chosen, violation):
            return tuple(
                _moved(version, VersionState.RolledBack, violation.message, now) if version == chosen else version
                for version in before
            )
        case Restore(chosen, violation):
            return tuple(_restored(version, chosen, violation.message, now) for version in before)
        case Return(chosen, violation):
            return tuple(
                _moved(version, VersionState.RollingOut, violation.message, now) if version == chosen else version
                for version in before
            )
        case Shift() | Replay() | Decline() | Stay():
            return before


def _bounded(
    versions: tuple[ServedVersion, ...], fallback: ServedVersion | Constant | None
) -> tuple[ServedVersion, ...]:
    """The newest ones, and however old the champion and who stands in for it."""
    spare = [v for v in versions if v.state is not VersionState.Champion and v != fallback]
    too_many = max(len(versions) - VERSIONS_KEPT, 0)
    dropped = spare[len(spare) - too_many :]
    return tuple(v for v in versions if v not in dropped)


def _promoted(version: ServedVersion, chosen: ServedVersion, why: str, now: datetime) -> ServedVersion:
    if version == chosen:
        return _crowned(version, why, now)
    if version.state is VersionState.Champion:
        return _moved(version, VersionState.Retired, f"{chosen.version} took its place.", now)
    return version


def _restored(version: ServedVersion, chosen: ServedVersion, why: str, now: datetime) -> ServedVersion:
    if version == chosen:
        return _crowned(version, f"It took the traffic back: {why}", now)
    if version.state is VersionState.Champion:
        return _moved(version, VersionState.Quarantined, why, now)
    return version


def _crowned(version: ServedVersion, reason: str, now: datetime) -> ServedVersion:
    champion = _moved(version, VersionState.Champion, reason, now)
    return champion.model_copy(update={"promoted": champion.since})


def _moved(version: ServedVersion, state: VersionState, reason: str, now: datetime) -> ServedVersion:
    moved = {"state": state, "reason": reason[:1024], "since": clock.stamp(now), "promoted": version.served}
    return version.model_copy(update=moved)


def has_server(world: ChurnModelWorld, version: ServedVersion, now: datetime) -> bool:
    """The champion, the one on its way, who stands in, and for the guard time the one before: once gone, for good.

    Who lost its place keeps its server until the status says why: an operator that dies before finds the same again.
    """
    was_live = any(v.version == version.version and v.state in LIVE for v in world.status.versions)
    if was_live or version.state in LIVE or version == fallback_of(world):
        return True
    is_guarded = version.state is VersionState.Retired and now < guard_ends(world, version)
    return is_guarded and _has_own(world, version)


def _has_own(world: ChurnModelWorld, version: ServedVersion) -> bool:
    server = ("InferenceService", server_name(world.name, version.version))
    return any(identity(child) == server for child in world.children)


def guard_ends(world: ChurnModelWorld, version: ServedVersion) -> datetime:
    return clock.parse(version.since) + parse_duration(world.spec.rollout.guard)
