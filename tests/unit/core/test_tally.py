"""What the metrics are told: each end of a Job once, and the age of what waits."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from support.kinds import NOW

from churn_operator.core.clock import stamp
from churn_operator.core.objects import Object, Page
from churn_operator.core.store import Store
from churn_operator.core.tally import RETRAINING, RUN, Tally

HOUR = timedelta(hours=1)


def ended(uid: str, kind: str = "Complete", reason: str = "CompletionsReached", role: str = "train") -> dict[str, Any]:
    condition = {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": stamp(NOW)}
    return {
        "kind": "Job",
        "metadata": {"name": uid, "namespace": "team", "uid": uid, "labels": {"churnops.dev/role": role}},
        "status": {"startTime": stamp(NOW - HOUR), "conditions": [condition]},
    }


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"churn_operator_{name}", labels) or 0.0


def test_a_jobs_end_is_counted_once_with_the_time_it_took() -> None:
    tally = Tally(lambda: NOW)
    before = sample("jobs_total", role="train", outcome="Complete"), sample("job_seconds_sum", role="train")
    running = {**ended("a"), "status": {"startTime": stamp(NOW - HOUR)}}
    for job in (running, ended("a"), ended("a")):
        tally(job, gone=False, first=False)
    tally(ended("a"), gone=True, first=False)
    after = sample("jobs_total", role="train", outcome="Complete"), sample("job_seconds_sum", role="train")
    assert (after[0] - before[0], after[1] - before[1]) == (1, 3600)


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [("DeadlineExceeded", "DeadlineExceeded"), ("SomethingNew", "Other")],
    ids=["an outcome that is known", "any other, so that their number is bounded"],
)
def test_a_jobs_failure_is_counted_by_its_reason(reason: str, outcome: str) -> None:
    before = sample("jobs_total", role="drift", outcome=outcome)
    Tally(lambda: NOW)(ended("b", "Failed", reason, role="drift"), gone=False, first=False)
    assert sample("jobs_total", role="drift", outcome=outcome) == before + 1


def test_a_job_that_ended_before_this_process_started_is_not_counted_again() -> None:
    tally = Tally(lambda: NOW)
    before = sample("jobs_total", role="train", outcome="Complete")
    tally(ended("c"), gone=False, first=True)
    tally(ended("c"), gone=False, first=False)
    assert sample("jobs_total", role="train", outcome="Complete") == before


def made(kind: str, name: str, age: timedelta, **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team", "uid": name, "resourceVersion": "1"}
    return {"kind": kind, "metadata": metadata | {"creationTimestamp": stamp(NOW - age)}, "status": status}


def test_the_oldest_run_in_flight_is_told_until_it_is_finished_or_gone() -> None:
    tally = Tally(lambda: NOW)
    assert tally.oldest(RUN) == 0
    for name, age in (("a", 3 * HOUR), ("b", 2 * HOUR), ("c", HOUR)):
        tally(made("TrainingRun", name, age), gone=False, first=True)
    assert tally.oldest(RUN) == 3 * 3600
    tally(made("TrainingRun", "a", 3 * HOUR, finishedAt=stamp(NOW)), gone=False, first=False)
    assert tally.oldest(RUN) == 2 * 3600
    tally(made("TrainingRun", "b", 2 * HOUR), gone=True, first=False)
    assert tally.oldest(RUN) == 3600


async def test_a_run_that_went_while_no_watch_was_open_does_not_stay_the_oldest() -> None:
    tally, store = Tally(lambda: NOW), Store(lambda: 0.0)
    store.news = (tally,)
    old, young = made("TrainingRun", "old", 3 * HOUR), made("TrainingRun", "young", HOUR)
    await store.fill("TrainingRun", listed(old, young))
    assert tally.oldest(RUN) == 3 * 3600
    await store.fill("TrainingRun", listed(young))
    assert tally.oldest(RUN) == 3600


async def listed(*objects: Object) -> AsyncIterator[Page]:
    yield Page("", 1, objects)


def test_a_held_retraining_is_as_old_as_this_process_has_seen_it() -> None:
    now = NOW
    tally = Tally(lambda: now)
    held = made("ChurnModel", "telco", 5 * HOUR, retraining={"trigger": "Drift", "heldBy": "CoolingDown"})
    tally(held, gone=False, first=False)
    now = NOW + HOUR
    tally(held, gone=False, first=False)
    assert tally.oldest(RETRAINING) == 3600
    tally(made("ChurnModel", "telco", 5 * HOUR), gone=False, first=False)
    assert tally.oldest(RETRAINING) == 0


def rolled(version: str, phase: str) -> dict[str, Any]:
    rollout = {"version": version, "phase": phase, "began": stamp(NOW), "since": stamp(NOW + timedelta(seconds=40))}
    return made("ChurnModel", "telco", HOUR, rollout=rollout)


@pytest.mark.parametrize(
    ("phases", "outcome", "counted"),
    [
        pytest.param(["Starting", "Shifting", "Guarding", "Complete"], "Promoted", 1, id="a promotion once"),
        pytest.param(["Starting", "RolledBack", "RolledBack"], "RolledBack", 1, id="an end once"),
        pytest.param(["Guarding", "RolledBack"], "RolledBack", 1, id="a rollback after a promotion"),
        pytest.param(["Starting", "Shifting"], "Promoted", 0, id="what goes on not at all"),
    ],
)
def test_the_end_of_a_rollout_is_timed(phases: list[str], outcome: str, counted: int) -> None:
    before = sample("rollout_seconds_count", outcome=outcome), sample("rollout_seconds_sum", outcome=outcome)
    tally = Tally(lambda: NOW)
    for phase in phases:
        tally(rolled("v2", phase), gone=False, first=False)
    after = sample("rollout_seconds_count", outcome=outcome), sample("rollout_seconds_sum", outcome=outcome)
    assert (after[0] - before[0], after[1] - before[1]) == (counted, 40 * counted)


def test_a_rollout_that_had_ended_before_the_operator_started_is_not_timed() -> None:
    tally, before = Tally(lambda: NOW), sample("rollout_seconds_count", outcome="Promoted")
    tally(rolled("v2", "Complete"), gone=False, first=True)
    tally(rolled("v2", "Complete"), gone=False, first=False)
    tally(rolled("v2", "Complete"), gone=True, first=False)
    assert sample("rollout_seconds_count", outcome="Promoted") == before


Shares = dict[str, int]
OWN, SPLIT, ALL = {"v1": 100}, {"v1": 80, "v2": 20}, {"v2": 100}


def rolling(version: str, phase: str, traffic: Shares, champion: str = "v1", reason: str = "") -> Object:
    rollout = {"version": version, "phase": phase, "began": stamp(NOW - HOUR), "since": stamp(NOW), "reason": reason}
    shares = [{"version": version, "percent": percent} for version, percent in traffic.items()]
    return made("ChurnModel", "telco", HOUR, rollout=rollout, traffic=shares, summary={"champion": champion})


def back(traffic: Shares, version: str = "v2") -> Object:
    return rolling(version, "RolledBack", traffic, reason="AnalysisFailed")


def rollbacks(*seen: tuple[float, Object], first: bool = False) -> tuple[float, float]:
    """How many were timed, and for how many seconds in all, of a model seen so many seconds after the verdict."""
    now = NOW
    tally = Tally(lambda: now)
    before = sample("rollback_seconds_count"), sample("rollback_seconds_sum")
    for number, (seconds, model) in enumerate(seen):
        now = NOW + timedelta(seconds=seconds)
        tally(model, gone=False, first=first and number == 0)
    return sample("rollback_seconds_count") - before[0], sample("rollback_seconds_sum") - before[1]


@pytest.mark.parametrize(
    ("seen", "timed"),
    [
        pytest.param([back(SPLIT), back(SPLIT), back(OWN), back(OWN)], (1, 2), id="since the verdict, once"),
        pytest.param([back(ALL), back(OWN)], (1, 1), id="of a champion in its guard time, too"),
        pytest.param([back(OWN)], (0, 0), id="not of a version that had none"),
        pytest.param([back({"v1": 100, "v2": 0}), back(OWN)], (0, 0), id="nor of one whose share was none"),
        pytest.param(
            [back({}), rolling("v3", "Complete", {"v3": 100}, "v3")], (0, 0), id="nor where nobody had any"
        ),
        pytest.param([back({"v0": 100}), back(OWN)], (0, 0), id="nor while another one stood in"),
        pytest.param([back(SPLIT), rolling("v3", "Starting", OWN)], (1, 1), id="though the next one begins at once"),
        pytest.param(
            [back(SPLIT), rolling("v3", "Starting", SPLIT), rolling("v3", "Complete", {"v3": 100}, "v3")],
            (0, 0),
            id="never by the traffic of the next one",
        ),
        pytest.param(
            [back(SPLIT), rolling("v2", "Starting", SPLIT), rolling("v2", "Complete", ALL, "v2")],
            (0, 0),
            id="nor by its own, once it is called back",
        ),
    ],
)  # fmt: skip
def test_the_time_until_traffic_is_back_is_told(seen: list[Object], timed: tuple[float, float]) -> None:
    assert rollbacks(*((float(second), model) for second, model in enumerate(seen))) == timed


def with_order(model: Object, at: str) -> Object:
    return {**model, "status": model["status"] | {"command": {"action": "Abort", "at": at}}}


@pytest.mark.parametrize(
    "at", ["2026-01-01T00:00:00Z", "2031-01-01T00:00:00Z", "anon"], ids=["long ago", "in years", "no time at all"]
)
def test_an_order_counts_from_the_moment_it_was_first_seen_whatever_it_says(at: str) -> None:
    shifting, aborted = (
        rolling("v2", phase, SPLIT, reason=reason) for phase, reason in (("Shifting", ""), ("RolledBack", "Aborted"))
    )
    gone = rolling("v2", "RolledBack", OWN, reason="Aborted")
    ordered = [(2.0, with_order(shifting, at)), (3.0, with_order(shifting, at)), (4.0, with_order(aborted, at))]
    assert rollbacks((1.0, shifting), *ordered, (7.0, with_order(gone, at))) == (1, 5)
    assert rollbacks((1.0, with_order(shifting, "an older one")), *ordered, (7.0, with_order(gone, at))) == (1, 5)
    assert rollbacks(*ordered[1:], (7.0, with_order(gone, at)), first=True) == (1, 7), "else from the rollout's end"


def test_an_order_that_asks_for_something_else_counts_for_nothing() -> None:
    promoted = with_order(rolling("v2", "Shifting", SPLIT), "2026-01-01T00:00:00Z")
    assert rollbacks((-5.0, promoted), (0.0, with_order(back(SPLIT), "2026-01-01T00:00:00Z")), (3.0, back(OWN))) == (
        1,
        3,
    )
