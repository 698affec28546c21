"""A challenger is asked what clients asked the champion, and takes the traffic when it answered well."""

from typing import Any

import pytest
from support.canary import FEW, NOBODY, SILENT, ago
from support.kinds import NOW, make_object, make_spec, make_version
from support.shadow import AWAY, FAILED, LOGGED, TOO_FEW, left, make_shadow_result, shadow, shadowing

from churn_operator.api.analysis import TestOutcome, Verdict
from churn_operator.api.churnmodel import VersionState
from churn_operator.api.rollout import ShadowStatus
from churn_operator.api.tasks import ShadowTask
from churn_operator.churnmodel.build import build
from churn_operator.churnmodel.decide import decide
from churn_operator.churnmodel.moves import Decline, GiveUp, Move, Promote, Replay, Shift, Stay
from churn_operator.churnmodel.observe import ChurnModelWorld, replay_name
from churn_operator.churnmodel.report import report, story
from churn_operator.churnmodel.rollout import decide_rollout
from churn_operator.churnmodel.route import RouteSeen
from churn_operator.core.job import TASK_ANNOTATION, Absent, Broken, Finished, Running
from churn_operator.core.objects import Desired, Violation

ASKS = {"minAgreement": 0.95}
PULLS = Running(Violation("ImagePullFailed", "ErrImagePull: no such image"))
WAITS = {"retry_at": ago(seconds=-30), "reason": "StorageUnavailable", "message": "s3://models does not answer"}
DUE = WAITS | {"retry_at": ago(seconds=1)}
GATEWAY = {"serving": {"gateway": {"parentRefs": [{"name": "public"}]}}}
BLIND: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(shadow(), Replay, id="one that answers is asked what clients asked"),
        pytest.param(shadow(servers=SILENT), Stay, id="one that does not answer is not"),
        pytest.param(shadow(spec={"paused": True}), Stay, id="nor while paused"),
        pytest.param(shadow(suspend=True), Stay, id="nor while suspended"),
        pytest.param(
            shadow(versions=[make_version(2, VersionState.RollingOut)]), Promote, id="the first has nobody to be beside"
        ),
        pytest.param(shadow(Absent()), Stay, id="its Job is awaited"),
        pytest.param(shadow(Running()), Stay, id="while it is under way"),
        pytest.param(shadow(PULLS), Stay, id="or cannot start"),
        pytest.param(shadow(left()), Promote, id="one that answered well gets all of the traffic"),
        pytest.param(shadow(left(), spec={"paused": True}), Stay, id="unless traffic is to stay"),
        pytest.param(shadow(left(), suspend=True), Stay, id="or all is suspended"),
        pytest.param(shadow(FAILED), GiveUp, id="one whose answers fail is given up"),
        pytest.param(shadow(FAILED, spec={"paused": True}), GiveUp, id="paused or not"),
        pytest.param(shadow(left(slow=200)), GiveUp, id="as is one that is slow"),
        pytest.param(shadow(left(errors=500, refused=500)), GiveUp, id="or refuses what the champion took"),
        pytest.param(shadow(left(changed=100), spec={"shadow": ASKS}), GiveUp, id="or decides otherwise too often"),
        pytest.param(shadow(left(changed=25), spec={"shadow": ASKS}), Promote, id="but not at the bound"),
        pytest.param(shadow(left(changed=400)), Promote, id="nor where nobody asked for one"),
        pytest.param(shadow(left(scores=(500,) + (0,) * 19)), GiveUp, id="or whose scores are not those of training"),
        pytest.param(shadow(Running(), servers=SILENT), GiveUp, id="one that falls silent is given up"),
        pytest.param(shadow(Running(), servers=NOBODY), Stay, id="where nobody answers nothing is concluded"),
        pytest.param(shadow(TOO_FEW), Stay, id="too few logged requests tell nothing"),
        pytest.param(shadow(AWAY), Stay, id="nor does a store that is away"),
        pytest.param(shadow(Finished("no JSON")), Stay, id="nor a result that cannot be read"),
        pytest.param(shadow(left(), log_url=None), Stay, id="nor a champion that is not logged"),
        pytest.param(
            shadow(left(hidden=("age",), compared=0, scores=None), spec={"shadow": ASKS}), Stay, id="nor hidden columns"
        ),
        pytest.param(
            shadow(left(hidden=("age",), compared=0, scores=None)), Promote, id="which matter only to decisions"
        ),
        pytest.param(
            shadow(left(requests=50), spec={"analysis": {"minRequests": 60}}), Stay, id="nor fewer than are needed now"
        ),
        pytest.param(shadow(AWAY, shadow=WAITS), Stay, id="what told nothing is not begun again at once"),
        pytest.param(shadow(AWAY, shadow=DUE), Replay, id="but after a pause"),
        pytest.param(shadow(AWAY, shadow=DUE, spec={"paused": True}), Stay, id="unless traffic is to stay "),
        pytest.param(
            shadow(Absent(), shadow={"result": make_shadow_result()}),
            Promote,
            id="what was found needs no Job any more",
        ),
        pytest.param(shadow(AWAY, spec={"strategy": "BlueGreen"}), Promote, id="another strategy ends the replay"),
        pytest.param(
            shadow(
                AWAY,
                spec={"strategy": "Canary"},
                model=GATEWAY,
                route=RouteSeen({"v1": 100}),
                counters=FEW,
            ),
            Shift,
            id="whichever",
        ),
        pytest.param(
            shadow(AWAY, spec={"strategy": "Canary"}, model=GATEWAY, route=RouteSeen({"v1": 100}), counters=BLIND),
            Stay,
            id="as soon as it can",
        ),
    ],
)
def test_each_state_of_a_shadow_has_one_move(world: ChurnModelWorld, expected: type[Move]) -> None:
    assert isinstance(decide_rollout(world, NOW).move, expected)


