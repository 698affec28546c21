"""When a model is trained again, and what holds it back."""

from datetime import timedelta
from typing import Any

import pytest
from support.kinds import (
    EARLIER,
    NOW,
    make_monitor,
    make_resolved,
    make_run,
    make_server,
    make_spec,
    make_version,
    model_world,
    serving_world,
)

from churn_operator.api.churnmodel import VersionState
from churn_operator.api.trainingrun import RunPhase, Trigger
from churn_operator.churnmodel.decide import Content, Held, Open, decide, decide_retraining
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.core import clock
from churn_operator.core.job import Absent, Broken, Finished, Running
from churn_operator.core.objects import Violation

OTHER = "sha256:" + "0" * 64
AWAITING = make_run(2, RunPhase.AwaitingApproval, Trigger.Drift)
ALL = {"triggers": ["Drift", "NewData", "SpecChanged"], "cooldown": "1h"}
JUST_NOW: dict[str, Any] = {"finished_at": clock.stamp(NOW - timedelta(seconds=10))}


def found(revision: str) -> Finished:
    return Finished(f'{{"outcome": "Probed", "revision": "{revision}"}}')


def outcome(world: ChurnModelWorld) -> str:
    """What is done, in two words."""
    match decide_retraining(world, NOW):
        case Open(number, wish, _):
            return f"Open {number} {wish.trigger}"
        case Held(wish, violation):
            return f"Held {wish.trigger} {violation.reason}"
        case Content():
            return "Content"


def failed(reason: str, revision: str | None = None, **status: Any) -> Any:
    return make_run(1, RunPhase.Failed, reason=reason, revision=revision, **status)


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(model_world(), "Open 1 Initial", id="a new model is trained"),
        pytest.param(model_world(status={"last_run": 4}), "Open 5 Initial", id="no number is used twice"),
        pytest.param(model_world(make_spec(suspend=True)), "Held Initial Suspended", id="a suspended one is not"),
        pytest.param(
            model_world(tracking_problem="timeout"), "Held Initial TrackingUnavailable", id="nor one without MLflow"
        ),
        pytest.param(
            model_world(runs=(make_run(1, RunPhase.Running),)), "Content", id="the run under way is what was wanted"
        ),
        pytest.param(
            model_world(runs=(make_run(1, RunPhase.Pending, resolved=None),)), "Content", id="also while it waits"
        ),
        pytest.param(
            model_world(runs=(make_run(1, RunPhase.Running, resolved=make_resolved(1, OTHER)),)),
            "Held Initial RunInFlight",
            id="but not one by another specification: one run at a time",
        ),
        pytest.param(
            model_world(runs=(make_run(1, RunPhase.Running, Trigger.Manual),)),
            "Held Initial RunInFlight",
            id="nor one that was opened for something else",
        ),
        pytest.param(
            model_world(runs=(make_run(1, RunPhase.Accepted),)), "Content", id="an accepted run ends the first wish"
        ),
        pytest.param(
            model_world(runs=(failed("OneClass", "version:1"),), probe=found("version:1")),
            "Held Initial NoNewData",
            id="bad data is not tried twice",
        ),
        pytest.param(
            model_world(runs=(failed("OneClass", "version:1", **JUST_NOW),), probe=found("version:2")),
            "Open 2 Initial",
            id="other data is tried at once",
        ),
        pytest.param(
            model_world(runs=(failed("DataNotFound"),), probe=Broken(Violation("DataNotFound", "no file"))),
            "Held Initial DataNotFound",
            id="missing data is waited for",
        ),
        pytest.param(
            model_world(runs=(failed("DataNotFound"),), probe=found("version:1")),
            "Open 2 Initial",
            id="and tried when it comes",
        ),
        pytest.param(
            model_world(runs=(failed("OutOfMemory", **JUST_NOW),), probe=found("version:1")),
            "Held Initial CoolingDown",
            id="a run that was killed is not repeated at once",
        ),
        pytest.param(
            model_world(runs=(failed("TrackingUnavailable", **JUST_NOW),)),
            "Held Initial CoolingDown",
            id="a neighbour that was away gets a minute",
        ),
        pytest.param(
            model_world(runs=(failed("TrackingUnavailable"),)), "Open 2 Initial", id="and then another chance"
        ),
        pytest.param(
            model_world(
                runs=(failed("OneClass", "version:1", resolved=make_resolved(1, OTHER), **JUST_NOW),),
            ),
            "Open 2 Initial",
            id="a corrected spec is tried at once",
        ),
    ],
)
def test_a_model_without_a_version(world: ChurnModelWorld, expected: str) -> None:
    assert outcome(world) == expected


