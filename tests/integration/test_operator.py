"""The whole process against a real API server: what it watches, what it survives, what it says."""

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.control_plane import ControlPlane
from support.keeper import INFERENCE_SERVICES
from support.operator_process import COMMAND, DEADLINE, NOWHERE, Operator, ask, until

from churn_operator.core.objects import Object


@pytest.fixture
def operator(kubeconfig: Path, tmp_path: Path) -> Iterator[Operator]:
    process = Operator(kubeconfig, tmp_path)
    process.start()
    yield process
    process.stop()


def generation_seen(control_plane: ControlPlane, owner: Object) -> int:
    namespace, name = owner["metadata"]["namespace"], owner["metadata"]["name"]
    model = json.loads(control_plane.kubectl("-n", namespace, "get", f"chm/{name}", "-o", "json"))
    return int(model.get("status", {}).get("observedGeneration", 0))


def test_a_model_gets_one_status_and_a_restart_a_label_and_a_quiet_time_write_nothing(
    control_plane: ControlPlane, operator: Operator, namespace: str, owner: Object
) -> None:
    until(lambda: generation_seen(control_plane, owner) == 1)
    assert control_plane.writes(namespace) == ["patch churnmodels/status telco"]
    operator.end(signal.SIGKILL)
    operator.start()
    until(lambda: operator.looks("ChurnModel") >= 1)
    looks = operator.looks()
    control_plane.kubectl("-n", namespace, "label", "chm/telco", "someone=else")
    until(lambda: operator.looks() > looks)
    until(operator.is_idle)
    assert control_plane.writes(namespace) == ["patch churnmodels/status telco"]


def test_a_signal_ends_it_in_good_order(operator: Operator) -> None:
    assert operator.end(signal.SIGTERM) == 0


@pytest.mark.usefixtures("operator")
def test_an_api_server_that_restarts_is_watched_again(control_plane: ControlPlane, owner: Object) -> None:
    until(lambda: generation_seen(control_plane, owner) == 1)
    control_plane.stop_api_server()
    control_plane.start_api_server()
    namespace = owner["metadata"]["namespace"]
    control_plane.kubectl("-n", namespace, "patch", "chm/telco", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    until(lambda: generation_seen(control_plane, owner) == 2)


def test_inference_services_are_watched_when_kserve_comes_later(
    control_plane: ControlPlane, operator: Operator, namespace: str
) -> None:
    control_plane.kubectl("create", "-f", "-", stdin=json.dumps(INFERENCE_SERVICES))
    try:
        control_plane.kubectl("wait", "--for=condition=Established", "crd", INFERENCE_SERVICES["metadata"]["name"])
        owner = {"apiVersion": "churnops.dev/v1alpha1", "kind": "DriftMonitor", "name": "gone", "uid": "u"}
        metadata = {
            "name": "telco-v1",
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "churn-operator"},
            "ownerReferences": [owner | {"controller": True}],
        }
        until(operator.is_idle)
        before = operator.looks("DriftMonitor")
        server = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": metadata}
        control_plane.kubectl("create", "-f", "-", stdin=json.dumps(server))
        until(lambda: operator.looks("DriftMonitor") > before)
    finally:
        control_plane.kubectl("delete", "crd", INFERENCE_SERVICES["metadata"]["name"])


