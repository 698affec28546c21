"""What to do about a TrainingRun: a pure function from what was seen to one of a closed set of decisions."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from churn_operator.api.approval import ApprovalTerms
from churn_operator.api.churnmodel import ChurnModelSpec
from churn_operator.api.digest import spec_digest
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import ChampionRef, Comparison, Resolved, TrainResult, TrainTask
from churn_operator.api.training import Gates
from churn_operator.api.trainingrun import RunPhase
from churn_operator.core import clock
from churn_operator.core.job import Absent, Broken, Finished, Running, parse_result
from churn_operator.core.objects import Violation, name_of, uid_of
from churn_operator.trainingrun import approval
from churn_operator.trainingrun.observe import ModelView, TrainingRunWorld, number_of
from churn_operator.trainingrun.policies import refuse

JOB_KEPT = timedelta(days=1)
"""A finished Job's pod and logs stay this long."""
WAITING = timedelta(seconds=10)
PROGRESS_EVERY = 1 / 20
"""Of the time that a run has taken: its progress is looked at this often, so that long runs cost MLflow no more…"""
SOONEST, LATEST = timedelta(seconds=2), timedelta(minutes=1)
"""…but not sooner nor later than these."""


@dataclass(frozen=True)
class Wait:
    """The run cannot start."""

    violation: Violation
    wake: timedelta | None = WAITING


@dataclass(frozen=True)
class Resolve:
    """Freeze what the run is given, before anything is made of it."""

    resolved: Resolved
    gates: Gates
    terms: ApprovalTerms
    wake: timedelta | None = None


@dataclass(frozen=True)
class Train:
    """The Job is to be there and to get on."""

    problem: Violation | None = None
    wake: timedelta | None = LATEST


@dataclass(frozen=True)
class Await:
    """The challenger passed every gate, and a person is to approve it."""

    result: TrainResult
    offer: approval.Offer
    objection: str | None
    """Why the approval that was written does not count."""
    wake: timedelta | None


@dataclass(frozen=True)
class Accept:
    """The challenger passed every gate, and nobody is asked, or somebody approved it."""

    result: TrainResult
    approved_by: str | None = None
    wake: timedelta | None = JOB_KEPT


@dataclass(frozen=True)
class Reject:
    """The challenger was measured and refused."""

    result: TrainResult
    violation: Violation
    wake: timedelta | None = JOB_KEPT


@dataclass(frozen=True)
class Decline:
    """The challenger passed every gate, and is not taken: a person said no, nobody said yes, or it is outdated."""

    result: TrainResult
    phase: RunPhase
    violation: Violation
    wake: timedelta | None = JOB_KEPT


@dataclass(frozen=True)
class Fail:
    """There is no challenger."""

    violation: Violation
    revision: str | None = None
    wake: timedelta | None = JOB_KEPT


@dataclass(frozen=True)
class Rest:
    """The verdict has fallen."""

    keep_job: bool
    wake: timedelta | None


Decision = Wait | Resolve | Train | Await | Accept | Reject | Decline | Fail | Rest


def decide(world: TrainingRunWorld, now: datetime) -> Decision:
    status = world.status
    if status.finished_at is not None:
        left = clock.parse(status.finished_at) + JOB_KEPT - now
        return Rest(keep_job=left > timedelta(0), wake=left if left > timedelta(0) else None)
    orphaned = _orphaned(world)
    return _proceed(world, now) if orphaned is None else Fail(orphaned)


def _proceed(world: TrainingRunWorld, now: datetime) -> Decision:
    status = world.status
    if status.resolved is not None and status.result is not None:
        return _measured(world, status.resolved, status.result, now)
    if world.tracking_problem is not None and isinstance(world.job, Absent):
        return Wait(Violation(Reason.TrackingUnavailable, f"{world.tracking_problem}."))
    if status.resolved is None:
        return _start(world, now)
    match world.job:
        case Absent():
            return Train()
        case Running(problem, began):
            return Train(problem, _progress_pause(status.resolved, now) if began else LATEST)
        case Broken(violation, revision):
            return Fail(violation, revision)
        case Finished(text):
            return _judge(world, status.resolved, text, now)


