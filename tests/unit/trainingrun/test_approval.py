"""Who says yes to a challenger that passed every gate, and what ends the waiting for it."""

from datetime import timedelta
from typing import Any

import pytest
from support.kinds import (
    NOW,
    SETTINGS,
    make_model_view,
    make_object,
    make_resolved,
    make_result,
    make_version,
    run_world,
)
from support.memory import MemoryCluster

from churn_operator.api.digest import evidence_digest
from churn_operator.api.results import encode_result
from churn_operator.api.trainingrun import RunPhase, TrainingRunSpec, TrainingRunStatus
from churn_operator.core import clock
from churn_operator.core.job import Absent, Finished
from churn_operator.core.objects import Key
from churn_operator.trainingrun.approval import approved_by, offer
from churn_operator.trainingrun.build import build
from churn_operator.trainingrun.decide import Accept, Await, Decline, Reject, Resolve, decide
from churn_operator.trainingrun.observe import Rival, TrainingRunWorld, observe
from churn_operator.trainingrun.policies import verdict
from churn_operator.trainingrun.report import report

TERMS = {"required": True, "timeout": "7d"}
GATES = [{"name": "quality", "metric": "roc_auc", "min": 0.8}]
RESULT = make_result(2)
RESOLVED: dict[str, Any] = {"resolved": make_resolved(2), "gates": GATES, "approval_terms": TERMS}
JUST_MEASURED = Finished(encode_result(RESULT))
DIGEST = evidence_digest(
    RESOLVED["resolved"],
    TrainingRunStatus.model_validate(RESOLVED).gates,
    RESULT,
    tuple(verdict(gate, RESULT) for gate in TrainingRunStatus.model_validate(RESOLVED).gates),
)
SINCE = clock.stamp(NOW - timedelta(days=2))
WAITING: dict[str, Any] = RESOLVED | {
    "result": RESULT,
    "evidence_digest": DIGEST,
    "awaiting_since": SINCE,
    "phase": RunPhase.AwaitingApproval,
}
BEFORE = timedelta(days=5) - timedelta(seconds=1)
AFTER = timedelta(days=5)


def approval(**fields: Any) -> dict[str, Any]:
    written = {"decision": "Approved", "by": "bob", "at": SINCE, "evidence_digest": DIGEST, "comment": "looks good"}
    return {"approval": written | fields}


def waiting(*, spec: dict[str, Any] | None = None, **fields: Any) -> TrainingRunWorld:
    """A run that is put up for approval since two days."""
    status = WAITING | fields.pop("status", {})
    if spec is not None:
        fields["spec"] = TrainingRunSpec.model_validate({"modelRef": {"name": "telco"}} | spec)
    return run_world(status, job=Absent(), **fields)


def listed(version: str = "v2", digest: str = DIGEST) -> dict[str, Any]:
    """The ChurnModel's file approves."""
    approved = {"approved": [{"version": version, "evidenceDigest": digest}]}
    return {"model": make_model_view(approval=approved)}


OTHER = "sha256:" + "0" * 64
BY_HAND = {"trigger": "Manual", "requestedBy": "alice"}
SERVES_V1: dict[str, Any] = {"model": make_model_view({"versions": [make_version(1)]})}
NEWER = Rival("telco-3", 3, RunPhase.AwaitingApproval)


