"""What follows from a status: the answer of a check, what stands against an approval, what an order says."""

from datetime import timedelta
from typing import Any

import pytest
from support.kinds import EARLIER, NOW, make_version
from support.shell import BACK, DIGEST, OTHER, READY, SERVING, SHIFTING, SPEC, WAITING, condition, obj, run_spec

from churn_operator.api.approval import Command
from churn_operator.api.churnmodel import ChurnModelStatus, VersionState
from churn_operator.cli import evidence, orders
from churn_operator.cli.cluster import failure_of
from churn_operator.cli.failure import Absent, Code, Conflict, Failure
from churn_operator.cli.judgement import judge
from churn_operator.cli.summary import run_of, summarise

SILENT = condition("Ready", "False", "ChampionNotAnswering", "v1 does not answer.")
NO_CHAMPION = condition("Ready", "False", "NoChampion", "No version has been accepted yet.")
REJECTED = condition("Trained", "False", "RunRejected", "TrainingRun telco-1 was rejected.")
NO_GATEWAY = condition("RolloutHealthy", "False", "GatewayUnavailable", "Clients may not reach it.")
STARTING = make_version(2, VersionState.RollingOut).to_dict()
GUARDING = {"version": "v1", "phase": "Guarding", "began": EARLIER, "since": EARLIER}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(SERVING, (True, True, "Ready: v1 answers"), id="serves"),
        pytest.param(SERVING | {"rollout": GUARDING}, (True, True, "stays warm until 2026-11-21T10:00"), id="guarded"),
        pytest.param({}, (False, False, "generation 0 of 1"), id="not looked at"),
        pytest.param({"observedGeneration": 1}, (False, False, "is it running?"), id="not judged"),
        pytest.param(SHIFTING, (False, False, "v2 is rolling out: Step 1"), id="a canary"),
        pytest.param(
            SERVING | {"versions": [STARTING], "conditions": [NO_CHAMPION]},
            (False, False, "v2 is rolling out: its InferenceService is being made."),
            id="the first version starts",
        ),
        pytest.param(BACK, (False, True, "Rolled back, AnalysisFailed: v2 failed"), id="rolled back"),
        pytest.param(
            BACK | {"conditions": [READY]},
            (False, True, "Rolled back, AnalysisFailed: v2 failed"),
            id="by the rollout alone",
        ),
        pytest.param(SERVING | {"conditions": [SILENT]}, (False, False, "Not Ready: v1 does not"), id="silent"),
        pytest.param(SERVING | {"conditions": [READY, NO_GATEWAY]}, (False, False, "Degraded: Clients"), id="gateway"),
        pytest.param(
            {"observedGeneration": 1, "phase": "Failed", "conditions": [NO_CHAMPION, REJECTED]},
            (False, True, "No version has been accepted yet. TrainingRun telco-1 was rejected."),
            id="nothing to serve",
        ),
    ],
)
def test_a_model_is_as_it_should_be_or_not(status: dict[str, Any], expected: tuple[bool, bool, str]) -> None:
    answer = judge(summarise(obj("ChurnModel", "telco", SPEC, status), (), ()))
    assert (answer.holds, answer.final) == expected[:2]
    assert expected[2] in answer.message


def decided(by: str = "carol", digest: str = DIGEST) -> dict[str, Any]:
    return {"approval": {"decision": "Approved", "by": by, "at": EARLIER, "evidenceDigest": digest}}


