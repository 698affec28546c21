"""What a person orders is done or declined, and once."""

from dataclasses import replace
from typing import Any

import pytest
from support.canary import BAD, FEW, GOOD, SILENT, ago, canary, guarded, rolling
from support.kinds import NOW, make_run, make_server, make_version, serving_world

from churn_operator.api.approval import Command, Handled
from churn_operator.api.churnmodel import VersionState
from churn_operator.api.trainingrun import RunPhase
from churn_operator.churnmodel.decide import decide
from churn_operator.churnmodel.moves import Decline, GiveUp, Move, Promote, Restore, Return, Shift, Stay
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.churnmodel.report import report, story
from churn_operator.churnmodel.rollout import decide_rollout

AT = ago(seconds=5)


def ordered(world: ChurnModelWorld, action: str, version: str | None = None, **status: Any) -> ChurnModelWorld:
    command = {"action": action, "version": version, "by": "alice", "at": AT, "reason": "I saw it"}
    fields = world.status.model_dump() | {"command": command} | status
    return ChurnModelWorld(**(vars(world) | {"status": type(world.status).model_validate(fields)}))


def undated(world: ChurnModelWorld) -> ChurnModelWorld:
    """As an operator wrote it that did not keep when a version was promoted."""
    versions = tuple(version.model_copy(update={"promoted": None}) for version in world.status.versions)
    return ChurnModelWorld(**(vars(world) | {"status": world.status.model_copy(update={"versions": versions})}))


COLD = serving_world(
    status={"versions": [make_version(2), make_version(1, VersionState.Retired, since=ago(hours=9))]},
    servers=(make_server(2),),
    target="v2",
)
VAIN = serving_world(
    status={"versions": [make_version(2), make_version(1, VersionState.RolledBack, promoted=ago(hours=9))]},
    servers=(make_server(2),),
    target="v2",
)
BACK = rolling(
    {"version": "v1", "phase": "Starting", "returns": True, "since": ago(seconds=9)},
    versions=[make_version(2), make_version(1, VersionState.RollingOut, since=ago(seconds=9), promoted=ago(hours=9))],
    servers=(make_server(2), make_server(1, ready=False, ok=None)),
)


@pytest.mark.parametrize(
    ("world", "expected", "came"),
    [
        pytest.param(ordered(canary(1), "Abort"), GiveUp, "v2 was aborted by alice: I saw it", id="abort"),
        pytest.param(ordered(canary(), "Abort"), GiveUp, "v2 was aborted by alice: I saw it", id="before traffic"),
        pytest.param(ordered(canary(1), "Abort", "v3"), Decline, "v2 is on its way, not v3", id="abort another"),
        pytest.param(ordered(guarded(), "Abort"), Decline, "no version is on its way", id="abort nothing"),
        pytest.param(
            ordered(canary(1, counters=GOOD, since=ago(seconds=9)), "Promote"),
            Promote,
            "v2 was promoted by alice: I saw it",
            id="promotion skips the waiting",
        ),
        pytest.param(ordered(canary(1, counters=FEW), "Promote"), Stay, None, id="but not the analysis"),
        pytest.param(ordered(canary(), "Promote"), Shift, None, id="for which it needs traffic"),
        pytest.param(ordered(canary(1, counters=BAD), "Promote"), GiveUp, "v2 failed", id="and which may fail"),
        pytest.param(
            ordered(canary(1, counters=GOOD, servers=SILENT), "Promote"),
            GiveUp,
            "v2 failed",
            id="or fall silent",
        ),
        pytest.param(ordered(guarded(), "Promote"), Decline, "no version is on its way", id="promote nothing"),
        pytest.param(
            ordered(guarded(), "Rollback"),
            Restore,
            "v1 has the traffic: v2 was rolled back by alice: I saw it",
            id="back at once",
        ),
        pytest.param(ordered(COLD, "Rollback"), Return, None, id="a cold version gets a server first"),
        pytest.param(ordered(COLD, "Rollback", "v1"), Return, None, id="as does one that is named"),
        pytest.param(ordered(BACK, "Rollback"), Stay, None, id="it is waited for"),
        pytest.param(
            ordered(ChurnModelWorld(**(vars(BACK) | {"servers": (make_server(1), make_server(2))})), "Rollback"),
            Restore,
            "v1 has the traffic: v2 was rolled back by alice",
            id="until it answers",
        ),
        pytest.param(ordered(VAIN, "Rollback", "v1"), Return, None, id="called in vain, and again"),
        pytest.param(ordered(undated(COLD), "Rollback", "v1"), Return, None, id="of before that was written"),
        pytest.param(ordered(canary(1), "Rollback", "v2"), Decline, "v2 never served", id="to a challenger"),
        pytest.param(ordered(canary(), "Rollback", "v2"), Decline, "v2 never served", id="to one that starts"),
        pytest.param(ordered(COLD, "Rollback", "v7"), Decline, "v7 never served", id="to one that never was"),
        pytest.param(ordered(COLD, "Rollback", "v2"), Decline, "v2 serves already", id="to the champion"),
        pytest.param(ordered(serving_world(), "Rollback"), Decline, "no version served before", id="to nothing"),
        pytest.param(ordered(canary(1), "Rollback", "v1"), Decline, "v1 serves already", id="to that of a canary"),
    ],
)
def test_each_order_has_one_move(world: ChurnModelWorld, expected: type[Move], came: str | None) -> None:
    rollout = decide_rollout(world, NOW)
    assert isinstance(rollout.move, expected)
    assert (rollout.handled is None) == (came is None)
    assert came is None or (rollout.handled is not None and came in rollout.handled.message)
    done = not isinstance(rollout.move, Decline) and came != "v2 failed"
    assert rollout.handled is None or rollout.handled.outcome == ("Done" if done else "Declined")


