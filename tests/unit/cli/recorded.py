"""A run that was approved, the model that it serves, and reports of them."""

import json
from typing import Any

from support.kinds import EARLIER, NOW, make_resolved, make_result, make_version
from support.shell import condition, obj, run_spec

from churn_operator.api.churnmodel import VersionState
from churn_operator.api.digest import evidence_digest
from churn_operator.api.trainingrun import TrainingRunStatus
from churn_operator.cli import chain
from churn_operator.cli.chain import Chain
from churn_operator.cli.checks import Outcome
from churn_operator.cli.report import Report, chain_of, report

MADE, FINISHED, LATER = "2026-11-21T08:00:00Z", "2026-11-21T09:30:00Z", "2026-11-21T10:00:00Z"
SPEC: dict[str, Any] = {"data": {"source": {"uri": "s3://churn/telco.csv"}, "target": "churn"}}
MEASURED: dict[str, Any] = {
    "phase": "Accepted",
    "resolved": make_resolved(2).to_dict() | {"modelUid": "uid-1"},
    "gates": [{"name": "quality", "metric": "roc_auc", "min": 0.8}],
    "approvalTerms": {"required": True, "timeout": "7d"},
    "result": make_result(2).to_dict(),
    "verdicts": [{"name": "quality", "verdict": "Passed", "message": "roc_auc is 0.84; at least 0.8 is asked for."}],
}
SEEN = TrainingRunStatus.model_validate(MEASURED)
assert SEEN.resolved is not None
assert SEEN.result is not None
EVIDENCE = evidence_digest(SEEN.resolved, SEEN.gates, SEEN.result, SEEN.verdicts)
APPROVAL = {"decision": "Approved", "by": "bob", "at": EARLIER, "evidenceDigest": EVIDENCE, "comment": "fine"}
PASSED = condition("GatesPassed", "True", "GatesPassed", "quality: roc_auc is 0.84.")
APPROVED = condition("Approved", "True", "Approved", f"Approved by bob at {EARLIER}: fine")
ACCEPTED: dict[str, Any] = MEASURED | {
    "conditions": [PASSED, APPROVED],
    "evidenceDigest": EVIDENCE,
    "awaitingSince": EARLIER,
    "approval": APPROVAL,
    "version": "v2",
    "finishedAt": FINISHED,
}
SERVING: dict[str, Any] = {
    "versions": [
        make_version(2, since=LATER, promoted=LATER, reason="v2 answered.").to_dict(),
        make_version(1, VersionState.Retired, since=LATER, reason="v2 took its place.").to_dict(),
    ],
    "traffic": [{"version": "v2", "percent": 100}],
}
FILE = "Approved by spec.approval.approved of ChurnModel telco."
BY_FILE = {"approval": None, "conditions": [PASSED, condition("Approved", "True", "Approved", FILE)]}


def model(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    made = obj("ChurnModel", "telco", SPEC | spec, SERVING | (status or {}))
    return made | {"metadata": made["metadata"] | {"uid": "uid-1", "creationTimestamp": MADE}}


def run(number: int = 2, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """The accepted one, or as it would be with such a status."""
    made = obj("TrainingRun", f"telco-{number}", run_spec(**spec), ACCEPTED | (status or {}))
    return made | {"metadata": made["metadata"] | {"creationTimestamp": MADE}}


def other(status: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A run that made no version."""
    return run(3) | {"spec": run_spec(**spec), "status": status}


def reported(*runs: dict[str, Any], after: Chain | None = None, of: dict[str, Any] | None = None) -> Report:
    """After another: as the file has it."""
    whose = of or model()
    earlier = None if after is None else filed(after, chain_of(whose))
    return report(whose, runs or (run(),), earlier, NOW)


def filed(found: Chain, whose: Chain) -> Chain:
    """Written to a file, and read again."""
    return chain.read(json.dumps(found.to_dict()).encode(), "old.json", whose)


def said(found: Report, outcome: Outcome) -> str:
    return "\n".join(check.message for check in found.checks if check.outcome is outcome)


def told(found: Chain) -> list[str]:
    return [f"{entry} {entry.by or ''}".rstrip() for entry in found.entries]