DRIFTING: dict[str, Any] = {"monitors": (make_monitor(),)}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, "Content", id="a model that serves is left alone"),
        pytest.param(DRIFTING | {"probe": found("version:2")}, "Open 2 Drift", id="drift calls for a run"),
        pytest.param(DRIFTING | {"probe": found("version:1")}, "Held Drift NoNewData", id="but not on the same data"),
        pytest.param(DRIFTING, "Held Drift ProbingData", id="and first the state of the source is asked for"),
        pytest.param(DRIFTING | {"probe": Running()}, "Held Drift ProbingData", id="however long that takes"),
        pytest.param(
            DRIFTING | {"probe": Running(Violation("Unschedulable", "full"))},
            "Held Drift Unschedulable",
            id="a probe that cannot run says why",
        ),
        pytest.param(
            DRIFTING | {"probe": Finished("{}")}, "Held Drift ResultUnreadable", id="one that says nothing is no answer"
        ),
        pytest.param(
            {"monitors": (make_monitor(version="v0"),)}, "Content", id="drift from a former champion is no news"
        ),
        pytest.param({"monitors": (make_monitor(within="True"),)}, "Content", id="nor is a quiet monitor"),
        pytest.param({"monitors": (make_monitor(conditions=[]),)}, "Content", id="nor a new one"),
        pytest.param({"monitors": (make_monitor(checks=[]),)}, "Content", id="nor an alarm without a window"),
        pytest.param(
            DRIFTING | {"spec": make_spec(retraining=ALL | {"triggers": []})},
            "Content",
            id="unless it is not asked for",
        ),
        pytest.param(
            {"spec": make_spec(retraining=ALL), "probe": found("version:2")},
            "Open 2 NewData",
            id="new data calls for a run where asked for",
        ),
        pytest.param(
            {"spec": make_spec(retraining=ALL), "probe": found("version:1")}, "Content", id="old data does not"
        ),
        pytest.param({"probe": found("version:2")}, "Content", id="nor new data where not asked for"),
        pytest.param(
            {"digest": OTHER, "probe": found("version:1")},
            "Open 2 SpecChanged",
            id="another spec is tried on the same data",
        ),
        pytest.param(
            {"digest": OTHER, "spec": make_spec(retraining=ALL | {"triggers": ["Drift"]})},
            "Content",
            id="unless that is not asked for",
        ),
        pytest.param(
            {"digest": OTHER, "runs": (make_run(2, RunPhase.Rejected, resolved=make_resolved(2, OTHER)),)},
            "Content",
            id="a spec that was tried is not tried again",
        ),
        pytest.param(
            DRIFTING
            | {"runs": (make_run(1, RunPhase.Accepted), make_run(2, RunPhase.Rejected)), "probe": found("version:2")},
            "Held Drift NoNewData",
            id="data that gave a worse model is not tried again",
        ),
        pytest.param(
            DRIFTING | {"runs": (failed("OneClass", "version:2"),), "probe": found("version:2")},
            "Held Drift NoNewData",
            id="nor data that failed",
        ),
        pytest.param(
            DRIFTING | {"runs": (failed("DataUnreachable", "version:2"),), "probe": found("version:2")},
            "Open 2 Drift",
            id="but data that could not be had is tried when it can",
        ),
        pytest.param(
            {"digest": OTHER, "runs": (failed("DataUnreachable", resolved=make_resolved(1, OTHER)),)},
            "Open 2 SpecChanged",
            id="and so is a spec that found no data",
        ),
        pytest.param(
            DRIFTING | {"runs": (make_run(1, RunPhase.Accepted, **JUST_NOW),), "probe": found("version:2")},
            "Held Drift CoolingDown",
            id="runs keep a distance",
        ),
        pytest.param(
            DRIFTING | {"runs": (make_run(1, RunPhase.Accepted), make_run(2, RunPhase.Accepted))},
            "Held Drift RunInFlight",
            id="an accepted version is rolled out first",
        ),
        pytest.param(
            DRIFTING
            | {
                "status": {"versions": [make_version(2, VersionState.RollingOut), make_version(1)]},
                "runs": (make_run(1, RunPhase.Accepted), make_run(2, RunPhase.Accepted)),
            },
            "Held Drift RunInFlight",
            id="however long that takes to start",
        ),
        pytest.param(
            DRIFTING | {"runs": (make_run(1, RunPhase.Accepted), make_run(2, RunPhase.Running, Trigger.Drift))},
            "Content",
            id="a run for this drift is under way",
        ),
        pytest.param(
            DRIFTING
            | {
                "status": {"versions": [make_version(2, VersionState.RollingOut), make_version(1)]},
                "runs": (make_run(1, RunPhase.Accepted), make_run(2, RunPhase.Accepted, Trigger.Drift)),
            },
            "Content",
            id="or its version is being rolled out",
        ),
        pytest.param(
            DRIFTING | {"runs": (make_run(1, RunPhase.Accepted), AWAITING), "probe": found("version:3")},
            "Open 3 Drift",
            id="a run that awaits approval holds nothing up",
        ),
        pytest.param(
            DRIFTING | {"runs": (make_run(1, RunPhase.Accepted), AWAITING), "probe": found("version:2")},
            "Held Drift NoNewData",
            id="but nothing is trained again on its data",
        ),
        pytest.param(
            DRIFTING | {"runs": (make_run(2, RunPhase.AwaitingApproval, awaiting_since=clock.stamp(NOW)),)},
            "Held Drift CoolingDown",
            id="and runs keep a distance to when it was put up",
        ),
        pytest.param(
            DRIFTING
            | {
                "runs": (make_run(2, RunPhase.Expired, awaiting_since=EARLIER, finished_at=clock.stamp(NOW)),),
                "probe": found("version:3"),
            },
            "Open 3 Drift",
            id="not to when somebody let it expire",
        ),
        pytest.param(
            {"digest": OTHER, "runs": (make_run(2, RunPhase.Expired, resolved=make_resolved(2, OTHER)),)},
            "Content",
            id="a spec whose run expired was tried",
        ),
        pytest.param(
            {"digest": OTHER, "runs": (AWAITING,)},
            "Open 3 SpecChanged",
            id="one that is other than what awaits approval was not",
        ),
    ],
)
def test_a_model_that_serves(fields: dict[str, Any], expected: str) -> None:
    assert outcome(serving_world(**fields)) == expected


