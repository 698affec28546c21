"""TrainingRun: one attempt at a better model, from a pinned state of the data to a verdict."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from churn_operator.api.approval import Approval, ApprovalTerms, User
from churn_operator.api.base import (
    Condition,
    Conditions,
    Digest,
    LocalRef,
    Model,
    Name,
    Revision,
    Text,
    Time,
    Uri,
    Word,
    rules,
)
from churn_operator.api.tasks import Candidate, ColumnDrift, Progress, Resolved, TrainResult, Window
from churn_operator.api.training import Gates


class Trigger(StrEnum):
    """Why a run was opened."""

    Initial = "Initial"
    SpecChanged = "SpecChanged"
    Drift = "Drift"
    NewData = "NewData"
    RegistryMoved = "RegistryMoved"
    Manual = "Manual"


class RunPhase(StrEnum):
    """Where a run is; derived from its conditions, for printing."""

    Pending = "Pending"
    Running = "Running"
    Evaluating = "Evaluating"
    Accepted = "Accepted"
    Rejected = "Rejected"
    AwaitingApproval = "AwaitingApproval"
    Failed = "Failed"
    Expired = "Expired"
    Superseded = "Superseded"


SETTLED = frozenset({RunPhase.Accepted, RunPhase.Rejected, RunPhase.Failed, RunPhase.Expired, RunPhase.Superseded})
"""Phases that a run never leaves."""


class Evidence(Model):
    """What was seen when the run was opened."""

    monitor: Name
    """The DriftMonitor that raised the alarm."""
    window: Window
    """The rows it judged."""
    share: Annotated[float, Field(ge=0, le=1)]
    """Share of the features that drifted."""
    columns: Annotated[tuple[ColumnDrift, ...], Field(max_length=17)] = ()
    """The drifted ones, farthest first."""
    report: Uri | None = None
    """Evidently's report."""


class TrainingRunSpec(Model):
    """Why to train. Everything else is taken from the ChurnModel when the run starts."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("self == oldSelf", "a TrainingRun's spec cannot be changed: create another run"),
            ("!has(self.evidence) || self.trigger == 'Drift'", "evidence belongs to the trigger Drift"),
            (
                "has(self.candidate) ? self.trigger in ['RegistryMoved', 'Manual'] : self.trigger != 'RegistryMoved'",
                "candidate belongs to the trigger RegistryMoved, which needs it, and to Manual",
            ),
            ("!has(self.requestedBy) || self.trigger == 'Manual'", "requestedBy belongs to the trigger Manual"),
        )
    )

    model_ref: LocalRef
    """The ChurnModel."""
    trigger: Trigger = Trigger.Manual
    """Why the run was opened; Manual when a person did."""
    reason: Text = ""
    """The same for people."""
    revision: Revision | None = None
    """The state of the data to read; absent, the one that the Job finds."""
    evidence: Evidence | None = None
    """What was seen, when the trigger is Drift."""
    candidate: Candidate | None = None
    """A version of the model's own registered model: it is judged like a new one, and nothing is trained."""
    requested_by: User | None = None
    """Who asked for the run: the name of whoever creates it, who may then not approve it. Absent where the operator
    opened it."""


class GateVerdict(Model):
    """One gate, judged."""

    name: Annotated[str, Field(max_length=63)]
    """The gate."""
    verdict: Annotated[str, Field(max_length=16, json_schema_extra={"enum": ["Passed", "Failed", "NotApplicable"]})]
    """Passed, Failed or NotApplicable."""
    message: Annotated[str, Field(max_length=512)]
    """The measured value beside its bound."""


class RunLinks(Model):
    """What to open for more."""

    run: Uri | None = None
    """The MLflow run."""
    registered_model: Uri | None = None
    """The registered model's version."""


class TrainingRunStatus(Model):
    """What became of the run."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec this status speaks of."""
    phase: RunPhase = RunPhase.Pending
    """Summary of the conditions."""
    conditions: Conditions = ()
    """Succeeded (the Job left a result), GatesPassed (every gate holds) and Approved (a person agreed, or none is
    asked)."""
    resolved: Resolved | None = None
    """What the run was given."""
    gates: Gates = ()
    """The gates it is judged by, frozen with it."""
    approval_terms: ApprovalTerms | None = None
    """Whether it waits for a person and for how long, frozen with it."""
    progress: Progress | None = None
    """How far the Job is."""
    result: TrainResult | None = None
    """What the Job measured."""
    verdicts: Annotated[tuple[GateVerdict, ...], Field(max_length=33)] = ()
    """Each gate, judged."""
    evidence_digest: Digest | None = None
    """What is put up for approval: a digest of this very run, its model, its data, its gates and what they found. An
    approval names it, and is void when it changes."""
    awaiting_since: Time | None = None
    """When it was put up for approval."""
    approval: Approval | None = None
    """What a person decided: the one field here that others than the operator write."""
    revision: Revision | None = None
    """The state of the data that was read, or was to be read, whatever came of it."""
    reason: Word | None = None
    """What stands in the way or decided against it, printed."""
    metric: Word | None = None
    """The training metric, printed."""
    version: Word | None = None
    """The version this run made, once accepted; v and the run's number."""
    started_at: Time | None = None
    """When it was resolved."""
    finished_at: Time | None = None
    """When the verdict fell."""
    links: RunLinks | None = None
    """What to open for more."""

    def condition(self, type_: str) -> Condition | None:
        return next((c for c in self.conditions if c.type == type_), None)


class TrainingRun:
    """Facts of the kind that the CRD and the client need."""

    kind: ClassVar = "TrainingRun"
    plural: ClassVar = "trainingruns"
    short: ClassVar = "trun"
    spec: ClassVar = TrainingRunSpec
    status: ClassVar = TrainingRunStatus
    doc: ClassVar = (
        "TrainingRun is one attempt at a better model: made by the operator, or by hand to force one "
        "(then only modelRef and a reason)."
    )
    columns: ClassVar = (
        ("Trigger", "string", ".spec.trigger"),
        ("Phase", "string", ".status.phase"),
        ("Reason", "string", ".status.reason"),
        ("Progress", "integer", ".status.progress.percent"),
        ("Step", "string", ".status.progress.step"),
        ("Metric", "string", ".status.metric"),
        ("Version", "string", ".status.version"),
        ("Age", "date", ".metadata.creationTimestamp"),
    )
    rules: ClassVar = (
        (
            # As one pattern made of the model's name, it would cost twice what a rule may.
            (
                "self.metadata.name.startsWith(self.spec.modelRef.name + '-') && "
                "self.metadata.name.substring(size(self.spec.modelRef.name)).matches('^-[1-9][0-9]{0,8}$')"
            ),
            "metadata.name: a TrainingRun is named after its model and a number of its own, such as telco-7",
        ),
        (
            "self.spec.trigger != 'Manual' || size(self.metadata.name) <= size(self.spec.modelRef.name) + 1 + 8",
            "metadata.name: the number of a run by hand has eight digits at most: the operator counts on",
        ),
    )
    selectable: ClassVar = (".spec.modelRef.name",)
