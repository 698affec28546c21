"""An API server with the chart's policies and roles, a model that asks for approval, and what people try there."""

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from support.control_plane import ControlPlane
from support.helm import SMALLEST, render
from support.manifests import DATA
from support.people import Person, Reply

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
NUMBERS = itertools.count(1)


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


@contextmanager
def guarded_plane(folder: Path) -> Iterator[ControlPlane]:
    """An API server with the chart's policy and roles, and a model that asks for approval."""
    with ControlPlane(folder).serving() as plane:
        plane.kubectl("create", "namespace", TEAM)
        bound = [binding(user, name) for user, roles in BINDINGS.items() for name in roles]
        items = [*manifests(), *(role(name, *rest) for name, rest in ROLES.items()), *bound]
        plane.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        assert Person(plane, "admin", TEAM).create("churnmodels", "telco", MODEL).ok
        wait_for_policies(plane)
        yield plane


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
    case = Case(plane, f"telco-{next(NUMBERS)}", asker)
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


def refused(reply: Reply, words: str) -> None:
    assert not reply.ok, reply.body
    assert re.search(words, reply.message), reply.message
