"""Who may approve what: the admission policy as Helm renders it, on a real API server, with the chart's own roles."""

import itertools
import json
import os
import re
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from support.control_plane import ROOT, ControlPlane
from support.helm import SMALLEST, render
from support.keeper import API_VERSION
from support.kinds import make_result
from support.kubelet import end_job
from support.manifests import DATA, EVIDENCE
from support.mlflow_server import MlflowServer
from support.operator_process import until
from support.people import Person, Reply

from churn_operator.api.results import encode_result
from churn_operator.churnmodel import ChurnModelKind
from churn_operator.core.client import ApiClient
from churn_operator.core.cluster import Neighbours
from churn_operator.core.objects import Key, name_of
from churn_operator.core.prober import Prober
from churn_operator.core.reconcile import reconcile
from churn_operator.core.scraper import Scraper
from churn_operator.core.tracking import Tracking
from churn_operator.settings import Settings
from churn_operator.trainingrun import TrainingRunKind

TEAM = "team"
OFFERED, OTHER = ("sha256:" + digit * 64 for digit in "ab")
AT = "2026-11-21T12:00:00Z"
GATES = [{"name": "quality", "metric": "roc_auc", "min": 0.8}]
MODEL = {"data": DATA, "gates": GATES, "approval": {"required": True}}
BINDINGS = {
    "alice": ["edit"],
    "anna": ["approver", "asks-for-runs"],
    "bob": ["approver", "writes-statuses"],
    "carol": ["approver", "edit"],
    "dora": ["approver", "patches-one-model"],
    "eve": ["view"],
    "frank": ["writes-statuses"],
    "greta": ["approver"],
    "heidi": ["edit", "approves-models"],
}
"""Who may what in the namespace: roles of the chart, and some that a cluster may have beside them."""
STATUSES = ["churnmodels/status", "trainingruns/status"]
ROLES = {
    "asks-for-runs": (["trainingruns"], ["create"], None),
    "approves-models": (["churnmodels"], ["approve"], None),
    "patches-one-model": (["churnmodels"], ["patch"], ["telco"]),
    "writes-statuses": (STATUSES, ["get", "patch", "update"], None),
}
_numbers = itertools.count(1)


def manifests(*arguments: str) -> list[dict[str, Any]]:
    """What the chart says of admission and of roles."""
    kinds = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ClusterRole", "ClusterRoleBinding"}
    everything = yaml.safe_load_all(render(SMALLEST, "--set=crds.install=false", *arguments))
    return [obj for obj in everything if obj["kind"] in kinds]


def role(name: str, resources: list[str], verbs: list[str], names: list[str] | None) -> dict[str, Any]:
    rule: dict[str, Any] = {"apiGroups": ["churnops.dev"], "resources": resources, "verbs": verbs}
    rule |= {"resourceNames": names} if names else {}
    metadata = {"name": f"churn-operator-{name}"}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": [rule]}


def binding(user: str, role: str) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{user}-{role}", "namespace": TEAM},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": f"churn-operator-{role}"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with the chart's policy and roles, and a model that asks for approval."""
    plane = ControlPlane(tmp_path_factory.mktemp("guarded"))
    try:
        plane.start()
        plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        plane.kubectl("create", "namespace", TEAM)
        bound = [binding(user, name) for user, roles in BINDINGS.items() for name in roles]
        items = [*manifests(), *(role(name, *rest) for name, rest in ROLES.items()), *bound]
        plane.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        assert Person(plane, "admin", TEAM).create("churnmodels", "telco", MODEL).ok
        wait_for_policies(plane)
        yield plane
    finally:
        plane.stop()


def wait_for_policies(plane: ControlPlane) -> None:
    """Each policy is known to the API server a moment after it was written: until then, what it refuses passes."""
    admin, alice = Person(plane, "admin", TEAM), Person(plane, "alice", TEAM)
    run, model = "trainingruns/telco-999999", "churnmodels/canary"
    assert admin.create("trainingruns", "telco-999999", {"modelRef": {"name": "telco"}, "requestedBy": "admin"}).ok
    assert admin.create("churnmodels", "canary", {"data": DATA}).ok
    for number in itertools.count(1):
        name, status = f"telco-{999999 - number}", {"status": {"metric": str(number)}}
        passed = [
            admin.create("trainingruns", name, {"modelRef": {"name": "telco"}}).ok,
            admin.merge(f"{run}/status", status).ok,
            admin.merge(f"{model}/status", {"status": {"phase": str(number)}}).ok,
            alice.merge(model, {"spec": {"approval": {"timeout": f"{number}h"}}}).ok,
        ]
        if not any(passed):
            return
        assert number < 300, passed
        time.sleep(0.1)


