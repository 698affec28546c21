"""What would lead round an approval: another spec or status, other gates, a model that is made anew or deleted."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.approvals import (
    AT,
    FORBIDDEN,
    GATES,
    MODEL,
    NUMBERS,
    OFFERED,
    TEAM,
    Attack,
    Case,
    binding,
    manifests,
    new_case,
    refused,
)
from support.control_plane import ControlPlane
from support.manifests import DATA, EVIDENCE
from support.operator_process import until
from support.people import Person, Reply

RUN = {"modelRef": {"name": "telco"}}
CHANGE = r"to change it takes the verb approve on churnmodels, which alice is not granted"
SUSPENDED = {"required": False, "timeout": "7d", "approved": []}
COMMAND = {"action": "Promote", "by": "alice", "at": AT, "reason": "it is better"}
ONLY_COMMAND = "status.{}: only the operator writes it; people write status.command and nothing else"


def create(user: str, **spec: Any) -> Callable[[Case], Reply]:
    return lambda c: Person(c.plane, user, TEAM).create("trainingruns", f"telco-{next(NUMBERS)}", RUN | spec)


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
    name = f"m{next(NUMBERS)}"
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
