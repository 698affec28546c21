"""Why each version serves, who said so, and whether one bears out the other."""

from typing import Any

import pytest
from support.kinds import EARLIER, HEX, make_result, make_version
from support.shell import OTHER, condition
from unit.cli.recorded import (
    ACCEPTED,
    APPROVAL,
    BY_FILE,
    EVIDENCE,
    FILE,
    FINISHED,
    LATER,
    MADE,
    MEASURED,
    PASSED,
    model,
    other,
    reported,
    run,
    said,
    told,
)

from churn_operator.api.churnmodel import VersionState
from churn_operator.cli.chain import What
from churn_operator.cli.checks import Outcome
from churn_operator.cli.report import Report, text

WHOLE = f"""\
# Report on ChurnModel team/telco
Made at 2026-11-21T12:00:00Z, of the model with uid uid-1, from what status says in the cluster.
Who wrote that there, nothing but the API server's audit log can witness.

## What serves
- v2 answers 100 % of the requests

## v2: Champion since {LATER}
- Because: v2 answered.
- Became champion: {LATER}, roc_auc=0.8400
- Model: sha256:{HEX} at s3://models/models/{HEX}
- Run: telco-2, Manual, asked for at {MADE} by alice: a new price
- Data: s3://churn/telco.csv (version:2), sha256:{HEX}, 7043 rows, 1409 held out
- Gate quality Passed: roc_auc is 0.84; at least 0.8 is asked for.
- Evidence: {EVIDENCE}
- Approved by bob at {EARLIER} on {EVIDENCE}: fine

## v1: Retired since {LATER}
- Because: v2 took its place.
- Became champion: {EARLIER}, roc_auc=0.8400
- Model: sha256:{HEX} at s3://models/models/{HEX}
- Run: telco-1, which is gone; data version:1

## What happened
1. {MADE} Requested telco-2 by alice: Manual: a new price
2. {EARLIER} AwaitingApproval telco-2 (model abababababab, data abababababab, evidence {EVIDENCE[7:19]})
3. {EARLIER} Approved telco-2 by bob (evidence {EVIDENCE[7:19]}): fine
4. {EARLIER} Champion v1 (model abababababab)
5. {FINISHED} Accepted telco-2 (model abababababab, data abababababab, evidence {EVIDENCE[7:19]}): \
As v2. quality: roc_auc is 0.84.
6. {LATER} Retired v1 (model abababababab): v2 took its place.
7. {LATER} Champion v2 (model abababababab): v2 answered.
The last entry's hash is HEAD; it stands for all of them.

## What was checked
- Passed: v2 is of run telco-2, which was accepted and measured its model, sha256:{HEX}.
- Unknown: v1 is of run telco-1, which is gone: an earlier report may know it.
- Passed: The evidence of telco-2, computed again, is the one on record, {EVIDENCE}.
- Passed: bob approved telco-2 on the evidence {EVIDENCE}, which is on record.
- Passed: bob, who decided on telco-2, is not who asked for it (alice).
- Passed: telco-2 was accepted, and no gate failed (judged: quality).
- Passed: bob decided on telco-2 at {EARLIER}, after it was made at {MADE}.
- Unknown: No earlier report was given (--after): whether the cluster once told otherwise is not known.
6 passed, 0 failed, 2 cannot be told."""


def test_a_version_that_was_approved_is_reported_whole() -> None:
    found = reported()
    assert str(text(found)) == WHOLE.replace("HEAD", found.head)
    assert not found.fails


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(
            reported(run(status={"approval": APPROVAL | {"comment": ""}})), "on " + EVIDENCE + ": without", id="no word"
        ),
        pytest.param(
            reported(run(requestedBy=None, trigger="Drift", status={"approval": None})),
            f"Drift, asked for at {MADE} by the operator: a new price",
            id="the operator asked",
        ),
        pytest.param(reported(run(requestedBy=None)), "by nobody who is named: ", id="nobody is named"),
        pytest.param(reported(run(status=BY_FILE)), "- Approval: " + FILE, id="the file approved"),
        pytest.param(
            reported(run(status={"result": None, "evidenceDigest": None})),
            "- Evidence: put up for nobody",
            id="no data",
        ),
        pytest.param(reported(of=model({"traffic": []})), "- No share of the requests was read back.", id="no share"),
        pytest.param(
            reported(of=model({"versions": [make_version(2, VersionState.RollingOut).to_dict()]})),
            "- Became champion: never, roc_auc",
            id="on its way",
        ),
        pytest.param(
            reported(of=model({"fallback": {"version": "fallback", "since": EARLIER}})),
            f"- fallback answers in the champion's place since {EARLIER}",
            id="somebody stands in",
        ),
    ],
)
def test_what_is_otherwise_is_said(found: Report, expected: str) -> None:
    assert expected in str(text(found))