@dataclass(frozen=True)
class Case:
    """A run of its own for each attack, and the people."""

    plane: ControlPlane
    run: str
    asker: str | None = None

    def __getattr__(self, name: str) -> Person:
        return Person(self.plane, name, TEAM)

    @property
    def path(self) -> str:
        return f"trainingruns/{self.run}"

    @property
    def status(self) -> str:
        return f"{self.path}/status"

    def approval(self, **fields: Any) -> dict[str, Any]:
        """What bob would rightly write."""
        written = {"decision": "Approved", "by": "bob", "at": AT, "evidenceDigest": OFFERED, "comment": "looks good"}
        return written | fields

    def approve(self, user: str = "bob", **fields: Any) -> Reply:
        written = self.approval(**({"by": user} | fields))
        return Person(self.plane, user, TEAM).merge(self.status, {"status": {"approval": written}})

    def offer(self, **fields: Any) -> None:
        """The operator puts the run up for approval."""
        status = {
            "phase": "AwaitingApproval",
            "conditions": [
                {
                    "type": "Approved",
                    "status": "Unknown",
                    "reason": "AwaitingApproval",
                    "message": "",
                    "lastTransitionTime": AT,
                }
            ],
            "gates": GATES,
            "approvalTerms": {"required": True, "timeout": "7d"},
            "evidenceDigest": OFFERED,
            "awaitingSince": AT,
        }
        self.operates(status | fields)

    def operates(self, status: dict[str, Any]) -> None:
        reply = self.chart.apply(self.status, {"status": status}, "churn-operator", force=True)
        assert reply.ok, reply.message


def new_case(plane: ControlPlane, asker: str | None = None) -> Case:
    case = Case(plane, f"telco-{next(_numbers)}", asker)
    spec: dict[str, Any] = {"modelRef": {"name": "telco"}}
    who = Person(plane, asker or "chart", TEAM)
    reply = who.create("trainingruns", case.run, spec | ({"requestedBy": asker} if asker else {"trigger": "NewData"}))
    assert reply.ok, reply.message
    return case


def recreated(case: Case) -> None:
    assert case.admin.call("DELETE", case.path).ok
    assert case.chart.create("trainingruns", case.run, {"modelRef": {"name": "telco"}, "trigger": "NewData"}).ok


def offered_anew(case: Case) -> None:
    recreated(case)
    case.offer(evidenceDigest=OTHER)


Attack = tuple[Callable[[Case], Any] | None, Callable[[Case], Reply], str]
"""What happened before, what is tried, and words of the answer."""


def decided(case: Case) -> None:
    assert case.approve().ok


def phase(name: str, **fields: Any) -> Callable[[Case], None]:
    return lambda case: case.offer(phase=name, **fields)


ON_OFFER = f"status.approval.evidenceDigest: must be what is on offer in status.evidenceDigest, {OFFERED}"
OWN_NAME = "status.approval.by: must be your own name, bob"
NOT_ON_OFFER = "status.approval: nothing is on offer: the run is in phase {} and not AwaitingApproval"
STAYS = "status.approval: bob decided at .*: Approved. A decision stays"
TAKEN_BACK = "status.approval: a decision cannot be taken back"
ONLY = "status.{}: only the operator writes it; people write status.approval and nothing else"
EDITS = "status.approval.by: {} may change ChurnModel telco, and who edits a model does not approve it"
FORBIDDEN = 'User "{}" cannot {} resource "{}"'

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


def refused(reply: Reply, words: str) -> None:
    assert not reply.ok, reply.body
    assert re.search(words, reply.message), reply.message


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
    case = Case(guarded, f"telco-{next(_numbers)}")
    assert case.chart.create("trainingruns", case.run, {"modelRef": {"name": "telco"}}).ok
    case.offer()
    refused(case.approve(), "spec.requestedBy: does not say who asked for this run")