def test_a_version_of_before_that_was_written_is_called_back_to_the_end() -> None:
    world = ordered(undated(COLD), "Rollback")
    versions = decide_rollout(world, NOW).versions
    back = world.status.model_copy(update={"versions": versions, "rollout": BACK.status.rollout})
    later = ChurnModelWorld(**(vars(world) | {"status": back, "servers": (make_server(1), make_server(2))}))
    assert isinstance(decide_rollout(later, NOW).move, Restore)


def test_who_is_to_be_promoted_and_waits_is_named() -> None:
    world = guarded(runs=(make_run(2, RunPhase.Accepted), make_run(3, RunPhase.Accepted)))
    said = decide_rollout(ordered(world, "Promote"), NOW).handled
    assert said is not None
    assert "no version is on its way yet: v3 waits, and begins when nothing holds it back" in said.message


def test_what_is_on_its_way_gives_way_to_a_rollback_which_stays_pending() -> None:
    old = make_version(0, VersionState.Retired, since=ago(hours=9))
    world = canary(1, versions=[canary().status.versions[0], make_version(1), old])
    rollout = decide_rollout(ordered(world, "Rollback"), NOW)
    assert isinstance(rollout.move, GiveUp)
    assert rollout.handled is None


def test_an_order_is_carried_out_once() -> None:
    done = Handled(at=AT, action="Abort", message="done")
    assert isinstance(decide_rollout(ordered(canary(1), "Abort", handled=done), NOW).move, Stay)


def test_an_order_that_is_declined_is_an_event() -> None:
    (told,) = story(decide(ordered(guarded(), "Promote"), NOW))
    assert (told.reason, told.holds) == ("OrderDeclined", False)
    assert told.message == "Nothing was done: no version is on its way."


def test_another_order_of_the_same_second_is_carried_out_as_well() -> None:
    first = decide_rollout(ordered(guarded(), "Promote"), NOW).handled
    world = ordered(guarded(), "Rollback")
    later = replace(world, status=world.status.model_copy(update={"handled": first}))
    assert first is not None
    assert first.outcome == "Declined"
    assert isinstance(decide_rollout(later, NOW).move, Restore)


def test_what_came_of_an_order_stays_in_the_status() -> None:
    done = Handled(at=AT, action="Abort", message="done")
    world = ordered(canary(1), "Abort", handled=done)
    assert report(world, decide(world, NOW), None, NOW).handled == done
    world = ordered(guarded(), "Abort")
    reported = report(world, decide(world, NOW), None, NOW)
    why = "Nothing was done: no version is on its way."
    assert reported.handled == Handled(at=AT, action="Abort", outcome="Declined", message=why)


def test_the_order_itself_is_never_in_what_the_operator_writes() -> None:
    world = ordered(canary(1), "Abort")
    assert "command" not in report(world, decide(world, NOW), None, NOW).to_dict()


def test_a_version_that_is_called_back_is_news() -> None:
    (told,) = story(decide(ordered(COLD, "Rollback"), NOW))
    assert told.message == "v1 is called back: v2 was rolled back by alice: I saw it"


def test_a_version_that_came_back_from_the_cold_is_not_told_as_the_one_that_lost_its_traffic() -> None:
    world = ordered(ChurnModelWorld(**(vars(BACK) | {"servers": (make_server(1), make_server(2))})), "Rollback")
    reported = report(world, decide(world, NOW), None, NOW)
    assert (reported.summary.champion, reported.summary.rollout) == ("v1", "v2 Recalled")


def test_a_version_that_was_rolled_back_by_order_is_quarantined() -> None:
    versions = decide_rollout(ordered(guarded(), "Rollback"), NOW).versions
    assert {v.version: v.state for v in versions} == {"v2": "Quarantined", "v1": "Champion"}


def test_an_order_without_a_reason_is_told_by_its_name() -> None:
    world = ordered(canary(1, servers=SILENT), "Abort")
    command = Command(action="Abort", by="alice", at=AT)
    status = world.status.model_copy(update={"command": command})
    rollout = decide_rollout(ChurnModelWorld(**(vars(world) | {"status": status})), NOW)
    assert rollout.handled is not None
    assert rollout.handled.message == "v2 was aborted by alice."
