"""A challenger gets its traffic step by step, and loses all of it at once."""

from datetime import timedelta
from typing import Any

import pytest
from support.canary import (
    BAD,
    BLIND,
    FEW,
    GOOD,
    NOBODY,
    SILENT,
    ago,
    canary,
    counters,
    guarded,
    rolling,
)
from support.kinds import NOW, make_server, make_spec, make_version, model_world, serving_world

from churn_operator.api.churnmodel import VersionState
from churn_operator.api.rollout import Counters
from churn_operator.churnmodel.build import build
from churn_operator.churnmodel.decide import decide
from churn_operator.churnmodel.moves import GiveUp, Promote, Replay, Restore, Shift, Stay
from churn_operator.churnmodel.observe import ChurnModelWorld, ServerSeen
from churn_operator.churnmodel.report import report, story
from churn_operator.churnmodel.rollout import decide_rollout
from churn_operator.churnmodel.route import RouteSeen
from churn_operator.core.kind import Answer
from churn_operator.core.objects import Desired

CONSTANT = {"fallback": {"probability": 0.2}}
STANDS_IN = (*NOBODY, ServerSeen("fallback", "ready", Answer(ok=True, message="answered")))
OVER = "v3 waits until the guard time of v2 is over"
ERROR, PASS = ({"result": result, "message": "so"} for result in ("Error", "Pass"))
CALLED_BACK = (make_version(2, VersionState.Quarantined), make_version(1))
THIRD = f"sha256:{'ef' * 32}"


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(canary(), Shift, id="one that answers gets its first share"),
        pytest.param(canary(servers=SILENT), Stay, id="one that does not answer gets none"),
        pytest.param(canary(spec={"paused": True}), Stay, id="nor while paused"),
        pytest.param(canary(suspend=True), Stay, id="nor while suspended"),
        pytest.param(canary(counters=BLIND), Stay, id="nor while its metrics cannot be read"),
        pytest.param(canary(route=None), Stay, id="nor before there is a route"),
        pytest.param(canary(gateway_problem="there is no Gateway"), Stay, id="nor without a Gateway"),
        pytest.param(canary(versions=[make_version(2, VersionState.RollingOut)]), Promote, id="the first gets all"),
        pytest.param(canary(1, counters=GOOD), Shift, id="one that passed a step gets more"),
        pytest.param(canary(1, counters=GOOD, since=ago(seconds=50)), Stay, id="but not before the pause is over"),
        pytest.param(canary(1, counters=FEW), Stay, id="nor after too few requests"),
        pytest.param(canary(1, counters=BLIND), Stay, id="nor where its metrics cannot be read"),
        pytest.param(canary(1, counters=GOOD, spec={"paused": True}), Stay, id="nor while paused "),
        pytest.param(canary(1, counters=GOOD, suspend=True), Stay, id="nor while suspended "),
        pytest.param(canary(1, counters=GOOD, gateway_problem="gone"), Stay, id="nor while the Gateway is gone"),
        pytest.param(canary(2, counters=GOOD), Promote, id="one that passed the last gets all"),
        pytest.param(canary(1, counters=BAD), GiveUp, id="one that fails gets none"),
        pytest.param(canary(1, counters=BAD, since=ago(seconds=1)), GiveUp, id="at once"),
        pytest.param(canary(1, counters=BAD, spec={"paused": True}), GiveUp, id="paused or not"),
        pytest.param(canary(1, counters=BAD, suspend=True), GiveUp, id="suspended or not"),
        pytest.param(canary(2, servers=SILENT), GiveUp, id="one that falls silent gets none"),
        pytest.param(canary(2, servers=(make_server(1),)), GiveUp, id="nor one whose server is gone"),
        pytest.param(canary(2, servers=NOBODY), Stay, id="where nobody answers nothing is concluded"),
        pytest.param(guarded(), Stay, id="a new champion is guarded"),
        pytest.param(guarded(counters={"v2": counters(1000, 100)}), Restore, id="and gives way when it fails"),
        pytest.param(guarded(counters={}), Stay, id="but not when its metrics cannot be read"),
        pytest.param(guarded(servers=SILENT), Restore, id="or falls silent"),
        pytest.param(guarded(servers=(make_server(2, ok=False),)), Stay, id="unless there is nothing to go back to"),
        pytest.param(guarded(servers=NOBODY), Stay, id="or that is silent, too"),
        pytest.param(guarded(servers=SILENT, spec={"guard": "1m"}), Stay, id="or the guard time is over"),
    ],
)
def test_each_state_of_a_canary_has_one_move(world: ChurnModelWorld, expected: type) -> None:
    assert isinstance(decide_rollout(world, NOW).move, expected)