RUN = {"modelRef": {"name": "telco"}}
CHANGE = r"to change it takes the verb approve on churnmodels, which alice is not granted"
SUSPENDED = {"required": False, "timeout": "7d", "approved": []}
COMMAND = {"action": "Promote", "by": "alice", "at": AT, "reason": "it is better"}
ONLY_COMMAND = "status.{}: only the operator writes it; people write status.command and nothing else"


def create(user: str, **spec: Any) -> Callable[[Case], Reply]:
    return lambda c: Person(c.plane, user, TEAM).create("trainingruns", f"telco-{next(_numbers)}", RUN | spec)


def order(case: Case, **fields: Any) -> Reply:
    return case.alice.merge("churnmodels/telco/status", {"status": {"command": COMMAND | fields}})


def ordered(case: Case) -> None:
    assert order(case).ok


CHM = "churnmodels/telco"
CHM_STATUS = f"{CHM}/status"
OTHERS: dict[str, Attack] = {
    # runs made by hand
    "a run of nobody's": (None, create("alice"), "spec.requestedBy: must be your own name, alice"),
    "a run in another's name": (
        None,
        create("alice", requestedBy="bob"),
        "spec.requestedBy: must be your own name, alice",
    ),
    "a run in one's name in another case": (
        None,
        create("alice", requestedBy="Alice"),
        "spec.requestedBy: must be your",
    ),
    "a run of an administrator's, of nobody's": (
        None,
        create("admin"),
        "spec.requestedBy: must be your own name, admin",
    ),
    "a run as if by itself": (
        None,
        create("alice", trigger="NewData"),
        "spec.trigger: a run made by hand has the trigger",
    ),
    "a run with evidence": (
        None,
        create("alice", trigger="Drift", evidence=EVIDENCE),
        "spec.trigger: a run made by hand has the trigger Manual",
    ),
    "a run by hand with evidence": (
        None,
        create("alice", requestedBy="alice", evidence=EVIDENCE),
        "evidence belongs to the trigger Drift",
    ),
    "a run with gates of its own": (None, create("alice", requestedBy="alice", gates=[]), 'unknown field "spec.gates"'),
    "a run with terms of its own": (
        None,
        create("alice", requestedBy="alice", approval={"required": False}),
        'unknown field "spec.approval"',
    ),
    "who asked for a run, changed": (
        None,
        lambda c: c.alice.merge(c.path, {"spec": {"requestedBy": "carol"}}),
        "a TrainingRun's spec cannot be changed",
    ),
    "who asked for a run, by JSON patch": (
        None,
        lambda c: c.alice.patch(c.path, ("add", "/spec/requestedBy", "carol")),
        "a TrainingRun's spec cannot be changed",
    ),
    "a run by who approves": (
        None,
        create("greta", requestedBy="greta"),
        FORBIDDEN.format("greta", "create", "trainingruns"),
    ),
    # what is asked of a model
    "softer gates": (
        None,
        lambda c: c.alice.merge(CHM, {"spec": {"gates": [GATES[0] | {"min": 0.1}]}}),
        f"spec.gates: {CHANGE}",
    ),
    "no gates, by JSON patch": (None, lambda c: c.alice.patch(CHM, ("remove", "/spec/gates")), f"spec.gates: {CHANGE}"),
    "no gates, put": (None, lambda c: c.alice.put(CHM, spec__gates=[]), f"spec.gates: {CHANGE}"),
    "softer gates, applied by force": (
        None,
        lambda c: c.alice.apply(CHM, {"spec": {"data": DATA, "gates": [GATES[0] | {"min": 0.1}]}}, force=True),
        f"spec.gates: {CHANGE}",
    ),
    "one gate more": (
        None,
        lambda c: c.alice.patch(CHM, ("add", "/spec/gates/-", {"name": "b", "metric": "f1", "min": 0})),
        f"spec.gates: {CHANGE}",
    ),
    "no approval": (
        None,
        lambda c: c.alice.merge(CHM, {"spec": {"approval": {"required": False}}}),
        f"spec.approval: {CHANGE}",
    ),
    "no approval, by leaving it out": (
        None,
        lambda c: c.alice.patch(CHM, ("remove", "/spec/approval")),
        f"spec.approval: {CHANGE}",
    ),
    "a shorter time": (None, lambda c: c.alice.put(CHM, spec__approval__timeout="1m"), f"spec.approval: {CHANGE}"),
    "an approval in the file": (
        None,
        lambda c: c.alice.merge(
            CHM, {"spec": {"approval": {"approved": [{"version": "v1", "evidenceDigest": OFFERED}]}}}
        ),
        f"spec.approval: {CHANGE}",
    ),
    "an approval in the file, applied": (
        None,
        lambda c: c.alice.apply(
            CHM, {"spec": {"data": DATA, "approval": {"approved": [{"version": "v1", "evidenceDigest": OFFERED}]}}}
        ),
        f"spec.approval: {CHANGE}",
    ),
    "gates and approval at once": (
        None,
        lambda c: c.alice.put(CHM, spec__gates=[], spec__approval=SUSPENDED),
        f"spec.gates, spec.approval: {CHANGE}",
    ),
    "gates, by who approves runs": (
        None,
        lambda c: c.greta.merge(CHM, {"spec": {"gates": []}}),
        FORBIDDEN.format("greta", "patch", "churnmodels"),
    ),
    "gates, by the operator": (
        None,
        lambda c: c.chart.merge(CHM, {"spec": {"gates": []}}),
        'cannot patch resource "churnmodels"',
    ),
    "the model, deleted to make it anew": (
        None,
        lambda c: c.alice.call("DELETE", CHM),
        "to delete a ChurnModel that asks for approval takes the verb approve",
    ),
    "every model, deleted": (
        None,
        lambda c: c.alice.call("DELETE", "churnmodels?fieldSelector=metadata.name=telco"),
        "to delete a ChurnModel that asks for approval takes the verb approve",
    ),
    # orders
    "an order in another's name": (
        None,
        lambda c: order(c, by="heidi"),
        "status.command.by: must be your own name, alice",
    ),
    "an order in one's name in another case": (
        None,
        lambda c: order(c, by="ALICE"),
        "status.command.by: must be your own",
    ),
    "an order that is none": (
        None,
        lambda c: order(c, action="Launch"),
        'status.command.action: Unsupported value: "Launch"',
    ),
    "an order taken back": (
        ordered,
        lambda c: c.alice.merge(CHM_STATUS, {"status": {"command": None}}),
        "status.command: an order cannot be taken",
    ),
    "an order by who may not": (
        None,
        lambda c: c.eve.merge(CHM_STATUS, {"status": {"command": COMMAND | {"by": "eve"}}}),
        FORBIDDEN.format("eve", "patch", "churnmodels/status"),
    ),
    "an order by the operator": (
        None,
        lambda c: c.chart.merge(CHM_STATUS, {"status": {"command": COMMAND | {"action": "Abort"}}}),
        "status.command is written by people, and the operator must leave it as it is",
    ),
    "an order, forgotten by the operator": (
        ordered,
        lambda c: c.chart.merge(CHM_STATUS, {"status": {"command": None}}),
        "status.command is written by people",
    ),
    "a version that was never accepted": (
        None,
        lambda c: c.alice.merge(CHM_STATUS, {"status": {"versions": []}}),
        ONLY_COMMAND.format("versions"),
    ),
    "the traffic, with an order": (
        None,
        lambda c: c.alice.merge(
            CHM_STATUS, {"status": {"traffic": [{"version": "v9", "percent": 100}], "command": COMMAND}}
        ),
        ONLY_COMMAND.format("traffic"),
    ),
    "the phase as it is, to own it": (
        None,
        lambda c: c.alice.apply(CHM_STATUS, {"status": {"phase": "Serving"}}, force=True),
        "status: an apply must hold status.command alone, and this would also own status.phase",
    ),
    "an order as the operator's field manager": (
        None,
        lambda c: c.alice.apply(
            CHM_STATUS, {"status": {"phase": "Serving", "command": COMMAND}}, "churn-operator", force=True
        ),
        "fieldManager: churn-operator is the operator's own",
    ),
}


