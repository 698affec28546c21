"""What the status says of a rollout after a move. Pure."""

from dataclasses import asdict
from datetime import datetime

from churn_operator.api.analysis import TestName, TestOutcome
from churn_operator.api.churnmodel import ServedVersion, VersionState
from churn_operator.api.reasons import Reason
from churn_operator.api.rollout import (
    ABTestSpec,
    Baseline,
    Comparison,
    Counters,
    RolloutPhase,
    RolloutStatus,
    ShadowStatus,
    Winner,
)
from churn_operator.churnmodel.moves import Decline, GiveUp, Move, Promote, Replay, Restore, Return, Shift, Start, Stay
from churn_operator.churnmodel.observe import ChurnModelWorld, as_counts
from churn_operator.churnmodel.versions import champion_of, guarding
from churn_operator.core import clock
from churn_operator.core.objects import Violation

BASELINES = 100
"""As many pods as a version may have; of a moment between two sets of them, those beyond are not judged."""
WORTH_TELLING = 1.2
"""A verdict on so many times the requests is written again."""


def progress_after(
    world: ChurnModelWorld, move: Move, progress: RolloutStatus | None, now: datetime
) -> RolloutStatus | None:
    """`progress` is where the rollout is, with what the present look found."""
    at = clock.stamp(now)
    match move:
        case Start(version):
            return _started(version, at)
        case Shift():
            return _shifted(world, move, at)
        case Replay(version, attempt):
            return _replaying(world, version.version, attempt, at)
        case Promote(version):
            return _promoted(world, version, progress, at)
        case GiveUp(_, violation) | Restore(_, violation):
            return _ended(_loser(world, move), progress, violation, at)
        case Return(version):
            phase = RolloutPhase.Starting
            return RolloutStatus(version=version.version, returns=True, phase=phase, began=at, since=at)
        case Stay():
            return _staying(world, move, progress, now)
        case Decline():
            same = Stay() if progress is None else Stay(progress.message, progress.reason)
            return _staying(world, same, progress, now)


def _started(version: ServedVersion, at: str) -> RolloutStatus:
    if version.state is VersionState.RollingOut:
        return RolloutStatus(version=version.version, phase=RolloutPhase.Starting, began=at, since=at)
    return RolloutStatus(
        version=version.version,
        phase=RolloutPhase.RolledBack,
        began=at,
        since=at,
        reason=Reason.RolledBack,
        message=version.reason,
    )


def _shifted(world: ChurnModelWorld, move: Shift, at: str) -> RolloutStatus:
    champion, version = champion_of(world.status.versions), move.version.version
    both = [version] if champion is None else [champion.version, version]
    rollout = world.spec.rollout
    return RolloutStatus(
        version=version,
        phase=RolloutPhase.Shifting,
        step=move.step,
        weight=move.weight,
        began=_began(world, version, at),
        since=at,
        baselines=tuple(_baseline(world, one) for one in both),
        comparison=_begun(rollout.ab_test) if rollout.strategy == "ABTest" else None,
    )


def _begun(declared: ABTestSpec) -> Comparison:
    return Comparison(declared=declared, message="Nothing was counted yet.")


def _began(world: ChurnModelWorld, version: str, at: str) -> str:
    rollout = world.status.rollout
    return rollout.began if rollout is not None and rollout.version == version else at


def based(world: ChurnModelWorld, progress: RolloutStatus) -> RolloutStatus:
    """With a baseline of each pod that was there before the step and tells only now, or that began anew since.

    One that was not ready when the step began may have counted for weeks; one that began anew will one day have counted
    more than it had then.
    """
    versions = dict.fromkeys((*(baseline.version for baseline in progress.baselines), *world.counters))
    return progress.model_copy(update={"baselines": tuple(_rebased(world, progress, one) for one in versions)})


def _rebased(world: ChurnModelWorld, progress: RolloutStatus, version: str) -> Baseline:
    pods = {pod.pod: pod for one in progress.baselines if one.version == version for pod in one.pods}
    for pod in world.counters.get(version, ()):
        then = world.baseline(version, pod)
        if then is None:
            pods[pod.pod] = pod
        elif as_counts(pod).began_anew(as_counts(then)):
            pods[pod.pod] = Counters(pod=pod.pod)
    return Baseline(version=version, pods=tuple(pods.values())[:BASELINES])


def _baseline(world: ChurnModelWorld, version: str) -> Baseline:
    return Baseline(version=version, pods=(world.counters.get(version) or ())[:BASELINES])


