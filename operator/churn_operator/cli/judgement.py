"""Whether a model is as it should be: what `kubectl churn check` answers. Pure."""

from dataclasses import dataclass

from churn_operator.api.churnmodel import VersionState
from churn_operator.api.rollout import RolloutPhase
from churn_operator.cli.summary import Summary


@dataclass(frozen=True)
class Judgement:
    """The answer as it is now."""

    holds: bool
    """Ready, and no rollout under way."""
    final: bool
    """Waiting changes nothing."""
    message: str
    """Why."""


def judge(model: Summary) -> Judgement:
    return _unseen(model) or _moving(model) or _rolled_back(model) or _ready(model)


def _unseen(model: Summary) -> Judgement | None:
    if model.observed_generation >= model.generation:
        return None
    seen = f"generation {model.observed_generation} of {model.generation}"
    return _not_yet(f"The operator has not looked at the latest spec yet: its status is of {seen}.")


def _moving(model: Summary) -> Judgement | None:
    rollout = model.rollout
    rolling = next((v.version for v in model.versions if v.state is VersionState.RollingOut), None)
    if rolling is None and (rollout is None or not rollout.is_under_way):
        return None
    condition = model.condition("RolloutHealthy")
    said = condition.message if condition is not None else "its InferenceService is being made."
    return _not_yet(f"{rolling or (rollout.version if rollout else '')} is rolling out: {said}")


def _rolled_back(model: Summary) -> Judgement | None:
    rollout = model.rollout
    if rollout is None or rollout.phase is not RolloutPhase.RolledBack:
        return None
    return Judgement(holds=False, final=True, message=f"Rolled back, {rollout.reason}: {rollout.message}")


def _ready(model: Summary) -> Judgement:
    ready, healthy = model.condition("Ready"), model.condition("RolloutHealthy")
    if ready is None:
        return _not_yet("The operator has not judged it yet: is it running?")
    if ready.status != "True":
        trained = model.condition("Trained")
        why = f" {trained.message}" if trained is not None and model.champion is None else ""
        return Judgement(holds=False, final=model.phase == "Failed", message=f"Not Ready: {ready.message}{why}")
    if healthy is not None and healthy.status == "False":
        return _not_yet(f"Degraded: {healthy.message}")
    guard = model.rollout.guard_until if model.rollout else None
    guarded = f" The version before stays warm until {guard}." if guard else ""
    return Judgement(holds=True, final=True, message=f"Ready: {ready.message}{guarded}")


def _not_yet(message: str) -> Judgement:
    return Judgement(holds=False, final=False, message=message)
