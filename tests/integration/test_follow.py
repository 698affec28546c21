"""Somebody points the alias `champion` elsewhere: a real MLflow, a real API server, and the Job's own code."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from integration.test_lifecycle import SPEC, Life, install_kserve, remove_kserve
from support.control_plane import ControlPlane
from support.keeper import API_VERSION
from support.mlflow_server import MlflowServer
from unit.jobs.making import customers

from churn_operator.api.results import encode_result
from churn_operator.api.tasks import EXIT_REFUSED, TrainResult, TrainTask
from churn_operator.churnmodel import ChurnModelKind
from churn_operator.core import tracking
from churn_operator.core.client import ApiClient
from churn_operator.core.cluster import Neighbours
from churn_operator.jobs.train import train
from churn_operator.settings import Settings
from churn_operator.storage.failure import Refused
from churn_operator.trainingrun import TrainingRunKind

LEARN: dict[str, Any] = {"estimators": [{"name": "LogisticRegression"}], "crossValidation": {"folds": 3}}
MODEL = {
    "data": {"source": {"uri": "s3://churn/customers.csv"}, "target": "left", "idColumn": "id"},
    "training": LEARN,
    "gates": [{"name": "quality", "metric": "roc_auc", "min": 0.6}, {"name": "champion", "champion": {}}],
    "registry": {"follow": True},
    "retraining": {"triggers": []},
    "rollout": SPEC["rollout"],
}


class Followed(Life):
    """A life whose training Jobs are carried out in earnest."""

    mlflow: MlflowServer
    folder: Path

    @property
    def registered(self) -> str:
        return f"{self.namespace}.telco"

    async def work(self, job: str, table: str = "customers.csv", **changes: Any) -> TrainResult | Refused:
        """What the Job's pod does; changes make it another's, on a laptop."""
        live = await self.get("Job", job, "batch/v1")
        asked = json.loads(live["spec"]["template"]["metadata"]["annotations"]["churnops.dev/task"])
        asked["data"]["source"]["uri"] = str(self.folder / table)
        asked["storageUri"] = str(self.folder / "storage")
        task = TrainTask.model_validate(asked | changes)
        try:
            return await asyncio.to_thread(train, task)
        except Refused as error:
            return error

    async def carry_out(self, job: str) -> TrainResult | Refused:
        """The Job, to its end."""
        came = await self.work(job)
        if isinstance(came, Refused):
            await self.end(job, encode_result(came.to_failure()), EXIT_REFUSED)
        else:
            await self.end(job, encode_result(came))
        await self.settle()
        return came

    async def point(self, version: str) -> None:
        """By MLflow's own client."""
        script = (
            "import mlflow, sys; _, uri, name, version = sys.argv; "
            "mlflow.MlflowClient(uri).set_registered_model_alias(name, 'champion', version)"
        )
        command = [sys.executable, "-c", script, self.mlflow.uri, self.registered, version]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)

    async def alias(self) -> str | None:
        return await self.neighbours.alias(self.mlflow.uri, self.registered, "champion")

    async def status(self) -> Any:
        return (await self.get("ChurnModel", "telco"))["status"]

    def runs(self) -> list[str]:
        return self.kubectl("get", "trun", "-o=name").replace("trainingrun.churnops.dev/", "").split()

    def told(self, reason: str) -> str:
        """What the events of that reason say."""
        return self.kubectl("get", "events", f"--field-selector=reason={reason}", "-o=jsonpath={.items[*].message}")


