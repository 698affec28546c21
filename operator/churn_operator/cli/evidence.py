"""What a person is asked to approve, and what speaks against their answer. Pure."""

from datetime import datetime
from typing import Literal

from churn_operator.api.approval import Approval
from churn_operator.cli import moment
from churn_operator.cli.summary import Run

Decision = Literal["Approved", "Rejected"]


def obstacle(run: Run, me: str, reviewed: str | None) -> str | None:
    """Why an answer by this person would not count; None where it would.

    The admission policy of the chart says it too, where it is installed, and the operator in any case.
    """
    if not run.awaits_approval:
        against = next((c.message for c in run.conditions if c.status == "False"), None)
        verdict = against or run.said("Approved") or run.said("Succeeded") or ""
        return f"TrainingRun {run.name} offers nothing to approve: it is {run.phase}. {verdict}".rstrip()
    if reviewed is not None and reviewed != run.evidence_digest:
        return f"The offer has changed: {run.name} now offers {run.evidence_digest}, and {reviewed} was reviewed."
    if run.approval is not None and run.approval.evidence_digest == run.evidence_digest:
        said = run.approval
        return f"{said.by} decided at {said.at}: {said.decision}. A decision stays until the evidence changes."
    if run.requested_by == me:
        return f"You, {me}, asked for {run.name}: who asks for a run does not approve it, somebody else has to."
    if run.trigger == "Manual" and run.requested_by is None:
        return (
            f"{run.name} does not say who asked for it (spec.requestedBy): nobody can show to be somebody else. "
            "Make another with `kubectl churn retrain`."
        )
    return None


def decision(run: Run, decided: Decision, me: str, comment: str, now: datetime) -> Approval:
    """What is written into status.approval."""
    if run.evidence_digest is None:
        raise ValueError(f"{run.name} offers no evidence")
    at = moment.stamp(now)
    return Approval(decision=decided, by=me, at=at, evidence_digest=run.evidence_digest, comment=comment)