GATE = MEASURED["gates"][0]
VERDICT = MEASURED["verdicts"][0]
LISTED = {"approved": [{"version": "v2", "evidenceDigest": EVIDENCE}]}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(
            reported(run(status={"result": make_result(2, metrics={"roc_auc": 0.99}).to_dict()})),
            "The evidence of telco-2, computed again by this release, is sha256:",
            id="another measure",
        ),
        pytest.param(
            reported(run(status={"result": None})),
            f"telco-2 offered the evidence {EVIDENCE}, and what that was is not on record.",
            id="no measure",
        ),
        pytest.param(
            reported(run(status={"approval": APPROVAL | {"evidenceDigest": OTHER}})),
            f"bob approved telco-2 on the evidence {OTHER}, and {EVIDENCE} is on record.",
            id="other evidence",
        ),
        pytest.param(
            reported(run(status={"approval": None, "conditions": [PASSED]})),
            "telco-2 had to be approved and was accepted, and no approval is on record.",
            id="no approval",
        ),
        pytest.param(
            reported(run(status={"approval": None, "approvalTerms": None})),
            "telco-2 had to be approved and was accepted, and no approval is on record.",
            id="an approval that somebody took away",
        ),
        pytest.param(
            reported(run(status={"approval": APPROVAL | {"decision": "Rejected"}, "conditions": []})),
            "telco-2 had to be approved and was accepted, and no approval is on record.",
            id="accepted against a no",
        ),
        pytest.param(
            reported(
                run(status=BY_FILE),
                of=model(approval={"approved": [LISTED["approved"][0] | {"evidenceDigest": OTHER}]}),
            ),
            f"by the model's file (spec.approval.approved), which lists {OTHER}, and {EVIDENCE} is on record.",
            id="the file lists other evidence",
        ),
        pytest.param(
            reported(run(requestedBy="bob")), "bob asked for telco-2 and approved it.", id="who asked approved"
        ),
        pytest.param(
            reported(run(requestedBy=None)),
            "telco-2 was asked for by hand and does not say by whom: perhaps by bob, who approved.",
            id="perhaps who asked",
        ),
        pytest.param(
            reported(run(status={"verdicts": [VERDICT | {"verdict": "Failed"}]})),
            "telco-2 was accepted against its gates: quality: Failed.",
            id="a failed gate",
        ),
        pytest.param(
            reported(run(status={"gates": [GATE, GATE | {"name": "calibration"}]})),
            "telco-2 was accepted against its gates: calibration: not judged.",
            id="a gate that nobody judged",
        ),
        pytest.param(
            reported(run(status={"approval": APPROVAL | {"at": "2026-11-21T07:59:59Z"}})),
            f"bob decided on telco-2 at 2026-11-21T07:59:59Z, before it was made at {MADE}.",
            id="decided before",
        ),
        pytest.param(
            reported(run(status={"phase": "Rejected", "version": None})),
            "v2 is of run telco-2, which is Rejected and made no version.",
            id="serves what was rejected",
        ),
        pytest.param(
            reported(run(status={"version": "v3"})), "telco-2, which is Accepted and made v3.", id="another version"
        ),
        pytest.param(
            reported(of=model({"versions": [make_version(2, model={"uri": "s3://m", "digest": OTHER}).to_dict()]})),
            f"which measured the model sha256:{HEX}, and not {OTHER}.",
            id="serves other files",
        ),
    ],
)
def test_what_does_not_bear_out_what_serves_is_a_failed_check(found: Report, expected: str) -> None:
    assert found.fails
    assert expected in said(found, Outcome.Failed)


