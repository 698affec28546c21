"""What a replay of the champion's logged requests tells of a challenger. Pure.

The Job's last words are read once: the status keeps them, and with them when a replay that told nothing is begun again.
Want of anything but the challenger's own answers speaks neither for nor against it.
"""

from datetime import datetime

from churn_operator.api.analysis import TestOutcome, Verdict
from churn_operator.api.churnmodel import ServedVersion
from churn_operator.api.reasons import Reason
from churn_operator.api.rollout import RolloutStatus, ShadowStatus
from churn_operator.api.tasks import ShadowResult
from churn_operator.churnmodel.analysis import Terms, replayed
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.churnmodel.versions import champion_of
from churn_operator.core import clock
from churn_operator.core.job import Absent, Broken, Finished, Running, parse_result
from churn_operator.core.objects import Violation
from churn_operator.core.repeat import pause_after


def shadowed(
    world: ChurnModelWorld, progress: RolloutStatus, offline: tuple[int, ...] | None, terms: Terms, now: datetime
) -> RolloutStatus:
    """The rollout, with what its replay came to."""
    shadow, champion = progress.shadow, champion_of(world.status.versions)
    if shadow is None or champion is None:
        return progress
    if champion.log_url is None:
        return _untold(progress, shadow, Violation(Reason.NotLogged, _not_logged(champion)), TestOutcome.Error)
    if shadow.retry_at is not None:
        return progress
    found = shadow.result or _heard(world)
    match found:
        case None:
            return progress
        case Violation():
            return _untold(progress, _again(shadow, now), found, TestOutcome.Error)
        case ShadowResult(outcome="TooFew"):
            few = Violation(Reason.TooFewPredictions, _too_few(world, champion, found))
            return _untold(progress, _again(shadow, now), few, TestOutcome.Inconclusive)
        case _:
            spec = world.spec
            verdict = replayed(found, spec.rollout.shadow.min_agreement, spec.serving.slo, offline, terms)
            shadow = shadow.model_copy(update={"result": found, "reason": None, "message": ""})
            if verdict.result is not TestOutcome.Inconclusive:
                return progress.model_copy(update={"shadow": shadow, "verdict": verdict})
            reason = Reason.DataPersonal if found.hidden else Reason.TooFewPredictions
            open_ = _untold(progress, _again(shadow, now), Violation(reason, verdict.message), verdict.result)
            return open_.model_copy(update={"verdict": verdict})


def _heard(world: ChurnModelWorld) -> ShadowResult | Violation | None:
    """What the Job left; None while it is under way."""
    match world.replay:
        case Absent() | Running():
            return None
        case Broken(violation):
            return violation
        case Finished(text):
            return parse_result(text, ShadowResult)


def _again(shadow: ShadowStatus, now: datetime) -> ShadowStatus:
    return shadow.model_copy(update={"retry_at": clock.stamp(now + pause_after(shadow.attempt))})


def _untold(progress: RolloutStatus, shadow: ShadowStatus, why: Violation, outcome: TestOutcome) -> RolloutStatus:
    """Nothing is concluded."""
    told = why.message[:1024]
    shadow = shadow.model_copy(update={"reason": why.reason, "message": told})
    return progress.model_copy(update={"shadow": shadow, "verdict": Verdict(result=outcome, message=told)})


def _not_logged(champion: ServedVersion) -> str:
    return (
        f"The predictions of {champion.version} are not logged: it was made while the chart had no collector, so that "
        "nothing can be replayed. Set rollout.strategy to BlueGreen or Canary for this version."
    )


def _too_few(world: ChurnModelWorld, champion: ServedVersion, found: ShadowResult) -> str:
    return (
        f"The inference log holds {found.logged:,} rows that clients asked {champion.version} about in the last seven "
        f"days, of {world.spec.rollout.analysis.min_requests:,} that are needed (rollout.analysis.minRequests)."
    )
