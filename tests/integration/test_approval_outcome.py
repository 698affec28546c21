"""What comes of a decision: the operator under the chart's own roles and policies, on a real API server and MLflow."""

import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.approvals import AT, EDITS, MODEL, NUMBERS, TEAM, Case
from support.control_plane import ROOT, ControlPlane
from support.keeper import API_VERSION
from support.kinds import make_result
from support.kubelet import end_job
from support.mlflow_server import MlflowServer
from support.people import Person

from churn_operator.api.results import encode_result
from churn_operator.churnmodel import ChurnModelKind
from churn_operator.core.client import ApiClient
from churn_operator.core.cluster import Neighbours
from churn_operator.core.objects import Key, name_of
from churn_operator.core.prober import Prober
from churn_operator.core.reconcile import reconcile
from churn_operator.core.scraper import Scraper
from churn_operator.core.tracking import Tracking
from churn_operator.settings import Settings
from churn_operator.trainingrun import TrainingRunKind


@dataclass(frozen=True)
class Operator:
    """The operator under the chart's own roles and policies, with one model; its Jobs are played."""

    plane: ControlPlane
    neighbours: Neighbours
    admin: ApiClient
    model: str
    kinds: dict[str, Any]

    async def settle(self) -> None:
        for _ in range(5):
            for kind, loop in self.kinds.items():
                for obj in await self.admin.list(API_VERSION, kind, TEAM):
                    if name_of(obj).startswith(self.model):
                        key = Key(kind, TEAM, name_of(obj))
                        await reconcile(loop, key, self.neighbours, self.neighbours, datetime.now(UTC))

    async def get(self, kind: str, name: str) -> Any:
        return await self.admin.get(API_VERSION, kind, TEAM, name)

    async def put_up(self) -> Any:
        """The first run passes its gates."""
        await self.settle()
        job = await self.admin.get("batch/v1", "Job", TEAM, f"{self.model}-1-train")
        assert job is not None
        await end_job(self.admin, job, encode_result(make_result(1)))
        await self.settle()
        run = await self.get("TrainingRun", f"{self.model}-1")
        assert run["status"]["phase"] == "AwaitingApproval"
        return run


@pytest.fixture
async def operator(guarded: ControlPlane, mlflow: MlflowServer) -> AsyncIterator[Operator]:
    model = f"gym{next(NUMBERS)}"
    mlflow.register(f"{TEAM}.{model}", versions=1)
    settings = Settings(
        jobs_image="jobs:1",
        predictor_image="predictor:1",
        tracking_uri=mlflow.uri,
        storage_uri="s3://models",
        cluster="c",
    )
    kinds = {"ChurnModel": ChurnModelKind(settings), "TrainingRun": TrainingRunKind(settings)}
    async with aiohttp.ClientSession() as session, AsyncExitStack() as stack:
        clients = {}
        for user in ("chart", "admin"):
            clients[user] = await ApiClient.connect(str(guarded.kubeconfig(user)))
            stack.push_async_callback(clients[user].close)
        neighbours = Neighbours(clients["chart"], Tracking(session), Prober(session), Scraper(session))
        assert Person(guarded, "alice", TEAM).create("churnmodels", model, MODEL).ok
        yield Operator(guarded, neighbours, clients["admin"], model, kinds)


def commands_of_the_readme(run: str) -> str:
    (block,) = re.findall(r"```console\n(run=telco-3\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return str(block).replace("run=telco-3", f"run={run}")


def shell(plane: ControlPlane, user: str, script: str, folder: Path) -> str:
    """Run it as a user with a kubectl of the namespace.

    Raises:
        AssertionError: it failed; with what it said.
    """
    config = json.loads(plane.kubeconfig(user).read_text())
    config["contexts"][0]["context"]["namespace"] = TEAM
    (folder / "config").write_text(json.dumps(config))
    (folder / "kubectl").symlink_to(plane.programs["KUBECTL"])
    environment = os.environ | {"KUBECONFIG": str(folder / "config"), "PATH": f"{folder}:{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_readmes_command_approves_a_run_whose_version_is_then_served(
    guarded: ControlPlane, operator: Operator, tmp_path: Path
) -> None:
    run = await operator.put_up()
    name = run["metadata"]["name"]
    described = " ".join(guarded.kubectl("-n", TEAM, "describe", "trun", name, user="greta").split())
    assert f"kubectl churn approve {name} -n {TEAM}" in described
    assert described.count(run["status"]["evidenceDigest"]) == 2, "in its field, and in what there is to do"
    trained = (await operator.get("ChurnModel", operator.model))["status"]["conditions"][1]
    assert trained["message"].startswith(f"TrainingRun {name} (Initial) awaits approval: Every gate holds")
    assert "patched" in shell(guarded, "greta", commands_of_the_readme(name), tmp_path)
    await operator.settle()
    run = await operator.get("TrainingRun", name)
    approved = next(c for c in run["status"]["conditions"] if c["type"] == "Approved")
    assert (run["status"]["phase"], run["status"]["approval"]["by"]) == ("Accepted", "greta")
    assert approved["message"].startswith("Approved by greta at ")
    versions = (await operator.get("ChurnModel", operator.model))["status"]["versions"]
    assert [version["version"] for version in versions] == ["v1"]
    assert "Approved by greta at" in versions[0]["reason"]


async def test_the_readmes_command_is_refused_to_an_editor(
    guarded: ControlPlane, operator: Operator, tmp_path: Path
) -> None:
    run = await operator.put_up()
    with pytest.raises(AssertionError, match=EDITS.format("carol").replace("telco", operator.model)):
        shell(guarded, "carol", commands_of_the_readme(run["metadata"]["name"]), tmp_path)


async def test_a_rejected_run_says_who_and_why_and_nothing_is_served(guarded: ControlPlane, operator: Operator) -> None:
    run = await operator.put_up()
    case = Case(guarded, run["metadata"]["name"])
    written = {
        "decision": "Rejected",
        "evidenceDigest": run["status"]["evidenceDigest"],
        "comment": "too few pensioners",
    }
    assert case.approve(**written).ok
    await operator.settle()
    model = await operator.get("ChurnModel", operator.model)
    trained = next(c for c in model["status"]["conditions"] if c["type"] == "Trained")
    assert (await operator.get("TrainingRun", case.run))["status"]["phase"] == "Rejected"
    assert trained["reason"] == "RunNotApproved"
    assert f"was not approved: Rejected by bob at {AT}: too few pensioners" in trained["message"]
    assert not model["status"].get("versions")
    by_hand = {"modelRef": {"name": operator.model}, "requestedBy": "alice"}
    assert case.alice.create("trainingruns", f"{operator.model}-2", by_hand).ok
    await operator.settle()
    again = await operator.get("TrainingRun", f"{operator.model}-2")
    assert again["status"]["resolved"]["task"]["trigger"] == "Manual"


async def test_the_file_approves_a_run_as_well(guarded: ControlPlane, operator: Operator) -> None:
    run = await operator.put_up()
    approved = [{"version": "v1", "evidenceDigest": run["status"]["evidenceDigest"]}]
    path, body = f"churnmodels/{operator.model}", {"spec": {"approval": {"approved": approved}}}
    assert Person(guarded, "heidi", TEAM).merge(path, body).ok
    await operator.settle()
    run = await operator.get("TrainingRun", run["metadata"]["name"])
    said = next(c for c in run["status"]["conditions"] if c["type"] == "Approved")
    assert (run["status"]["phase"], said["reason"]) == ("Accepted", "Approved")
    assert said["message"] == f"Approved by spec.approval.approved of ChurnModel {operator.model}."
