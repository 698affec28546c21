"""A challenger takes the traffic step by step, behind a real Gateway."""

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import yaml
from hack.demo.kube import Object, holds, wait_until
from hack.demo.load import Load, Sample
from hack.demo.stage import GATEWAYS, SAMPLES, Stage, gateway, members

MEMBERS = SAMPLES / "gym" / "gym.csv"
PER_SECOND = 100
SETTLED = 3.0
"""Seconds within which a Gateway has taken up a change of weights, and the test has seen it."""


@dataclass(frozen=True)
class Door:
    """The way in through the Gateway."""

    stage: Stage
    url: str
    host: str
    members: list[Object]

    def load(self) -> Load:
        return Load(self.url, self.members, per_second=PER_SECOND, host=self.host)

    def model(self) -> Object:
        return self.stage.kubectl.get("churnmodels", "gym") or {}

    def rollout(self) -> Object:
        found: Object = self.model().get("status", {}).get("rollout", {})
        return found

    def wait(self, what: str, look: Any, seconds: float = 180) -> Any:
        return wait_until(what, look, seconds=seconds, diagnose=self.stage.kubectl.diagnose)

    def events(self) -> list[Object]:
        found: list[Object] = self.stage.kubectl.list("events")
        return [event for event in found if event["involvedObject"]["name"] == "gym"]

    def retrain(self, number: int) -> None:
        self.stage.kubectl.apply(
            f"{{apiVersion: churnops.dev/v1alpha1, kind: TrainingRun, metadata: {{name: gym-{number}}}, "
            f"spec: {{modelRef: {{name: gym}}, trigger: Manual, reason: a canary is wanted}}}}"
        )

    def champion(self, version: str) -> Object | None:
        model = self.model()
        serves = model.get("status", {}).get("summary", {}).get("champion") == version
        return model if serves and holds(model, "Ready") else None


@pytest.fixture(scope="module")
def door(stage: Stage) -> Door:
    stage.publish_file(MEMBERS, "gym.csv")
    host = f"gym.{stage.namespace}.example.com"
    model = yaml.safe_load(stage.sample("gym/churnmodel.yaml"))
    model["spec"]["serving"] = {
        "gateway": {"parentRefs": [{"name": "public", "namespace": GATEWAYS}], "hostnames": [host]}
    }
    model["spec"]["rollout"] = {
        "strategy": "Canary",
        "steps": [{"weight": 10, "pause": "35s"}, {"weight": 50, "pause": "30s"}],
        "guard": "40s",
    }
    stage.kubectl.apply(yaml.safe_dump(model))
    door = Door(stage, gateway("gym"), host, members())
    door.wait("champion v1", lambda: door.champion("v1"), 300)
    return door


def split(samples: list[Sample], since: float, until: float) -> float:
    """The share of the answers in that stretch of time that the challenger gave."""
    versions = [sample.version for sample in samples if since + SETTLED < sample.at < until - SETTLED]
    return versions.count("v2") / len(versions)


def test_a_good_challenger_takes_the_traffic_step_by_step_and_no_request_fails(door: Door) -> None:
    seen: list[tuple[int, float]] = []

    def promoted() -> bool:
        rollout = door.rollout()
        step = rollout.get("step", 0) if rollout.get("phase") == "Shifting" else 0
        if step and (not seen or seen[-1][0] != step):
            seen.append((step, time.monotonic()))
        return rollout.get("version") == "v2" and rollout.get("phase") == "Guarding"

    door.retrain(2)
    with door.load() as load:
        door.wait("v2 promoted", promoted, 240)
        seen.append((3, time.monotonic()))
        door.wait("100 % at v2", lambda: [s.version for s in load.samples[-300:]] == ["v2"] * 300, 60)
    assert not load.failures, load.failures[:3]
    assert [step for step, _ in seen] == [1, 2, 3]
    shares = [split(load.samples, since, until) for (_, since), (_, until) in pairwise(seen)]
    assert shares == [pytest.approx(0.10, abs=0.02), pytest.approx(0.50, abs=0.02)]
    told = [event["reason"] for event in door.events()]
    assert told.count("Shifting") == 2
    assert told.count("Promoted") == 2
