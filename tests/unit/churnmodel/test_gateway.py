"""A Gateway whose controller says half, nothing, or something old, and one that does not do as it says.

What the API server's schema refuses, as a condition without a status, never gets as far as this.
"""

from dataclasses import replace
from typing import Any

import pytest
from support.canary import canary, counters
from support.kinds import NOW

from churn_operator.churnmodel.decide import decide
from churn_operator.churnmodel.moves import GiveUp, Promote, Shift, Stay
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.churnmodel.report import report
from churn_operator.churnmodel.rollout import decide_rollout
from churn_operator.churnmodel.route import RouteSeen, route_seen

GENERATION = 3
SILENT = "the Gateway has not answered for the HTTPRoute"
LATE = "the Gateway has not taken up the HTTPRoute's last change"


def said(type_: str, status: str = "True", seen: int | None = GENERATION) -> dict[str, Any]:
    """A condition; its observedGeneration is optional."""
    told = {"type": type_, "status": status, "reason": "Because", "message": "so"}
    return told if seen is None else told | {"observedGeneration": seen}


def parent(*conditions: dict[str, Any], name: str = "public", **ref: str) -> dict[str, Any]:
    """What one controller says of one parent; the schema wants no conditions of it."""
    told = {"parentRef": {"name": name} | ref, "controllerName": "example.com/controller"}
    return told | ({"conditions": list(conditions)} if conditions else {})


def route(*parents: dict[str, Any], asked: tuple[str, ...] = ("public",)) -> dict[str, Any]:
    backends = [{"name": "telco-v1-predictor", "weight": 90}, {"name": "telco-v2-predictor", "weight": 10}]
    return {
        "metadata": {"generation": GENERATION, "namespace": "team"},
        "spec": {"parentRefs": [{"name": name} for name in asked], "rules": [{"backendRefs": backends}]},
        "status": {"parents": list(parents)},
    }


WHOLE = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "team"}
ACCEPTED, RESOLVED = said("Accepted"), said("ResolvedRefs")
GOOD = (ACCEPTED, RESOLVED)


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        pytest.param(route(parent(*GOOD)), None, id="all of it"),
        pytest.param(route(parent(*GOOD, said("Vendor", "False"))), None, id="and something of the vendor's"),
        pytest.param(
            route(parent(said("Accepted", seen=GENERATION + 1), RESOLVED)), None, id="newer than what was read"
        ),
        pytest.param({k: v for k, v in route().items() if k != "status"}, SILENT, id="nothing"),
        pytest.param(route(), SILENT, id="no parent"),
        pytest.param(route(parent(*GOOD), asked=("public", "inner")), SILENT, id="one parent of two"),
        pytest.param(route(parent(said("Accepted", seen=2), said("ResolvedRefs", seen=2))), LATE, id="an old answer"),
        pytest.param(route(parent(ACCEPTED, said("ResolvedRefs", seen=2))), LATE, id="half of it old"),
        pytest.param(route(parent(said("Accepted", seen=None), RESOLVED)), LATE, id="of no generation"),
        pytest.param(
            route(parent(said("Accepted", "Unknown"), RESOLVED)),
            "Gateway public does not take the HTTPRoute: Because: so",
            id="that it does not know",
        ),
        pytest.param(
            route(parent(*GOOD), parent(said("Accepted", "False"), name="inner"), asked=("public", "inner")),
            "Gateway inner does not take the HTTPRoute: Because: so",
            id="no, of the second",
        ),
        pytest.param(route(parent()), SILENT, id="a parent without a word"),
        pytest.param(route(parent(RESOLVED)), SILENT, id="not whether it is accepted"),
        pytest.param(route(parent(said("Vendor"))), SILENT, id="only something of the vendor's"),
        pytest.param(route(parent(*GOOD, name="before")), SILENT, id="another parent, which it had before"),
        pytest.param(route(parent(said("Accepted", "False"), name="before"), parent(*GOOD)), None, id="no, of another"),
        pytest.param(route(parent(), parent(*GOOD)), None, id="by one of two controllers"),
        pytest.param(route(parent(*GOOD, **WHOLE)), None, id="of its whole name"),
        pytest.param(route(parent(*GOOD, **WHOLE | {"namespace": "other"})), SILENT, id="of one in another namespace"),
        pytest.param(route(parent(*GOOD, sectionName="admin")), SILENT, id="of another listener"),
        pytest.param(
            route(parent(ACCEPTED, said("ResolvedRefs", "False"))),
            "Gateway public does not take the HTTPRoute: Because: so",
            id="that it leads nowhere",
        ),
        pytest.param(
            route(parent(*GOOD), parent(*GOOD), asked=("public", "inner")),
            SILENT,
            id="two controllers, of the same parent",
        ),
    ],
)
def test_a_route_is_believed_when_its_gateway_says(seen: dict[str, Any], problem: str | None) -> None:
    assert route_seen("telco", seen) == RouteSeen({"v1": 90, "v2": 10}, problem)