@pytest.mark.parametrize(
    ("found", "outcome", "expected"),
    [
        pytest.param(
            reported(run(status=BY_FILE), of=model(approval=LISTED)),
            Outcome.Passed,
            f"on the evidence on record, {EVIDENCE}: the file's history says by whom.",
            id="the file approves",
        ),
        pytest.param(
            reported(run(status=BY_FILE)), Outcome.Unknown, "which does not list it any more", id="the file did"
        ),
        pytest.param(
            reported(run(requestedBy=None, trigger="Drift")),
            Outcome.Passed,
            "is not who asked for it (the operator)",
            id="the operator asked",
        ),
        pytest.param(
            reported(run(status={"gates": [], "verdicts": [], "evidenceDigest": None, "approval": None})),
            Outcome.Passed,
            "no gate failed (judged: none)",
            id="no gates",
        ),
        pytest.param(
            reported(run() | {"status": ACCEPTED | {"resolved": MEASURED["resolved"] | {"modelUid": "uid-0"}}}),
            Outcome.Unknown,
            "v2 is of run telco-2, which is gone",
            id="a run of a model that was deleted",
        ),
    ],
)
def test_what_holds_or_cannot_be_told_is_said(found: Report, outcome: Outcome, expected: str) -> None:
    assert expected in said(found, outcome)


def test_who_was_asked_by_nobody_needs_no_approval() -> None:
    nobody = {"approvalTerms": None, "approval": None, "evidenceDigest": None, "awaitingSince": None}
    asked = condition("Approved", "True", "ApprovalNotRequired", "It asks nobody.")
    found = reported(run(status=nobody | {"conditions": [PASSED, asked]}))
    assert not found.fails
    assert "approved" not in said(found, Outcome.Passed)


ORDER = {"action": "Rollback", "version": "v1", "by": "carol", "at": LATER, "reason": "complaints"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(
            reported(
                other(
                    {
                        "phase": "Rejected",
                        "reason": "Rejected",
                        "finishedAt": FINISHED,
                        "approval": APPROVAL | {"decision": "Rejected"},
                    }
                )
            ),
            [f"Rejected telco-3 at {EARLIER} bob"],
            id="a person's no, which is told once",
        ),
        pytest.param(
            reported(other({"phase": "Rejected", "reason": "GateFailed", "finishedAt": FINISHED})),
            [f"Rejected telco-3 at {FINISHED}"],
            id="a gate's no",
        ),
        pytest.param(
            reported(other({"phase": "Expired", "reason": "Expired", "finishedAt": FINISHED})),
            [f"Expired telco-3 at {FINISHED}"],
            id="nobody answered",
        ),
        pytest.param(
            reported(other({"phase": "Running"}), of=model({"command": ORDER})),
            [f"Ordered Rollback v1 at {LATER} carol"],
            id="an order",
        ),
        pytest.param(
            reported(
                other({}),
                of=model({"handled": {"at": LATER, "action": "Abort", "outcome": "Declined", "message": "No."}}),
            ),
            [f"Declined Abort at {LATER}"],
            id="what came of one",
        ),
        pytest.param(
            reported(
                run(status=BY_FILE),
            ),
            [f"Approved telco-2 at {EARLIER}"],
            id="the file's yes",
        ),
        pytest.param(
            reported(of=model({"quarantine": [{"digest": OTHER, "version": "v0", "since": EARLIER}]})),
            [f"Quarantined v0 at {EARLIER}"],
            id="a model that failed long ago",
        ),
        pytest.param(
            reported(run(status={"approval": APPROVAL | {"at": "noon"}})),
            ["Approved telco-2 at noon bob"],
            id="no time",
        ),
    ],
)
def test_what_happened_is_told_by_the_words_of_the_status(found: Report, expected: list[str]) -> None:
    assert set(expected) <= set(told(found))
    assert len(told(found)) == len(set(told(found)))
    usual = {*told(reported()), *told(reported(other({})))}
    rest = [fact for fact in told(found) if fact not in usual]
    assert rest == [fact for fact in expected if fact not in usual]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        pytest.param(
            [condition("Succeeded", "False", "OneClass", "Nobody left."), PASSED], "Nobody left.", id="against"
        ),
        pytest.param([PASSED], "quality: roc_auc is 0.84.", id="nothing"),
        pytest.param([], None, id="no condition"),
    ],
)
def test_the_end_of_a_run_says_why(conditions: list[dict[str, Any]], expected: str | None) -> None:
    found = reported(other({"phase": "Failed", "finishedAt": LATER, "conditions": conditions}))
    assert next(entry.message for entry in found.entries if entry.what is What.Failed) == expected