def shadow_of(world: ChurnModelWorld) -> tuple[ShadowStatus, Verdict]:
    progress = decide_rollout(world, NOW).progress
    assert progress is not None
    assert progress.shadow is not None
    assert progress.verdict is not None
    return progress.shadow, progress.verdict


@pytest.mark.parametrize(
    ("world", "outcome", "reason", "words"),
    [
        pytest.param(
            shadow(TOO_FEW),
            TestOutcome.Inconclusive,
            "TooFewPredictions",
            "holds 7 rows that clients asked v1 about in the last seven days, of 100 that are needed",
            id="too few",
        ),
        pytest.param(shadow(AWAY), TestOutcome.Error, "StorageUnavailable", "does not answer", id="a store away"),
        pytest.param(shadow(Finished("?")), TestOutcome.Error, "ResultUnreadable", "cannot be read", id="no result"),
        pytest.param(shadow(Absent(), log_url=None), TestOutcome.Error, "NotLogged", "v1 are not logged", id="no log"),
        pytest.param(
            shadow(left(hidden=("age",), compared=0, scores=None), spec={"shadow": ASKS}),
            TestOutcome.Inconclusive,
            "DataPersonal",
            "the log holds no values of age",
            id="hidden columns",
        ),
        pytest.param(
            shadow(left(requests=50), spec={"analysis": {"minRequests": 60}}),
            TestOutcome.Inconclusive,
            "TooFewPredictions",
            "50 of the 60 requests have come",
            id="fewer than are needed now",
        ),
    ],
)
def test_what_is_missing_is_told_and_speaks_neither_for_nor_against(
    world: ChurnModelWorld, outcome: TestOutcome, reason: str, words: str
) -> None:
    found, verdict = shadow_of(world)
    assert (verdict.result, found.reason) == (outcome, reason)
    assert words in found.message
    condition = report(world, decide(world, NOW), None, NOW).condition("RolloutHealthy")
    assert condition is not None
    assert (condition.status, condition.reason) == ("Unknown", reason)
    assert words in condition.message


@pytest.mark.parametrize(
    ("attempt", "pause"),
    [(1, {"minutes": 1}), (2, {"minutes": 2}), (4, {"minutes": 8}), (7, {"hours": 1}), (900, {"hours": 1})],
)
def test_the_pause_before_the_next_attempt_doubles_up_to_an_hour(attempt: int, pause: dict[str, float]) -> None:
    found, _ = shadow_of(shadow(AWAY, shadow={"attempt": attempt}))
    assert found.retry_at == ago(**{unit: -length for unit, length in pause.items()})


def test_what_was_missing_is_remembered_until_the_next_attempt_knows_better() -> None:
    world = shadow(AWAY, shadow=DUE, rollout={"verdict": {"result": "Error", "message": "away"}})
    found, verdict = shadow_of(world)
    assert (found.attempt, found.retry_at, found.reason) == (2, None, "StorageUnavailable")
    assert verdict.result is TestOutcome.Error
    progress = decide_rollout(world, NOW).progress
    assert progress is not None
    judged = decide_rollout(shadowing(progress.model_dump(), replay=left()), NOW)
    assert isinstance(judged.move, Promote)


def test_nothing_is_written_while_nothing_is_new() -> None:
    for world in (shadow(AWAY), shadow(TOO_FEW), shadow(Absent(), log_url=None), shadow(left(), spec={"paused": True})):
        first = decide_rollout(world, NOW).progress
        assert first is not None
        status = world.status.model_copy(update={"rollout": first})
        again = ChurnModelWorld(**(vars(world) | {"status": status, "replay": Absent()}))
        assert decide_rollout(again, NOW).progress == first