@pytest.mark.parametrize(("before", "attempt", "words"), OTHERS.values(), ids=OTHERS)
def test_nobody_gets_round_it_by(
    guarded: ControlPlane, before: Callable[[Case], Any] | None, attempt: Callable[[Case], Reply], words: str
) -> None:
    case = new_case(guarded, "alice")
    assert case.chart.apply(CHM_STATUS, {"status": {"phase": "Serving"}}, "churn-operator", force=True).ok
    if before is not None:
        before(case)
    kept = case.admin.get(CHM)
    refused(attempt(case), words)
    assert case.admin.get(CHM) == kept


def made_with_a_status(case: Case) -> Reply:
    assert case.alice.call("DELETE", case.path).ok
    status = {"phase": "Accepted", "version": "v1", "approval": case.approval()}
    return case.alice.create("trainingruns", case.run, RUN | {"requestedBy": "alice"}, status=status)


WITHOUT_EFFECT: dict[str, Callable[[Case], Reply]] = {
    "a run made with a status": made_with_a_status,
    "a status put beside the spec": lambda c: c.alice.put(c.path, status__approval=c.approval()),
    "a status merged beside the spec": lambda c: c.alice.merge(c.path, {"status": {"approval": c.approval()}}),
    "a status applied beside the spec": lambda c: c.alice.apply(
        c.path,
        {"spec": RUN | {"requestedBy": "alice", "trigger": "Manual"}, "status": {"phase": "Accepted"}},
        force=True,
    ),
    "a spec put beside the status": lambda c: c.bob.put(f"{c.path}/status", spec__requestedBy="carol"),
    "labels put beside the status": lambda c: c.bob.put(f"{c.path}/status", metadata__labels={"a": "b"}),
    "a status whose fields are nobody's": lambda c: c.bob.put(f"{c.path}/status", metadata__managedFields=[{}]),
}
"""The API server takes these, and drops what does not belong there before any policy sees it."""


