"""What a model and its runs tell of what happened, and when. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from churn_operator.api.approval import APPROVED_IN_FILE, ApprovedEvidence
from churn_operator.api.base import Condition
from churn_operator.api.churnmodel import ChurnModelStatus, ServedVersion
from churn_operator.api.reasons import Reason
from churn_operator.api.trainingrun import SETTLED, TrainingRunSpec, TrainingRunStatus
from churn_operator.cli import moment
from churn_operator.cli.chain import Digests, Fact, What
from churn_operator.cli.summary import Object, Run, name_of, read, run_of

ORDER = tuple(What)


@dataclass(frozen=True)
class Record:
    """A run, as the cluster has it."""

    name: str
    made: str
    run: Run
    spec: TrainingRunSpec
    status: TrainingRunStatus
    listed: str | None
    """The evidence for which the model's file approves the version it made."""

    @property
    def digests(self) -> Digests:
        result, evidence = self.status.result, self.status.evidence_digest
        if result is None:
            return Digests(evidence=evidence)
        return Digests(model=result.model.digest, data=result.data.digest, evidence=evidence)

    @property
    def approved(self) -> Condition | None:
        """That, and why, the operator took it for approved; None where nobody was asked."""
        said = self.status.condition("Approved")
        return said if said is not None and said.reason == Reason.Approved else None

    @property
    def approved_in_file(self) -> Condition | None:
        return self.approved if self.approved is not None and APPROVED_IN_FILE in self.approved.message else None


def record(obj: Object, file: Sequence[ApprovedEvidence]) -> Record:
    status = read(TrainingRunStatus, obj, "status")
    listed = next((entry.evidence_digest for entry in file if entry.version == status.version), None)
    made = obj["metadata"]["creationTimestamp"]
    return Record(name_of(obj), made, run_of(obj), read(TrainingRunSpec, obj, "spec"), status, listed)


def is_of(run: Record, uid: str) -> bool:
    """Not of a model of the same name that was deleted."""
    resolved = run.status.resolved
    return resolved is None or resolved.model_uid in {None, uid}


def facts(status: ChurnModelStatus, runs: Iterable[Record]) -> tuple[Fact, ...]:
    """In the order of time. Where two tell of the same, the first tells more."""
    told = [
        *(fact for run in runs for fact in _of_run(run)),
        *(fact for version in status.versions for fact in _of_version(version)),
        *_quarantined(status),
        *_ordered(status),
    ]
    different = {fact.identity: fact for fact in reversed(told)}.values()
    return tuple(sorted(different, key=lambda fact: (instant(fact.at), ORDER.index(fact.what), fact.subject)))


def instant(text: str) -> datetime:
    """Of what a person wrote, too: what names no time is not what hides a report, but stands at its end."""
    try:
        return moment.parse(text)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


def _of_run(run: Record) -> Iterator[Fact]:
    spec, status, given = run.spec, run.status, run.status.approval
    asked = f"{spec.trigger}: {spec.reason}"
    yield Fact(at=run.made, what=What.Requested, subject=run.name, by=spec.requested_by, message=asked)
    if status.awaiting_since is not None:
        yield Fact(at=status.awaiting_since, what=What.AwaitingApproval, subject=run.name, digests=run.digests)
    if given is not None:
        seen = Digests(evidence=given.evidence_digest)
        said = {"by": given.by, "message": given.comment}
        yield Fact(at=given.at, what=What(given.decision), subject=run.name, digests=seen, **said)
    elif (listed := run.approved_in_file) is not None:
        seen = Digests(evidence=status.evidence_digest)
        at = listed.last_transition_time
        yield Fact(at=at, what=What.Approved, subject=run.name, message=listed.message, digests=seen)
    is_told = status.reason == Reason.Rejected  # by the person who did
    if status.finished_at is not None and status.phase in SETTLED and not is_told:
        at, what = status.finished_at, What(status.phase)
        yield Fact(at=at, what=what, subject=run.name, message=_because(status), digests=run.digests)


def _because(status: TrainingRunStatus) -> str | None:
    """What stood against it; else what its gates said."""
    by_type = {condition.type: condition for condition in status.conditions}
    against = next((c.message for c in status.conditions if c.status == "False"), None)
    made = f"As {status.version}. " if status.version else ""
    return against or (f"{made}{by_type['GatesPassed'].message}" if "GatesPassed" in by_type else None)


def _of_version(served: ServedVersion) -> Iterator[Fact]:
    """The state it is in, and when it became champion last: what was between is not in the status."""
    subject, digests = served.version, Digests(model=served.model.digest)
    state = What(served.state)
    yield Fact(at=served.since, what=state, subject=subject, message=served.reason, digests=digests)
    if served.promoted is not None:
        yield Fact(at=served.promoted, what=What.Champion, subject=subject, digests=digests)


def _quarantined(status: ChurnModelStatus) -> Iterator[Fact]:
    for one in status.quarantine:
        yield Fact(at=one.since, what=What.Quarantined, subject=one.version, digests=Digests(model=one.digest))


def _ordered(status: ChurnModelStatus) -> Iterator[Fact]:
    """By the action, too: two of one second are two."""
    given, handled = status.command, status.handled
    if given is not None:
        asked = " ".join(part for part in (given.action, given.version) if part)
        yield Fact(at=given.at, what=What.Ordered, subject=asked, by=given.by, message=given.reason or None)
    if handled is not None:
        yield Fact(at=handled.at, what=What(handled.outcome), subject=handled.action, message=handled.message)