def test_a_verdict_has_every_figure() -> None:
    found, verdict = shadow_of(shadow(left(), spec={"shadow": ASKS, "paused": True}))
    assert found.result == make_shadow_result()
    assert [(test.name, test.result, test.estimate, test.bound) for test in verdict.tests] == [
        ("ErrorRate", "Pass", 0.0, 0.01),
        ("Latency", "Pass", 0.0, 0.05),
        ("Scores", "Pass", 0.0, 0.1),
        ("Decisions", "Pass", 0.02, 0.05),
    ]
    decisions = verdict.tests[-1]
    assert decisions.lower < 0.02 < decisions.upper
    assert verdict.message == (
        "Nothing speaks against the version after 500 requests (100 needed). 98.0% of 500 decisions are the champion's."
    )


def test_a_failure_says_what_was_heard_first() -> None:
    _, verdict = shadow_of(shadow(FAILED))
    assert "100 of 500 requests failed or were given up (20.0%), where 1.00% are promised" in verdict.message
    assert verdict.message.endswith("The first of 100 errors (0 refusals): 503: no upstream")


def test_where_nothing_was_answered_no_decision_is_judged() -> None:
    nothing: dict[str, Any] = {"errors": 500, "compared": 0, "changed": 0, "scores": None, "agreement": None}
    _, verdict = shadow_of(shadow(left(**nothing), spec={"shadow": ASKS}))
    assert verdict.result is TestOutcome.Fail
    assert "nothing was answered" in verdict.tests[-1].message


def test_the_figures_stay_after_the_promotion() -> None:
    progress = decide_rollout(shadow(left()), NOW).progress
    assert progress is not None
    assert progress.phase == "Guarding"
    assert progress.shadow is not None
    assert progress.shadow.result == make_shadow_result()


def jobs(world: ChurnModelWorld) -> dict[str, Any]:
    built = build(world, decide(world, NOW))
    return {
        d.object["metadata"]["name"]: d.object for d in built if isinstance(d, Desired) and d.object["kind"] == "Job"
    }


LIVE = {"children": (make_object("Job", "telco-v2-shadow", {}),)}


@pytest.mark.parametrize(
    ("world", "names"),
    [
        pytest.param(shadow(), ["telco-v2-shadow"], id="a replay begins"),
        pytest.param(shadow(Absent()), ["telco-v2-shadow"], id="one that somebody deleted is there again"),
        pytest.param(shadow(Running(), **LIVE), ["telco-v2-shadow"], id="one that is under way stays"),
        pytest.param(shadow(AWAY, **LIVE), ["telco-v2-shadow"], id="as does one that ended, for its log"),
        pytest.param(shadow(AWAY), [], id="which is not made again for that"),
        pytest.param(shadow(AWAY, shadow=DUE, **LIVE), ["telco-v2-shadow-2"], id="until the next"),
        pytest.param(shadow(left(), spec={"paused": True}), [], id="nor is one that has told"),
        pytest.param(shadow(left(), **LIVE), [], id="a promotion ends it"),
        pytest.param(shadow(FAILED, **LIVE), [], id="as does a failure"),
        pytest.param(shadow(Absent(), log_url=None), [], id="without a log there is nothing to replay"),
        pytest.param(
            shadow(Running(), spec={"strategy": "BlueGreen", "paused": True}, **LIVE), [], id="nor without want"
        ),
        pytest.param(shadow(Running(), rollout={"shadow": None}), [], id="nor without a beginning"),
    ],
)
def test_the_job_is_there_as_long_as_it_is_wanted(world: ChurnModelWorld, names: list[str]) -> None:
    assert list(jobs(world)) == names


def task(world: ChurnModelWorld) -> tuple[dict[str, Any], ShadowTask]:
    (job,) = jobs(world).values()
    return job, ShadowTask.model_validate_json(job["spec"]["template"]["metadata"]["annotations"][TASK_ANNOTATION])


def test_the_job_knows_what_to_ask_whom_and_how_fast() -> None:
    asked = {"requests": 200, "requestsPerSecond": 50}
    world = shadow(Absent(), spec={"shadow": asked}, model={"serving": {"slo": {"p95Milliseconds": 30}}})
    job, given = task(world)
    assert given.url == "http://telco-v2-predictor.team.svc/v1/models/telco:predict"
    assert (given.champion.version, given.version) == ("v1", "v2")
    assert (given.requests, given.requests_per_second, given.p95_milliseconds) == (200, 50, 30)
    assert (given.log.uri, given.log.min_rows) == ("s3://models/inference-log", 100)
    assert (given.log.since, given.log.until) == (ago(days=7, minutes=2), ago(minutes=2))
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["args"][0] == "shadow"
    assert [ref["secretRef"]["name"] for ref in pod["containers"][0]["envFrom"]] == ["churn-storage"]
    assert (job["spec"]["backoffLimit"], job["spec"]["activeDeadlineSeconds"]) == (0, 1108)


