"""Who may approve what: the admission policy as Helm renders it, on a real API server, with the chart's own roles."""

from collections.abc import Callable
from typing import Any

import pytest
from support.approvals import (
    AT,
    EDITS,
    FORBIDDEN,
    NOT_ON_OFFER,
    NUMBERS,
    OFFERED,
    ON_OFFER,
    ONLY,
    OTHER,
    OWN_NAME,
    STAYS,
    TAKEN_BACK,
    Attack,
    Case,
    decided,
    new_case,
    offered_anew,
    phase,
    recreated,
    refused,
)
from support.control_plane import ControlPlane
from support.people import Reply

APPROVALS: dict[str, Attack] = {
    # for other evidence, by each route
    "other evidence, merged": (None, lambda c: c.approve(evidenceDigest=OTHER), ON_OFFER),
    "other evidence, put": (
        None,
        lambda c: c.bob.put(c.status, status__approval=c.approval(evidenceDigest=OTHER)),
        ON_OFFER,
    ),
    "other evidence, by JSON patch": (
        None,
        lambda c: c.bob.patch(c.status, ("add", "/status/approval", c.approval(evidenceDigest=OTHER))),
        ON_OFFER,
    ),
    "other evidence, applied": (
        None,
        lambda c: c.bob.apply(c.status, {"status": {"approval": c.approval(evidenceDigest=OTHER)}}),
        ON_OFFER,
    ),
    "a rejection of other evidence": (None, lambda c: c.approve(decision="Rejected", evidenceDigest=OTHER), ON_OFFER),
    # in another's name, by each route
    "another's name, merged": (None, lambda c: c.approve(by="greta"), OWN_NAME),
    "another's name, put": (None, lambda c: c.bob.put(c.status, status__approval=c.approval(by="greta")), OWN_NAME),
    "another's name, by JSON patch": (
        None,
        lambda c: c.bob.patch(c.status, ("add", "/status/approval", c.approval(by="greta"))),
        OWN_NAME,
    ),
    "another's name, applied by force": (
        None,
        lambda c: c.bob.apply(c.status, {"status": {"approval": c.approval(by="greta")}}, force=True),
        OWN_NAME,
    ),
    "one's name in another case": (None, lambda c: c.approve(by="Bob"), OWN_NAME),
    "one's name and a blank": (None, lambda c: c.approve(by="bob "), OWN_NAME),
    "a letter that looks the same": (None, lambda c: c.approve(by="b\u043eb"), OWN_NAME),
    "the operator's name": (
        None,
        lambda c: c.approve(by="system:serviceaccount:churn-system:churn-operator"),
        OWN_NAME,
    ),
    # by somebody who may not
    "by who may only look": (None, lambda c: c.approve("eve"), FORBIDDEN.format("eve", "patch", "trainingruns/status")),
    "by an editor": (None, lambda c: c.approve("alice"), FORBIDDEN.format("alice", "patch", "trainingruns/status")),
    "by who writes statuses and lacks the verb": (
        None,
        lambda c: c.approve("frank"),
        "status.approval: frank may not approve or reject: the verb approve",
    ),
    "a rejection without the verb": (
        None,
        lambda c: c.approve("frank", decision="Rejected"),
        "frank may not approve or reject: the verb approve",
    ),
    "by who edits models and approves": (None, lambda c: c.approve("carol"), EDITS.format("carol")),
    "by who may patch this model alone": (None, lambda c: c.approve("dora"), EDITS.format("dora")),
    "by who may do everything": (None, lambda c: c.approve("admin"), EDITS.format("admin")),
    "in the operator's name, borrowed": (
        None,
        lambda c: c.bob.merge(
            c.status,
            {"status": {"phase": "Accepted", "version": "v1"}},
            **{"Impersonate-User": "system:serviceaccount:churn-system:churn-operator"},
        ),
        FORBIDDEN.format("bob", "impersonate", "serviceaccounts"),
    ),
    "in an approver's name, borrowed": (
        None,
        lambda c: c.alice.merge(c.status, {"status": {"approval": c.approval()}}, **{"Impersonate-User": "bob"}),
        FORBIDDEN.format("alice", "impersonate", "users"),
    ),
    # when nothing is on offer
    "of a run that trains": (phase("Running"), lambda c: c.approve(), NOT_ON_OFFER.format("Running")),
    "of a run that expired": (phase("Expired"), lambda c: c.approve(), NOT_ON_OFFER.format("Expired")),
    "of a run that was superseded": (phase("Superseded"), lambda c: c.approve(), NOT_ON_OFFER.format("Superseded")),
    "of a run that was accepted": (phase("Accepted"), lambda c: c.approve(), NOT_ON_OFFER.format("Accepted")),
    "of a run that a gate refused": (phase("Rejected"), lambda c: c.approve(), NOT_ON_OFFER.format("Rejected")),
    "of a run that was made anew": (recreated, lambda c: c.approve(), NOT_ON_OFFER.format("Pending")),
    "of a run that was made anew, with a status along": (
        recreated,
        lambda c: c.bob.merge(
            c.status,
            {"status": {"phase": "AwaitingApproval", "evidenceDigest": OFFERED, "approval": c.approval()}},
        ),
        "status.phase, status.evidenceDigest: only the operator|status.evidenceDigest, status.phase: only the operator",
    ),
    "replayed onto a run that was made anew and is on offer": (
        offered_anew,
        lambda c: c.approve(),
        f"status.approval.evidenceDigest: must be what is on offer in status.evidenceDigest, {OTHER}",
    ),
    "replayed onto another run": (
        phase("AwaitingApproval", evidenceDigest=OTHER),
        lambda c: c.approve(),
        f"status.approval.evidenceDigest: must be what is on offer in status.evidenceDigest, {OTHER}",
    ),
    # after a decision
    "a second one, by another": (decided, lambda c: c.approve("greta"), STAYS),
    "a no after a yes": (decided, lambda c: c.approve(decision="Rejected"), STAYS),
    "a later comment": (decided, lambda c: c.approve(comment="on second thoughts"), STAYS),
    "an earlier time": (decided, lambda c: c.approve(at="2026-11-20T12:00:00Z"), STAYS),
    "a no by force": (
        decided,
        lambda c: c.greta.apply(
            c.status, {"status": {"approval": c.approval(by="greta", decision="Rejected")}}, force=True
        ),
        STAYS,
    ),
    "taken back by null": (decided, lambda c: c.bob.merge(c.status, {"status": {"approval": None}}), TAKEN_BACK),
    "taken back by JSON patch": (decided, lambda c: c.bob.patch(c.status, ("remove", "/status/approval")), TAKEN_BACK),
    "taken back by put": (decided, lambda c: c.bob.put(c.status, status__approval=None), TAKEN_BACK),
    "taken back by an apply without it": (
        lambda c: c.bob.apply(c.status, {"status": {"approval": c.approval()}}),
        lambda c: c.bob.apply(c.status, {"status": {}}),
        TAKEN_BACK,
    ),
    "with its status": (decided, lambda c: c.bob.patch(c.status, ("remove", "/status")), "only the operator writes it"),
    "without its comment": (decided, lambda c: c.bob.patch(c.status, ("remove", "/status/approval/comment")), STAYS),
    # other fields of the status
    "with the verdict along": (
        None,
        lambda c: c.bob.merge(c.status, {"status": {"phase": "Accepted", "approval": c.approval()}}),
        ONLY.format("phase"),
    ),
    "the version": (None, lambda c: c.bob.merge(c.status, {"status": {"version": "v9"}}), ONLY.format("version")),
    "the digest, to fit": (
        None,
        lambda c: c.bob.patch(
            c.status,
            ("replace", "/status/evidenceDigest", OTHER),
            ("add", "/status/approval", c.approval(evidenceDigest=OTHER)),
        ),
        ONLY.format("evidenceDigest"),
    ),
    "the terms": (
        None,
        lambda c: c.bob.merge(c.status, {"status": {"approvalTerms": {"required": False}}}),
        ONLY.format("approvalTerms"),
    ),
    "the gates": (None, lambda c: c.bob.put(c.status, status__gates=[]), ONLY.format("gates")),
    "a condition": (
        None,
        lambda c: c.bob.patch(c.status, ("replace", "/status/conditions/0/status", "True")),
        ONLY.format("conditions"),
    ),
    "the time it waits since": (
        None,
        lambda c: c.bob.patch(c.status, ("remove", "/status/awaitingSince")),
        ONLY.format("awaitingSince"),
    ),
    "the whole status": (None, lambda c: c.bob.call("PUT", c.status, bare(c)), "only the operator writes it"),
    "the verdict, applied by force": (
        None,
        lambda c: c.bob.apply(c.status, {"status": {"phase": "Accepted"}}, force=True),
        ONLY.format("phase"),
    ),
    "the verdict, by who has no right at all": (
        None,
        lambda c: c.nobody.merge(c.status, {"status": {"phase": "Accepted"}}),
        FORBIDDEN.format("nobody", "patch", "trainingruns/status"),
    ),
    # what would outlive the operator's next write
    "the phase as it is, to own it": (
        None,
        lambda c: c.bob.apply(
            c.status, {"status": {"phase": "AwaitingApproval", "approval": c.approval()}}, force=True
        ),
        "status: an apply must hold status.approval alone, and this would also own status.phase",
    ),
    "as the operator's field manager": (
        None,
        lambda c: c.bob.apply(
            c.status,
            {"status": whole(c) | {"approval": c.approval()}},
            "churn-operator",
            force=True,
        ),
        "fieldManager: churn-operator is the operator's own",
    ),
    # by the operator
    "the operator approves": (
        None,
        lambda c: c.chart.merge(c.status, {"status": {"approval": c.approval()}}),
        "status.approval is written by people, and the operator must leave it as it is",
    ),
    "the operator applies an approval": (
        None,
        lambda c: c.chart.apply(c.status, {"status": {"approval": c.approval()}}, "churn-operator", force=True),
        "status.approval is written by people",
    ),
    "the operator changes a decision": (
        decided,
        lambda c: c.chart.merge(c.status, {"status": {"approval": {"decision": "Rejected"}}}),
        "status.approval is written by people",
    ),
    "the operator forgets a decision": (
        decided,
        lambda c: c.chart.merge(c.status, {"status": {"approval": None}}),
        "status.approval is written by people",
    ),
    # no approval at all
    "without a digest": (
        None,
        lambda c: c.bob.merge(c.status, {"status": {"approval": {"decision": "Approved", "by": "bob", "at": AT}}}),
        "status.approval.evidenceDigest: Required value",
    ),
    "without a name": (
        None,
        lambda c: c.bob.patch(c.status, ("add", "/status/approval", without(c.approval(), "by"))),
        "status.approval.by: Required value",
    ),
    "a decision in lower case": (
        None,
        lambda c: c.approve(decision="approved"),
        'status.approval.decision: Unsupported value: "approved"',
    ),
    "a digest in capitals": (
        None,
        lambda c: c.approve(evidenceDigest=OFFERED.upper()),
        "status.approval.evidenceDigest: Invalid value",
    ),
    "a time that is none": (None, lambda c: c.approve(at="yesterday"), "status.approval.at: Invalid value"),
    "a comment without end": (None, lambda c: c.approve(comment="a" * 1025), "status.approval.comment: Too long"),
    "a word for everything": (
        None,
        lambda c: c.bob.merge(c.status, {"status": {"approval": True}}),
        "status.approval: Invalid value",
    ),
}