@pytest.fixture(autouse=True)
def _ask_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What MLflow said last is not believed."""
    monkeypatch.setattr(tracking, "BELIEVED", 0.0)


@pytest.fixture
async def life(
    control_plane: ControlPlane,
    api: ApiClient,
    neighbours: Neighbours,
    namespace: str,
    mlflow: MlflowServer,
    tmp_path: Path,
) -> AsyncIterator[Followed]:
    """Version 1 serves, and is version 1 of the registered model."""
    settings = Settings(
        jobs_image="jobs:1",
        predictor_image="predictor:1",
        tracking_uri=mlflow.uri,
        storage_uri="s3://models",
        cluster="cluster-1",
    )
    kinds = {"ChurnModel": ChurnModelKind(settings), "TrainingRun": TrainingRunKind(settings)}
    life = Followed(control_plane, api, neighbours, namespace, kinds)
    life.mlflow, life.folder = mlflow, tmp_path
    customers(800).to_csv(tmp_path / "customers.csv", index=False)
    neighbours.predict = life.predict  # servers are played here
    install_kserve(control_plane)
    model = {"apiVersion": API_VERSION, "kind": "ChurnModel", "metadata": {"name": "telco"}, "spec": MODEL}
    life.kubectl("create", "-f", "-", stdin=json.dumps(model))
    await life.settle()
    await life.carry_out("telco-1-train")
    life.serve("telco-v1")
    await life.settle()
    assert (await life.alias(), (await life.status())["alias"]) == ("1", "1")
    yield life
    remove_kserve(control_plane)


async def test_a_version_that_somebody_registered_is_followed_through_the_gates(life: Followed) -> None:
    theirs = LEARN | {"estimators": [{"name": "LogisticRegression", "params": {"C": 0.5}}]}
    made = await life.work("telco-1-train", uid="on a laptop", run="mine", training=theirs)
    assert isinstance(made, TrainResult)
    await life.point(made.registry_version)
    await life.settle()
    run = await life.get("TrainingRun", "telco-2")
    assert (run["spec"]["trigger"], run["spec"]["candidate"]) == ("RegistryMoved", {"registryVersion": "2"})
    assert run["status"]["resolved"]["task"]["champion"]["version"] == "v1"
    assert await life.alias() == "1"
    assert "pointed at version 2, and points at version 1 now. TrainingRun telco-2 judges version 2." in life.told(
        "AliasMoved"
    )
    judged = await life.carry_out("telco-2-train")
    assert isinstance(judged, TrainResult)
    assert (judged.model, judged.registry_version) == (made.model, "2")
    assert [v["verdict"] for v in (await life.get("TrainingRun", "telco-2"))["status"]["verdicts"]] == ["Passed"] * 2
    life.serve("telco-v2")
    await life.settle()
    newest = (await life.status())["versions"][0]
    assert (newest["version"], newest["state"], newest["candidate"]) == ("v2", "Champion", {"registryVersion": "2"})
    assert await life.alias() == "2"
    assert life.runs() == ["telco-1", "telco-2"]


async def test_a_version_that_fails_a_gate_leaves_the_champion_and_asks_no_second_time(life: Followed) -> None:
    turned = customers(800)
    turned["left"] = turned["left"].map({"Yes": "No", "No": "Yes"})
    turned.to_csv(life.folder / "turned.csv", index=False)
    made = await life.work("telco-1-train", table="turned.csv", uid="turned", run="mine")
    assert isinstance(made, TrainResult)
    await life.point(made.registry_version)
    await life.settle()
    await life.carry_out("telco-2-train")
    run = await life.get("TrainingRun", "telco-2")
    assert (run["status"]["phase"], run["status"]["reason"]) == ("Rejected", "GateFailed")
    assert "TrainingRun telco-2 (RegistryMoved) was rejected: Gate quality: roc_auc is" in life.told("RunRejected")
    await life.point(made.registry_version)
    await life.settle()
    assert "TrainingRun telco-2 has judged version 2: Rejected, GateFailed." in life.told("AliasMoved")
    assert await life.alias() == "1"
    assert life.runs() == ["telco-1", "telco-2"]


async def test_what_is_no_model_is_refused_and_told(life: Followed) -> None:
    life.mlflow.version(life.registered)
    await life.point("2")
    await life.settle()
    refused = await life.carry_out("telco-2-train")
    assert isinstance(refused, Refused)
    assert (await life.get("TrainingRun", "telco-2"))["status"]["reason"] == "CandidateUnfit"
    assert "version 2 of the registered model has no digest in its tag" in life.told("RunFailed")
    assert await life.alias() == "1"
    await life.settle()
    assert life.runs() == ["telco-1", "telco-2"]


async def test_without_follow_the_alias_goes_back_and_nothing_opens(life: Followed) -> None:
    life.kubectl("patch", "chm", "telco", "--type=merge", "-p", '{"spec": {"registry": {"follow": false}}}')
    life.mlflow.version(life.registered)
    await life.point("2")
    await life.settle()
    assert await life.alias() == "1"
    assert "pointed at version 2, and points at version 1 now." in life.told("AliasMoved")
    assert life.runs() == ["telco-1"]
    assert "alias" not in await life.status()
