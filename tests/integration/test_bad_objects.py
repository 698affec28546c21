"""Objects that are in each other's way, in a namespace that goes, or edited meanwhile: an answer each, and no crash."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.control_plane import ControlPlane
from support.keeper import API_VERSION, Keeper, Look, service
from support.mlflow_server import MlflowServer
from support.operator_process import Operator, until

from churn_operator.core.client import ApiClient
from churn_operator.core.errors import Outdated
from churn_operator.core.objects import Desired, Object

SPEC = {"data": {"source": {"uri": "s3://churn/telco.csv"}, "target": "churn"}}


def create(plane: ControlPlane, namespace: str, *objects: dict[str, Any]) -> None:
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    plane.kubectl("-n", namespace, "create", "-f", "-", stdin=listed)


def model(name: str) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": "ChurnModel", "metadata": {"name": name}, "spec": SPEC}


def objects(plane: ControlPlane, namespace: str, kinds: str) -> dict[str, dict[str, Any]]:
    items = json.loads(plane.kubectl("-n", namespace, "get", kinds, "-o", "json"))["items"]
    return {item["metadata"]["name"]: item for item in items}


def owner_of(obj: dict[str, Any]) -> str:
    (reference,) = obj["metadata"]["ownerReferences"]
    return str(reference["name"])


def condition(obj: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((c for c in obj.get("status", {}).get("conditions", ()) if c["type"] == kind), {})


@pytest.fixture
def operator(kubeconfig: Path, mlflow: MlflowServer, tmp_path: Path, namespace: str) -> Iterator[Operator]:
    """Not started yet, and in this namespace only."""
    process = Operator(kubeconfig, tmp_path, tracking_uri=mlflow.uri, watch_namespaces=namespace)
    try:
        yield process
    finally:
        process.stop()


def complaints(process: Operator) -> list[str]:
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    return [line["message"] for line in lines if line["level"] != "info" and line["logger"].startswith("churn_")]


def test_models_whose_names_begin_alike_do_not_meddle_with_each_other(
    control_plane: ControlPlane, operator: Operator, namespace: str
) -> None:
    names = ("telco", "telco-1", "telco-v1", "telco-1-train", "telco-probe")
    create(control_plane, namespace, *(model(name) for name in names))
    operator.start()
    until(lambda: len(objects(control_plane, namespace, "jobs")) == len(names))
    until(operator.is_idle)
    runs = objects(control_plane, namespace, "trainingruns")
    jobs = objects(control_plane, namespace, "jobs")
    assert {name: owner_of(run) for name, run in runs.items()} == {f"{name}-1": name for name in names}
    assert {name: owner_of(job) for name, job in jobs.items()} == {f"{name}-1-train": f"{name}-1" for name in names}
    assert complaints(operator) == []


def test_a_job_of_somebody_else_is_told_in_the_runs_status_and_left_alone(
    control_plane: ControlPlane, operator: Operator, namespace: str
) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "other", "image": "other"}]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "telco-1-train"}}
    create(control_plane, namespace, job | {"spec": {"template": {"spec": pod}}}, model("telco"))
    operator.start()

    def told() -> str:
        runs = objects(control_plane, namespace, "trainingruns")
        return str(condition(runs.get("telco-1", {}), "Succeeded").get("reason"))

    until(lambda: told() == "ChildConflict")
    assert control_plane.writes(namespace)[0] == "create trainingruns telco-1"
    assert "ownerReferences" not in objects(control_plane, namespace, "jobs")["telco-1-train"]["metadata"]


def test_a_namespace_that_goes_is_left_in_peace(
    control_plane: ControlPlane, operator: Operator, namespace: str
) -> None:
    create(control_plane, namespace, model("telco"), model("gym"))
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")
    operator.start()
    until(lambda: operator.metric('churn_operator_reconciles_total{kind="ChurnModel",outcome="going"}') == 2)
    until(operator.is_idle)
    assert operator.looks() == 2
    assert complaints(operator) == []
    assert control_plane.writes(namespace) == []


async def test_what_was_edited_during_a_look_is_looked_at_again_and_nothing_is_written_over_it(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look, api: ApiClient
) -> None:
    edits = ["one"]

    def edit(obj: Object) -> list[Desired]:
        if edits:
            control_plane.kubectl("-n", namespace, "label", "chm/telco", f"edited={edits.pop()}")
        return [Desired(service(obj))]

    keeper = Keeper(edit)
    with pytest.raises(Outdated, match="telco"):
        await look(keeper, owner)
    assert control_plane.writes(namespace) == ["patch services web"]
    await look(keeper, owner)
    assert control_plane.writes(namespace) == ["patch services web", "patch churnmodels/status telco"]
    live = await api.get(API_VERSION, "ChurnModel", namespace, "telco")
    assert live is not None
    assert live["metadata"]["labels"] == {"edited": "one"}


async def test_a_child_that_was_edited_since_it_was_read_is_not_written_over(
    control_plane: ControlPlane, namespace: str, owner: Object, look: Look, api: ApiClient
) -> None:
    await look(Keeper(lambda obj: [Desired(service(obj))]), owner)
    before = await api.get("v1", "Service", namespace, "web")
    assert before is not None
    control_plane.kubectl("-n", namespace, "label", "service/web", "edited=meanwhile")
    for late in (api.apply(service(owner, port=81), before), api.delete(before)):
        with pytest.raises(Outdated):
            await late
    after = await api.get("v1", "Service", namespace, "web")
    assert after is not None
    assert after["spec"]["ports"][0]["port"] == 80
