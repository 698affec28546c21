"""After a promotion the champion before stays warm, and comes back where the new one fails; what failed does not."""

from datetime import timedelta

import pytest
from support.canary import (
    BAD,
    OTHER,
    SILENT,
    ago,
    canary,
    counters,
    guarded,
)
from support.kinds import NOW, make_run, make_server, make_version, serving_world

from churn_operator.api.churnmodel import Quarantine, VersionState
from churn_operator.api.trainingrun import RunPhase
from churn_operator.churnmodel.decide import decide
from churn_operator.churnmodel.moves import Restore, Start, Stay
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.churnmodel.report import report
from churn_operator.churnmodel.rollout import decide_rollout

OVER = "v3 waits until the guard time of v2 is over"
ERROR, PASS = ({"result": result, "message": "so"} for result in ("Error", "Pass"))
CALLED_BACK = (make_version(2, VersionState.Quarantined), make_version(1))
THIRD = f"sha256:{'ef' * 32}"


def states(world: ChurnModelWorld) -> dict[str, str]:
    return {version.version: version.state for version in decide_rollout(world, NOW).versions}


def test_a_breach_brings_back_the_champion_before() -> None:
    assert states(guarded(counters={"v2": counters(1000, 100)})) == {"v2": "Quarantined", "v1": "Champion"}


def test_without_a_champion_nothing_is_a_breach() -> None:
    alone = [make_version(1, VersionState.Retired, since=ago(minutes=2))]
    runs = (make_run(2, RunPhase.Accepted), make_run(3, RunPhase.Accepted))
    assert isinstance(decide_rollout(guarded(versions=alone, runs=runs), NOW).move, Stay)


def test_a_breach_leaves_older_versions_alone() -> None:
    versions = [*guarded().status.versions, make_version(0, VersionState.RolledBack)]
    world = guarded(counters={"v2": counters(1000, 100)})
    status = world.status.model_copy(update={"versions": tuple(versions)})
    older = ChurnModelWorld(**(vars(world) | {"status": status}))
    assert states(older) == {"v2": "Quarantined", "v1": "Champion", "v0": "RolledBack"}


@pytest.mark.parametrize(
    "world",
    [
        pytest.param(canary(2, counters=BAD), id="a challenger that failed"),
        pytest.param(canary(2, servers=SILENT), id="one that fell silent"),
        pytest.param(guarded(counters={"v2": counters(1000, 100)}), id="a new champion that failed"),
    ],
)
def test_what_failed_keeps_its_server_until_the_status_says_why(world: ChurnModelWorld) -> None:
    """An operator that dies before it wrote the status finds the same again, not a version without a server."""
    rollout = decide_rollout(world, NOW)
    assert [version.version for version in rollout.served] == ["v2", "v1"]
    told = world.status.model_copy(update={"versions": rollout.versions, "rollout": rollout.progress})
    later = ChurnModelWorld(**(vars(world) | {"status": told}))
    assert [version.version for version in decide_rollout(later, NOW).served] == ["v1"]


@pytest.mark.parametrize(
    ("digest", "expected"),
    [
        pytest.param(make_version(2).model.digest, "Quarantined", id="the same model"),
        pytest.param(OTHER, "RollingOut", id="another"),
    ],
)
def test_a_model_that_was_quarantined_does_not_come_back_under_another_number(digest: str, expected: str) -> None:
    bad = make_version(2, VersionState.Quarantined)
    good = make_version(1, model=bad.model.model_copy(update={"digest": OTHER}))
    run = make_run(3, RunPhase.Accepted)
    result = run.status.result
    assert result is not None
    model = result.model.model_copy(update={"digest": digest})
    run = make_run(3, RunPhase.Accepted, result=result.model_copy(update={"model": model}))
    known = Quarantine(digest=bad.model.digest, version="v2", since=ago(hours=1))
    world = serving_world(status={"versions": [good], "quarantine": [known]}, runs=(run,))
    assert states(world)["v3"] == expected, "however long ago the version left the list"