@pytest.mark.parametrize(
    ("world", "weights"),
    [
        pytest.param(canary(), {"v1": 90, "v2": 10}, id="the first step"),
        pytest.param(canary(1, counters=GOOD), {"v1": 50, "v2": 50}, id="the second"),
        pytest.param(canary(1, counters=FEW), {"v1": 90, "v2": 10}, id="a step that lasts"),
        pytest.param(canary(2, counters=GOOD), {"v2": 100}, id="a promotion"),
        pytest.param(canary(2, counters=BAD), {"v1": 100}, id="a failure"),
        pytest.param(
            canary(2, serving=CONSTANT, servers=STANDS_IN), {"fallback": 100, "v2": 0}, id="who stands in for both"
        ),
        pytest.param(
            canary(2, serving=CONSTANT, servers=(make_server(2), STANDS_IN[-1])),
            {"fallback": 50, "v2": 50},
            id="who stands in for the champion alone",
        ),
        pytest.param(guarded(), {"v2": 100}, id="a guard"),
        pytest.param(guarded(counters={"v2": counters(1000, 100)}), {"v1": 100}, id="a breach"),
    ],
)
def test_the_route_has_the_weights_of_the_move(world: ChurnModelWorld, weights: dict[str, int]) -> None:
    backends = route(world)["spec"]["rules"][0]["backendRefs"]
    assert {b["name"].removeprefix("telco-").removesuffix("-predictor"): b["weight"] for b in backends} == weights


@pytest.mark.parametrize(
    ("strategy", "fields", "expected"),
    [
        pytest.param("BlueGreen", {}, Promote, id="all at once"),
        pytest.param("BlueGreen", {"gateway_problem": "gone"}, Promote, id="whatever its Gateway does"),
        pytest.param("Shadow", {}, Replay, id="by a replay"),
        pytest.param("BlueGreen", {"suspend": True}, Stay, id="not while suspended"),
        pytest.param("BlueGreen", {"servers": NOBODY}, Stay, id="nor while it does not answer"),
        pytest.param("BlueGreen", {"counters": BAD}, GiveUp, id="nor where it failed"),
    ],
)
def test_a_step_goes_by_the_strategy_that_the_spec_has_now(strategy: str, fields: Any, expected: type) -> None:
    """The gateway was taken away with it, and there will be no route."""
    world = canary(
        1, **({"counters": FEW} | fields), route=None, spec={"strategy": strategy}, serving={"gateway": None}
    )
    assert isinstance(decide_rollout(world, NOW).move, expected)


def test_without_a_champion_there_is_no_traffic_to_split() -> None:
    assert decide_rollout(model_world(), NOW).weights == {}


def route(world: ChurnModelWorld) -> dict[str, Any]:
    built = build(world, decide(world, NOW))
    return next(dict(d.object) for d in built if isinstance(d, Desired) and d.object["kind"] == "HTTPRoute")


def test_the_route_attaches_to_the_gateway_under_its_host_names() -> None:
    assert route(canary())["spec"]["parentRefs"] == [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "gateways", "name": "public"}
    ]
    assert route(canary())["spec"]["hostnames"] == ["telco.example.com"]