@pytest.mark.parametrize(
    ("world", "age", "expected"),
    [
        pytest.param(waiting(), BEFORE, "Await", id="nobody said anything"),
        pytest.param(waiting(status=approval()), BEFORE, "Accept", id="somebody approved"),
        pytest.param(waiting(status=approval(), spec=BY_HAND), BEFORE, "Accept", id="somebody else approved"),
        pytest.param(waiting(status=approval(by="alice"), spec=BY_HAND), BEFORE, "Await", id="who asked approved"),
        pytest.param(waiting(status=approval(), spec={"trigger": "Manual"}), BEFORE, "Await", id="perhaps who asked"),
        pytest.param(waiting(status=approval(evidence_digest=OTHER)), BEFORE, "Await", id="of other evidence"),
        pytest.param(waiting(status=approval(decision="Rejected")), BEFORE, "Rejected", id="somebody rejected"),
        pytest.param(
            waiting(status=approval(decision="Rejected", evidence_digest=OTHER)), BEFORE, "Await", id="something else"
        ),
        pytest.param(waiting(**listed()), BEFORE, "Accept", id="the file approves"),
        pytest.param(waiting(**listed("v3")), BEFORE, "Await", id="the file approves another version"),
        pytest.param(waiting(**listed(digest=OTHER)), BEFORE, "Await", id="the file approves other evidence"),
        pytest.param(
            waiting(status=approval(decision="Rejected"), **listed()), BEFORE, "Rejected", id="a no outweighs the file"
        ),
        pytest.param(waiting(model=None), BEFORE, "Await", id="the model is gone"),
        pytest.param(waiting(status=approval(), model=None), BEFORE, "Accept", id="approved while the model is gone"),
        pytest.param(waiting(), AFTER, "Expired", id="the time is over"),
        pytest.param(waiting(status=approval(by="alice"), spec=BY_HAND), AFTER, "Expired", id="over, no valid one"),
        pytest.param(waiting(status=approval()), AFTER, "Accept", id="approved, and nobody looked in time"),
        pytest.param(waiting(rivals=(NEWER,)), BEFORE, "Superseded", id="a newer one waits"),
        pytest.param(
            waiting(status=approval(), rivals=(NEWER,)), BEFORE, "Superseded", id="a newer one waits, this is approved"
        ),
        pytest.param(waiting(rivals=(Rival("telco-3", 3, RunPhase.Accepted),)), BEFORE, "Superseded", id="or is taken"),
        pytest.param(waiting(rivals=(Rival("telco-3", 3, RunPhase.Rejected),)), BEFORE, "Await", id="a newer fell"),
        pytest.param(waiting(rivals=(Rival("telco-3", 3, RunPhase.Running),)), BEFORE, "Await", id="a newer trains"),
        pytest.param(
            waiting(rivals=(Rival("telco-1", 1, RunPhase.AwaitingApproval),)), BEFORE, "Await", id="an older one waits"
        ),
        pytest.param(waiting(**SERVES_V1), BEFORE, "Superseded", id="it was compared with no champion, and one serves"),
        pytest.param(
            waiting(status=approval(), **SERVES_V1), BEFORE, "Superseded", id="an approval of a comparison with another"
        ),
        pytest.param(
            waiting(status={"result": make_result(2, metrics={"roc_auc": 0.1, "parity": 0.0})}),
            BEFORE,
            "Reject",
            id="a gate does not hold any more",
        ),
    ],
)  # fmt: skip
def test_each_state_of_a_waiting_run_has_one_decision(world: TrainingRunWorld, age: timedelta, expected: str) -> None:
    decision = decide(world, NOW + age)
    assert expected == (decision.phase if isinstance(decision, Decline) else type(decision).__name__)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, Await, id="waits where somebody is asked"),
        pytest.param({"status": {"approval_terms": {"required": False}}}, Accept, id="is taken where nobody is"),
        pytest.param(
            {"status": {"approval_terms": {"required": False}}, "model": make_model_view(approval={"required": True})},
            Await,
            id="waits where somebody is asked since it began",
        ),
        pytest.param({"status": {"approval_terms": None}}, Accept, id="or was, before there was approval"),
        pytest.param({"status": approval()}, Accept, id="is not asked for twice"),
        pytest.param({"rivals": (NEWER,)}, Decline, id="is late"),
    ],
)
def test_a_challenger_that_was_just_measured(fields: dict[str, Any], expected: type) -> None:
    status = RESOLVED | fields.pop("status", {})
    assert isinstance(decide(run_world(status, job=JUST_MEASURED, **fields), NOW), expected)


def test_what_is_asked_is_frozen_with_the_gates() -> None:
    model = make_model_view(approval={"required": True, "timeout": "2h"})
    world = run_world(job=Absent(), model=model)
    decision = decide(world, NOW)
    assert isinstance(decision, Resolve)
    terms = report(world, decision, None, NOW).approval_terms
    assert terms is not None
    assert (terms.required, terms.timeout) == (True, "2h")
    assert isinstance(decide(waiting(model=make_model_view()), NOW), Await)


def status_of(world: TrainingRunWorld, age: timedelta = timedelta(0)) -> TrainingRunStatus:
    return report(world, decide(world, NOW + age), None, NOW + age)


def said(world: TrainingRunWorld, age: timedelta = timedelta(0)) -> str:
    condition = status_of(world, age).condition("Approved")
    assert condition is not None
    return f"{condition.status} {condition.reason} {condition.message}"


