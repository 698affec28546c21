"""Where labels come, a challenger that decides worse is given up; where none come, nothing is concluded of it."""

from typing import Any

import pytest
from support.canary import ago, counters
from support.kinds import NOW, make_object, make_version
from support.labels import (
    AWAY,
    FEW,
    LAST,
    LOGGED,
    RIGHT,
    SINCE,
    SLOT,
    SOURCE,
    WRONG,
    guarded,
    labelled,
    left,
    result,
)

from churn_operator.api.analysis import TestName, TestOutcome, Verdict
from churn_operator.api.churnmodel import VersionState
from churn_operator.api.rollout import LabelsStatus, RolloutStatus
from churn_operator.api.tasks import LabelsTask
from churn_operator.churnmodel.build import build
from churn_operator.churnmodel.decide import decide
from churn_operator.churnmodel.moves import GiveUp, Move, Promote, Restore, Stay
from churn_operator.churnmodel.observe import ChurnModelWorld, labels_name
from churn_operator.churnmodel.report import report
from churn_operator.churnmodel.rollout import decide_rollout
from churn_operator.core.job import TASK_ANNOTATION, Absent, Finished, Running
from churn_operator.core.objects import Desired, Violation

OPEN = {"begun": SLOT, "ended": LAST}
DONE = {"begun": SLOT, "ended": SLOT}
PULLS = Running(Violation("ImagePullFailed", "ErrImagePull: no such image"))
FAR = {"interval": "1h"}


def asks(**fields: Any) -> dict[str, Any]:
    return {"analysis": {"labels": {"source": SOURCE} | fields}}


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(labelled(), Promote, id="without labels the rest decides"),
        pytest.param(labelled(OPEN), Promote, id="nor is a look for them awaited"),
        pytest.param(labelled(OPEN, left(RIGHT)), Promote, id="one that decides as well gets all of the traffic"),
        pytest.param(labelled(OPEN, left(FEW)), Promote, id="as does one that is not known enough of"),
        pytest.param(labelled(OPEN, AWAY), Promote, id="or nothing"),
        pytest.param(labelled(OPEN, left(WRONG)), GiveUp, id="one that decides worse is given up"),
        pytest.param(labelled(DONE | {"result": WRONG}), GiveUp, id="whenever that was found"),
        pytest.param(labelled(OPEN | {"result": WRONG}, AWAY), GiveUp, id="whatever the next look finds"),
        pytest.param(labelled(OPEN, left(WRONG), required=True), GiveUp, id="required or not"),
        pytest.param(
            labelled(OPEN, left(result(wrong=7, labelled=7, champion=(0, 1500)))), GiveUp, id="seen by a few at once"
        ),
        pytest.param(labelled(required=True), Stay, id="where labels are required they are awaited"),
        pytest.param(labelled(OPEN, left(FEW), required=True), Stay, id="until enough have come"),
        pytest.param(labelled(OPEN, AWAY, required=True), Stay, id="or can be read"),
        pytest.param(labelled(OPEN | {"result": RIGHT}, AWAY, required=True), Stay, id="again"),
        pytest.param(labelled(OPEN, PULLS, required=True), Stay, id="and while their Job cannot start"),
        pytest.param(labelled(OPEN, Finished("no JSON"), required=True), Stay, id="or left nonsense"),
        pytest.param(labelled(OPEN, left(RIGHT), required=True), Promote, id="and then the step is passed"),
        pytest.param(guarded(OPEN, left(WRONG)), Restore, id="late labels bring the champion before back"),
        pytest.param(guarded(OPEN, left(RIGHT)), Stay, id="where they say it decided better"),
        pytest.param(guarded(OPEN, AWAY, required=True), Stay, id="and not where they cannot be read"),
        pytest.param(guarded(), Stay, id="or no step was looked at"),
        pytest.param(
            labelled(DONE | {"result": WRONG}, spec={"strategy": "BlueGreen"} | asks()), Promote, id="one by one"
        ),
        pytest.param(labelled(DONE | {"result": WRONG}, spec={}), Promote, id="nobody asks any more"),
    ],
)
def test_each_state_of_the_labels_has_one_move(world: ChurnModelWorld, expected: type[Move]) -> None:
    assert isinstance(decide_rollout(world, NOW).move, expected)


def progress_of(world: ChurnModelWorld) -> RolloutStatus:
    progress = decide_rollout(world, NOW).progress
    assert progress is not None
    return progress