ASKED = RouteSeen({"v1": 90, "v2": 10})
IDLE = {"v1": counters(1000), "v2": counters(0)}
ALL = {"v1": counters(0), "v2": counters(1000)}
HALF = {"v1": counters(1000, 10), "v2": counters(1000, 10)}


@pytest.mark.parametrize(
    ("world", "move", "counted"),
    [
        pytest.param(canary(1, counters=IDLE, route=ASKED), Stay, [100, 0], id="nothing to the challenger"),
        pytest.param(canary(1, counters=HALF, route=ASKED), Shift, [50, 50], id="more than it was asked for"),
        pytest.param(canary(1, counters=ALL, route=ASKED), Stay, [0, 100], id="nothing to the champion"),
        pytest.param(
            canary(2, counters=IDLE, route=RouteSeen({"v1": 50, "v2": 50})), Stay, [100, 0], id="nor in the last step"
        ),
    ],
)
def test_what_a_gateway_does_instead_is_counted_beside_what_it_was_asked_for(
    world: ChurnModelWorld, move: type, counted: list[int]
) -> None:
    decided = decide_rollout(world, NOW).move
    assert isinstance(decided, move)
    assert not isinstance(decided, Promote | GiveUp)
    reported = report(world, decide(world, NOW), None, NOW)
    assert [share.counted for share in reported.traffic] == counted
    assert [share.percent for share in reported.traffic] == list(world.route.weights.values() if world.route else ())


@pytest.mark.parametrize("problem", [SILENT, LATE])
def test_a_gateway_that_did_not_answer_holds_the_challenger_up_and_is_named(problem: str) -> None:
    for step in (0, 1):
        world = canary(step, counters=HALF, route=RouteSeen({"v1": 90, "v2": 10}, problem))
        assert isinstance(decide_rollout(world, NOW).move, Stay)
        told = report(world, decide(world, NOW), None, NOW).condition("RolloutHealthy")
        assert told is not None
        assert problem in told.message


@pytest.mark.parametrize("problem", [SILENT, LATE])
def test_the_weights_of_a_route_that_no_gateway_took_are_not_told(problem: str) -> None:
    """Where clients go is what it said before."""
    before = report(world := canary(1, counters=HALF), decide(world, NOW), None, NOW)
    then = canary(2, counters=HALF, route=RouteSeen({"v1": 50, "v2": 50}, problem))
    status = then.status.model_copy(update={"traffic": before.traffic})
    told = report(world := replace(then, status=status), decide(world, NOW), None, NOW)
    assert told.traffic == before.traffic
    assert [share.percent for share in told.traffic] == [90, 10]


@pytest.mark.parametrize(
    ("weights", "percent"),
    [
        pytest.param({"v1": 900, "v2": 100}, [90, 10], id="no percent"),
        pytest.param({"v1": 0, "v2": 0}, [0, 0], id="none"),
        pytest.param(dict.fromkeys(("v1", "v2", "x", "y", "z"), 1), [25, 25, 25, 25], id="more than are told of"),
    ],
)
def test_weights_that_somebody_else_wrote_are_told_as_percent(weights: dict[str, int], percent: list[int]) -> None:
    world = canary(1, counters=HALF, route=RouteSeen(weights))
    assert [share.percent for share in report(world, decide(world, NOW), None, NOW).traffic] == percent