@pytest.mark.parametrize(
    ("spec", "status", "reviewed", "expected"),
    [
        pytest.param({}, {}, None, None, id="on offer"),
        pytest.param({}, {}, DIGEST, None, id="as reviewed"),
        pytest.param({}, {}, OTHER, f"now offers {DIGEST}, and {OTHER} was reviewed", id="other evidence"),
        pytest.param(
            {}, {"phase": "Running"}, None, "telco-3 offers nothing to approve: it is Running", id="under way"
        ),
        pytest.param({}, {"phase": "Accepted"}, None, "it is Accepted. Every gate holds.", id="over"),
        pytest.param(
            {},
            {"phase": "Rejected", "conditions": [condition("GatesPassed", "False", "GateFailed", "roc_auc is 0.5.")]},
            None,
            "it is Rejected. roc_auc is 0.5.",
            id="refused by a gate",
        ),
        pytest.param({}, decided(), None, "carol decided at 2026-11-21T09:00:00Z: Approved. A decision", id="decided"),
        pytest.param({}, decided(digest=OTHER), None, None, id="decided on other evidence"),
        pytest.param({"requestedBy": "bob"}, {}, None, "You, bob, asked for telco-3", id="one's own run"),
        pytest.param({"requestedBy": None}, {}, None, "does not say who asked for it", id="nobody's run"),
        pytest.param({"requestedBy": None, "trigger": "Drift"}, {}, None, None, id="the operator's run"),
    ],
)
def test_an_answer_that_would_not_count_is_not_given(
    spec: dict[str, Any], status: dict[str, Any], reviewed: str | None, expected: str | None
) -> None:
    run = run_of(obj("TrainingRun", "telco-3", run_spec(**spec), WAITING | status))
    obstacle = evidence.obstacle(run, "bob", reviewed)
    assert (obstacle is None) == (expected is None)
    assert (expected or "") in (obstacle or "")


def test_a_decision_names_who_and_when_and_what_was_seen() -> None:
    run = run_of(obj("TrainingRun", "telco-3", run_spec(), WAITING))
    assert evidence.decision(run, "Rejected", "bob", "too dear", NOW).to_dict() == {
        "decision": "Rejected",
        "by": "bob",
        "at": "2026-11-21T12:00:00Z",
        "evidenceDigest": DIGEST,
        "comment": "too dear",
    }


def test_nothing_is_decided_without_evidence() -> None:
    with pytest.raises(ValueError, match="offers no evidence"):
        evidence.decision(run_of(obj("TrainingRun", "telco-3", run_spec())), "Approved", "bob", "", NOW)


@pytest.mark.parametrize(
    ("action", "asked", "expected"),
    [
        pytest.param("Promote", None, "v2", id="what is on its way"),
        pytest.param("Abort", None, "v2", id="given up"),
        pytest.param("Rollback", None, None, id="the one before, which the operator knows"),
        pytest.param("Rollback", "v1", "v1", id="a version"),
    ],
)
def test_an_order_is_of_the_version_that_was_seen(
    action: orders.Action, asked: str | None, expected: str | None
) -> None:
    given = orders.order(ChurnModelStatus.model_validate(SHIFTING), action, "bob", "why", NOW, asked)
    assert (given.version, given.by, given.reason, given.at) == (expected, "bob", "why", "2026-11-21T12:00:00Z")


def test_a_version_that_nobody_knows_is_no_order() -> None:
    with pytest.raises(Absent, match=r"There is no version v9: the status knows v2, v1\."):
        orders.order(ChurnModelStatus.model_validate(SHIFTING), "Rollback", "bob", "why", NOW, "v9")


def test_an_order_is_not_kept_for_a_version_that_comes_later() -> None:
    with pytest.raises(Failure, match="No version is on its way: there is nothing to abort"):
        orders.order(ChurnModelStatus.model_validate(SERVING), "Abort", "bob", "why", NOW)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        pytest.param(timedelta(hours=-1), "2026-11-21T12:00:00Z", id="long ago"),
        pytest.param(timedelta(0), "2026-11-21T12:00:01Z", id="this second"),
        pytest.param(timedelta(minutes=1), "2026-11-21T12:01:01Z", id="by a clock that is ahead"),
    ],
)
def test_no_two_orders_share_a_time(last: timedelta, expected: str) -> None:
    before = Command(action="Abort", by="carol", at=(NOW + last).strftime("%Y-%m-%dT%H:%M:%SZ"))
    status = ChurnModelStatus.model_validate(SHIFTING | {"command": before})
    assert orders.order(status, "Promote", "bob", "", NOW).at == expected


