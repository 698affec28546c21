"""What a TrainingRun's status says."""

from dataclasses import dataclass
from datetime import datetime

from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import Progress, TrainResult
from churn_operator.api.trainingrun import RunLinks, RunPhase, TrainingRunStatus
from churn_operator.core import clock
from churn_operator.core.conditions import Judgement, conditions
from churn_operator.core.objects import Violation
from churn_operator.trainingrun.decide import (
    Accept,
    Await,
    Decision,
    Decline,
    Fail,
    Reject,
    Resolve,
    Rest,
    Train,
    Wait,
)
from churn_operator.trainingrun.observe import TrainingRunWorld
from churn_operator.trainingrun.policies import verdict

NOT_ON_OFFER = Judgement("Approved", None, Reason.NotOnOffer, "There is no challenger that passed every gate.")
LATE_STEPS = frozenset({"evaluate", "convert", "register", "done"})


@dataclass(frozen=True)
class Verdict:
    """Succeeded, GatesPassed and Approved, with the phase they amount to."""

    phase: RunPhase
    succeeded: Judgement
    gates_passed: Judgement
    approved: Judgement = NOT_ON_OFFER

    @property
    def judgements(self) -> tuple[Judgement, ...]:
        return self.succeeded, self.gates_passed, self.approved


def report(world: TrainingRunWorld, decision: Decision, problem: Violation | None, now: datetime) -> TrainingRunStatus:
    """Never what a person wrote: a field that the operator does not apply, it neither owns nor removes."""
    written = world.status.model_copy(update={"approval": None})
    if isinstance(decision, Rest):
        return written
    judged = _judge(world, decision, problem)
    generation = world.object["metadata"].get("generation", 0)
    status = written.model_copy(
        update={
            "observed_generation": generation,
            "phase": judged.phase,
            "conditions": conditions(world.status.conditions, judged.judgements, generation, now),
            "reason": _reason(judged),
            "progress": _progress(world),
            "links": _links(world) or world.status.links,
        }
    )
    return status.model_copy(update=_outcome(world, decision, now))


def _outcome(world: TrainingRunWorld, decision: Decision, now: datetime) -> dict[str, object]:
    match decision:
        case Resolve(resolved, gates, terms):
            return {"resolved": resolved, "gates": gates, "approval_terms": terms, "started_at": resolved.at}
        case Await(result, offer):
            offered = {"evidence_digest": offer.digest, "awaiting_since": clock.stamp(offer.since)}
            return _measured(world, result) | offered
        case Accept(result):
            return _measured(world, result) | {"finished_at": clock.stamp(now), "version": f"v{world.number}"}
        case Reject(result) | Decline(result):
            return _measured(world, result) | {"finished_at": clock.stamp(now)}
        case Fail(_, revision):
            pinned = world.status.resolved.task.revision if world.status.resolved else None
            return {"finished_at": clock.stamp(now), "revision": revision or pinned}
        case _:
            return {}


def _measured(world: TrainingRunWorld, result: TrainResult) -> dict[str, object]:
    progress = world.status.progress or Progress()
    return {
        "result": result,
        "revision": result.data.revision,
        "verdicts": tuple(verdict(gate, result) for gate in world.status.gates),
        "metric": _metric(world, result),
        "progress": progress.model_copy(update={"percent": 100, "step": "done", "eta_seconds": None}),
    }


def _metric(world: TrainingRunWorld, result: TrainResult) -> str | None:
    resolved = world.status.resolved
    value = result.metrics.get(resolved.task.training.metric) if resolved else None
    return None if value is None else f"{value:.4f}"


def _judge(world: TrainingRunWorld, decision: Decision, problem: Violation | None) -> Verdict:
    open_gates = Judgement("GatesPassed", None, Reason.Waiting, "Nothing has been measured yet.")
    match decision:
        case Await(result) | Accept(result) | Decline(result):
            phase, approved = _approval(world, decision)
            return Verdict(phase, _trained(world, result), _passed(world, result), approved)
        case Reject(result, violation):
            refused = Judgement("GatesPassed", False, violation.reason, violation.message)  # noqa: FBT003 - a condition's status
            return Verdict(RunPhase.Rejected, _trained(world, result), refused)
        case Fail(violation):
            failed = Judgement("Succeeded", False, violation.reason, violation.message)  # noqa: FBT003 - a condition's status
            return Verdict(RunPhase.Failed, failed, open_gates)
        case Wait(violation):
            return Verdict(RunPhase.Pending, _undecided(problem or violation), open_gates)
        case Train(trouble) if problem or trouble:
            return Verdict(RunPhase.Pending, _undecided(problem or trouble), open_gates)
        case Train() if world.progress is not None:
            late = world.progress.step in LATE_STEPS
            return Verdict(RunPhase.Evaluating if late else RunPhase.Running, _undecided(None), open_gates)
        case _:
            return Verdict(RunPhase.Pending, _undecided(None), open_gates)


