"""Approval: what a person says of a challenger that passed every gate, and what a person orders of a model."""

from typing import Annotated, Literal

from pydantic import Field

from churn_operator.api.base import Digest, Interval, Model, Text, Time, Word, map_list

User = Annotated[str, Field(min_length=1, max_length=512)]
"""A user as the API server knows them: the name that `kubectl auth whoami` prints."""


APPROVED_IN_FILE = "spec.approval.approved of ChurnModel"
"""Whom the condition Approved names where no person wrote in the run's status."""


class ApprovalTerms(Model):
    """Whether a run waits for a person, and for how long."""

    required: bool = False
    """A run that passed every gate waits in phase AwaitingApproval until somebody approves it."""
    timeout: Interval = "7d"
    """A run that nobody approved for this long expires; the champion serves on."""


class ApprovedEvidence(Model):
    """One approval, written in the file."""

    version: Word
    """The version that the run would make: v and the run's number."""
    evidence_digest: Digest
    """The run's status.evidenceDigest. Of another evidence it approves nothing."""


class ApprovalSpec(ApprovalTerms):
    """Who is asked before a new version serves. To change it needs the verb `approve` on churnmodels."""

    approved: Annotated[tuple[ApprovedEvidence, ...], Field(max_length=16, json_schema_extra=map_list("version"))] = ()
    """Approvals for who writes this file by GitOps; each is as good as one in the TrainingRun's status."""


class Approval(Model):
    """What a person decided. `kubectl churn approve` writes it; the operator never does."""

    decision: Literal["Approved", "Rejected"]
    """Approved or Rejected. Once made it stays, until the evidence changes."""
    by: User
    """Who decided: the name of whoever writes this, and not of whoever asked for the run."""
    at: Time
    """When, by the clock of whoever decided."""
    evidence_digest: Digest
    """The status.evidenceDigest that was judged."""
    comment: Text = ""
    """Why."""


class Command(Model):
    """What a person orders of a model that serves. The operator carries it out and never writes it."""

    action: Literal["Promote", "Abort", "Rollback"]
    """Promote: move all traffic to the version that is on its way. Abort: give it up. Rollback: return to a version
    that served before."""
    version: Word | None = None
    """The version that is meant; absent, the one there is."""
    by: User
    """Who orders it: the name of whoever writes this."""
    at: Time
    """When, by the clock of whoever orders it: another time is another order, as is another action."""
    reason: Text = ""
    """Why."""


class Handled(Model):
    """What came of the last order."""

    at: Time
    """The order's own time: which one it was."""
    action: Annotated[str, Field(max_length=16)]
    """Promote, Abort or Rollback."""
    outcome: Literal["Done", "Declined"] = "Done"
    """Done, or Declined: it cannot be carried out, or something else came of the rollout before."""
    message: Text
    """What was done, or why nothing was."""