def labels_of(world: ChurnModelWorld) -> LabelsStatus | None:
    return progress_of(world).labels


def verdict_of(world: ChurnModelWorld) -> Verdict:
    verdict = progress_of(world).verdict
    assert verdict is not None
    return verdict


PAUSED = {"paused": True}
"""Traffic stays, so that what the status says is not that of the next phase."""


@pytest.mark.parametrize(
    ("world", "begun", "ended"),
    [
        pytest.param(labelled(spec=asks() | PAUSED), SLOT, None, id="the first"),
        pytest.param(labelled({"begun": LAST, "ended": LAST}, spec=asks() | PAUSED), SLOT, LAST, id="the next"),
        pytest.param(labelled(DONE, spec=asks() | PAUSED), SLOT, SLOT, id="none until the next interval"),
        pytest.param(labelled({"begun": LAST}, spec=asks() | PAUSED), LAST, None, id="none beside another"),
        pytest.param(labelled({"begun": LAST}, AWAY, spec=asks() | PAUSED), SLOT, LAST, id="but right after it"),
        pytest.param(
            labelled({"since": SLOT}, spec=asks() | PAUSED), None, None, id="none before the step is an interval old"
        ),
        pytest.param(labelled({"since": ago(seconds=1)}, spec=asks() | PAUSED), SLOT, None, id="or part of one"),
        pytest.param(labelled(spec=asks(**FAR) | PAUSED), SLOT, None, id="of an hour as well"),
        pytest.param(guarded({"begun": LAST, "ended": LAST}), SLOT, LAST, id="after a promotion, too"),
    ],
)
def test_a_look_begins_with_each_interval_of_the_clock(
    world: ChurnModelWorld, begun: str | None, ended: str | None
) -> None:
    labels = labels_of(world)
    assert labels is not None
    assert (labels.begun, labels.ended) == (begun, ended)


@pytest.mark.parametrize(
    "world",
    [
        pytest.param(guarded(), id="before the traffic was shared"),
        pytest.param(labelled(OPEN, spec=PAUSED), id="when nobody asks any more"),
        pytest.param(labelled(OPEN, spec={"strategy": "Shadow"} | asks() | PAUSED), id="where it is not shared"),
        pytest.param(
            labelled(versions=[make_version(2, VersionState.RollingOut)], spec=asks() | PAUSED), id="with nobody"
        ),
    ],
)
def test_nothing_is_looked_for(world: ChurnModelWorld) -> None:
    assert labels_of(world) is None


@pytest.mark.parametrize(
    ("world", "reason", "words"),
    [
        pytest.param(labelled(OPEN, AWAY, spec=asks() | PAUSED), "DataNotFound", "there is no file", id="no table"),
        pytest.param(labelled(OPEN, Finished("?"), spec=asks() | PAUSED), "ResultUnreadable", "read", id="no result"),
        pytest.param(labelled(OPEN, PULLS, spec=asks() | PAUSED), "ImagePullFailed", "ErrImagePull", id="no Job"),
        pytest.param(
            labelled(versions=[make_version(2, VersionState.RollingOut, log_url=LOGGED), make_version(1)], spec=asks()),
            "NotLogged",
            "The predictions of v1 are not logged",
            id="no log",
        ),
    ],
)
def test_why_a_look_told_nothing_is_said(world: ChurnModelWorld, reason: str, words: str) -> None:
    labels = labels_of(world)
    assert labels is not None
    assert labels.reason == reason
    assert words in labels.message
    verdict = verdict_of(world)
    assert verdict.result is TestOutcome.Pass
    assert f"Whether it decided rightly was not judged: labels could not be read, {reason}: " in verdict.message


def test_what_was_known_stays_until_the_next_look_knows_better() -> None:
    labels = labels_of(labelled(OPEN | {"result": RIGHT}, AWAY, spec=asks() | PAUSED))
    assert labels is not None
    assert (labels.result, labels.reason) == (RIGHT, "DataNotFound")
    told = {"reason": "DataNotFound", "message": "away", "result": FEW}
    labels = labels_of(labelled(OPEN | told, left(RIGHT), spec=asks() | PAUSED))
    assert labels is not None
    assert (labels.result, labels.reason, labels.message) == (RIGHT, None, "")


