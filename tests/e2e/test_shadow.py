"""A challenger is asked what clients asked the champion, and takes its place when it answers as well."""

import secrets

import pytest
import yaml
from hack.demo.kube import Object, holds, wait_until
from hack.demo.load import send
from hack.demo.stage import SAMPLES, Stage, members

ASKED = 300


@pytest.fixture(scope="module")
def gym(stage: Stage) -> Stage:
    stage.publish_file(SAMPLES / "gym" / "gym.csv", "gym.csv")
    model = yaml.safe_load(stage.sample("gym/churnmodel.yaml"))
    model["spec"]["rollout"] = {
        "strategy": "Shadow",
        "shadow": {"requests": 200, "requestsPerSecond": 50, "minAgreement": 0.9},
        "guard": "30s",
    }
    stage.kubectl.apply(yaml.safe_dump(model))
    wait_until("champion v1", lambda: champion(stage, "v1"), seconds=300, diagnose=stage.kubectl.diagnose)
    return stage


def champion(stage: Stage, version: str) -> Object | None:
    model = stage.kubectl.get("churnmodels", "gym") or {}
    serves = model.get("status", {}).get("summary", {}).get("champion") == version
    return model if serves and holds(model, "Ready") else None


def clients(stage: Stage) -> int:
    """How many of their requests the log has."""
    log = stage.logged("gym")
    return int((log.kind == "Client").sum()) if len(log) else 0


def test_a_challenger_that_answers_the_champions_clients_as_well_takes_its_place(gym: Stage) -> None:
    send(gym.endpoint("gym"), members()[:ASKED], name=secrets.token_hex(4), at_once=1)
    wait_until("the log", lambda: clients(gym) >= ASKED, seconds=60, diagnose=gym.kubectl.diagnose)
    gym.kubectl.apply(
        "{apiVersion: churnops.dev/v1alpha1, kind: TrainingRun, metadata: {name: gym-2}, "
        f"spec: {{modelRef: {{name: gym}}, reason: a shadow is wanted, requestedBy: {gym.kubectl.whoami()}}}}}"
    )
    model = wait_until("champion v2", lambda: champion(gym, "v2"), seconds=240, diagnose=gym.kubectl.diagnose)
    replayed = model["status"]["rollout"]["shadow"]["result"]
    assert (replayed["requests"], replayed["errors"], replayed["agreement"]) == (200, 0, 1)
    assert clients(gym) == ASKED, "what is asked again is nobody's request"