def _orphaned(world: TrainingRunWorld) -> Violation | None:
    """What it was judged by is not what the model of that name asks now."""
    model, resolved = world.model, world.status.resolved
    if model is None or resolved is None or resolved.model_uid in (None, uid_of(model.object)):
        return None
    message = f"The ChurnModel {name_of(model.object)} that it began for was deleted; the one there now is another."
    return Violation(Reason.Superseded, message)


def _start(world: TrainingRunWorld, now: datetime) -> Decision:
    if world.model is None:
        name = world.spec.model_ref.name
        return Wait(Violation(Reason.ModelNotFound, f"There is no ChurnModel {name} in namespace {world.namespace}."))
    newest = next(iter(world.model.status.versions), None)
    if newest is not None and world.number <= number_of(newest.version):
        last = world.model.status.last_run
        message = f"{newest.version} is newer than v{world.number} would be: give the run a number above {last}."
        return Fail(Violation(Reason.Superseded, message))
    spec = world.model.spec
    terms = ApprovalTerms(required=spec.approval.required, timeout=spec.approval.timeout)
    return Resolve(resolve(world, world.model, now), spec.gates, terms)


def _progress_pause(resolved: Resolved, now: datetime) -> timedelta:
    """Until the progress is worth another look; where nothing runs yet, an event will tell."""
    return min(max((now - clock.parse(resolved.at)) * PROGRESS_EVERY, SOONEST), LATEST)


def _judge(world: TrainingRunWorld, resolved: Resolved, text: str, now: datetime) -> Decision:
    result = parse_result(text, TrainResult)
    return Fail(result) if isinstance(result, Violation) else _measured(world, resolved, result, now)


def _measured(world: TrainingRunWorld, resolved: Resolved, result: TrainResult, now: datetime) -> Decision:
    """First the gates, then the people."""
    violation = refuse(world.status.gates, result)
    if violation is not None:
        return Reject(result, violation)
    offer = approval.offer(world, resolved, result, now)
    if offer is None:
        return Accept(result)
    refusal = approval.refuse(world, offer, now)
    if refusal is not None:
        return Decline(result, refusal.phase, refusal.violation)
    approved_by = approval.approved_by(world, offer)
    if approved_by is not None:
        return Accept(result, approved_by)
    return Await(result, offer, approval.objection(world, offer), wake=offer.until - now)


def resolve(world: TrainingRunWorld, model: ModelView, now: datetime) -> Resolved:
    """Everything the run is given, to the letter."""
    settings, spec = world.settings, model.spec
    name = world.spec.model_ref.name
    task = TrainTask(
        namespace=world.namespace,
        model=name,
        run=world.name,
        uid=world.object["metadata"]["uid"],
        trigger=world.spec.trigger,
        reason=world.spec.reason,
        owner=f"{settings.cluster}/{world.namespace}/{name}",
        image=settings.jobs_image,
        data=spec.data,
        revision=world.spec.revision,
        training=spec.training,
        tracking_uri=spec.tracking.uri or settings.tracking_uri,
        experiment=spec.tracking.experiment or f"{world.namespace}.{name}",
        registered_model=f"{world.namespace}.{name}",
        storage_uri=spec.storage.uri or settings.storage_uri,
        candidate=world.spec.candidate,
        champion=_champion(model),
        comparisons=_comparisons(spec),
    )
    return Resolved(task=task, spec_digest=spec_digest(spec), model_uid=uid_of(model.object), at=clock.stamp(now))


def _champion(model: ModelView) -> ChampionRef | None:
    champion = model.champion
    return ChampionRef(version=champion.version, model=champion.model) if champion else None


def _comparisons(spec: ChurnModelSpec) -> tuple[Comparison, ...]:
    wanted = {(g.champion.metric, g.champion.confidence) for g in spec.gates if g.champion is not None}
    return tuple(Comparison(metric=metric, confidence=confidence) for metric, confidence in sorted(wanted))