def run(environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and errors of an operator that ends by itself."""
    done = subprocess.run(COMMAND, env=environment, check=False, capture_output=True, text=True, timeout=DEADLINE)
    return done.returncode, done.stderr


@pytest.fixture
def environment(kubeconfig: Path, tmp_path: Path) -> dict[str, str]:
    return Operator(kubeconfig, tmp_path).environment


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        pytest.param("CHURN_TRACKING_URI", None, "CHURN_TRACKING_URI: Field required", id="missing"),
        pytest.param("CHURN_WORKERS", "many", "CHURN_WORKERS: Input should be a valid integer", id="wrong"),
    ],
)
def test_a_setting_that_is_missing_or_wrong_is_named(
    environment: dict[str, str], name: str, value: str | None, said: str
) -> None:
    changed = {key: text for key, text in environment.items() if key != name} | ({name: value} if value else {})
    code, errors = run(changed)
    assert code == 2
    assert said in errors


def elsewhere(environment: dict[str, str], folder: Path, server: str) -> dict[str, str]:
    """The environment with a kubeconfig of another server."""
    known = json.loads(Path(environment["KUBECONFIG"]).read_text())
    known["clusters"][0]["cluster"] = {"server": server}
    (folder / "elsewhere").write_text(json.dumps(known))
    return environment | {"KUBECONFIG": str(folder / "elsewhere")}


def test_a_kubeconfig_that_is_not_there_ends_it_at_once(environment: dict[str, str], tmp_path: Path) -> None:
    code, errors = run(environment | {"KUBECONFIG": str(tmp_path / "nowhere")})
    assert code == 1
    assert "Invalid kube-config" in errors


@pytest.fixture
def early(kubeconfig: Path, tmp_path: Path) -> Iterator[Operator]:
    """One that is there before its API server."""
    process = Operator(kubeconfig, tmp_path)
    yield process
    process.stop()


def waits(operator: Operator) -> bool:
    return (
        "the API server does not answer" in operator.log.read_text() and ask(operator.health, "/healthz") == "starts\n"
    )


def test_an_api_server_that_is_not_there_yet_is_waited_for(control_plane: ControlPlane, early: Operator) -> None:
    control_plane.stop_api_server()
    try:
        early.start(wait=False)
        until(lambda: waits(early))
    finally:
        control_plane.start_api_server()
    until(early.is_ready)


def test_a_signal_ends_the_waiting_in_good_order(early: Operator, tmp_path: Path) -> None:
    early.environment = elsewhere(early.environment, tmp_path, NOWHERE)
    early.start(wait=False)
    until(lambda: waits(early))
    assert early.end(signal.SIGTERM) == 0


async def test_watches_that_an_error_ends_begin_anew(early: Operator, tmp_path: Path) -> None:
    async with TestServer(broken_api_server()) as server:
        early.environment = elsewhere(early.environment, tmp_path, str(server.make_url("")).rstrip("/"))
        early.environment["CHURN_CLUSTER"] = "test"
        early.start(wait=False)
        await asyncio.to_thread(until, lambda: len(endings(early)) >= 3)
        assert await asyncio.to_thread(early.end, signal.SIGTERM) == 0


def endings(operator: Operator) -> list[str]:
    """What it said as its watches ended, and of when they begin anew."""
    return re.findall("WatchingError: Error in the watch-stream.*; again in ", operator.log.read_text())


def broken_api_server() -> web.Application:
    """Serves every kind, lists nothing, and breaks every watch by an error that is not about its age."""
    groups = {"churnops.dev": "v1alpha1", "batch": "v1", "apiextensions.k8s.io": "v1"}
    kinds = {
        "": ["namespaces", "pods", "services", "events"],
        "batch": ["jobs"],
        "churnops.dev": ["churnmodels", "trainingruns", "driftmonitors"],
        "apiextensions.k8s.io": ["customresourcedefinitions"],
    }

    def resources(group: str) -> list[Any]:
        verbs = ["list", "watch", "patch"]
        named = {"namespaced": group != "apiextensions.k8s.io", "verbs": verbs}
        return [{"name": name, "singularName": "", "kind": name.title()} | named for name in kinds[group]]

    named = {name: {"groupVersion": f"{name}/{version}", "version": version} for name, version in groups.items()}
    listed = [{"name": name, "versions": [version], "preferredVersion": version} for name, version in named.items()]

    async def answer(request: web.Request) -> web.Response:
        if "watch" in request.query:
            error = {"kind": "Status", "code": 500, "message": "broken"}
            return web.Response(text=json.dumps({"type": "ERROR", "object": error}) + "\n")
        match request.path.strip("/").split("/"):
            case ["api"]:
                return web.json_response({"versions": ["v1"]})
            case ["apis"]:
                return web.json_response({"groups": listed})
            case ["api", "v1"]:
                return web.json_response({"resources": resources("")})
            case ["apis", group, _] if group in kinds:
                return web.json_response({"resources": resources(group)})
            case ["apis", group, *_] if group not in kinds:
                return web.Response(status=404)
            case _:
                return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    return app