def test_what_is_required_and_cannot_be_read_is_an_error_and_no_failure() -> None:
    world = labelled(OPEN, AWAY, required=True)
    verdict = verdict_of(world)
    assert verdict.result is TestOutcome.Error
    assert verdict.message == (
        "Whether it decides rightly is not known: labels could not be read, DataNotFound: there is no file at "
        "s3://churn/left.csv."
    )
    condition = report(world, decide(world, NOW), None, NOW).condition("RolloutHealthy")
    assert condition is not None
    assert (condition.status, condition.reason) == ("Unknown", "AnalysisUnavailable")
    assert "there is no file" in condition.message


def test_errors_of_requests_fail_a_version_whatever_labels_say() -> None:
    failing = {"v1": counters(9000, 90), "v2": counters(1000, 100)}
    for world in (labelled(OPEN, AWAY, required=True, counters=failing), labelled(required=True, counters=failing)):
        assert isinstance(decide_rollout(world, NOW).move, GiveUp)


@pytest.mark.parametrize(
    ("world", "outcome", "message"),
    [
        pytest.param(
            labelled(OPEN, left(WRONG)),
            TestOutcome.Fail,
            "150 of 300 decisions were wrong (50.0%), the champion's 300 of 1,500 (20.0%): worse by at least 14.98%.",
            id="one that decides worse",
        ),
        pytest.param(
            labelled(OPEN, left(RIGHT)),
            TestOutcome.Pass,
            "60 of 300 decisions were wrong (20.0%), the champion's 300 of 1,500 (20.0%): no evidence against the "
            "version.",
            id="one that decides as well",
        ),
        pytest.param(
            labelled(OPEN, left(FEW), required=True),
            TestOutcome.Inconclusive,
            "1 of 7 decisions were wrong (14.3%), the champion's 300 of 1,500 (20.0%): too little to judge before 100 "
            "labels (7 came).",
            id="one of which too little is known",
        ),
    ],
)
def test_the_verdict_has_every_figure(world: ChurnModelWorld, outcome: TestOutcome, message: str) -> None:
    test = next(test for test in verdict_of(world).tests if test.name is TestName.Quality)
    assert (test.result, test.message) == (outcome, message)


def test_too_few_labels_are_told_and_no_test() -> None:
    verdict = verdict_of(labelled(OPEN, left(FEW)))
    assert [test.name for test in verdict.tests] == ["ErrorRate", "Latency"]
    assert verdict.message.endswith("Whether it decided rightly was not judged: too few labels have come.")


def test_to_ask_for_labels_costs_every_metric_the_same_from_the_beginning() -> None:
    unasked = {test.needed for test in verdict_of(labelled(spec={})).tests}
    for world in (labelled(), labelled(OPEN, left(RIGHT)), labelled(OPEN, AWAY)):
        assert {test.needed for test in verdict_of(world).tests} == {2.38}
        assert unasked == {2.26}


def test_a_quality_that_was_found_is_written_though_few_labels_came() -> None:
    """Beside ten thousand requests they are few."""
    before = progress_of(labelled(spec=asks() | PAUSED))
    world = labelled(OPEN, left(RIGHT), rollout={"verdict": before.verdict}, spec=asks() | PAUSED)
    assert [test.name for test in verdict_of(world).tests] == ["ErrorRate", "Latency", "Quality"]


def test_nothing_is_written_while_nothing_is_new() -> None:
    for world in (
        labelled(spec=asks() | PAUSED),
        labelled(OPEN, left(FEW), spec=asks() | PAUSED),
        labelled(OPEN, AWAY, spec=asks() | PAUSED),
        labelled(versions=[make_version(2, VersionState.RollingOut), make_version(1)], spec=asks() | PAUSED),
    ):
        first = progress_of(world)
        status = world.status.model_copy(update={"rollout": first})
        again = ChurnModelWorld(**(vars(world) | {"status": status, "labels": Absent()}))
        assert progress_of(again) == first


def test_a_new_step_begins_without_labels_and_a_guard_with_those_of_the_last() -> None:
    world = labelled(OPEN, left(RIGHT), rollout={"step": 1, "weight": 10})
    assert labels_of(world) is None
    labels = labels_of(labelled(OPEN, left(RIGHT)))
    assert labels is not None
    assert (labels.since, labels.result) == (SINCE, RIGHT)


def jobs(world: ChurnModelWorld) -> dict[str, Any]:
    built = build(world, decide(world, NOW))
    return {
        d.object["metadata"]["name"]: d.object for d in built if isinstance(d, Desired) and d.object["kind"] == "Job"
    }


NAME = labels_name("telco", "v2", SLOT)
LIVE: dict[str, Any] = {"children": (make_object("Job", NAME, {}),)}