def test_the_same_attempt_is_the_same_job_whenever_it_is_looked_at() -> None:
    later = decide_rollout(world := shadow(), NOW).progress
    assert later is not None
    assert jobs(shadowing(later.model_dump(), replay=Running())) == jobs(world)


def test_the_log_is_read_with_the_charts_credentials_and_the_model_with_its_own() -> None:
    job, _ = task(shadow(Absent(), model={"storage": {"secretRef": {"name": "mine"}}}))
    sources = job["spec"]["template"]["spec"]["containers"][0]["envFrom"]
    assert [(ref.get("prefix"), ref["secretRef"]["name"]) for ref in sources] == [
        (None, "mine"),
        ("LOG_", "churn-storage"),
    ]


def test_each_attempt_has_a_name_of_its_own() -> None:
    assert [replay_name("telco", "v2", n) for n in (1, 2)] == ["telco-v2-shadow", "telco-v2-shadow-2"]


@pytest.mark.parametrize(
    ("world", "reason", "words"),
    [
        pytest.param(shadow(Running()), "Shadowing", "v2 is asked what clients asked the champion", id="under way"),
        pytest.param(shadow(PULLS), "ImagePullFailed", "its Job does not run: ErrImagePull", id="that cannot start"),
        pytest.param(shadow(AWAY), "StorageUnavailable", "begun again at", id="to be begun again"),
        pytest.param(shadow(Running(), rollout={"shadow": None}), "Shadowing", "no traffic.", id="that nobody began"),
        pytest.param(shadow(), "Shadowing", "(attempt 1, since", id="that begins"),
    ],
)
def test_the_condition_tells_how_the_replay_is_getting_on(world: ChurnModelWorld, reason: str, words: str) -> None:
    reported = report(world, decide(world, NOW), None, NOW)
    condition = reported.condition("RolloutHealthy")
    assert condition is not None
    assert (condition.status, condition.reason) == ("Unknown", reason)
    assert words in condition.message
    assert reported.phase == "RollingOut"


@pytest.mark.parametrize(
    ("world", "told"),
    [
        pytest.param(shadow(), [("v2/shadow/1", "Shadowing")], id="a replay"),
        pytest.param(shadow(AWAY, shadow=DUE), [("v2/shadow/2", "Shadowing")], id="another"),
        pytest.param(shadow(left()), [("v2", "Promoted")], id="a promotion"),
        pytest.param(shadow(FAILED), [("v2", "AnalysisFailed")], id="a failure"),
        pytest.param(shadow(Running(), servers=SILENT), [("v2", "ChallengerNotAnswering")], id="a silence"),
        pytest.param(shadow(Running()), [], id="nothing"),
    ],
)
def test_each_move_becomes_an_event(world: ChurnModelWorld, told: list[tuple[str, str]]) -> None:
    assert [(judgement.type, judgement.reason) for judgement in story(decide(world, NOW))] == told


def ordered(world: ChurnModelWorld, action: str) -> ChurnModelWorld:
    fields = world.status.model_dump() | {"command": {"action": action, "by": "alice", "at": ago(seconds=5)}}
    return ChurnModelWorld(**(vars(world) | {"status": type(world.status).model_validate(fields)}))


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(ordered(shadow(), "Promote"), Replay, id="a promotion is no way round the replay"),
        pytest.param(ordered(shadow(Running()), "Promote"), Stay, id="whose verdict it waits for"),
        pytest.param(ordered(shadow(AWAY), "Promote"), Stay, id="and without which it goes on waiting"),
        pytest.param(
            ordered(shadow(left(), spec={"paused": True}), "Promote"), Promote, id="with it, it is carried out"
        ),
        pytest.param(ordered(shadow(FAILED), "Promote"), GiveUp, id="as is the opposite"),
        pytest.param(ordered(shadow(Running()), "Abort"), GiveUp, id="an abort ends the replay"),
        pytest.param(ordered(shadow(Running()), "Rollback"), Decline, id="there is nothing to go back to"),
    ],
)
def test_orders_are_those_of_a_canary(world: ChurnModelWorld, expected: type[Move]) -> None:
    assert isinstance(decide_rollout(world, NOW).move, expected)


def test_an_abort_takes_the_job_away() -> None:
    built = build(world := ordered(shadow(Running(), **LIVE), "Abort"), decide(world, NOW))
    assert {d.object["kind"] for d in built if isinstance(d, Desired)} == {"InferenceService", "Service"}


def test_the_defaults_are_those_of_a_beginner() -> None:
    asked = make_spec(rollout={"strategy": "Shadow"}).rollout.shadow
    assert (asked.requests, asked.requests_per_second, asked.min_agreement) == (500, 20, None)
    assert make_version(1, log_url=LOGGED).log_url == LOGGED
    assert Broken(Violation("a", "b")).revision is None
