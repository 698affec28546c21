"""A challenger takes the traffic step by step, behind a real Gateway."""

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
import yaml
from hack.demo.kube import Kubectl, Object, condition, holds, wait_until
from hack.demo.load import Load, Sample, predict
from hack.demo.stage import GATEWAYS, SAMPLES, Stage, gateway, members

MEMBERS = SAMPLES / "gym" / "gym.csv"
PER_SECOND = 100
SETTLED = 3.0
"""Seconds within which a Gateway has taken up a change of weights, and the test has seen it."""
ENOUGH = 1000
"""Requests that a split is read from; that of 10,000, and over an abort, is measured by `hack/bench/run split`."""


@dataclass(frozen=True)
class Door:
    """The way in through the Gateway."""

    stage: Stage
    url: str
    host: str
    members: list[Object]

    @property
    def me(self) -> str:
        return self.stage.kubectl.whoami()

    def load(self) -> Load:
        return Load(self.url, self.members, per_second=PER_SECOND, host=self.host)

    def is_open(self) -> bool:
        """Whether clients get through: a Gateway takes a route up some time after it was made."""
        with suppress(OSError):
            predict(self.url, self.members[0], host=self.host)
            return True
        return False

    def model(self) -> Object:
        return self.stage.kubectl.get("churnmodels", "gym") or {}

    def rollout(self) -> Object:
        found: Object = self.model().get("status", {}).get("rollout", {})
        return found

    def wait(self, what: str, look: Any, seconds: float = 180) -> Any:
        return wait_until(what, look, seconds=seconds, diagnose=self.stage.kubectl.diagnose)

    def attach(self, parent: Object) -> None:
        patch = json.dumps({"spec": {"serving": {"gateway": {"parentRefs": [parent]}}}})
        self.stage.kubectl.run("patch", "chm", "gym", "--type=merge", "--patch", patch)

    def healthy(self) -> Object:
        return condition(self.model(), "RolloutHealthy")

    def weight(self) -> int:
        route = json.loads(self.stage.kubectl.run("get", "httproute", "gym", "-o", "json"))
        weight: int = route["spec"]["rules"][0]["backendRefs"][0]["weight"]
        return weight

    def events(self) -> list[Object]:
        found: list[Object] = self.stage.kubectl.list("events")
        return [event for event in found if event["involvedObject"]["name"] == "gym"]

    def retrain(self, number: int) -> None:
        self.stage.kubectl.apply(
            f"{{apiVersion: churnops.dev/v1alpha1, kind: TrainingRun, metadata: {{name: gym-{number}}}, "
            f"spec: {{modelRef: {{name: gym}}, reason: a canary is wanted, requestedBy: {self.me}}}}}"
        )

    def order(self, action: str) -> None:
        """What `kubectl churn` writes, by plain kubectl."""
        order = {
            "action": action,
            "by": self.me,
            "at": f"2026-01-01T00:00:0{len(action)}Z",
            "reason": "to see",
        }
        patch = json.dumps({"status": {"command": order}})
        self.stage.kubectl.run("patch", "chm", "gym", "--subresource=status", "--type=merge", "--patch", patch)

    def state(self, version: str) -> str | None:
        versions = self.model().get("status", {}).get("versions", [])
        return next((v["state"] for v in versions if v["version"] == version), None)

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
        "guard": "90s",
    }
    stage.kubectl.apply(yaml.safe_dump(model))
    door = Door(stage, gateway("gym"), host, members())
    door.wait("champion v1", lambda: door.champion("v1"), 300)
    door.wait("the Gateway open", door.is_open, 60)
    return door


def split(samples: list[Sample], since: float, until: float) -> float:
    """The share of the answers in that stretch of time that the challenger gave."""
    versions = [sample.version for sample in samples if since + SETTLED < sample.at < until - SETTLED]
    assert len(versions) >= ENOUGH
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
    told = [event["message"] for event in door.events()]
    assert {"v2 gets 10 % of the traffic (step 1).", "v2 gets 50 % of the traffic (step 2)."} <= set(told)
    assert any(message.startswith("v2 is champion: v2 passed every step") for message in told)


def test_a_gateway_that_does_not_admit_the_namespace_is_told_by_its_own_word(door: Door) -> None:
    private = {"name": "private", "namespace": GATEWAYS}
    listener = {"name": "web", "port": 8000, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "Same"}}}
    spec = {"gatewayClassName": "traefik", "listeners": [listener]}
    gateway_api = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": private, "spec": spec}
    cluster = Kubectl(GATEWAYS)
    for made, words in ((True, "NotAllowedByListeners"), (False, "there is no Gateway private in namespace gateways")):
        if made:
            cluster.apply(json.dumps(gateway_api))
        else:
            cluster.run("delete", "gateway", "private")
        door.attach(private)
        door.wait(words, lambda words=words: words in door.healthy()["message"], 60)
        assert (door.healthy()["status"], door.healthy()["reason"]) == ("False", "GatewayUnavailable")
    door.attach({"name": "public", "namespace": GATEWAYS})
    with door.load() as load:
        door.wait("a way in again", lambda: load.samples[-50:] and not any(s.problem for s in load.samples[-50:]), 60)


