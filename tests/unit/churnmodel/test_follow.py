"""Somebody points the alias at another version: it is put back, or followed through the gates, and never forgotten."""

from datetime import timedelta
from typing import Any

import pytest
from support.kinds import NOW, make_monitor, make_resolved, make_run, make_spec, make_version, serving_world

from churn_operator.api.churnmodel import VersionState
from churn_operator.api.digest import spec_digest
from churn_operator.api.trainingrun import RunPhase, Trigger
from churn_operator.churnmodel.build import build
from churn_operator.churnmodel.decide import Content, Held, Open, decide, decide_retraining
from churn_operator.churnmodel.observe import ChurnModelWorld, RunSeen
from churn_operator.churnmodel.policies import tried
from churn_operator.churnmodel.report import report
from churn_operator.churnmodel.versions import version_of
from churn_operator.core import clock
from churn_operator.core.objects import Alias

FOLLOW = {"registry": {"follow": True}}
FIRST = make_run(1, RunPhase.Accepted)
CHAMPION: dict[str, Any] = {"champion": {"version": "v1", "model": make_version(1).model.to_dict()}}
JUST_NOW: dict[str, Any] = {"finished_at": clock.stamp(NOW - timedelta(seconds=10))}


def pointed(alias: str | None, *runs: RunSeen, known: str | None = "1", **fields: Any) -> ChurnModelWorld:
    """Champion v1 is version 1 of the registered model, and the alias points there or elsewhere."""
    spec = make_spec(**(FOLLOW | fields.pop("spec", {})))
    status = {"versions": [make_version(1)], "last_run": 1, "alias": known} | fields.pop("status", {})
    return serving_world(spec, status=status, runs=(FIRST, *runs), alias=alias, **fields)


def judging(phase: RunPhase, number: int = 2, candidate: str = "7", **status: Any) -> RunSeen:
    """A run of that version, compared with v1."""
    fields = {"resolved": make_resolved(number, **CHAMPION)} | status
    return make_run(number, phase, Trigger.RegistryMoved, candidate, **fields)


def made_of(version: str, state: VersionState) -> dict[str, Any]:
    other = make_version(2, state, registry_version=version, reason="it fails")
    return {"status": {"versions": [other, make_version(1)]}}


