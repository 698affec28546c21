"""Neighbours of the real cluster that are away: serving goes on, and what waits goes on by itself."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
import yaml
from hack.demo.kube import Kubectl, Object, condition, holds, wait_until
from hack.demo.stage import SAMPLES, Stage
from hack.demo.storage import NAMESPACE as NEIGHBOURS

T = TypeVar("T")
SELECTOR = "serving.kserve.io/inferenceservice=gym-v1"
NO_VERSIONS: Object = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "no-versions"},
    "spec": {"hard": {"count/inferenceservices.serving.kserve.io": "0"}},
}
"""Those that are there stay; none comes."""


@pytest.fixture(scope="module")
def gym(stage: Stage) -> Stage:
    """A model that serves."""
    stage.publish_file(SAMPLES / "gym" / "gym.csv", "gym.csv")
    manifest = yaml.safe_load(stage.sample("gym/churnmodel.yaml"))
    manifest["spec"]["rollout"] = {"guard": "1s"}  # else one version waits for hours behind the one before
    stage.kubectl.apply(yaml.safe_dump(manifest))
    wait(stage, "ChurnModel gym Ready", lambda: holds(model(stage), "Ready"), 240)
    return stage


def wait(stage: Stage, what: str, look: Callable[[], T | None], seconds: float) -> T:
    return wait_until(what, look, seconds=seconds, diagnose=stage.kubectl.diagnose)


def model(stage: Stage) -> Object | None:
    return stage.kubectl.get("churnmodels", "gym")


def serves(stage: Stage, version: str) -> bool:
    status = (model(stage) or {})["status"]
    return status["summary"]["champion"] == version and holds({"status": status}, "Ready")


def run_of_gym(name: str, reason: str, by: str) -> str:
    spec = {"modelRef": {"name": "gym"}, "reason": reason, "requestedBy": by}
    run = {"apiVersion": "churnops.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": name}, "spec": spec}
    return json.dumps(run)


@contextmanager
def away(stage: Stage, name: str) -> Iterator[None]:
    """No pod of this neighbour."""
    neighbours = Kubectl(NEIGHBOURS)
    neighbours.run("scale", "deployment", name, "--replicas=0")
    wait(stage, f"no pod of {name}", lambda: not neighbours.list("pods", f"app={name}"), 60)
    try:
        yield
    finally:
        neighbours.run("scale", "deployment", name, "--replicas=1")
        neighbours.run("rollout", "status", f"deployment/{name}", "--timeout=120s")


@pytest.mark.usefixtures("nobody_installs")
def test_a_predictor_that_is_restarted_while_mlflow_is_away_comes_ready(gym: Stage) -> None:
    (before,) = gym.kubectl.list("pods", SELECTOR)

    def another() -> Object | None:
        pods = gym.kubectl.list("pods", SELECTOR)
        return next((p for p in pods if p["metadata"]["uid"] != before["metadata"]["uid"] and holds(p, "Ready")), None)

    def told() -> Object | None:
        trained = condition(model(gym), "Trained")
        return trained if trained["reason"] == "TrackingUnavailable" else None

    with away(gym, "mlflow"):
        gym.kubectl.delete("pods", before["metadata"]["name"])
        wait(gym, "another pod Ready", another, 120)
        message = wait(gym, "who is away", told, 60)["message"]
        assert re.match(rf"Since \S+Z: MLflow at http://mlflow\.{NEIGHBOURS}", message), message
        wait(gym, "ChurnModel gym Ready", lambda: holds(model(gym), "Ready"), 60)
    wait(gym, "MLflow back", lambda: condition(model(gym), "Trained")["reason"] == "RunAccepted", 120)


@pytest.mark.usefixtures("nobody_installs")
def test_a_run_that_finds_no_object_store_goes_on_when_it_is_back(gym: Stage) -> None:
    def given_up() -> str | None:
        for pod in gym.kubectl.list("pods", "churnops.dev/run=gym-7"):
            for status in pod["status"].get("containerStatuses", ()):
                if ended := status["state"].get("terminated"):
                    return str(ended.get("message"))
        return None

    def told() -> str | None:
        message = str(condition(gym.kubectl.get("trainingruns", "gym-7"), "Succeeded").get("message", ""))
        return message if "Attempt" in message else None

    def finished() -> Object | None:
        live = gym.kubectl.get("trainingruns", "gym-7")
        return live if "finishedAt" in (live or {}).get("status", {}) else None

    with away(gym, "object-store"):
        gym.kubectl.apply(run_of_gym("gym-7", "to see what it does without an object store", gym.kubectl.whoami()))
        said = wait(gym, "an attempt without an object store", given_up, 120)
        assert "Unavailable" in said or "DataUnreachable" in said, said
        message = wait(gym, "who is away, and since when", told, 60)
        assert re.match(r"Since \S+Z: .*Attempt \d of 7", message), message
        assert finished() is None
        assert holds(model(gym), "Ready")
    ended = wait(gym, "the verdict on gym-7", finished, 240)
    assert holds(ended, "Succeeded"), ended["status"]
    wait(gym, "v7 serving", lambda: serves(gym, "v7"), 240)
    jobs = [job["metadata"]["name"] for job in gym.kubectl.list("jobs", "churnops.dev/run=gym-7")]
    assert jobs == ["gym-7-train"]


def test_a_version_that_a_quota_refuses_waits_and_serves_when_the_quota_is_raised(gym: Stage) -> None:
    gym.kubectl.apply(json.dumps(NO_VERSIONS))
    gym.kubectl.apply(run_of_gym("gym-8", "to see what it does without room", gym.kubectl.whoami()))

    def refused() -> str | None:
        said = condition(model(gym), "RolloutHealthy")
        return str(said["message"]) if (said["status"], said["reason"]) == ("False", "Refused") else None

    message = wait(gym, "who refuses", refused, 240)
    assert "gym-v8" in message, message
    assert "exceeded quota: no-versions" in message, message
    assert holds(model(gym), "Ready"), "the champion serves meanwhile"
    gym.kubectl.run("delete", "resourcequota", "no-versions")
    wait(gym, "v8 serving", lambda: serves(gym, "v8"), 240)
