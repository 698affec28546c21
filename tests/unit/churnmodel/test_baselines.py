"""What a step counts of pods that join, leave, come back and begin anew."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from support.canary import ago, canary, rolling
from support.kinds import NOW

from churn_operator.api.rollout import Counters, RolloutStatus
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


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_no_step_begins_while_none_of_a_versions_pods_is_ready(version: str) -> None:
    world = canary(counters={"v1": counters({"a": (0, 0)}), "v2": counters({"c": (0, 0)})} | {version: ()})
    assert decide_rollout(world, NOW).move == Stay(
        f"the metrics of {version} cannot be read: none of its pods is ready"
    )
