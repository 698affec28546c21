"""Who says yes to a challenger that passed every gate, and what ends the waiting for it.

The admission policy of the chart refuses what does not count here. It may not be installed, so that all of it is
looked at again: the status is the only truth.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from churn_operator.api.approval import APPROVED_IN_FILE, Approval
from churn_operator.api.base import parse_duration
from churn_operator.api.digest import evidence_digest
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import Resolved, TrainResult
from churn_operator.api.trainingrun import RunPhase, Trigger
from churn_operator.core import clock
from churn_operator.core.objects import Violation
from churn_operator.trainingrun.observe import TrainingRunWorld, is_required
from churn_operator.trainingrun.policies import verdict


@dataclass(frozen=True)
class Offer:
    """What is put up for approval."""

    resolved: Resolved
    digest: str
    since: datetime
    until: datetime


def offer(world: TrainingRunWorld, resolved: Resolved, result: TrainResult, now: datetime) -> Offer | None:
    """None where nobody is asked."""
    terms, gates = world.status.approval_terms, world.status.gates
    if terms is None or not is_required(terms, world.model):
        return None
    since = now if world.status.awaiting_since is None else clock.parse(world.status.awaiting_since)
    verdicts = tuple(verdict(gate, result) for gate in gates)
    digest = evidence_digest(resolved, gates, result, verdicts)
    return Offer(resolved, digest, since, since + parse_duration(terms.timeout))


@dataclass(frozen=True)
class Refusal:
    """The run is over without a version, though every gate holds."""

    phase: RunPhase
    violation: Violation


Policy = Callable[[TrainingRunWorld, Offer, datetime], Refusal | None]


def newer_candidate(world: TrainingRunWorld, offer: Offer, now: datetime) -> Refusal | None:  # noqa: ARG001 - policies look alike
    """A run with a higher number got as far: nobody needs to judge this one any more."""
    newer = [r for r in world.rivals if r.number > world.number and r.phase in CANDIDATE]
    if not newer:
        return None
    last = max(newer, key=lambda rival: rival.number)
    said = "awaits approval" if last.phase is RunPhase.AwaitingApproval else "was accepted"
    return _superseded(f"TrainingRun {last.name} is newer and {said}.")


def other_champion(world: TrainingRunWorld, offer: Offer, now: datetime) -> Refusal | None:  # noqa: ARG001 - policies look alike
    """What it was compared with is not what serves: its evidence speaks of another question."""
    if world.model is None:
        return None
    compared = offer.resolved.task.champion.version if offer.resolved.task.champion else None
    serves = world.model.champion.version if world.model.champion else None
    if serves == compared:
        return None
    return _superseded(f"It was compared with {compared or 'no champion'}, and {serves or 'no version'} serves now.")


def rejected(world: TrainingRunWorld, offer: Offer, now: datetime) -> Refusal | None:  # noqa: ARG001 - policies look alike
    """A person said no."""
    approval = world.status.approval
    if approval is None or approval.decision != "Rejected" or objection(world, offer) is not None:
        return None
    return Refusal(RunPhase.Rejected, Violation(Reason.Rejected, f"Rejected by {said_by(approval)}"))


def expired(world: TrainingRunWorld, offer: Offer, now: datetime) -> Refusal | None:
    """Nobody said anything that counts for as long as there was; a yes that is there is as good as in time."""
    if now < offer.until or approved_by(world, offer) is not None:
        return None
    message = (
        f"Nobody approved it from {clock.stamp(offer.since)} to {clock.stamp(offer.until)}. "
        "To try again, create a TrainingRun."
    )
    return Refusal(RunPhase.Expired, Violation(Reason.Expired, message))


CANDIDATE = frozenset({RunPhase.AwaitingApproval, RunPhase.Accepted})
"""Phases of a run that passed every gate and was not turned down."""
REFUSE: tuple[Policy, ...] = (newer_candidate, other_champion, rejected, expired)


def refuse(world: TrainingRunWorld, offer: Offer, now: datetime) -> Refusal | None:
    """The first policy that ends the waiting, if one does."""
    return next((refusal for policy in REFUSE if (refusal := policy(world, offer, now))), None)


def approved_by(world: TrainingRunWorld, offer: Offer) -> str | None:
    """Who agreed to the evidence that is on offer: a person in the status, or the model's file."""
    approval = world.status.approval
    if approval is not None and approval.decision == "Approved" and objection(world, offer) is None:
        return said_by(approval)
    if world.model is None:
        return None
    version = f"v{world.number}"
    listed = world.model.spec.approval.approved
    if any((entry.version, entry.evidence_digest) == (version, offer.digest) for entry in listed):
        return f"{APPROVED_IN_FILE} {world.spec.model_ref.name}."
    return None


def objection(world: TrainingRunWorld, offer: Offer) -> str | None:
    """Why what is written in status.approval does not count."""
    approval, spec = world.status.approval, world.spec
    if approval is None:
        return None
    if approval.evidence_digest != offer.digest:
        return f"it is of other evidence, {approval.evidence_digest}"
    if approval.by == spec.requested_by:
        return f"{approval.by} asked for this run, and who asks does not approve"
    if spec.trigger is Trigger.Manual and spec.requested_by is None:
        return "spec.requestedBy does not say who asked for this run, which may be the same person"
    return None


def said_by(approval: Approval) -> str:
    comment = f": {approval.comment}" if approval.comment else "."
    return f"{approval.by} at {approval.at}{comment}"


def _superseded(message: str) -> Refusal:
    return Refusal(RunPhase.Superseded, Violation(Reason.Superseded, message))
