"""What is known of a model, gathered from its object, its runs and its monitors. Pure; `-o json` prints it as it is."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from churn_operator.api.analysis import Verdict
from churn_operator.api.approval import Approval, Command, Handled
from churn_operator.api.base import Condition, Model, parse_duration
from churn_operator.api.churnmodel import ChurnModelStatus, Retraining, ServedVersion, VersionState
from churn_operator.api.driftmonitor import DriftMonitorStatus
from churn_operator.api.rollout import Comparison, LabelsStatus, RolloutPhase, RolloutSpec, RolloutStatus
from churn_operator.api.tasks import ColumnDrift, ComparisonResult, ShadowResult
from churn_operator.api.trainingrun import GateVerdict, RunPhase, TrainingRunSpec, TrainingRunStatus
from churn_operator.cli import moment
from churn_operator.cli.failure import Failure

Object = Mapping[str, Any]
Some = TypeVar("Some", bound=Model)


class Version(Model):
    """A version, and what became of it."""

    version: str
    state: VersionState
    since: str
    reason: str
    run: str
    metric: str


class Traffic(Model):
    """A version's share of the requests: what was asked of the gateway, what it says, and what the pods counted."""

    version: str
    asked: int | None = None
    read_back: int | None = None
    counted: int | None = None


class Rollout(Model):
    """How far traffic has moved."""

    version: str
    phase: RolloutPhase
    strategy: str
    step: int
    steps: int
    weight: int
    since: str
    guard_until: str | None = None
    paused: bool
    reason: str | None = None
    message: str
    verdict: Verdict | None = None
    comparison: Comparison | None = None
    replay: ShadowResult | None = None
    labels: LabelsStatus | None = None

    @property
    def is_under_way(self) -> bool:
        """A guard is none: all of the traffic has moved, and it only could come back."""
        return self.phase not in {RolloutPhase.Guarding, RolloutPhase.Complete, RolloutPhase.RolledBack}


class Run(Model):
    """One attempt at a better model."""

    name: str
    number: int
    trigger: str
    why: str
    requested_by: str | None = None
    phase: RunPhase
    reason: str | None = None
    step: str | None = None
    percent: int | None = None
    metric: str | None = None
    version: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    conditions: tuple[Condition, ...] = ()
    gates: tuple[GateVerdict, ...] = ()
    comparisons: tuple[ComparisonResult, ...] = ()
    mlflow: str | None = None
    evidence_digest: str | None = None
    awaiting_since: str | None = None
    awaiting_until: str | None = None
    approval: Approval | None = None

    @property
    def awaits_approval(self) -> bool:
        return self.phase is RunPhase.AwaitingApproval and self.evidence_digest is not None

    def said(self, condition: str) -> str | None:
        return next((c.message for c in self.conditions if c.type == condition), None)


class Drift(Model):
    """What a monitor says of the champion."""

    monitor: str
    version: str | None = None
    within_limits: Condition | None = None
    share: str | None = None
    columns: tuple[ColumnDrift, ...] = ()
    last_check_at: str | None = None
    next_check_at: str | None = None
    problem: str | None = None
    report: str | None = None


class Summary(Model):
    """What is known of a model."""

    name: str
    namespace: str
    generation: int
    observed_generation: int
    phase: str
    suspended: bool
    conditions: tuple[Condition, ...]
    endpoint: str | None = None
    registered_model: str | None = None
    champion: str | None = None
    versions: tuple[Version, ...] = ()
    traffic: tuple[Traffic, ...] = ()
    rollout: Rollout | None = None
    runs: tuple[Run, ...] = ()
    approvals: tuple[Run, ...] = ()
    retraining: Retraining | None = None
    drift: tuple[Drift, ...] = ()
    command: Command | None = None
    handled: Handled | None = None

    def condition(self, type_: str) -> Condition | None:
        return next((c for c in self.conditions if c.type == type_), None)


def read(kind: type[Some], obj: Object, field: str) -> Some:
    """A part of an object, as this version of the API knows it.

    Raises:
        Failure: it holds what this version does not know.
    """
    try:
        return kind.model_validate(obj.get(field) or {})
    except ValidationError as error:
        path, said = first_error(error, field)
        raise Failure(
            f"{obj['kind']} {name_of(obj)} has a {path} that this kubectl-churn does not know ({said}): "
            "install the release that the operator is of."
        ) from error


def first_error(error: ValidationError, *within: str) -> tuple[str, str]:
    """Which field, and what is wrong with it."""
    first = error.errors()[0]
    return ".".join(str(part) for part in (*within, *first["loc"])), f"{first['msg'][:1].lower()}{first['msg'][1:]}"