def outcome(world: ChurnModelWorld) -> str:
    """What becomes of the wish, and of the alias."""
    decision = decide(world, NOW)
    aliases = [f"alias {item.version} {item.why}" for item in build(world, decision) if isinstance(item, Alias)]
    match decision.retraining:
        case Open(number, wish, _):
            did = f"opens {number} {wish.trigger} {wish.candidate and wish.candidate.registry_version}"
        case Held(wish, violation):
            did = f"holds {wish.trigger} {violation.reason}"
        case Content():
            did = "nothing"
    return "; ".join([did, *(alias.strip() for alias in aliases)])


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(pointed("1"), "nothing; alias 1", id="where it belongs nothing is wished"),
        pytest.param(
            pointed("7", spec={"registry": {"follow": False}}), "nothing; alias 1", id="nobody follows: it goes back"
        ),
        pytest.param(pointed("7"), "opens 2 RegistryMoved 7", id="a run opens, and the alias stays until it is there"),
        pytest.param(
            pointed("7", judging(RunPhase.Pending, resolved=None)),
            "nothing; alias 1 TrainingRun telco-2 judges version 7.",
            id="the run is there: the alias goes back, and the wish opens no other",
        ),
        pytest.param(pointed("1", judging(RunPhase.Running)), "nothing; alias 1", id="it is back, and the run goes on"),
        pytest.param(
            pointed("7", judging(RunPhase.Rejected, reason="GateFailed")),
            "nothing; alias 1 TrainingRun telco-2 has judged version 7: Rejected, GateFailed.",
            id="who asks again is told what it came to",
        ),
        pytest.param(
            pointed("7", judging(RunPhase.Accepted)),
            "nothing; alias 1 TrainingRun telco-2 has judged version 7: Accepted.",
            id="also where it is about to roll out",
        ),
        pytest.param(
            pointed("7", judging(RunPhase.AwaitingApproval)),
            "nothing; alias 1 TrainingRun telco-2 has judged version 7: AwaitingApproval.",
            id="also where it waits for a person",
        ),
        pytest.param(
            pointed("7", make_run(2, RunPhase.Rejected, Trigger.Manual, "7", resolved=make_resolved(2, **CHAMPION))),
            "nothing; alias 1 TrainingRun telco-2 has judged version 7: Rejected.",
            id="also where the run was made by hand",
        ),
        pytest.param(
            pointed("7", judging(RunPhase.Rejected, resolved=make_resolved(2, "sha256:" + "0" * 64, **CHAMPION))),
            "opens 3 RegistryMoved 7",
            id="another specification is another question",
        ),
        pytest.param(
            pointed("7", judging(RunPhase.Rejected, resolved=make_resolved(2))),
            "opens 3 RegistryMoved 7",
            id="and so is another champion",
        ),
        pytest.param(
            pointed("8", judging(RunPhase.Rejected)), "opens 3 RegistryMoved 8", id="and another version, at once"
        ),
        pytest.param(
            pointed("8", judging(RunPhase.Running)),
            "holds RegistryMoved RunInFlight",
            id="but one at a time, and the alias stays meanwhile",
        ),
        pytest.param(
            pointed("7", make_run(2, RunPhase.Running, Trigger.Drift)),
            "holds RegistryMoved RunInFlight",
            id="nor beside a training",
        ),
        pytest.param(pointed("7", spec={"suspend": True}), "holds RegistryMoved Suspended", id="nor while suspended"),
        pytest.param(
            pointed("7", make_run(2, RunPhase.Rejected, Trigger.Drift, **JUST_NOW)),
            "opens 3 RegistryMoved 7",
            id="a person's wish waits for no cooldown",
        ),
        pytest.param(
            pointed("7", judging(RunPhase.Failed, reason="CandidateUnfit")),
            "nothing; alias 1 TrainingRun telco-2 has judged version 7: Failed, CandidateUnfit.",
            id="what cannot be judged is not tried again",
        ),
        pytest.param(
            pointed("7", judging(RunPhase.Failed, reason="StorageUnavailable", **JUST_NOW)),
            "holds RegistryMoved CoolingDown",
            id="a neighbour that was away gets a minute",
        ),
        pytest.param(
            pointed("7", judging(RunPhase.Failed, reason="StorageUnavailable")),
            "opens 3 RegistryMoved 7",
            id="and then another chance",
        ),
        pytest.param(
            pointed("7", **made_of("7", VersionState.Quarantined)),
            "nothing; alias 1 Version 7 is v2, Quarantined: it fails",
            id="what was quarantined does not come back",
        ),
        pytest.param(
            pointed("7", **made_of("7", VersionState.RollingOut)),
            "nothing; alias 1 Version 7 is v2, RollingOut: it fails",
            id="what is on its way needs no run",
        ),
        pytest.param(
            pointed("7", **made_of("7", VersionState.Retired)),
            "opens 3 RegistryMoved 7",
            id="what retired is judged anew",
        ),
        pytest.param(pointed(None), "nothing; alias 1", id="an alias that was deleted is a wish for nothing"),
        pytest.param(pointed("7", known=None), "nothing; alias 1", id="where it was before is not known: no wish"),
        pytest.param(
            pointed("1", known="1", status={"versions": [make_version(2), make_version(1, VersionState.Retired)]}),
            "nothing; alias 2",
            id="another champion since: nobody moved it",
        ),
        pytest.param(
            pointed("7", monitors=(make_monitor(),), spec={"retraining": {"triggers": ["Drift"]}}),
            "opens 2 RegistryMoved 7",
            id="a person goes before drift",
        ),
        pytest.param(
            pointed("7", tracking_problem="timeout"), "holds RegistryMoved TrackingUnavailable", id="not without MLflow"
        ),
    ],
)
def test_a_moved_alias(world: ChurnModelWorld, expected: str) -> None:
    assert outcome(world) == expected


def test_the_run_names_the_version_and_says_why() -> None:
    world = pointed("7")
    run = next(
        item.object
        for item in build(world, decide(world, NOW))
        if not isinstance(item, Alias) and item.object["kind"] == "TrainingRun"
    )
    assert run["spec"] == {
        "modelRef": {"name": "telco"},
        "trigger": "RegistryMoved",
        "reason": "Alias champion was pointed at version 7.",
        "candidate": {"registryVersion": "7"},
    }


def test_what_judged_a_registered_version_has_tried_no_data() -> None:
    """Else the same data, or the present specification, would never be trained on."""
    made = make_version(2, candidate={"registry_version": "7"}, revision="version:9")
    retired = make_version(1, VersionState.Retired)
    run = judging(RunPhase.Rejected, revision="version:8")
    world = pointed("7", run, status={"versions": [made, retired]})
    assert tried(world) == {(spec_digest(make_spec()), "version:1")}


def test_a_version_remembers_that_it_was_judged_and_not_trained() -> None:
    run = judging(RunPhase.Accepted)
    version = version_of(pointed("1", run), run, NOW)
    assert version.candidate == run.spec.candidate


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(pointed("1", known=None), "1", id="where it belongs"),
        pytest.param(pointed("7"), "1", id="not where somebody moved it"),
        pytest.param(pointed(None), "1", id="nor where MLflow is away"),
        pytest.param(
            pointed("1", status={"versions": [make_version(2), make_version(1, VersionState.Retired)]}),
            "1",
            id="nor before it is seen at the new champion",
        ),
        pytest.param(serving_world(alias="1"), None, id="where nobody follows it"),
    ],
)
def test_the_status_remembers_where_the_alias_belonged(world: ChurnModelWorld, expected: str | None) -> None:
    assert report(world, decide(world, NOW), None, NOW).alias == expected


def test_an_alias_is_no_wish_before_there_is_a_champion() -> None:
    world = pointed("7", status={"versions": []})
    assert not isinstance(decide_retraining(world, NOW), Open)
    assert "alias" not in outcome(world)