def test_a_model_that_failed_as_champion_is_quarantined_until_it_is_called_back() -> None:
    world = guarded(counters={"v2": counters(1000, 100)})
    other = make_version(1).model
    one = other.model_copy(update={"digest": OTHER})
    versions = [make_version(2, model=one), make_version(1, VersionState.Retired, since=ago(minutes=2), model=other)]
    before = [Quarantine(digest=digest, version="v0", since=ago(hours=1)) for digest in (other.digest, THIRD)]
    status = world.status.model_copy(update={"versions": tuple(versions), "quarantine": tuple(before)})
    rollout = decide_rollout(ChurnModelWorld(**(vars(world) | {"status": status})), NOW)
    assert [known.digest for known in rollout.quarantine] == [one.digest, THIRD]
    assert decide_rollout(guarded(), NOW).quarantine == ()


def test_the_next_version_waits_until_the_guard_time_is_over() -> None:
    """Else nothing would bring back the champion before, which is warm for that."""
    runs = (make_run(2, RunPhase.Accepted), make_run(3, RunPhase.Accepted))
    world = guarded(runs=runs)
    move = decide_rollout(world, NOW).move
    assert isinstance(move, Stay)
    assert move.waits_for.startswith("v3 waits until the guard time of v2 is over, at ")
    said = report(world, decide(world, NOW), None, NOW).condition("RolloutHealthy")
    assert said is not None
    assert said.message.startswith("Traffic is on v2 since ")
    assert move.waits_for in said.message
    over = decide_rollout(world, NOW + timedelta(hours=2))
    assert (over.move, over.progress and over.progress.phase) == (Stay(OVER), "Complete"), "the status says so first"
    told = world.status.model_copy(update={"rollout": over.progress})
    later = ChurnModelWorld(**(vars(world) | {"status": told}))
    assert isinstance(decide_rollout(later, NOW + timedelta(hours=2)).move, Start)
    assert isinstance(decide_rollout(guarded(runs=runs, counters={"v2": counters(1000, 100)}), NOW).move, Restore)


def test_the_next_version_is_the_cure_where_nobody_can_take_the_place_of_one_that_fails() -> None:
    runs = (make_run(2, RunPhase.Accepted), make_run(3, RunPhase.Accepted))
    nobody = (make_server(1, ok=False), make_server(2))
    failing = {"v2": counters(1000, 100)}
    assert isinstance(decide_rollout(guarded(runs=runs, servers=nobody, counters=failing), NOW).move, Start)
    assert isinstance(decide_rollout(guarded(runs=runs, servers=nobody), NOW).move, Stay)


def test_a_guard_time_does_not_end_because_nobody_sees_the_servers() -> None:
    progress = decide_rollout(guarded(servers=(), kserve_missing=True), NOW).progress
    assert progress is not None
    assert progress.phase == "Guarding"


def test_a_clock_that_jumped_back_holds_nobody_up_for_ever() -> None:
    ahead = [make_version(2), make_version(1, VersionState.Retired, since=ago(days=-30))]
    progress = decide_rollout(guarded(versions=ahead), NOW).progress
    assert progress is not None
    assert progress.phase == "Complete"


@pytest.mark.parametrize(
    ("world", "phase"),
    [
        pytest.param(guarded(), "Guarding", id="the champion before is warm"),
        pytest.param(guarded(servers=(make_server(2), make_server(1, ok=False))), "Guarding", id="or silent for now"),
        pytest.param(guarded(servers=(make_server(2),)), "Complete", id="it is gone"),
        pytest.param(guarded(spec={"guard": "1m"}), "Complete", id="its time is over"),
    ],
)
def test_the_guard_lasts_for_its_time_and_while_there_is_something_to_go_back_to(
    world: ChurnModelWorld, phase: str
) -> None:
    progress = decide_rollout(world, NOW).progress
    assert progress is not None
    assert progress.phase == phase