def test_a_run_that_waits_says_which_command_approves_it_on_which_evidence_and_until_when() -> None:
    status = status_of(run_world(RESOLVED, job=JUST_MEASURED))
    assert (status.phase, status.reason, status.version) == ("AwaitingApproval", None, None)
    assert (status.evidence_digest, status.awaiting_since) == (DIGEST, clock.stamp(NOW))
    assert status.finished_at is None
    assert said(run_world(RESOLVED, job=JUST_MEASURED)) == (
        "Unknown AwaitingApproval Every gate holds; now somebody has to approve it, or reject: "
        f"kubectl churn approve telco-2 -n team. The evidence is {DIGEST}. "
        "Without an answer it expires at 2026-11-28T12:00:00Z."
    )


def test_a_run_that_waits_is_the_same_at_each_look() -> None:
    once = status_of(run_world(RESOLVED, job=JUST_MEASURED))
    again = run_world(once.to_dict(), job=Absent())
    assert status_of(again, timedelta(days=3)) == once
    assert decide(again, NOW + timedelta(days=3)).wake == timedelta(days=4)


@pytest.mark.parametrize(
    ("world", "age", "words"),
    [
        pytest.param(waiting(spec=BY_HAND), BEFORE, "Not alice, who asked for the run", id="who asked is named"),
        pytest.param(
            waiting(status=approval(by="alice"), spec=BY_HAND),
            BEFORE,
            "Unknown AwaitingApproval What alice wrote in status.approval does not count: alice asked for this run",
            id="so is why an approval does not count",
        ),
        pytest.param(
            waiting(status=approval(evidence_digest=OTHER)), BEFORE, f"it is of other evidence, {OTHER}", id="or whose"
        ),
        pytest.param(
            waiting(status=approval(), spec={"trigger": "Manual"}), BEFORE, "spec.requestedBy does not say", id="who"
        ),
        pytest.param(
            waiting(status=approval()),
            BEFORE,
            f"True Approved Approved by bob at {SINCE}: looks good",
            id="who approved, and when",
        ),
        pytest.param(
            waiting(status=approval(comment="")), BEFORE, f"True Approved Approved by bob at {SINCE}.", id="no comment"
        ),
        pytest.param(
            waiting(**listed()),
            BEFORE,
            "True Approved Approved by spec.approval.approved of ChurnModel telco.",
            id="the file",
        ),
        pytest.param(
            waiting(status=approval(decision="Rejected")),
            BEFORE,
            f"False Rejected Rejected by bob at {SINCE}: looks good",
            id="who rejected",
        ),
        pytest.param(
            waiting(), AFTER, f"False Expired Nobody approved it from {SINCE} to ", id="the time that is over"
        ),
        pytest.param(
            waiting(rivals=(NEWER,)),
            BEFORE,
            "False Superseded TrainingRun telco-3 is newer and awaits approval.",
            id="the newer run",
        ),
        pytest.param(
            waiting(**SERVES_V1),
            BEFORE,
            "False Superseded It was compared with no champion, and v1 serves now.",
            id="the other champion",
        ),
        pytest.param(
            waiting(status={"resolved": make_resolved(2, champion={"version": "v1", "model": RESULT.model})}),
            BEFORE,
            "It was compared with v1, and no version serves now.",
            id="the champion that is gone",
        ),
        pytest.param(
            run_world(RESOLVED | {"approval_terms": None}, job=JUST_MEASURED),
            BEFORE,
            "True ApprovalNotRequired spec.approval of the ChurnModel asks nobody.",
            id="that nobody is asked",
        ),
    ],
)
def test_the_condition_says(world: TrainingRunWorld, age: timedelta, words: str) -> None:
    assert words in said(world, age)


@pytest.mark.parametrize(
    ("world", "phase", "reason", "version"),
    [
        pytest.param(waiting(status=approval()), "Accepted", None, "v2", id="approved"),
        pytest.param(waiting(status=approval(decision="Rejected")), "Rejected", "Rejected", None, id="rejected"),
        pytest.param(waiting(rivals=(NEWER,)), "Superseded", "Superseded", None, id="superseded"),
    ],
)
def test_a_run_that_people_judged_is_over(
    world: TrainingRunWorld, phase: str, reason: str | None, version: str | None
) -> None:
    status = status_of(world)
    assert (status.phase, status.reason, status.version) == (phase, reason, version)
    assert status.finished_at == clock.stamp(NOW)
    assert [verdict.verdict for verdict in status.verdicts] == ["Passed"]


