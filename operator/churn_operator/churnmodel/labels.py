"""What labels tell of two versions that share, or shared, the traffic. Pure.

A look for them begins with each interval of the clock, so that an operator that is killed begins none twice. What its
Job left is read once, and the status keeps it. Want of labels speaks neither for nor against a version.
"""

from dataclasses import replace
from datetime import UTC, datetime

from churn_operator.api.analysis import LabelsSpec
from churn_operator.api.base import Duration, parse_duration
from churn_operator.api.reasons import Reason
from churn_operator.api.rollout import LabelsStatus, RolloutPhase, RolloutStatus
from churn_operator.api.tasks import LabelsResult
from churn_operator.churnmodel.counts import Counts
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.churnmodel.versions import champion_of
from churn_operator.core import clock
from churn_operator.core.job import Absent, Broken, Finished, Running, parse_result
from churn_operator.core.objects import Violation

ASKED_ONE_BY_ONE = frozenset({"BlueGreen", "Shadow"})
"""Strategies under which clients never ask two versions over the same time."""


def wanted(world: ChurnModelWorld) -> LabelsSpec | None:
    rollout = world.spec.rollout
    return None if rollout.strategy in ASKED_ONE_BY_ONE else rollout.analysis.labels


def labelled(world: ChurnModelWorld, progress: RolloutStatus, now: datetime) -> RolloutStatus:
    """The rollout, with what its last look for labels came to, and with the next where that is due."""
    asked, labels = wanted(world), progress.labels or _shared(world, progress)
    if asked is None or labels is None:
        return progress.model_copy(update={"labels": None})
    if problem := _not_logged(world, progress, labels):
        labels = _untold(labels, problem)
    else:
        heard = _heard(world, labels) if is_open(labels) else labels
        labels = heard if is_open(heard) else _next(heard, _beginning(now, asked.interval))
    return progress.model_copy(update={"labels": labels})


def is_open(labels: LabelsStatus) -> bool:
    """A look is under way."""
    return labels.begun != labels.ended


def unread(labels: LabelsStatus | None) -> str | None:
    """Why the last look told nothing."""
    if labels is None or labels.reason is None:
        return None
    return f"{labels.reason}: {labels.message.rstrip('.')}"


def known_of(counts: Counts, labels: LabelsStatus | None, version: str) -> Counts:
    """A version's counts, with what labels tell of its decisions."""
    result = None if labels is None else labels.result
    both = () if result is None else (result.champion, result.challenger)
    one = next((one for one in both if one.version == version), None)
    return counts if one is None else replace(counts, labelled=one.labelled, wrong=one.wrong)


def _shared(world: ChurnModelWorld, progress: RolloutStatus) -> LabelsStatus | None:
    """In a step; before it, and where there was none, no two versions shared the traffic."""
    champion = champion_of(world.status.versions)
    if champion is None or progress.phase is not RolloutPhase.Shifting:
        return None
    return LabelsStatus(champion=champion.version, since=progress.since)


def _not_logged(world: ChurnModelWorld, progress: RolloutStatus, labels: LabelsStatus) -> Violation | None:
    judged = (labels.champion, progress.version)
    version = next((v.version for v in world.status.versions if v.version in judged and v.log_url is None), None)
    if version is None:
        return None
    message = f"The predictions of {version} are not logged: it was made while the chart had no collector."
    return Violation(Reason.NotLogged, message)


def _heard(world: ChurnModelWorld, labels: LabelsStatus) -> LabelsStatus:
    """With what the Job left; as it was while that is under way."""
    match world.labels:
        case Running(Violation() as problem):
            return _untold(labels, problem)
        case Absent() | Running():
            return labels
        case Broken(violation):
            found: LabelsResult | Violation = violation
        case Finished(text):
            found = parse_result(text, LabelsResult)
    ended = labels.model_copy(update={"ended": labels.begun})
    if isinstance(found, Violation):
        return _untold(ended, found)
    return ended.model_copy(update={"result": found, "reason": None, "message": ""})


def _untold(labels: LabelsStatus, why: Violation) -> LabelsStatus:
    return labels.model_copy(update={"reason": why.reason, "message": why.message[:1024]})


def _next(labels: LabelsStatus, begins: datetime) -> LabelsStatus:
    """The look of this interval, unless it was begun or could find nothing yet."""
    at = clock.stamp(begins)
    is_due = at != labels.begun and begins > clock.parse(labels.since)
    return labels.model_copy(update={"begun": at}) if is_due else labels


def _beginning(now: datetime, interval: Duration) -> datetime:
    """Of the interval that now is in."""
    seconds = int(parse_duration(interval).total_seconds())
    return datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, UTC)
