"""What a step counts of pods that join, leave, come back and begin anew."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from support.canary import ago, canary, rolling
from support.kinds import NOW, make_version

from churn_operator.api.churnmodel import VersionState
from churn_operator.api.rollout import Counters, RolloutStatus
from churn_operator.churnmodel.counts import Counts
from churn_operator.churnmodel.moves import GiveUp, Shift, Stay
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.churnmodel.rollout import decide_rollout

STEP = {"version": "v2", "phase": "Shifting", "step": 1, "weight": 10, "since": ago(minutes=2)}
BEFORE, WITHIN = ago(minutes=3), ago(minutes=1)
Told = Mapping[str, tuple[int, int]]
"""By pod: requests and errors so far."""


def counters(told: Told) -> tuple[Counters, ...]:
    return tuple(Counters(pod=pod, requests=requests, errors=errors) for pod, (requests, errors) in told.items())


def step(champion: Told, challenger: Told, progress: Mapping[str, Any] | RolloutStatus, *made: str) -> ChurnModelWorld:
    """A look; pods named in `made` were made within the step, and all others before it."""
    told = {"v1": champion, "v2": challenger}
    pods = {
        version: tuple(
            {"metadata": {"name": pod, "creationTimestamp": WITHIN if pod in made else BEFORE}} for pod in of
        )
        for version, of in told.items()
    }
    known = progress.model_dump() if isinstance(progress, RolloutStatus) else progress
    return rolling(known, counters={version: counters(of) for version, of in told.items()}, pods=pods)


def begun(champion: Told, challenger: Told) -> dict[str, Any]:
    both = (("v1", champion), ("v2", challenger))
    return STEP | {"baselines": [{"version": v, "pods": [c.model_dump() for c in counters(of)]} for v, of in both]}


def counted(looks: Sequence[Told], *made: str) -> list[int]:
    """What the champion counted at each look; its one pod had told 100 when the step began."""
    progress: Mapping[str, Any] | RolloutStatus = begun({"a": (100, 0)}, {"c": (0, 0)})
    found = []
    for told in looks:
        world = step(told, {"c": (0, 0)}, progress, *made)
        counts, after = world.counted("v1"), decide_rollout(world, NOW).progress
        assert counts is not None
        assert after is not None
        found.append(counts.requests)
        progress = after
    return found


@pytest.mark.parametrize(
    ("looks", "made", "expected"),
    [
        pytest.param([{"a": (130, 0)}, {"a": (150, 0)}], [], [30, 50], id="one that stays"),
        pytest.param(
            [{"a": (130, 0), "b": (9000, 90)}, {"a": (150, 0), "b": (9010, 90)}], [], [30, 60],
            id="one that was not ready when the step began counts from when it tells",
        ),
        pytest.param(
            [{"a": (130, 0)}, {"a": (150, 0), "b": (20, 0)}], ["b"], [30, 70], id="one made since counts from nothing"
        ),
        pytest.param(
            [{"a": (130, 0)}, {}, {"a": (160, 0)}], [], [30, 0, 60], id="one that leaves and comes back"
        ),
        pytest.param(
            [{"a": (130, 0), "b": (9000, 0)}, {"a": (140, 0)}, {"a": (150, 0), "b": (9050, 0)}], [], [30, 40, 100],
            id="one that joins, leaves and comes back",
        ),
        pytest.param(
            [{"a": (130, 0)}, {"a": (10, 0)}, {"a": (99, 0)}, {"a": (120, 0)}], [], [30, 10, 99, 120],
            id="one that begins anew counts on beyond what it had",
        ),
        pytest.param(
            [{"a": (130, 0), "b": (20, 0)}, {"a": (140, 0), "b": (5, 0)}], ["b"], [50, 45],
            id="one made since that begins anew",
        ),
        pytest.param(
            [{"a": (130, 0)}, {"a": (150, 0), "b": (20, 0), "d": (30, 0)}, {"a": (160, 0), "b": (40, 0)}], ["b", "d"],
            [30, 100, 100], id="one that an autoscaler adds and removes takes along what it had counted",
        ),
    ],
)  # fmt: skip
def test_a_pod_counts_with_what_it_answered_in_the_step(
    looks: list[Told], made: list[str], expected: list[int]
) -> None:
    assert counted(looks, *made) == expected


@pytest.mark.parametrize(
    ("champion", "expected"),
    [
        pytest.param({"a": (1900, 19), "b": (1_000_000, 1000)}, Shift, id="does not make its challenger look worse"),
        pytest.param({"a": (1900, 19), "b": (100_000, 8000)}, GiveUp, id="nor as good"),
    ],
)
def test_the_past_of_a_pod_that_was_not_ready_when_the_step_began(champion: Told, expected: type) -> None:
    challenger = {"c": (400, 4)} if expected is Shift else {"c": (1000, 60)}
    world = step(champion, challenger, begun({"a": (1000, 10)}, {"c": (0, 0)}))
    assert isinstance(decide_rollout(world, NOW).move, expected)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [pytest.param(4, Shift, id="a good one goes on"), pytest.param(60, GiveUp, id="a bad one ends")],
)
def test_what_an_autoscaler_adds_and_removes_within_a_step_leaves_its_verdict(errors: int, expected: type) -> None:
    """Added: busy from nothing on. Removed: the share of errors among the rest is what is left to judge by."""
    begun_with = begun({"a": (1000, 10), "gone": (5000, 50)}, {"c": (0, 0)})
    grown = step({"a": (1900, 19), "b": (900, 9)}, {"c": (400, errors), "d": (400, errors)}, begun_with, "b", "d")
    assert isinstance(decide_rollout(grown, NOW).move, expected)
    assert [grown.counted(version).requests for version in ("v1", "v2")] == [1800, 800]  # type: ignore[union-attr] # they told
    shrunk = step({"a": (1950, 19)}, {"c": (450, errors)}, begun_with)
    assert isinstance(decide_rollout(shrunk, NOW).move, expected)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_no_step_begins_while_none_of_a_versions_pods_is_ready(version: str) -> None:
    world = canary(counters={"v1": counters({"a": (0, 0)}), "v2": counters({"c": (0, 0)})} | {version: ()})
    assert decide_rollout(world, NOW).move == Stay(
        f"the metrics of {version} cannot be read: none of its pods is ready"
    )


def promised(milliseconds: int, slow: int, *, since: int = 100, guard: bool = False) -> ChurnModelWorld:
    """Where 1,000 requests came in a step, or a guard, whose baselines and `before` were counted by `since`."""
    then = {"pod": "p", "requests": 500_000, "slow": 5_000, "p95_milliseconds": since}
    now = Counters(pod="p", requests=501_000, slow=slow, p95_milliseconds=milliseconds)
    progress = STEP | {"baselines": [{"version": version, "pods": [then]} for version in ("v1", "v2")]}
    told = {"counters": {"v1": (now,), "v2": (now,)}, "serving": {"slo": {"p95_milliseconds": milliseconds}}}
    if not guard:
        return rolling(progress, **told)
    before = {"pod": "v1", "requests": 9000, "slow": 90, "p95_milliseconds": since}
    versions = [make_version(2), make_version(1, VersionState.Retired, since=ago(minutes=2))]
    return rolling(progress | {"phase": "Guarding", "before": before}, versions=versions, target="v2", **told)


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize(
    ("milliseconds", "slow"),
    [pytest.param(50, 15_030, id="a harder promise"), pytest.param(500, 3_000, id="a softer one")],
)
def test_a_new_promise_begins_a_step_anew(milliseconds: int, slow: int, *, guard: bool) -> None:
    rollout = decide_rollout(promised(milliseconds, slow, guard=guard), NOW)
    assert isinstance(rollout.move, Stay)
    assert rollout.progress is not None
    assert rollout.progress.verdict is not None
    assert rollout.progress.verdict.message == (
        "0 of the 100 requests have come through the Gateway that are needed to judge."
    )
    pods = {pod.slow for baseline in rollout.progress.baselines for pod in baseline.pods}
    assert pods == {slow}


def test_how_slow_the_old_champion_was_by_a_new_promise_nobody_knows() -> None:
    began = decide_rollout(promised(50, 15_000, guard=True), NOW).progress
    assert began is not None
    late = (Counters(pod="p", requests=502_000, slow=15_500, p95_milliseconds=50),)
    world = dataclasses.replace(promised(50, 15_000, guard=True), counters={"v2": late})
    status = world.status.model_copy(update={"rollout": began})
    rollout = decide_rollout(dataclasses.replace(world, status=status), NOW)
    assert isinstance(rollout.move, Stay)
    tests = rollout.progress.verdict.tests  # type: ignore[union-attr] # it is under way
    assert tests[1].message.startswith("500 of 1,000 answers were slower than promised (50.0%)")
    assert (tests[1].result, tests[1].reference.size) == ("Pass", 0)  # type: ignore[union-attr] # there is one


def test_a_baseline_of_an_older_operator_is_of_the_present_promise() -> None:
    world = promised(100, 5_010)
    known = [{"version": v, "pods": [{"pod": "p", "requests": 500_000, "slow": 5_000}]} for v in ("v1", "v2")]
    assert world.status.rollout is not None
    counts = rolling(STEP | {"baselines": known}, counters=world.counters).counted("v2")
    assert (counts.requests, counts.slow) == (1000, 10)  # type: ignore[union-attr] # it told


def test_a_gateway_that_comes_or_goes_begins_a_step_anew() -> None:
    """Then other clients are counted than before."""
    then = {"pod": "p", "requests": 10, "gateway": True}
    now = (Counters(pod="p", requests=9000, errors=900, gateway=False),)
    both = [{"version": version, "pods": [then]} for version in ("v1", "v2")]
    world = rolling(STEP | {"baselines": both}, counters={"v1": counters({"p": (9000, 0)}), "v2": now})
    assert world.counted("v2") == Counts()
    assert isinstance(decide_rollout(world, NOW).move, Stay)
