"""A clock that jumps between two looks: nothing is done twice, and no condition flaps."""

from datetime import timedelta
from typing import Any

import pytest
from unit.loop.test_histories import Histories


def settled() -> Histories:
    """A model that serves, without drift, on data that was trained on."""
    history = Histories()
    history.begin()
    for _ in range(3):
        history.the_usual_course(0.0, 1, answers=True)
    return history


def conditions(history: Histories) -> list[Any]:
    found = history.cluster.objects["ChurnModel", "telco"]["status"]["conditions"]
    return [(one["type"], one["status"], one["reason"], one["lastTransitionTime"]) for one in found]


@pytest.mark.parametrize(
    "jump",
    [
        pytest.param(timedelta(hours=-1), id="back an hour"),
        pytest.param(timedelta(days=1), id="forward a day"),
    ],
)
def test_a_clock_that_jumps_and_jumps_back_changes_nothing(jump: timedelta) -> None:
    history = settled()
    before, runs = conditions(history), len(history.cluster.of("TrainingRun"))
    assert [one[1] for one in before] == ["True"] * 4
    for step in (jump, -jump, jump):
        history.now += step
        history.look(1, None)
        history.a_probe_ends()
        history.a_check_ends(1, 0.0)
        history.look(1, None)
        assert conditions(history) == before
    assert len(history.cluster.of("TrainingRun")) == runs