def test_the_route_marks_what_comes_through_it_whatever_a_client_says() -> None:
    """The whole rule, as a Gateway reads it."""
    everything = {"path": {"type": "PathPrefix", "value": "/"}}
    marks = ["X-Churn-Shadow", "X-Churn-Golden", "X-Churn-Probe"]
    mark = {"set": [{"name": "x-churn-route", "value": "true"}], "remove": marks}
    backends = [
        {"group": "", "kind": "Service", "name": f"telco-{version}-predictor", "port": 80, "weight": weight}
        for version, weight in (("v1", 90), ("v2", 10))
    ]
    filters = [{"type": "RequestHeaderModifier", "requestHeaderModifier": mark}]
    assert route(canary())["spec"]["rules"] == [{"matches": [everything], "filters": filters, "backendRefs": backends}]


def test_a_route_for_every_host_says_so_so_that_nobody_adds_one() -> None:
    serving = {"gateway": {"parentRefs": [{"name": "public"}]}}
    assert route(canary(serving=serving))["spec"]["hostnames"] == []


def test_without_the_gateway_api_no_route_is_made() -> None:
    built = build(world := canary(has_routes=False), decide(world, NOW))
    assert not [d for d in built if isinstance(d, Desired) and d.object["kind"] == "HTTPRoute"]


WHY = {"v2": "Prometheus at http://prometheus:9090 answers 503"}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"suspend": True}, id="suspended"),
        pytest.param({"spec": {"paused": True}}, id="paused"),
        pytest.param({"kserve_missing": True, "servers": ()}, id="without KServe"),
    ],
)
def test_a_version_that_may_not_begin_does_not_run_out_of_time(fields: dict[str, Any]) -> None:
    late = [make_version(2, VersionState.RollingOut, since=ago(hours=3)), make_version(1)]
    assert isinstance(decide_rollout(canary(versions=late, servers=SILENT), NOW).move, GiveUp)
    assert isinstance(decide_rollout(canary(versions=late, **{"servers": SILENT} | fields), NOW).move, Stay)


def test_a_stand_in_that_has_no_guard_time_wakes_nobody() -> None:
    serving = {"fallback": {"version": "v1"}}
    old = make_version(1, VersionState.Retired, since=ago(days=9))
    world = serving_world(make_spec(serving=serving), status={"versions": [make_version(2), old]}, target="v2",
                          servers=(make_server(1), make_server(2)))  # fmt: skip
    assert decide(world, NOW).wake == timedelta(seconds=world.settings.probe_seconds)


def test_a_step_is_judged_by_what_was_counted_since_it_began() -> None:
    """The hundred errors of the challenger are older than the step."""
    old = {"v1": counters(9000, 90), "v2": counters(1000, 100)}
    now = {"v1": counters(18000, 180), "v2": counters(2000, 110)}
    began = [{"version": v, "pods": [pod.model_dump() for pod in pods]} for v, pods in old.items()]
    rollout = {"version": "v2", "phase": "Shifting", "step": 1, "weight": 10, "since": ago(minutes=2)}
    world = rolling(rollout | {"baselines": began}, counters=now)
    assert isinstance(decide_rollout(world, NOW).move, Shift)
    assert isinstance(decide_rollout(rolling(rollout, counters=now), NOW).move, GiveUp)


def test_more_pods_than_a_version_may_have_do_not_stop_a_step() -> None:
    many = tuple(Counters(pod=f"pod-{number}") for number in range(101))
    progress = decide_rollout(canary(counters={"v1": many, "v2": many}), NOW).progress
    assert progress is not None
    assert [len(baseline.pods) for baseline in progress.baselines] == [100, 100]


def test_a_promotion_remembers_what_the_champion_before_showed() -> None:
    progress = decide_rollout(canary(2, counters=GOOD), NOW).progress
    assert progress is not None
    assert progress.phase == "Guarding"
    assert progress.before == Counters(pod="v1", requests=9000, errors=90, p95_milliseconds=100)
    assert [(baseline.version, baseline.pods) for baseline in progress.baselines] == [("v2", GOOD["v2"])]