def name_of(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def number_of(run: str, model: str) -> int:
    """The number in a run's name; 0 for a name that is none of this model's."""
    number = run.removeprefix(f"{model}-")
    return int(number) if number.isascii() and number.isdigit() and run != number else 0


def summarise(model: Object, runs: Sequence[Object], monitors: Sequence[Object], last: int = 3) -> Summary:
    """With the last so many runs; all that wait for approval are listed whatever their number."""
    meta, status = model["metadata"], read(ChurnModelStatus, model, "status")
    newest_first = sorted((run_of(run) for run in runs), key=lambda run: run.number, reverse=True)
    champion = next((v.version for v in status.versions if v.state is VersionState.Champion), None)
    return Summary(
        name=meta["name"],
        namespace=meta["namespace"],
        generation=meta.get("generation", 0),
        observed_generation=status.observed_generation,
        phase=status.phase,
        suspended=bool(model.get("spec", {}).get("suspend")),
        conditions=status.conditions,
        endpoint=status.links.endpoint if status.links else None,
        registered_model=status.links.registered_model if status.links else None,
        champion=champion,
        versions=tuple(_version(version) for version in status.versions),
        traffic=_traffic(status, champion),
        rollout=None if status.rollout is None else _rollout(status.rollout, model),
        runs=tuple(newest_first[:last]),
        approvals=tuple(run for run in newest_first if run.awaits_approval),
        retraining=status.retraining,
        drift=tuple(_drift(monitor) for monitor in sorted(monitors, key=name_of)),
        command=status.command,
        handled=status.handled,
    )


def run_of(obj: Object) -> Run:
    """A TrainingRun, without the task it was given."""
    spec, status = read(TrainingRunSpec, obj, "spec"), read(TrainingRunStatus, obj, "status")
    until = None
    if status.awaiting_since is not None and status.approval_terms is not None:
        until = moment.stamp(moment.parse(status.awaiting_since) + parse_duration(status.approval_terms.timeout))
    return Run(
        name=name_of(obj),
        number=number_of(name_of(obj), spec.model_ref.name),
        trigger=spec.trigger,
        why=spec.reason,
        requested_by=spec.requested_by,
        phase=status.phase,
        reason=status.reason,
        step=status.progress.step if status.progress else None,
        percent=status.progress.percent if status.progress else None,
        metric=status.metric,
        version=status.version,
        started_at=status.started_at,
        finished_at=status.finished_at,
        conditions=status.conditions,
        gates=status.verdicts,
        comparisons=status.result.comparisons if status.result else (),
        mlflow=status.links.run if status.links else None,
        evidence_digest=status.evidence_digest,
        awaiting_since=status.awaiting_since,
        awaiting_until=until,
        approval=status.approval,
    )


def _version(served: ServedVersion) -> Version:
    return Version(**{field: getattr(served, field) for field in Version.model_fields})


def _traffic(status: ChurnModelStatus, champion: str | None) -> tuple[Traffic, ...]:
    asked = _asked(status.rollout, champion)
    seen = {share.version: share for share in status.traffic}
    return tuple(
        Traffic(
            version=version,
            asked=asked.get(version, 0),
            read_back=seen[version].percent if version in seen else None,
            counted=seen[version].counted if version in seen else None,
        )
        for version in dict.fromkeys([*asked, *seen])
    )


def _asked(rollout: RolloutStatus | None, champion: str | None) -> Mapping[str, int]:
    if champion is None:
        return {}
    if rollout is None or rollout.phase is not RolloutPhase.Shifting:
        return {champion: 100}
    return {champion: 100 - rollout.weight, rollout.version: rollout.weight}


def _rollout(seen: RolloutStatus, model: Object) -> Rollout:
    spec = read(RolloutSpec, {**model, "rollout": model.get("spec", {}).get("rollout")}, "rollout")
    guard_until = None
    if seen.phase is RolloutPhase.Guarding:
        guard_until = moment.stamp(moment.parse(seen.since) + parse_duration(spec.guard))
    return Rollout(
        version=seen.version,
        phase=seen.phase,
        strategy=spec.strategy,
        step=seen.step,
        steps=len(spec.weights) if spec.strategy in {"Canary", "ABTest"} else 0,
        weight=seen.weight,
        since=seen.since,
        guard_until=guard_until,
        paused=spec.paused,
        reason=seen.reason,
        message=seen.message,
        verdict=seen.verdict,
        comparison=seen.comparison,
        replay=seen.shadow.result if seen.shadow else None,
        labels=seen.labels,
    )


def _drift(monitor: Object) -> Drift:
    status = read(DriftMonitorStatus, monitor, "status")
    return Drift(
        monitor=name_of(monitor),
        version=status.version,
        within_limits=next((c for c in status.conditions if c.type == "WithinDriftLimits"), None),
        share=status.share,
        columns=tuple(column for column in status.columns if column.drifted),
        last_check_at=status.last_check_at,
        next_check_at=status.next_check_at,
        problem=status.problem,
        report=status.links.report if status.links else None,
    )