@pytest.mark.parametrize(
    ("world", "names"),
    [
        pytest.param(labelled(spec=asks() | PAUSED), [NAME], id="a look begins"),
        pytest.param(labelled(OPEN, spec=asks() | PAUSED), [NAME], id="a Job that somebody deleted is there again"),
        pytest.param(labelled(OPEN, Running(), spec=asks() | PAUSED, **LIVE), [NAME], id="one under way stays"),
        pytest.param(labelled(OPEN, AWAY, spec=asks() | PAUSED, **LIVE), [NAME], id="as does one that ended"),
        pytest.param(labelled(OPEN, AWAY, spec=asks() | PAUSED), [], id="which is not made again for that"),
        pytest.param(
            labelled({"begun": LAST, "ended": LAST}, spec=asks() | PAUSED), [NAME], id="until the next begins"
        ),
        pytest.param(labelled({"since": SLOT}, spec=asks() | PAUSED), [], id="without an interval there is none"),
        pytest.param(labelled(OPEN), [NAME], id="a promotion leaves it alone"),
        pytest.param(guarded(OPEN), [NAME], id="and so does the guard"),
        pytest.param(labelled(OPEN, left(WRONG), **LIVE), [], id="a failure ends it"),
        pytest.param(labelled(OPEN, spec=PAUSED, **LIVE), [], id="as does a spec that asks for none"),
        pytest.param(
            labelled(DONE, Absent(), rollout={"phase": "RolledBack"}, versions=[make_version(1)], **LIVE),
            [],
            id="after it",
        ),
        pytest.param(labelled(OPEN | {"champion": "v0"}, spec=asks() | PAUSED), [], id="nobody knows the champion"),
    ],
)
def test_the_job_is_there_as_long_as_it_is_wanted(world: ChurnModelWorld, names: list[str]) -> None:
    assert list(jobs(world)) == names


def task(world: ChurnModelWorld) -> tuple[dict[str, Any], LabelsTask]:
    (job,) = jobs(world).values()
    return job, LabelsTask.model_validate_json(job["spec"]["template"]["metadata"]["annotations"][TASK_ANNOTATION])


def test_the_job_reads_what_both_were_asked_in_this_step() -> None:
    job, given = task(labelled(OPEN, spec=asks() | PAUSED))
    assert (given.champion.version, given.challenger.version) == ("v1", "v2")
    assert (given.log.uri, given.log.since, given.log.until) == ("s3://models/inference-log", SINCE, SLOT)
    assert given.source.uri == SOURCE["uri"]
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["args"][0] == "labels"
    assert [ref["secretRef"]["name"] for ref in pod["containers"][0]["envFrom"]] == ["churn-storage"]
    assert (job["spec"]["backoffLimit"], job["spec"]["activeDeadlineSeconds"]) == (0, 900)


def test_after_the_promotion_it_reads_no_more_than_that() -> None:
    _, given = task(guarded(OPEN))
    assert (given.champion.version, given.challenger.version) == ("v1", "v2")
    assert (given.log.since, given.log.until) == (SINCE, ago(minutes=5))


def test_a_look_that_outlasts_the_promotion_is_the_same_job() -> None:
    before, after = task(labelled({"begun": LAST}, spec=asks() | PAUSED)), task(guarded({"begun": LAST}))
    assert before[0]["metadata"]["name"] == after[0]["metadata"]["name"]
    assert before[1] == after[1]


def test_table_log_and_models_are_read_with_the_credentials_of_each() -> None:
    spec = asks(source=SOURCE | {"secretRef": {"name": "crm"}}) | PAUSED
    world = labelled(OPEN, spec=spec)
    storage = world.spec.storage.model_validate({"secretRef": {"name": "mine"}})
    own = ChurnModelWorld(**(vars(world) | {"spec": world.spec.model_copy(update={"storage": storage})}))
    job, _ = task(own)
    sources = job["spec"]["template"]["spec"]["containers"][0]["envFrom"]
    assert [(ref.get("prefix"), ref["secretRef"]["name"]) for ref in sources] == [
        (None, "mine"),
        ("SOURCE_", "crm"),
        ("LOG_", "churn-storage"),
    ]


def test_each_look_has_a_name_that_a_job_may_have() -> None:
    names = {labels_name("t" * 40, "v9999", begun) for begun in (SLOT, LAST)}
    assert len(names) == 2
    assert max(map(len, names)) <= 63
