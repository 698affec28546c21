"""Why each version serves, who said so, and whether one bears out the other."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kinds import EARLIER, HEX, NOW, make_resolved, make_result, make_version
from support.shell import OTHER, condition, obj, run_spec

from churn_operator.api.churnmodel import VersionState
from churn_operator.api.digest import evidence_digest
from churn_operator.api.trainingrun import TrainingRunStatus
from churn_operator.cli import chain
from churn_operator.cli.chain import Chain, Digests, Fact, What, begun, grown
from churn_operator.cli.checks import Outcome
from churn_operator.cli.failure import Code, Failure
from churn_operator.cli.report import Report, chain_of, report, text

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
            [f"Ordered telco at {LATER} carol"],
            id="an order",
        ),
        pytest.param(
            reported(
                other({}),
                of=model({"handled": {"at": LATER, "action": "Abort", "outcome": "Declined", "message": "No."}}),
            ),
            [f"Declined telco at {LATER}"],
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


def test_no_news_change_nothing() -> None:
    first = reported()
    again = reported(after=first)
    assert (again.entries, again.head, again.after) == (first.entries, first.head, first.head)
    assert "Of 7 entries told before, 7 are told the same, 0 are remembered here alone." in said(again, Outcome.Passed)


def test_what_the_cluster_forgot_stays_and_what_is_new_comes_after_it_whatever_its_time() -> None:
    first = reported()
    later = reported(other({}), after=first)
    assert later.entries[: len(first.entries)] == first.entries
    assert told(later)[len(first.entries) :] == [f"Requested telco-3 at {MADE} alice"]
    assert "Of 7 entries told before, 3 are told the same, 4 are remembered here alone." in said(later, Outcome.Passed)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(
            reported(run(status={"approval": APPROVAL | {"by": "carol"}}), after=reported()),
            f"Approved telco-2 at {EARLIER} was told otherwise before: by was 'bob' and is 'carol'.",
            id="another person",
        ),
        pytest.param(
            reported(run(status={"approval": APPROVAL | {"comment": "great"}}), after=reported()),
            "message was 'fine' and is 'great'.",
            id="other words",
        ),
        pytest.param(
            reported(after=reported(run(status={"result": None}))),
            f"Accepted telco-2 at {FINISHED} was told otherwise before: "
            f"model was 'absent' and is 'sha256:{HEX}'; data was 'absent' and is 'sha256:{HEX}'.",
            id="something where was nothing",
        ),
    ],
)
def test_what_the_cluster_tells_otherwise_than_before_is_a_failed_check(now: Report, expected: str) -> None:
    assert now.fails
    assert expected in said(now, Outcome.Failed)


def changed(**fields: Any) -> bytes:
    return json.dumps(reported().to_dict() | fields).encode()


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        pytest.param(b"# Report", Code.Usage, "no report that this kubectl-churn knows: invalid JSON", id="no JSON"),
        pytest.param(b"\xff", Code.Usage, "no report that this kubectl-churn knows: ", id="no text"),
        pytest.param(b'{"ok": true}', Code.Usage, "knows: name: field required.", id="no report"),
        pytest.param(
            changed(entries=[{"what": "Forgiven"}]), Code.Usage, "knows: entries.0.at: field required.", id="no entry"
        ),
        pytest.param(
            changed(uid="uid-0"),
            Code.Usage,
            "reports on ChurnModel team/telco (uid uid-0), and not on team/telco (uid uid-1).",
            id="a model of that name that was deleted",
        ),
        pytest.param(changed(name="gym"), Code.Usage, "reports on ChurnModel team/gym (uid uid-1)", id="another model"),
        pytest.param(
            changed(entries=reported().to_dict()["entries"][1:]),
            Code.No,
            f"entry 1, AwaitingApproval telco-2 at {EARLIER}, does not follow from the one before it",
            id="the first is missing",
        ),
        pytest.param(
            changed(entries=reported().to_dict()["entries"][:-1]), Code.No, "its head is not", id="the last is missing"
        ),
    ],
)
def test_a_file_that_is_no_report_of_this_model_as_it_was_written_is_refused(
    text: bytes, code: Code, expected: str
) -> None:
    with pytest.raises(Failure) as failure:
        chain.read(text, "old.json", chain_of(model()))
    assert failure.value.code == code
    assert str(failure.value).startswith("old.json ")
    assert expected in str(failure.value)


DIGESTS = st.none() | st.sampled_from([OTHER, EVIDENCE])
FACTS = st.lists(
    st.builds(
        Fact,
        at=st.sampled_from([MADE, EARLIER, LATER]),
        what=st.sampled_from(What),
        subject=st.sampled_from(["telco-1", "v1"]),
        by=st.none() | st.text(min_size=1, max_size=5),
        message=st.none() | st.text(max_size=5),
        digests=st.builds(Digests, model=DIGESTS, data=DIGESTS, evidence=DIGESTS),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda fact: fact.identity,
)
EMPTY = begun("telco", "team", "uid-1")
Leaf = tuple[Any, Any]


def leaves(inside: Any) -> list[Leaf]:
    """Every place of a document where there is a word."""
    pairs = inside.items() if isinstance(inside, dict) else enumerate(inside)
    found: list[Leaf] = []
    for key, value in pairs:
        found += [(inside, key)] if isinstance(value, str) else leaves(value)
    return found


@pytest.mark.parametrize("how", ["change", "leave out", "delete", "swap"])
@given(facts=FACTS, data=st.data())
def test_no_entry_is_changed_removed_or_moved_unseen(how: str, facts: list[Fact], data: st.DataObject) -> None:
    document = grown(EMPTY, facts).to_dict()
    entries = document["entries"]
    place = data.draw(st.integers(0, len(entries) - 1))
    match how:
        case "change" | "leave out":
            inside, key = data.draw(st.sampled_from(leaves(document)))
            value = data.draw(st.sampled_from([OTHER, LATER, "Retired", "v1"]) | st.text(max_size=5))
            value = f"{value}." if value == inside[key] else value
            inside |= {key: value} if how == "change" else {}
            if how == "leave out":
                del inside[key]
        case "delete":
            del entries[place]
        case _:
            entries.insert(place, entries.pop())
            if place == len(entries) - 1:
                return
    with pytest.raises(Failure):
        chain.read(json.dumps(document).encode(), "old.json", EMPTY)


@given(before=FACTS, after=FACTS)
def test_a_chain_holds_each_fact_once_and_goes_on_as_it_stands(before: list[Fact], after: list[Fact]) -> None:
    once = grown(EMPTY, before)
    twice = grown(filed(once, EMPTY), [*before, *after])
    assert filed(once, EMPTY) == once
    assert grown(once, before) == once
    assert twice.entries[: len(once.entries)] == once.entries
    assert grown(filed(twice, EMPTY), after) == twice
    assert {entry.identity for entry in twice.entries} == {fact.identity for fact in (*before, *after)}