@pytest.mark.parametrize(
    ("world", "status", "reason", "words"),
    [
        pytest.param(canary(servers=SILENT), "Unknown", "RollingOut", "no traffic yet", id="starting"),
        pytest.param(
            canary(gateway_problem="no Gateway"),
            "Unknown",
            "GatewayUnavailable",
            f"Since {ago()}: v2 is starting; no traffic yet. It waits: no Gateway.",
            id="without a Gateway",
        ),
        pytest.param(
            canary(1, counters=GOOD, gateway_problem="no Gateway"),
            "Unknown",
            "GatewayUnavailable",
            f"Since {ago()}: Step 1 of 2",
            id="whose Gateway went away in a step",
        ),
        pytest.param(
            canary(1, counters=GOOD, gateway_problem="no Gateway", since=ago(seconds=5)),
            "Unknown",
            "Shifting",
            "Step 1 of 2",
            id="not before a Gateway had time to take the step up",
        ),
        pytest.param(canary(1, counters=FEW), "Unknown", "Shifting", "Step 1 of 2: v2 is to have 10 %", id="a step"),
        pytest.param(canary(1, counters=BLIND), "Unknown", "AnalysisUnavailable", "could not be read", id="blind"),
        pytest.param(canary(1, counters=BAD), "False", "AnalysisFailed", "v2 failed: 100 of 1,000", id="a failure"),
        pytest.param(guarded(), "True", "RolloutComplete", "Traffic is on v2", id="a guard"),
        pytest.param(guarded(spec={"guard": "1m"}), "True", "RolloutComplete", "Traffic is on v2", id="its end"),
        pytest.param(
            guarded(counters={}, unread=WHY, spec={"guard": "1m"}, verdict=ERROR),
            "True",
            "GuardNotJudged",
            f"ended v2 could not be judged: The champion's metrics could not be read. v2: {WHY['v2']}",
            id="the end of one that was blind",
        ),
        pytest.param(
            guarded(counters={}, unread=WHY, spec={"guard": "1m"}, verdict=PASS),
            "True",
            "RolloutComplete",
            "Traffic is on v2",
            id="but not of one that was blind at its last look",
        ),
        pytest.param(
            serving_world(
                status={
                    "versions": [make_version(3, VersionState.RolledBack, reason="long ago"), *CALLED_BACK],
                    "rollout": {"version": "v2", "phase": "RolledBack", "began": ago(), "since": ago()}
                    | {"reason": "Recalled", "message": "v2 was rolled back"},
                }
            ),
            "False",
            "Recalled",
            "v2 was rolled back",
            id="of the version that lost it last",
        ),
        pytest.param(
            serving_world(
                status={
                    "versions": [make_version(2, VersionState.Retired), make_version(1)],
                    "rollout": {"version": "v1", "phase": "Complete", "began": ago(), "since": ago()},
                }
            ),
            "True",
            "RolloutComplete",
            "Traffic is on v1",
            id="of the version that has it, however old",
        ),
        pytest.param(
            guarded(gateway_problem="there is no Gateway"),
            "False",
            "GatewayUnavailable",
            "may not reach",
            id="no way in",
        ),
    ],
)
def test_the_condition_tells_where_the_rollout_is(world: Any, status: str, reason: str, words: str) -> None:
    reported = report(world, decide(world, NOW), None, NOW).condition("RolloutHealthy")
    assert reported is not None
    assert (reported.status, reported.reason) == (status, reason)
    assert words in reported.message


@pytest.mark.parametrize(
    ("world", "reasons"),
    [
        pytest.param(canary(), ["Shifting"], id="a share"),
        pytest.param(canary(1, counters=GOOD), ["Shifting"], id="a greater share"),
        pytest.param(canary(1, counters=FEW), [], id="nothing"),
        pytest.param(canary(2, counters=GOOD), ["Promoted"], id="a promotion"),
        pytest.param(canary(1, counters=BAD), ["AnalysisFailed"], id="a failure"),
        pytest.param(canary(1, servers=SILENT), ["ChallengerNotAnswering"], id="a silence"),
        pytest.param(guarded(servers=SILENT), ["ChampionNotAnswering"], id="a breach"),
    ],
)
def test_each_move_becomes_an_event(world: ChurnModelWorld, reasons: list[str]) -> None:
    assert [told.reason for told in story(decide(world, NOW))] == reasons


