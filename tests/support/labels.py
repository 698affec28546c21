"""Worlds of a canary whose decisions are found right or wrong: version 2 beside champion 1."""

from typing import Any

from support.canary import GOOD, ago, rolling
from support.kinds import NOW, make_version

from churn_operator.api.churnmodel import VersionState
from churn_operator.api.results import encode_result
from churn_operator.api.tasks import Labelled, LabelsResult
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.churnmodel.route import RouteSeen
from churn_operator.core import clock
from churn_operator.core.job import Broken, Finished, JobState
from churn_operator.core.objects import Violation

LOGGED = "http://collector"
SOURCE = {"uri": "s3://churn/left.csv"}
SLOT = clock.stamp(NOW)
"""When the present interval began: a whole hour is the beginning of one of ten minutes."""
LAST = ago(minutes=10)
SINCE = ago(minutes=15)
AWAY = Broken(Violation("DataNotFound", "there is no file at s3://churn/left.csv"))


def result(wrong: int = 60, labelled: int = 300, *, champion: tuple[int, int] = (300, 1500)) -> LabelsResult:
    """By default a fifth of either version's decisions was wrong."""
    theirs = Labelled(version="v1", predictions=9000, customers=8000, labelled=champion[1], wrong=champion[0])
    own = Labelled(version="v2", predictions=1000, customers=900, labelled=labelled, wrong=wrong)
    return LabelsResult(champion=theirs, challenger=own, revision="version:1")


RIGHT, WRONG, FEW = result(), result(wrong=150), result(wrong=1, labelled=7)


def left(found: LabelsResult) -> Finished:
    """A Job that left it."""
    return Finished(encode_result(found))


def labelled(
    labels: dict[str, Any] | None = None, job: JobState | None = None, *, required: bool = False, **fields: Any
) -> ChurnModelWorld:
    """The second step of a canary, so far as `labels` of its status says, whose counts speak for the challenger."""
    rollout = {"version": "v2", "phase": "Shifting", "step": 2, "weight": 50, "since": SINCE}
    rollout |= fields.pop("rollout", {})
    if labels is not None:
        rollout["labels"] = {"champion": "v1", "since": SINCE} | labels
    rolls = make_version(2, VersionState.RollingOut, since=ago(minutes=30), log_url=LOGGED)
    world: dict[str, Any] = {
        "counters": GOOD,
        "versions": [rolls, make_version(1, log_url=LOGGED)],
        "route": RouteSeen({"v1": 50, "v2": 50}),
        "spec": {"analysis": {"labels": {"source": SOURCE, "required": required}}},
    }
    return rolling(rollout, **(world | ({} if job is None else {"labels": job}) | fields))


def guarded(labels: dict[str, Any] | None = None, job: JobState | None = None, **fields: Any) -> ChurnModelWorld:
    """Version 2 took the traffic five minutes ago."""
    before = {"pod": "v1", "requests": 9000, "errors": 90}
    rollout = {"phase": "Guarding", "weight": 100, "since": ago(minutes=5), "before": before}
    old = make_version(1, VersionState.Retired, since=ago(minutes=5), log_url=LOGGED)
    world = {"versions": [make_version(2, log_url=LOGGED), old], "target": "v2", "rollout": rollout}
    return labelled(labels, job, **(world | fields))