def test_a_rollback_after_promotion_brings_the_old_champion_back_without_training(door: Door) -> None:
    runs = len(door.stage.kubectl.list("trainingruns"))
    with door.load() as load:
        door.wait("answers of v2", lambda: "v2" in load.versions, 60)
        ordered = time.monotonic()
        door.order("Rollback")
        door.wait("champion v1", lambda: door.champion("v1"), 60)
        door.wait("100 % at v1", lambda: [s.version for s in load.samples[-300:]] == ["v1"] * 300, 60)
    last = max(sample.at for sample in load.samples if sample.version == "v2")
    assert last - ordered < 60
    assert not load.failures, load.failures[:3]
    assert door.state("v2") == "Quarantined"
    assert len(door.stage.kubectl.list("trainingruns")) == runs
    assert door.model()["status"]["handled"]["message"].startswith(
        f"v1 has the traffic: v2 was rolled back by {door.me}"
    )


def test_a_model_that_was_quarantined_does_not_come_back_by_itself(door: Door) -> None:
    """The same data by the same specification make the same model."""
    door.retrain(3)
    door.wait("v3 Quarantined", lambda: door.state("v3") == "Quarantined", 120)
    assert door.champion("v1")


def test_an_aborted_canary_leaves_the_champion_with_all_of_the_traffic(door: Door) -> None:
    table = pd.read_csv(MEMBERS)
    door.stage.publish_table(table.iloc[: len(table) - 100], "gym.csv")
    door.retrain(4)
    with door.load() as load:
        door.wait("step 1 of v4", lambda: door.rollout().get("version") == "v4" and door.rollout()["step"] == 1, 120)
        door.wait("answers of v4", lambda: "v4" in load.versions, 60)
        door.order("Abort")
        door.wait("v4 RolledBack", lambda: door.state("v4") == "RolledBack", 60)
        door.wait("100 % at v1", lambda: [s.version for s in load.samples[-300:]] == ["v1"] * 300, 60)
    assert not load.failures, load.failures[:3]
    assert condition(door.model(), "RolloutHealthy")["reason"] == "Aborted"
    assert condition(door.model(), "RolloutHealthy")["message"] == f"v4 was aborted by {door.me}: to see"


def test_an_ab_test_whose_sample_is_spent_leaves_the_champion(door: Door) -> None:
    """Two versions that both answer everything: nobody wins, and the split ends."""
    ab_test = {"weight": 50, "metric": "ErrorRate", "sample": 1000}
    patch = json.dumps({"spec": {"rollout": {"strategy": "ABTest", "abTest": ab_test}}})
    door.stage.kubectl.run("patch", "chm", "gym", "--type=merge", "--patch", patch)
    door.retrain(5)
    with door.load() as load:
        door.wait("v5 RolledBack", lambda: door.state("v5") == "RolledBack", 180)
    assert door.healthy()["reason"] == "ABTestUndecided"
    assert not load.failures, load.failures[:3]
    compared = door.rollout()["comparison"]
    assert compared["winner"] == "Undecided"
    assert compared["challenger"]["size"] >= 1000
    assert compared["lower"] <= 0 <= compared["upper"]
    assert door.champion("v1")


def test_a_gateway_that_is_away_holds_the_rollout_up_until_it_is_back(door: Door) -> None:
    cluster = Kubectl(GATEWAYS)
    cluster.run("scale", "deployment", "traefik", "--replicas=0")
    try:
        door.retrain(6)
        words = "the Gateway has not taken up the HTTPRoute's last change"
        door.wait(words, lambda: words in door.healthy().get("message", ""), 180)
        assert door.champion("v1")
    finally:
        cluster.run("scale", "deployment", "traefik", "--replicas=1")
        cluster.run("rollout", "status", "deployment", "traefik", "--timeout=120s")
    with door.load():
        door.wait("v6 RolledBack", lambda: door.state("v6") == "RolledBack", 180)
    assert door.healthy()["reason"] == "ABTestUndecided"


def test_a_route_that_somebody_changes_is_put_right(door: Door) -> None:
    weights = '[{"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 0}]'
    door.stage.kubectl.run("patch", "httproute", "gym", "--type=json", "--patch", weights)
    door.wait("the route put right", lambda: door.weight() != 0, 30)
    told = door.stage.kubectl.run("events", "--for=churnmodel/gym", "--types=Normal")
    assert "ChildRestored" in told
    assert "HTTPRoute gym was changed by kubectl-patch, and is as it was asked for again" in told