def test_traffic_is_what_was_read_back_beside_what_was_counted() -> None:
    world = canary(1, counters={"v1": counters(910), "v2": counters(90)}, route=RouteSeen({"v1": 80, "v2": 20}))
    reported = report(world, decide(world, NOW), None, NOW)
    assert [(t.version, t.percent, t.counted) for t in reported.traffic] == [("v1", 80, 91), ("v2", 20, 9)]
    assert reported.summary.traffic == "v1=80%, v2=20%"


def test_a_verdict_that_grew_by_a_few_requests_is_not_written_again() -> None:
    first = decide_rollout(canary(1, counters=FEW), NOW).progress
    assert first is not None
    more = {"v1": counters(91), "v2": counters(11)}
    world = rolling(first.model_dump(), counters=more)
    assert decide_rollout(world, NOW).progress == first


def test_why_a_rollout_ended_as_it_did_is_said_from_then_on() -> None:
    ended = decide_rollout(guarded(counters={}, unread=WHY, spec={"guard": "1m"}), NOW).progress
    assert ended is not None
    world = guarded(counters={}, spec={"guard": "1m"})
    world = ChurnModelWorld(**(vars(world) | {"status": world.status.model_copy(update={"rollout": ended})}))
    assert decide_rollout(world, NOW).progress == ended
    assert ended.phase == "Complete"


def test_what_cannot_be_read_is_told_with_its_reason() -> None:
    before, within = canary(counters=BLIND, unread=WHY), canary(1, counters=BLIND, unread=WHY)
    assert decide_rollout(before, NOW).move == Stay(f"the metrics of v2 cannot be read: {WHY['v2']}")
    verdict = decide_rollout(within, NOW).progress.verdict  # type: ignore[union-attr] # it is under way
    assert verdict is not None
    assert verdict.message == f"The challenger's metrics could not be read. v2: {WHY['v2']}."
    after = decide_rollout(guarded(counters={}, unread={"v2": "x" * 2000}), NOW).progress
    assert after is not None
    assert after.verdict is not None
    assert len(after.verdict.message) == 1024


def test_another_reason_that_nothing_can_be_read_is_written() -> None:
    first = decide_rollout(canary(1, counters=BLIND, unread=WHY), NOW).progress
    assert first is not None
    for unread, told in ((WHY, first), ({"v2": "no pod"}, None)):
        again = decide_rollout(rolling(first.model_dump(), counters=BLIND, unread=unread), NOW).progress
        assert again is not None
        assert (again.verdict == first.verdict) is (told is first)


@pytest.mark.parametrize(
    ("world", "column"),
    [
        pytest.param(canary(servers=SILENT), "v2 Starting", id="starting"),
        pytest.param(canary(), "v2 1/2", id="the first step begins"),
        pytest.param(canary(1, counters=FEW), "v2 1/2 Inconclusive", id="it lasts"),
        pytest.param(canary(1, counters=BLIND), "v2 1/2 Error", id="nothing can be read"),
        pytest.param(canary(2, counters=GOOD), "v2 Guarding Pass", id="a promotion"),
        pytest.param(canary(2, counters=BAD), "v2 AnalysisFailed", id="a failure"),
        pytest.param(guarded(spec={"guard": "1m"}), None, id="the guard is over"),
        pytest.param(model_world(), None, id="there was none"),
    ],
)
def test_a_column_tells_challenger_step_and_verdict(world: ChurnModelWorld, column: str | None) -> None:
    assert report(world, decide(world, NOW), None, NOW).summary.rollout == column
