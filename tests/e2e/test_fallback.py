"""Somebody answers while the champion's pods are gone, and the champion again when they are back."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import yaml
from hack.demo.kube import Object, condition, holds, wait_until
from hack.demo.load import Load, predict
from hack.demo.stage import SAMPLES, Stage, members

T = TypeVar("T")
PROBABILITY = 0.2
NO_PODS = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "no-pods"},
    "spec": {"hard": {"pods": "0"}},
}
"""Pods that are there stay; none comes."""
SETTLED = 2.0
"""Seconds within which a request that was sent to a pod that is gone has failed."""


@pytest.fixture(scope="module")
def gym(stage: Stage) -> Stage:
    """A model whose champion v1 serves, and beside it a constant that could."""
    stage.publish_file(SAMPLES / "gym" / "gym.csv", "gym.csv")
    manifest = yaml.safe_load(stage.sample("gym/churnmodel.yaml"))
    manifest["spec"]["serving"] = {"fallback": {"probability": PROBABILITY}}
    manifest["spec"]["rollout"] = {"guard": "1s"}  # else it is the version before that takes the traffic back
    stage.kubectl.apply(yaml.safe_dump(manifest))
    serving(stage, "v1")
    return stage


def wait(stage: Stage, what: str, look: Callable[[], T | None], seconds: float = 180) -> T:
    return wait_until(what, look, seconds=seconds, diagnose=stage.kubectl.diagnose)


def status(stage: Stage) -> Object:
    found: Object = (stage.kubectl.get("churnmodels", "gym") or {}).get("status", {})
    return found


def ready(stage: Stage) -> Object:
    return condition({"status": status(stage)}, "Ready")


def serving(stage: Stage, version: str) -> None:
    """The champion answers, and its fallback could: what a fallback lacks is told behind the champion's full stop."""

    def is_serving() -> bool:
        now = status(stage)
        message = condition({"status": now}, "Ready").get("message", "")
        well = holds({"status": now}, "Ready") and message.endswith(":predict.") and "fallback" not in now
        return well and now["summary"].get("champion") == version and now["rollout"]["phase"] == "Complete"

    wait(stage, f"champion {version} and its fallback", is_serving, 300)


@contextmanager
def gone(stage: Stage, version: str) -> Iterator[None]:
    """No pod of this version, and none comes until the block ends."""
    selector = f"serving.kserve.io/inferenceservice=gym-{version}"

    def are_back() -> list[Object]:
        # The controller that could not make them tries again ever more seldom, unless its object changes.
        stage.kubectl.run("annotate", "replicasets", f"--selector={selector}", f"seen={time.time()}", "--overwrite")
        return stage.kubectl.list("pods", selector)

    stage.kubectl.apply(json.dumps(NO_PODS))
    try:
        stage.kubectl.run("delete", "pods", f"--selector={selector}", "--grace-period=0", "--force")
        yield
    finally:
        stage.kubectl.run("delete", "resourcequota", "no-pods")
        wait(stage, f"a pod of {version} again", are_back)


def answer(stage: Stage) -> Object | None:
    """What a client is answered, where it is."""
    try:
        return predict(stage.endpoint("gym"), members()[0])
    except OSError:
        return None


def answered_by(stage: Stage, version: str) -> Object:
    def look() -> Object | None:
        found = answer(stage)
        return found if found is not None and found["version"] == version else None

    return wait(stage, f"an answer of {version}", look, 60)


def degraded(stage: Stage, champion: str, instead: str) -> None:
    """The status says so, in the list too."""

    def is_degraded() -> bool:
        now = status(stage)
        return (now["phase"], now.get("fallback", {}).get("version")) == ("Degraded", instead)

    wait(stage, "Degraded", is_degraded, 60)
    said = ready(stage)
    assert (said["status"], said["reason"]) == ("False", "FallbackServing")
    assert said["message"].startswith(f"{champion} does not answer: ")
    assert said["message"].endswith(f"{instead} answers in its place.")
    assert "Degraded" in stage.kubectl.run("get", "chm", "gym")
    assert status(stage)["summary"]["champion"] == champion


def away_and_back(stage: Stage, champion: str, instead: str) -> Object:
    """The champion goes, and comes back by itself; what was answered meanwhile."""
    with Load(stage.endpoint("gym"), members(), per_second=20) as load:
        wait(stage, f"answers of {champion}", lambda: champion in load.versions, 60)
        with gone(stage, champion):
            found = answered_by(stage, instead)
            degraded(stage, champion, instead)
            wait(stage, "the reason why", lambda: "it has no pod" in ready(stage)["message"], 60)
        serving(stage, champion)
        wait(stage, f"{champion} alone", lambda: [s.version for s in load.samples[-60:]] == [champion] * 60, 60)
    assert load.versions == [champion, instead]
    begun = min(sample.at for sample in load.samples if sample.version == instead)
    late = [sample for sample in load.failures if sample.at > begun + SETTLED]
    assert not late, late[:3]
    return found


def test_a_constant_answers_while_the_champions_pods_are_gone(gym: Stage) -> None:
    found = away_and_back(gym, "v1", "fallback")
    assert found == {"probability": PROBABILITY, "churn": False, "version": "fallback"}
    folder = f"s3://models/inference-log/namespace={gym.namespace}/model=gym/"
    assert [uri for uri in gym.store.list(folder) if "version=fallback" in uri] == [], "nobody's prediction is logged"


def test_a_version_that_served_before_answers_while_the_champions_pods_are_gone(gym: Stage) -> None:
    fallback: Any = {"version": "v1", "probability": None}
    patch = json.dumps({"spec": {"serving": {"fallback": fallback}}})
    gym.kubectl.run("patch", "chm", "gym", "--type=merge", "--patch", patch)
    wait(gym, "no constant", lambda: gym.kubectl.get("inferenceservices", "gym-fallback") is None, 60)
    gym.kubectl.apply(
        "{apiVersion: churnops.dev/v1alpha1, kind: TrainingRun, metadata: {name: gym-2}, "
        f"spec: {{modelRef: {{name: gym}}, reason: a second version, requestedBy: {gym.kubectl.whoami()}}}}}"
    )
    serving(gym, "v2")
    found = away_and_back(gym, "v2", "v1")
    assert found["version"] == "v1"