GIVEN = Command(action="Promote", by="bob", at=EARLIER)
LATER = Command(action="Abort", by="carol", at="2026-11-21T09:00:01Z")


def handled(at: str) -> dict[str, Any]:
    return {"handled": {"at": at, "action": "Promote", "message": "v2 is champion."}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({"command": GIVEN}, None, id="not yet"),
        pytest.param({"command": GIVEN} | handled(EARLIER), "v2 is champion.", id="carried out"),
        pytest.param({"command": GIVEN} | handled("2026-11-20T09:00:00Z"), None, id="the one before was"),
        pytest.param({"command": LATER} | handled(EARLIER), "v2 is champion.", id="before another came"),
    ],
)
def test_what_came_of_an_order_is_what_the_operator_says_of_it(status: dict[str, Any], expected: str | None) -> None:
    assert orders.outcome(ChurnModelStatus.model_validate(SERVING | status), GIVEN) == expected


def test_an_order_that_was_declined_is_a_failure_in_the_operators_words() -> None:
    said = {"at": EARLIER, "action": "Abort", "outcome": "Declined", "message": "Nothing was done: so."}
    with pytest.raises(Failure, match=r"Nothing was done: so\."):
        orders.outcome(ChurnModelStatus.model_validate(SERVING | {"command": GIVEN, "handled": said}), GIVEN)


@pytest.mark.parametrize(
    ("status", "who"),
    [pytest.param({"command": LATER}, r"carol \(Abort\)", id="another"), pytest.param({}, "somebody", id="taken away")],
)
def test_an_order_that_another_replaced_is_not_waited_for(status: dict[str, Any], who: str) -> None:
    with pytest.raises(Failure, match=f"Another order, by {who}, took the place"):
        orders.outcome(ChurnModelStatus.model_validate(SERVING | status), GIVEN)


@pytest.mark.parametrize(
    ("last", "runs", "expected"),
    [
        pytest.param(0, [], 1, id="the first"),
        pytest.param(4, ["telco-1"], 5, id="a number whose run is gone"),
        pytest.param(1, ["telco-2", "telco-10"], 11, id="a run that the status does not know yet"),
    ],
)
def test_no_number_is_used_twice(last: int, runs: list[str], expected: int) -> None:
    assert orders.next_number("telco", ChurnModelStatus(last_run=last), runs) == expected


def test_a_run_that_is_asked_for_says_by_whom() -> None:
    wanted = orders.run("telco", "team", 4, "bob", "a new price")
    assert wanted["metadata"] == {"name": "telco-4", "namespace": "team"}
    assert wanted["spec"] == run_spec(requestedBy="bob")


@pytest.mark.parametrize(
    ("status", "message", "code", "expected"),
    [
        pytest.param(401, "Unauthorized", Code.Forbidden, "The API server does not know you (401)", id="401"),
        pytest.param(403, "you\n  may not.", Code.Forbidden, "The cluster does not let you: you may not.", id="403"),
        pytest.param(404, "telco-3 not found", Code.Usage, "not there any more: telco-3 not found.", id="404"),
        pytest.param(409, "changed", Code.No, "Somebody was faster: changed.", id="409"),
        pytest.param(422, "by: must be your name", Code.No, "refuses (422): by: must be your name.", id="422"),
        pytest.param(503, "later", Code.Unreachable, "cannot answer now (503): later.", id="503"),
        pytest.param(200, "", Code.Unreachable, "What answers is not a Kubernetes API server.", id="a proxy"),
    ],
)
def test_what_the_api_server_refuses_is_a_sentence(status: int, message: str, code: Code, expected: str) -> None:
    failure = failure_of(status, message)
    assert expected in str(failure)
    assert (failure.code, isinstance(failure, Conflict)) == (code, status == 409)