def bare(case: Case) -> dict[str, Any]:
    """The run, with a status that holds nothing but an approval."""
    return case.admin.get(case.path) | {"status": {"approval": case.approval()}}


def whole(case: Case) -> dict[str, Any]:
    return dict(case.admin.get(case.path)["status"])


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


@pytest.mark.parametrize(("before", "attempt", "words"), APPROVALS.values(), ids=APPROVALS)
def test_no_approval_comes_about(
    guarded: ControlPlane, before: Callable[[Case], Any] | None, attempt: Callable[[Case], Reply], words: str
) -> None:
    case = new_case(guarded)
    case.offer()
    if before is not None:
        before(case)
    kept = case.admin.get(case.path).get("status")
    refused(attempt(case), words)
    assert case.admin.get(case.path).get("status") == kept


@pytest.mark.parametrize("decision", ["Approved", "Rejected"])
def test_who_asked_for_a_run_does_not_decide_on_it_and_somebody_else_does(guarded: ControlPlane, decision: str) -> None:
    case = new_case(guarded, "anna")
    case.offer()
    refused(
        case.approve("anna", decision=decision), r"status.approval.by: anna asked for this run \(spec.requestedBy\)"
    )
    assert case.approve("greta", decision=decision).ok


def test_a_run_of_which_nobody_knows_who_asked_for_it_is_approved_by_nobody(guarded: ControlPlane) -> None:
    """Made while the policy was not there."""
    case = Case(guarded, f"telco-{next(NUMBERS)}")
    assert case.chart.create("trainingruns", case.run, {"modelRef": {"name": "telco"}}).ok
    case.offer()
    refused(case.approve(), "spec.requestedBy: does not say who asked for this run")


