"""What a run reads of MLflow, where anybody can write tags."""

import pytest
from support.kinds import NOW, SETTINGS, make_object
from support.memory import MemoryCluster

from churn_operator.api.tasks import PROGRESS_TAG
from churn_operator.core.kind import RunView
from churn_operator.core.objects import Key
from churn_operator.trainingrun.observe import observe


class Tagged(MemoryCluster):
    """A cluster whose MLflow has a run with this progress."""

    progress: str

    async def find_run(self, tracking_uri: str, uid: str) -> RunView | None:  # noqa: ARG002 - the interface
        return RunView("r1", "1", {PROGRESS_TAG: self.progress})


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
    cluster = Tagged()
    cluster.progress = tag
    cluster.objects["TrainingRun", "telco-1"] = make_object("TrainingRun", "telco-1", {"modelRef": {"name": "telco"}})
    world = await observe(SETTINGS, cluster, Key("TrainingRun", "team", "telco-1"), NOW)
    assert world is not None
    assert (world.progress.percent if world.progress else None) == percent