def _replaying(world: ChurnModelWorld, version: str, attempt: int, at: str) -> RolloutStatus:
    """What is known of the attempt before stays until this one knows better."""
    began, last = ShadowStatus(attempt=attempt, since=at), world.status.rollout
    if last is not None and last.version == version and last.shadow is not None:
        shadow = began.model_copy(update={"reason": last.shadow.reason, "message": last.shadow.message})
        return last.model_copy(update={"shadow": shadow, "message": ""})
    return RolloutStatus(
        version=version, phase=RolloutPhase.Shadowing, began=_began(world, version, at), since=at, shadow=began
    )


def _promoted(world: ChurnModelWorld, version: ServedVersion, progress: RolloutStatus | None, at: str) -> RolloutStatus:
    """The guard begins; without a version to go back to there is none."""
    champion = champion_of(world.status.versions)
    step = 0 if progress is None else progress.step
    complete = RolloutStatus(
        version=version.version,
        phase=RolloutPhase.Complete,
        step=step,
        weight=100,
        began=_began(world, version.version, at),
        since=at,
    )
    if champion is None:
        return complete
    return complete.model_copy(
        update={
            "phase": RolloutPhase.Guarding,
            "baselines": (_baseline(world, version.version),),
            "before": _shown(world, champion.version),
            "verdict": None if progress is None else progress.verdict,
            "shadow": None if progress is None else progress.shadow,
            "comparison": None if progress is None else progress.comparison,
            "labels": None if progress is None else progress.labels,
        }
    )


def _shown(world: ChurnModelWorld, version: str) -> Counters | None:
    counts = world.counted(version)
    promise = world.spec.serving.slo.p95_milliseconds
    return None if counts is None else Counters(pod=version, p95_milliseconds=promise, **asdict(counts))


def _is_news(last: RolloutStatus, progress: RolloutStatus) -> bool:
    """Another result, another reason that there is none, or so much more seen that people would like to know."""
    before, seen = _seen(last), _seen(progress)
    if _results(last) != _results(progress) or before.keys() != seen.keys():
        return True
    return any(not before[name] <= size <= before[name] * WORTH_TELLING for name, size in seen.items())


def _results(progress: RolloutStatus) -> tuple[TestOutcome | None, str, Winner | None]:
    verdict, comparison = progress.verdict, progress.comparison
    result = None if verdict is None else verdict.result
    why = verdict.message if verdict is not None and result is TestOutcome.Error else ""
    return result, why, None if comparison is None else comparison.winner


def _seen(progress: RolloutStatus) -> dict[TestName, int]:
    tests = () if progress.verdict is None else progress.verdict.tests
    return {test.name: test.challenger.size for test in tests}


def _loser(world: ChurnModelWorld, move: GiveUp | Restore) -> str:
    """Who has no traffic any more: of a version that takes it back, the champion that it follows."""
    champion = champion_of(world.status.versions) if isinstance(move, Restore) else None
    return (champion or move.version).version


def _ended(version: str, progress: RolloutStatus | None, why: Violation, at: str) -> RolloutStatus:
    """Of the version that lost its traffic, or the prospect of any: one that is called back is another."""
    begun = RolloutStatus(version=version, phase=RolloutPhase.Starting, began=at, since=at)
    last = progress if progress is not None and progress.version == version else begun
    ended = {"phase": RolloutPhase.RolledBack, "weight": 0, "since": at, "baselines": (), "before": None}
    return last.model_copy(update=ended | {"reason": why.reason, "message": why.message[:1024]})


def _completed(last: RolloutStatus, progress: RolloutStatus, at: str) -> RolloutStatus:
    """The guard is over, judged or not: what cannot be read holds nobody up for ever."""
    ended = progress.model_copy(update={"phase": RolloutPhase.Complete, "since": at, "message": ""})
    verdict = progress.verdict
    if verdict is None or not _is_blind(progress) or not _is_blind(last):  # a last look alone that told nothing
        return ended
    message = f"When its guard time ended {progress.version} could not be judged: {verdict.message}"
    return ended.model_copy(update={"reason": Reason.GuardNotJudged, "message": message[:1024]})


def _is_blind(progress: RolloutStatus) -> bool:
    return progress.verdict is not None and progress.verdict.result is TestOutcome.Error


def _staying(world: ChurnModelWorld, move: Stay, progress: RolloutStatus | None, now: datetime) -> RolloutStatus | None:
    """What was said, until there is something new to say: a verdict that grew by a few requests is not."""
    last = world.status.rollout
    if progress is None or last is None or progress.phase in {RolloutPhase.Complete, RolloutPhase.RolledBack}:
        return progress
    if progress.phase is RolloutPhase.Guarding and guarding(world, now) is None and not world.kserve_missing:
        return _completed(last, progress, clock.stamp(now))
    is_told = progress.phase is RolloutPhase.Shadowing or _is_news(last, progress)
    told = progress if is_told else last
    waits = {"reason": move.reason, "message": move.waits_for[:1024]}
    return progress.model_copy(update=waits | {"verdict": told.verdict, "comparison": told.comparison})