@pytest.mark.parametrize(
    "status", [WAITING | approval(), WAITING | approval() | {"finished_at": SINCE}], ids=["decided", "at rest"]
)
def test_the_operator_never_writes_what_a_person_wrote(status: dict[str, Any]) -> None:
    assert "approval" not in status_of(run_world(status, job=Absent())).to_dict()


JOB = {"kind": "Job", "metadata": {"name": "telco-2-train"}}


@pytest.mark.parametrize("fields", [{}, {"rivals": (NEWER,)}], ids=["waits", "is superseded"])
def test_the_job_stays_while_a_run(fields: dict[str, Any]) -> None:
    world = waiting(children=(JOB,), **fields)
    assert [d.object for d in build(world, decide(world, NOW))] == [JOB]


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        pytest.param({}, True, id="itself"),
        pytest.param({"result": make_result(2, golden={"instance": {}, "probability": 0.1})}, True, id="a sample"),
        pytest.param({"result": make_result(2, metrics={"roc_auc": 0.84})}, False, id="other measures"),
        pytest.param({"result": make_result(3)}, False, id="other data"),
        pytest.param({"result": make_result(2, model={"uri": "s3://m", "digest": OTHER})}, False, id="other files"),
        pytest.param({"result": make_result(2, threshold=0.4)}, False, id="another threshold"),
        pytest.param({"gates": []}, False, id="other gates"),
        pytest.param({"resolved": make_resolved(2, uid="another")}, False, id="another run of the same name"),
        pytest.param({"resolved": make_resolved(2, digest=OTHER)}, False, id="another specification"),
        pytest.param(
            {"resolved": make_resolved(2, champion={"version": "v1", "model": RESULT.model})}, False, id="a champion"
        ),
    ],
)
def test_the_evidence_is_another_with(fields: dict[str, Any], *, same: bool) -> None:
    world = waiting(status=fields | approval())
    assert world.status.resolved is not None
    assert world.status.result is not None
    offered = offer(world, world.status.resolved, world.status.result, NOW)
    assert offered is not None
    assert (offered.digest == DIGEST) is same
    assert (approved_by(world, offered) is not None) is same


def test_the_evidence_is_the_same_when_the_api_server_gave_it_back() -> None:
    """It writes 5.0 as 5."""
    kept = make_result(2, metrics={"roc_auc": 1.0, "parity": 1e-7})
    text = kept.model_dump_json().replace("1.0", "1")
    again = type(kept).model_validate_json(text)
    gates = TrainingRunStatus.model_validate(RESOLVED).gates
    digests = {evidence_digest(make_resolved(2), gates, result, ()) for result in (kept, again)}
    assert len(digests) == 1


def test_a_run_that_is_refused_by_a_gate_is_never_put_up() -> None:
    bad = Finished(encode_result(make_result(2, metrics={"roc_auc": 0.1, "parity": 0.0})))
    world = run_world(RESOLVED | approval(), job=bad)
    assert isinstance(decide(world, NOW), Reject)
    assert status_of(world).evidence_digest is None
    assert said(world).startswith("Unknown NotOnOffer")


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        pytest.param(TERMS, [("telco-1", 1, "Accepted"), ("telco-3", 3, "Pending")], id="where approval is asked for"),
        pytest.param(None, [], id="and not elsewhere"),
    ],
)
async def test_a_run_looks_at_its_rivals(terms: dict[str, Any] | None, expected: list[Any]) -> None:
    cluster = MemoryCluster()
    cluster.objects["ChurnModel", "telco"] = make_object("ChurnModel", "telco", make_model_view().spec.to_dict())
    for number, status in ((1, {"phase": "Accepted"}), (2, {}), (3, {})):
        run = make_object("TrainingRun", f"telco-{number}", {"modelRef": {"name": "telco"}}) | {"status": status}
        cluster.objects["TrainingRun", f"telco-{number}"] = run
    mine = TrainingRunStatus.model_validate(WAITING | {"approval_terms": terms})
    cluster.objects["TrainingRun", "telco-2"]["status"] = mine.to_dict()
    cluster.tracking = False
    world = await observe(SETTINGS, cluster, Key("TrainingRun", "team", "telco-2"), NOW)
    assert world is not None
    assert [(rival.name, rival.number, rival.phase) for rival in world.rivals] == expected
    assert world.tracking_problem is None, "a run that was measured asks MLflow for nothing"
