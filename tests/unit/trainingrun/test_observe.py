"""What a run reads of MLflow, where anybody can write tags."""

from typing import Any

import pytest
from support.kinds import NOW, SETTINGS, make_object
from support.memory import MemoryCluster

from churn_operator.api.tasks import PROGRESS_TAG
from churn_operator.core.kind import RunView
from churn_operator.core.objects import MODEL_LABEL, Key, child_metadata
from churn_operator.trainingrun.observe import RUN_LABEL, TrainingRunWorld, observe

LABELS = {MODEL_LABEL: "telco", RUN_LABEL: "telco-1", "batch.kubernetes.io/job-name": "telco-1-train"}


class Tagged(MemoryCluster):
    """A cluster whose MLflow has a run with this progress."""

    progress: str = '{"percent": 40, "step": "fit"}'
    searches: int = 0

    async def find_run(self, tracking_uri: str, uid: str) -> RunView | None:  # noqa: ARG002 - the interface
        self.searches += 1
        self._track()
        return RunView("r1", "1", {PROGRESS_TAG: self.progress})

    def put(self, kind: str, name: str, spec: dict[str, Any], owner: dict[str, Any], **status: Any) -> dict[str, Any]:
        made = make_object(kind, name, spec) | {"status": status}
        made["metadata"] |= child_metadata(owner, name, **LABELS)
        self.objects[kind, name] = made
        return made


def cluster_with(container: dict[str, Any] | None, **verdict: Any) -> Tagged:
    """A run; with its Job where its container has a state."""
    cluster = Tagged()
    run = make_object("TrainingRun", "telco-1", {"modelRef": {"name": "telco"}})
    cluster.objects["TrainingRun", "telco-1"] = run
    if container is not None:
        job = cluster.put("Job", "telco-1-train", {}, run, **verdict)
        spec = {"containers": [{"name": "job"}]}
        cluster.put("Pod", "telco-1-train-x", spec, job, containerStatuses=[{"name": "job", "state": container}])
    return cluster


async def seen(cluster: MemoryCluster) -> TrainingRunWorld:
    world = await observe(SETTINGS, cluster, Key("TrainingRun", "team", "telco-1"), NOW)
    assert world is not None
    return world


RUNS = {"running": {"startedAt": "2026-11-21T12:00:00Z"}}
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}


@pytest.mark.parametrize(
    ("tag", "percent"),
    [
        pytest.param('{"percent": 40, "step": "fit"}', 40, id="as the Job writes it"),
        pytest.param("nearly done", None, id="no JSON"),
        pytest.param('{"percent": "much"}', None, id="no number"),
        pytest.param("[]", None, id="another shape"),
    ],
)
async def test_a_progress_that_cannot_be_read_is_none(tag: str, percent: int | None) -> None:
    cluster = cluster_with(RUNS)
    cluster.progress = tag
    world = await seen(cluster)
    assert (world.progress.percent if world.progress else None) == percent


@pytest.mark.parametrize(
    ("cluster", "searches", "problem"),
    [
        pytest.param(cluster_with(None), 0, True, id="without a Job only whether MLflow answers counts"),
        pytest.param(cluster_with({}), 0, False, id="a Job that has not begun wrote nothing yet"),
        pytest.param(cluster_with(RUNS), 1, True, id="one that runs tells of its progress"),
        pytest.param(cluster_with({}, **COMPLETE), 1, True, id="one that ended left its result there"),
    ],
)
async def test_mlflow_is_asked_for_what_it_can_know(cluster: Tagged, searches: int, *, problem: bool) -> None:
    cluster.tracking = False
    world = await seen(cluster)
    assert cluster.searches == searches
    assert (world.tracking_problem is not None) is problem
