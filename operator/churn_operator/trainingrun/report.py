"""What a TrainingRun's status says."""

from dataclasses import dataclass
from datetime import datetime

from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import Progress, TrainResult
from churn_operator.api.trainingrun import RunLinks, RunPhase, TrainingRunStatus
from churn_operator.core import clock
from churn_operator.core.conditions import Judgement, conditions
from churn_operator.core.objects import Violation
from churn_operator.trainingrun.decide import Accept, Decision, Fail, Reject, Resolve, Rest, Train, Wait
from churn_operator.trainingrun.observe import TrainingRunWorld
from churn_operator.trainingrun.policies import verdict

LATE_STEPS = frozenset({"evaluate", "convert", "register", "done"})


@dataclass(frozen=True)
class Verdict:
    """Succeeded and GatesPassed, with the phase they amount to."""

    phase: RunPhase
    succeeded: Judgement
    gates_passed: Judgement


def report(world: TrainingRunWorld, decision: Decision, problem: Violation | None, now: datetime) -> TrainingRunStatus:
    if isinstance(decision, Rest):
        return world.status
    judged = _judge(world, decision, problem)
    generation = world.object["metadata"].get("generation", 0)
    status = world.status.model_copy(
        update={
            "observed_generation": generation,
            "phase": judged.phase,
            "conditions": conditions(world.status.conditions, (judged.succeeded, judged.gates_passed), generation, now),
            "reason": _reason(judged),
            "progress": _progress(world),
            "links": _links(world) or world.status.links,
        }
    )
    return status.model_copy(update=_outcome(world, decision, now))


def _outcome(world: TrainingRunWorld, decision: Decision, now: datetime) -> dict[str, object]:
    match decision:
        case Resolve(resolved, gates):
            return {"resolved": resolved, "gates": gates, "started_at": resolved.at}
        case Accept(result):
            return _measured(world, result, now) | {"version": f"v{world.number}"}
        case Reject(result):
            return _measured(world, result, now)
        case Fail(_, revision):
            pinned = world.status.resolved.task.revision if world.status.resolved else None
            return {"finished_at": clock.stamp(now), "revision": revision or pinned}
        case _:
            return {}


def _measured(world: TrainingRunWorld, result: TrainResult, now: datetime) -> dict[str, object]:
    progress = world.status.progress or Progress()
    return {
        "result": result,
        "revision": result.data.revision,
        "verdicts": tuple(verdict(gate, result) for gate in world.status.gates),
        "metric": _metric(world, result),
        "finished_at": clock.stamp(now),
        "progress": progress.model_copy(update={"percent": 100, "step": "done", "eta_seconds": None}),
    }


def _metric(world: TrainingRunWorld, result: TrainResult) -> str | None:
    resolved = world.status.resolved
    value = result.metrics.get(resolved.task.training.metric) if resolved else None
    return None if value is None else f"{value:.4f}"


def _judge(world: TrainingRunWorld, decision: Decision, problem: Violation | None) -> Verdict:
    open_gates = Judgement("GatesPassed", None, Reason.Waiting, "Nothing has been measured yet.")
    match decision:
        case Accept(result):
            return Verdict(RunPhase.Accepted, _trained(result), _passed(world, result))
        case Reject(result, violation):
            refused = Judgement("GatesPassed", False, violation.reason, violation.message)  # noqa: FBT003 - a condition's status
            return Verdict(RunPhase.Rejected, _trained(result), refused)
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


def _undecided(violation: Violation | None) -> Judgement:
    if violation is None:
        return Judgement("Succeeded", None, Reason.TrainingInProgress, "The training Job is under way.")
    return Judgement("Succeeded", None, violation.reason, violation.message)


def _trained(result: TrainResult) -> Judgement:
    data = result.data
    message = (
        f"{result.estimator} was trained on {data.rows - data.holdout_rows} rows of {data.uri} "
        f"({data.revision}) and measured on {data.holdout_rows} held-out ones."
    )
    return Judgement("Succeeded", True, Reason.Trained, message)  # noqa: FBT003 - a condition's status


def _passed(world: TrainingRunWorld, result: TrainResult) -> Judgement:
    said = [f"{v.name}: {v.message}" for v in (verdict(gate, result) for gate in world.status.gates)]
    return Judgement("GatesPassed", True, Reason.GatesPassed, " ".join(said) or "No gate is asked for.")  # noqa: FBT003 - a condition's status


def _reason(judged: Verdict) -> str | None:
    """What stands in the way: the reason of a condition that does not hold, if it is not merely under way."""
    usual = {Reason.TrainingInProgress, Reason.Waiting}
    open_ = (c for c in (judged.succeeded, judged.gates_passed) if c.holds is not True and c.reason not in usual)
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