def _approval(world: TrainingRunWorld, decision: Await | Accept | Decline) -> tuple[RunPhase, Judgement]:
    """What people say of a challenger that passed every gate."""
    match decision:
        case Await():
            return RunPhase.AwaitingApproval, _awaited(world, decision)
        case Accept(_, None):
            message = "spec.approval of the ChurnModel asks nobody."
            return RunPhase.Accepted, Judgement("Approved", True, Reason.ApprovalNotRequired, message)  # noqa: FBT003 - a condition's status
        case Accept(_, approved_by):
            message = f"Approved by {approved_by}"
            return RunPhase.Accepted, Judgement("Approved", True, Reason.Approved, message)  # noqa: FBT003 - a condition's status
        case Decline(_, phase, violation):
            return phase, Judgement("Approved", False, violation.reason, violation.message)  # noqa: FBT003 - a condition's status


def _awaited(world: TrainingRunWorld, decision: Await) -> Judgement:
    """What to do, to be read at three in the morning: the command, the evidence, and what happens without it."""
    offer, asked, written = decision.offer, world.spec.requested_by, world.status.approval
    said = [
        "Every gate holds; now somebody has to approve it, or reject:",
        f"kubectl churn approve {world.name} -n {world.namespace}.",
        f"The evidence is {offer.digest}.",
        f"Without an answer it expires at {clock.stamp(offer.until)}.",
    ]
    if asked is not None:
        said.insert(2, f"Not {asked}, who asked for the run.")
    if written is not None and decision.objection is not None:
        said.insert(0, f"What {written.by} wrote in status.approval does not count: {decision.objection}.")
    return Judgement("Approved", None, Reason.AwaitingApproval, " ".join(said))


def _undecided(violation: Violation | None) -> Judgement:
    if violation is None:
        return Judgement("Succeeded", None, Reason.TrainingInProgress, "The training Job is under way.")
    return Judgement("Succeeded", None, violation.reason, violation.message)


def _trained(world: TrainingRunWorld, result: TrainResult) -> Judgement:
    data = result.data
    message = (
        f"{result.estimator} was trained on {data.rows - data.holdout_rows} rows of {data.uri} "
        f"({data.revision}) and measured on {data.holdout_rows} held-out ones."
    )
    if world.spec.candidate is not None:
        message = (
            f"Version {result.registry_version} of the registered model, {result.estimator}, was measured on "
            f"{data.holdout_rows} held-out rows of {data.uri} ({data.revision})."
        )
    return Judgement("Succeeded", True, Reason.Trained, message)  # noqa: FBT003 - a condition's status


def _passed(world: TrainingRunWorld, result: TrainResult) -> Judgement:
    said = [f"{v.name}: {v.message}" for v in (verdict(gate, result) for gate in world.status.gates)]
    return Judgement("GatesPassed", True, Reason.GatesPassed, " ".join(said) or "No gate is asked for.")  # noqa: FBT003 - a condition's status


def _reason(judged: Verdict) -> str | None:
    """What stands in the way: the reason of a condition that does not hold, if it is not merely under way."""
    usual = {Reason.TrainingInProgress, Reason.Waiting, Reason.NotOnOffer, Reason.AwaitingApproval}
    open_ = (c for c in judged.judgements if c.holds is not True and c.reason not in usual)
    return next((c.reason for c in open_), None)


def _progress(world: TrainingRunWorld) -> Progress | None:
    """The progress last printed, until a tenth more is done or another step begins."""
    last, seen = world.status.progress, world.progress
    if seen is None:
        return last
    coarse = seen.model_copy(update={"percent": seen.percent // 10 * 10})
    if last is not None and (last.step, last.percent) == (coarse.step, coarse.percent):
        return last
    return coarse


def _links(world: TrainingRunWorld) -> RunLinks | None:
    if world.run is None:
        return None
    ui = world.settings.tracking_ui or world.settings.tracking_uri
    return RunLinks(run=f"{ui}/#/experiments/{world.run.experiment_id}/runs/{world.run.run_id}")