def made_anew(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return bool(before["metadata"]["uid"] != after["metadata"]["uid"])


@pytest.mark.parametrize("attempt", WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_without_effect_is(guarded: ControlPlane, attempt: Callable[[Case], Reply]) -> None:
    case = new_case(guarded, "alice")
    before = case.admin.get(case.path)
    reply = attempt(case)
    assert reply.ok, reply.message
    after = case.admin.get(case.path)
    assert "status" not in after
    assert before["metadata"]["managedFields"][0] in after["metadata"]["managedFields"] or made_anew(before, after)
    assert (after["spec"], after["metadata"].get("labels")) == (before["spec"], before["metadata"].get("labels"))


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


ALLOWED: dict[str, Callable[[Case], Reply]] = {
    "an editor to change the data": lambda c: c.alice.merge(CHM, {"spec": {"data": {"exclude": ["gender"]}}}),
    "an editor to suspend a model": lambda c: c.alice.merge(CHM, {"spec": {"suspend": True}}),
    "an editor to label a model": lambda c: c.alice.merge(CHM, {"metadata": {"labels": {"a": "b"}}}),
    "who may to change the gates": lambda c: c.heidi.merge(CHM, {"spec": {"gates": [GATES[0] | {"min": 0.82}]}}),
    "who may to approve in the file": lambda c: c.heidi.merge(
        CHM,
        {"spec": {"approval": {"approved": [{"version": c.run.replace("telco-", "v"), "evidenceDigest": OFFERED}]}}},
    ),
    "an editor to ask for a run": create("alice", requestedBy="alice", reason="the board asked"),
    "the operator to open a run": create("chart", trigger="Drift", evidence=EVIDENCE),
    "an editor to order": order,
    "an editor to order something else": lambda c: order(c, action="Rollback", version="v1"),
    "an editor to order by apply": lambda c: c.alice.apply(CHM_STATUS, {"status": {"command": COMMAND}}, force=True),
    "an editor to delete a run": lambda c: c.alice.call("DELETE", c.path),
    "an editor to delete a model that asks nobody": lambda c: c.alice.call("DELETE", f"churnmodels/{unasked(c)}"),
    "who may to delete a model that asks": lambda c: c.heidi.call("DELETE", f"churnmodels/{unasked(c, required=True)}"),
}


def unasked(case: Case, *, required: bool = False) -> str:
    name = f"m{next(_numbers)}"
    assert case.alice.create("churnmodels", name, {"data": DATA, "approval": {"required": required}}).ok
    return name


@pytest.mark.parametrize("attempt", ALLOWED.values(), ids=ALLOWED)
def test_allowed_is(guarded: ControlPlane, attempt: Callable[[Case], Reply]) -> None:
    reply = attempt(new_case(guarded, "alice"))
    assert reply.ok, reply.message


def test_with_its_namespace_a_model_that_asks_for_approval_goes_too(guarded: ControlPlane) -> None:
    """The namespace controller, which deletes it, approves nothing."""
    guarded.kubectl("create", "namespace", "going")
    going = [binding("alice", "edit") | {"metadata": {"name": "alice", "namespace": "going"}}]
    guarded.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": going}))
    alice = Person(guarded, "alice", "going")
    assert alice.create("churnmodels", "telco", MODEL).ok
    refused(alice.call("DELETE", CHM), "to delete a ChurnModel that asks for approval")
    guarded.kubectl("delete", "namespace", "going", "--wait=false")
    until(lambda: alice.call("DELETE", CHM).ok)


def test_where_the_chart_allows_it_who_edits_a_model_approves_it(guarded: ControlPlane) -> None:
    def install(*arguments: str) -> None:
        body = {"apiVersion": "v1", "kind": "List", "items": manifests(*arguments)}
        guarded.kubectl("apply", "-f", "-", stdin=json.dumps(body))

    def offered() -> Case:
        case = new_case(guarded)
        case.offer()
        return case

    install("--set=approval.allowEditors=true")
    try:
        until(lambda: offered().approve("carol").ok)
        case = new_case(guarded, "anna")
        case.offer()
        refused(case.approve("anna"), "anna asked for this run")
    finally:
        install()
    until(lambda: not offered().approve("carol").ok)


@dataclass(frozen=True)
class Operator:
    """The operator under the chart's own roles and policies, with one model; its Jobs are played."""

    plane: ControlPlane
    neighbours: Neighbours
    admin: ApiClient
    model: str
    kinds: dict[str, Any]

    async def settle(self) -> None:
        for _ in range(5):
            for kind, loop in self.kinds.items():
                for obj in await self.admin.list(API_VERSION, kind, TEAM):
                    if name_of(obj).startswith(self.model):
                        key = Key(kind, TEAM, name_of(obj))
                        await reconcile(loop, key, self.neighbours, self.neighbours, datetime.now(UTC))

    async def get(self, kind: str, name: str) -> Any:
        return await self.admin.get(API_VERSION, kind, TEAM, name)

    async def put_up(self) -> Any:
        """The first run passes its gates."""
        await self.settle()
        job = await self.admin.get("batch/v1", "Job", TEAM, f"{self.model}-1-train")
        assert job is not None
        await end_job(self.admin, job, encode_result(make_result(1)))
        await self.settle()
        run = await self.get("TrainingRun", f"{self.model}-1")
        assert run["status"]["phase"] == "AwaitingApproval"
        return run


@pytest.fixture
async def operator(guarded: ControlPlane, mlflow: MlflowServer) -> AsyncIterator[Operator]:
    model = f"gym{next(_numbers)}"
    mlflow.register(f"{TEAM}.{model}", versions=1)
    settings = Settings(
        jobs_image="jobs:1",
        predictor_image="predictor:1",
        tracking_uri=mlflow.uri,
        storage_uri="s3://models",
        cluster="c",
    )
    kinds = {"ChurnModel": ChurnModelKind(settings), "TrainingRun": TrainingRunKind(settings)}
    async with aiohttp.ClientSession() as session, AsyncExitStack() as stack:
        clients = {}
        for user in ("chart", "admin"):
            clients[user] = await ApiClient.connect(str(guarded.kubeconfig(user)))
            stack.push_async_callback(clients[user].close)
        neighbours = Neighbours(clients["chart"], Tracking(session), Prober(session), Scraper(session))
        assert Person(guarded, "alice", TEAM).create("churnmodels", model, MODEL).ok
        yield Operator(guarded, neighbours, clients["admin"], model, kinds)


def commands_of_the_readme(run: str) -> str:
    (block,) = re.findall(r"```console\n(run=telco-3\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return str(block).replace("run=telco-3", f"run={run}")


def shell(plane: ControlPlane, user: str, script: str, folder: Path) -> str:
    """Run it as a user with a kubectl of the namespace.

    Raises:
        AssertionError: it failed; with what it said.
    """
    config = json.loads(plane.kubeconfig(user).read_text())
    config["contexts"][0]["context"]["namespace"] = TEAM
    (folder / "config").write_text(json.dumps(config))
    (folder / "kubectl").symlink_to(plane.programs["KUBECTL"])
    environment = os.environ | {"KUBECONFIG": str(folder / "config"), "PATH": f"{folder}:{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_readmes_command_approves_a_run_whose_version_is_then_served(
    guarded: ControlPlane, operator: Operator, tmp_path: Path
) -> None:
    run = await operator.put_up()
    name = run["metadata"]["name"]
    described = " ".join(guarded.kubectl("-n", TEAM, "describe", "trun", name, user="greta").split())
    assert f"kubectl churn approve {name} -n {TEAM}" in described
    assert described.count(run["status"]["evidenceDigest"]) == 2, "in its field, and in what there is to do"
    trained = (await operator.get("ChurnModel", operator.model))["status"]["conditions"][1]
    assert trained["message"].startswith(f"TrainingRun {name} (Initial) awaits approval: Every gate holds")
    assert "patched" in shell(guarded, "greta", commands_of_the_readme(name), tmp_path)
    await operator.settle()
    run = await operator.get("TrainingRun", name)
    approved = next(c for c in run["status"]["conditions"] if c["type"] == "Approved")
    assert (run["status"]["phase"], run["status"]["approval"]["by"]) == ("Accepted", "greta")
    assert approved["message"].startswith("Approved by greta at ")
    versions = (await operator.get("ChurnModel", operator.model))["status"]["versions"]
    assert [version["version"] for version in versions] == ["v1"]
    assert "Approved by greta at" in versions[0]["reason"]


async def test_the_readmes_command_is_refused_to_an_editor(
    guarded: ControlPlane, operator: Operator, tmp_path: Path
) -> None:
    run = await operator.put_up()
    with pytest.raises(AssertionError, match=EDITS.format("carol").replace("telco", operator.model)):
        shell(guarded, "carol", commands_of_the_readme(run["metadata"]["name"]), tmp_path)


async def test_a_rejected_run_says_who_and_why_and_nothing_is_served(guarded: ControlPlane, operator: Operator) -> None:
    run = await operator.put_up()
    case = Case(guarded, run["metadata"]["name"])
    written = {
        "decision": "Rejected",
        "evidenceDigest": run["status"]["evidenceDigest"],
        "comment": "too few pensioners",
    }
    assert case.approve(**written).ok
    await operator.settle()
    model = await operator.get("ChurnModel", operator.model)
    trained = next(c for c in model["status"]["conditions"] if c["type"] == "Trained")
    assert (await operator.get("TrainingRun", case.run))["status"]["phase"] == "Rejected"
    assert trained["reason"] == "RunNotApproved"
    assert f"was not approved: Rejected by bob at {AT}: too few pensioners" in trained["message"]
    assert not model["status"].get("versions")
    by_hand = {"modelRef": {"name": operator.model}, "requestedBy": "alice"}
    assert case.alice.create("trainingruns", f"{operator.model}-2", by_hand).ok
    await operator.settle()
    again = await operator.get("TrainingRun", f"{operator.model}-2")
    assert again["status"]["resolved"]["task"]["trigger"] == "Manual"


async def test_the_file_approves_a_run_as_well(guarded: ControlPlane, operator: Operator) -> None:
    run = await operator.put_up()
    approved = [{"version": "v1", "evidenceDigest": run["status"]["evidenceDigest"]}]
    path, body = f"churnmodels/{operator.model}", {"spec": {"approval": {"approved": approved}}}
    assert Person(guarded, "heidi", TEAM).merge(path, body).ok
    await operator.settle()
    run = await operator.get("TrainingRun", run["metadata"]["name"])
    said = next(c for c in run["status"]["conditions"] if c["type"] == "Approved")
    assert (run["status"]["phase"], said["reason"]) == ("Accepted", "Approved")
    assert said["message"] == f"Approved by spec.approval.approved of ChurnModel {operator.model}."