HONEST: dict[str, Callable[[Case], Reply]] = {
    "an approval, merged": lambda c: c.approve(),
    "an approval, put": lambda c: c.bob.put(c.status, status__approval=c.approval()),
    "an approval, by JSON patch": lambda c: c.bob.patch(c.status, ("add", "/status/approval", c.approval())),
    "an approval, applied": lambda c: c.bob.apply(c.status, {"status": {"approval": c.approval()}}),
    "an approval, applied by force": lambda c: c.bob.apply(
        c.status, {"status": {"approval": c.approval()}}, force=True
    ),
    "an approval without a comment": lambda c: c.bob.merge(
        c.status, {"status": {"approval": without(c.approval(), "comment")}}
    ),
    "a rejection": lambda c: c.approve(decision="Rejected"),
}


@pytest.mark.parametrize("attempt", HONEST.values(), ids=HONEST)
def test_passes(guarded: ControlPlane, attempt: Callable[[Case], Reply]) -> None:
    """And the operator, which knows nothing of it, leaves it alone."""
    case = new_case(guarded)
    case.offer()
    reply = attempt(case)
    assert reply.ok, reply.message
    assert attempt(case).ok, "the same once more changes nothing"
    written = case.admin.get(case.path)["status"]["approval"]
    case.offer(phase="Accepted", version="v1")
    status = case.admin.get(case.path)["status"]
    assert (status["approval"], status["phase"]) == (written, "Accepted")


def test_an_approval_of_evidence_that_changed_is_void_and_somebody_decides_anew(guarded: ControlPlane) -> None:
    case = new_case(guarded)
    case.offer()
    assert case.approve().ok
    case.offer(evidenceDigest=OTHER)
    refused(case.approve("greta"), f"must be what is on offer in status.evidenceDigest, {OTHER}")
    refused(case.bob.merge(case.status, {"status": {"approval": None}}), TAKEN_BACK)
    assert case.approve("greta", evidenceDigest=OTHER).ok
    refused(case.approve(evidenceDigest=OTHER), "status.approval: greta decided at")
