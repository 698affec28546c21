"""What an accepted run promised is of another time: it is not served, and the model says why."""

from typing import Any

import pytest
from support.kinds import NOW, make_resolved, make_run, make_spec, make_version, serving_world

from churn_operator.api.churnmodel import ServedVersion, VersionState
from churn_operator.api.trainingrun import RunPhase, Trigger
from churn_operator.churnmodel.decide import Open, decide, decide_retraining
from churn_operator.churnmodel.moves import Start
from churn_operator.churnmodel.observe import ChurnModelWorld, RunSeen
from churn_operator.churnmodel.policies import accepted
from churn_operator.churnmodel.report import report
from churn_operator.churnmodel.rollout import decide_rollout
from churn_operator.core.job import Finished

APPROVED = [
    {
        "type": "Approved",
        "status": "True",
        "reason": "Approved",
        "message": "Approved by bob.",
        "lastTransitionTime": "2026-11-21T11:00:00Z",
        "observedGeneration": 1,
    }
]
COMPARISONS = [{"metric": "roc_auc", "confidence": 0.9}]
ASKED = make_spec(approval={"required": True})
ANEW = make_spec(retraining={"triggers": ["NewData", "SpecChanged"]})
ROLLED_BACK = [make_version(2, VersionState.Quarantined), make_version(1)]


def compared(with_: ServedVersion | None, number: int = 3, **status: Any) -> RunSeen:
    """An accepted run, of which a gate asked how it does beside the champion."""
    champion = None if with_ is None else {"version": with_.version, "model": with_.model}
    resolved = make_resolved(number, champion=champion, comparisons=status.pop("comparisons", COMPARISONS))
    return make_run(number, RunPhase.Accepted, Trigger.Manual, resolved=resolved, **status)


def beside(run: RunSeen, spec: Any = None, versions: Any = None) -> ChurnModelWorld:
    status = {"versions": versions or [make_version(1)], "last_run": run.number}
    return serving_world(spec or make_spec(), status=status, runs=(make_run(1, RunPhase.Accepted), run))


TAKEN = (
    pytest.param(beside(compared(make_version(1))), id="compared with the champion that serves"),
    pytest.param(beside(compared(make_version(2), comparisons=[]), versions=ROLLED_BACK), id="no gate asked for it"),
    pytest.param(beside(compared(make_version(1), conditions=APPROVED), ASKED), id="a person approved it"),
)
PASSED_OVER = (
    pytest.param(
        beside(compared(make_version(2)), versions=ROLLED_BACK),
        "it was compared with v2, and v1 serves now",
        id="another champion serves since",
    ),
    pytest.param(
        beside(compared(None)),
        "it was compared with no champion, and v1 serves now",
        id="there was none",
    ),
    pytest.param(
        beside(compared(make_version(2), comparisons=[], conditions=APPROVED), versions=ROLLED_BACK),
        "it was compared with v2, and v1 serves now",
        id="a person approved it beside another champion",
    ),
    pytest.param(beside(compared(make_version(1)), ASKED), "nobody approved it", id="approval is asked for since"),
)


@pytest.mark.parametrize("world", TAKEN)
def test_what_still_holds_is_served(world: ChurnModelWorld) -> None:
    assert isinstance(decide_rollout(world, NOW).move, Start)
    assert "is not served" not in said(world)


@pytest.mark.parametrize(("world", "why"), PASSED_OVER)
def test_what_does_not_hold_any_more_is_not_served_and_the_model_says_why(world: ChurnModelWorld, why: str) -> None:
    assert not isinstance(decide_rollout(world, NOW).move, Start)
    assert f"telco-3 (Manual) was accepted, and is not served: {why}" in said(world)


def said(world: ChurnModelWorld) -> str:
    trained = report(world, decide(world, NOW), None, NOW).condition("Trained")
    assert trained is not None
    return trained.message


def test_the_data_is_tried_anew_at_once() -> None:
    """The run that is passed over has tried nothing, and starts no cooldown."""
    world = beside(compared(make_version(2)), ANEW, ROLLED_BACK)
    tried_by_versions = world.status.model_copy(update={"versions": ROLLED_BACK[1:], "last_run": 3})
    world = ChurnModelWorld(**(vars(world) | {"status": tried_by_versions, "probe": found("version:3")}))
    opened = decide_retraining(world, NOW)
    assert isinstance(opened, Open)
    assert (opened.number, opened.wish.trigger) == (4, Trigger.NewData)


def test_an_older_run_that_still_holds_is_served_instead() -> None:
    older, newer = compared(make_version(1), 3), compared(make_version(2), 4)
    world = serving_world(status={"versions": ROLLED_BACK, "last_run": 4}, runs=(older, newer))
    assert accepted(world) == older


def found(revision: str) -> Finished:
    return Finished(f'{{"outcome": "Probed", "revision": "{revision}"}}')