@pytest.mark.parametrize(
    ("failures", "age", "expected"),
    [
        pytest.param(1, 61, "Open", id="one failure is repeated after a minute"),
        pytest.param(2, 61, "Held", id="two wait longer"),
        pytest.param(2, 121, "Open", id="two minutes"),
        pytest.param(12, 3601, "Open", id="never longer than the cooldown"),
    ],
)
def test_a_neighbour_that_stays_away_is_asked_less_and_less(failures: int, age: int, expected: str) -> None:
    ended = clock.stamp(NOW - timedelta(seconds=age))
    runs = tuple(
        make_run(n, RunPhase.Failed, reason="StorageUnavailable", revision=None, finished_at=ended)
        for n in range(1, failures + 1)
    )
    assert outcome(model_world(runs=runs)).split()[0] == expected


def test_a_run_that_says_no_end_does_not_hold_the_next() -> None:
    runs = (make_run(1, RunPhase.Failed, reason="OneClass", finished_at=None),)
    assert outcome(model_world(runs=runs, probe=found("version:2"))) == "Open 2 Initial"


def test_until_a_probe_answers_the_last_answer_stands() -> None:
    waiting = {"trigger": Trigger.Drift, "held_by": "NoNewData", "message": "still version:1"}
    status = {"versions": [make_version(1)], "retraining": waiting}
    assert outcome(serving_world(status=status, monitors=(make_monitor(),), probe=Absent())) == "Held Drift NoNewData"


def test_a_state_found_earlier_is_still_new_in_the_next_slot() -> None:
    status = {"versions": [make_version(1)], "data": {"revision": "version:2", "since": clock.stamp(NOW)}}
    world = serving_world(make_spec(retraining=ALL), status=status, probe=Absent())
    assert outcome(world) == "Held NewData ProbingData"


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(model_world(), False, id="the first run needs no probe"),
        pytest.param(serving_world(), False, id="nor does a model that is content"),
        pytest.param(serving_world(make_spec(retraining=ALL)), True, id="one that follows its data does"),
        pytest.param(serving_world(**DRIFTING), True, id="and one that drifts"),
        pytest.param(serving_world(**DRIFTING, probe=found("version:2")), True, id="whose probe stays while it opens"),
        pytest.param(serving_world(digest=OTHER), False, id="one that needs no answer is opened without asking"),
        pytest.param(
            serving_world(**DRIFTING, tracking_problem="timeout"), False, id="not while something else is in the way"
        ),
        pytest.param(serving_world(make_spec(retraining=ALL, suspend=True)), False, id="not while suspended"),
    ],
)
def test_the_source_is_probed_while_an_answer_matters(world: ChurnModelWorld, *, expected: bool) -> None:
    assert decide(world, NOW).probe is expected


def test_the_evidence_of_an_alarm_goes_into_the_run() -> None:
    decision = decide_retraining(serving_world(**DRIFTING, probe=found("version:2")), NOW)
    assert isinstance(decision, Open)
    evidence = decision.wish.evidence
    assert evidence is not None
    assert (evidence.monitor, evidence.share, evidence.window.revision) == ("telco", 0.4, "version:w1")
    assert decision.wish.reason == "DriftMonitor telco: 40% of the features drifted: tenure."


def test_a_report_is_part_of_the_evidence() -> None:
    monitor = make_monitor(links={"report": "http://mlflow/report"})
    decision = decide_retraining(serving_world(monitors=(monitor,), probe=found("version:2")), NOW)
    assert isinstance(decision, Open)
    assert decision.wish.evidence is not None
    assert decision.wish.evidence.report == "http://mlflow/report"


def test_servers_are_irrelevant_to_retraining() -> None:
    assert outcome(serving_world(servers=(make_server(1, ok=False),))) == "Content"
