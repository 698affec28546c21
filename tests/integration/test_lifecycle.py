"""One model's life against a real API server and a real MLflow: Jobs and servers are played, every write is counted."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.control_plane import ControlPlane
from support.keeper import API_VERSION, INFERENCE_SERVICES
from support.kinds import make_comparison, make_drift_result, make_result
from support.kubelet import end_job
from support.mlflow_server import MlflowServer
from support.shadow import make_shadow_result

from churn_operator.api.results import encode_result
from churn_operator.api.tasks import Golden
from churn_operator.churnmodel import ChurnModelKind
from churn_operator.core.client import ApiClient
from churn_operator.core.clock import stamp
from churn_operator.core.cluster import Neighbours
from churn_operator.core.kind import Answer
from churn_operator.core.objects import Key, Object, name_of
from churn_operator.core.reconcile import reconcile
from churn_operator.driftmonitor import DriftMonitorKind
from churn_operator.settings import Settings
from churn_operator.trainingrun import TrainingRunKind

SPEC = {
    "data": {"source": {"uri": "s3://churn/telco.csv"}, "target": "churn"},
    "gates": [{"name": "quality", "metric": "roc_auc", "min": 0.8}, {"name": "champion", "champion": {}}],
    "rollout": {"guard": "1m"},
    "monitoring": {"schedule": "@every 10m", "current": {"source": {"uri": "s3://churn/current.parquet"}}},
    "retraining": {"triggers": ["Drift", "SpecChanged"], "cooldown": "1s", "probeInterval": "1h"},
    "serving": {"resources": {"requests": {"cpu": "0.5", "memory": "256Mi"}, "limits": {"memory": "1024Mi"}}},
}


@dataclass
class Life:
    """The operator's three kinds at work on one namespace, with a clock of its own."""

    plane: ControlPlane
    api: ApiClient
    neighbours: Neighbours
    namespace: str
    kinds: dict[str, Any]
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    silent: set[str] = field(default_factory=set)
    """Versions that do not answer."""
    seen: int = 0

    async def settle(self) -> list[str]:
        """Look at everything until nothing is written any more; the writes, but for each object's status."""
        for _ in range(12):
            before = len(self.plane.writes(self.namespace))
            for kind, loop in self.kinds.items():
                for obj in await self.api.list(API_VERSION, kind, self.namespace):
                    key = Key(kind, self.namespace, name_of(obj))
                    await reconcile(loop, key, self.neighbours, self.neighbours, self.now)
            if len(self.plane.writes(self.namespace)) == before:
                break
        else:
            pytest.fail(f"the operator does not come to rest: {self.plane.writes(self.namespace)[-12:]}")
        return self.news()

    def news(self) -> list[str]:
        writes = self.plane.writes(self.namespace)
        fresh, self.seen = writes[self.seen :], len(writes)
        return fresh

    async def predict(self, url: str, golden: Golden) -> Answer:  # noqa: ARG002 - the interface
        version = url.partition("-predictor")[0].rpartition("-")[2]
        if "-predictor" not in url:
            service = await self.get("Service", "telco", "v1")
            version = service["spec"]["selector"]["serving.kserve.io/inferenceservice"].removeprefix("telco-")
        return Answer(version not in self.silent, f"{version} was asked")

    async def get(self, kind: str, name: str, api_version: str = API_VERSION) -> Any:
        return await self.api.get(api_version, kind, self.namespace, name)

    async def end(self, job: str, message: str, exit_code: int = 0, reason: str | None = None) -> None:
        live = await self.get("Job", job, "batch/v1")
        assert live is not None, f"there is no Job {job}"
        await end_job(self.api, live, message, exit_code, reason)
        self.news()  # what the kubelet that is played here wrote is nobody's news

    async def end_role(self, role: str, message: str) -> None:
        jobs = await self.api.list("batch/v1", "Job", self.namespace, labels=f"churnops.dev/role={role}")
        await self.end(name_of(max(jobs, key=lambda job: job["metadata"]["creationTimestamp"])), message)

    def serve(self, server: str) -> None:
        """KServe says that it is ready."""
        status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        self.kubectl("patch", "inferenceservice", server, "--type=merge", "-p", json.dumps(status))

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.plane.kubectl("-n", self.namespace, *arguments, stdin=stdin)


@pytest.fixture
async def life(
    control_plane: ControlPlane, api: ApiClient, neighbours: Neighbours, namespace: str, mlflow: MlflowServer
) -> AsyncIterator[Life]:
    settings = Settings(
        jobs_image="jobs:1",
        predictor_image="predictor:1",
        tracking_uri=mlflow.uri,
        storage_uri="s3://models",
        cluster="cluster-1",
    )
    kinds = {
        "ChurnModel": ChurnModelKind(settings),
        "TrainingRun": TrainingRunKind(settings),
        "DriftMonitor": DriftMonitorKind(settings),
    }
    life = Life(control_plane, api, neighbours, namespace, kinds)
    neighbours.predict = life.predict  # servers are played here
    install_kserve(control_plane)
    model = {"apiVersion": API_VERSION, "kind": "ChurnModel", "metadata": {"name": "telco"}, "spec": SPEC}
    life.kubectl("create", "-f", "-", stdin=json.dumps(model))
    mlflow.register(f"{namespace}.telco", versions=2)
    yield life
    remove_kserve(control_plane)


def install_kserve(plane: ControlPlane) -> None:
    plane.kubectl("create", "-f", "-", stdin=json.dumps(INFERENCE_SERVICES))
    plane.kubectl("wait", "--for=condition=Established", "crd", INFERENCE_SERVICES["metadata"]["name"])


def remove_kserve(plane: ControlPlane) -> None:
    plane.kubectl("delete", "crd", INFERENCE_SERVICES["metadata"]["name"])


def status_writes(news: list[str]) -> int:
    return sum("/status" in write for write in news)


def other_writes(news: list[str]) -> list[str]:
    return [write for write in news if "/status" not in write]


async def served(life: Life) -> None:
    """Version 1 serves."""
    await life.settle()
    await life.end("telco-1-train", encode_result(make_result(1)))
    await life.settle()
    life.serve("telco-v1")
    await life.settle()


async def test_from_one_file_to_a_served_model_each_object_is_written_once(life: Life) -> None:
    opened = await life.settle()
    assert other_writes(opened) == [
        "patch driftmonitors telco",
        "create trainingruns telco-1",
        "create jobs telco-1-train",
    ]
    await life.end("telco-1-train", encode_result(make_result(1)))
    assert other_writes(await life.settle()) == ["patch inferenceservices telco-v1"]
    life.serve("telco-v1")
    promoted = await life.settle()
    assert [write.split("-drift-")[0] for write in other_writes(promoted)] == [
        "patch services telco",
        "create jobs telco",
    ]
    assert status_writes(opened + promoted) <= 8
    assert "True" in life.kubectl("get", "chm", "telco")


async def test_a_resync_and_a_label_change_write_nothing(life: Life) -> None:
    await served(life)
    await life.end_role("drift", encode_result(make_drift_result(1, 0.0)))
    await life.settle()
    assert await life.settle() == []
    for kind in ("churnmodel/telco", "trainingrun/telco-1", "driftmonitor/telco"):
        life.kubectl("label", kind, "team=growth")
    assert await life.settle() == []


async def test_drift_waits_for_data_and_then_brings_a_challenger_that_takes_the_traffic(life: Life) -> None:
    await served(life)
    life.now += timedelta(seconds=10)
    await life.end_role("drift", encode_result(make_drift_result(1, 0.6)))
    await life.settle()
    await life.end_role("probe", '{"outcome": "Probed", "revision": "version:1"}')
    await life.settle()
    assert (await life.get("ChurnModel", "telco"))["status"]["retraining"]["heldBy"] == "NoNewData"
    life.now += timedelta(hours=1)
    await life.settle()
    await life.end_role("drift", encode_result(make_drift_result(1, 0.6, outcome="Unchanged")))
    await life.end_role("probe", '{"outcome": "Probed", "revision": "version:2"}')
    await life.settle()
    run = await life.get("TrainingRun", "telco-2")
    assert (run["spec"]["trigger"], run["spec"]["evidence"]["window"]["revision"]) == ("Drift", "version:w1")
    assert run["status"]["resolved"]["task"]["revision"] == "version:2"
    assert run["status"]["resolved"]["task"]["champion"]["version"] == "v1"
    ready = (await life.get("ChurnModel", "telco"))["status"]["conditions"][0]
    await life.end("telco-2-train", encode_result(make_result(2, comparisons=(make_comparison(0.02),))))
    await life.settle()
    life.serve("telco-v2")
    await life.settle()
    after = (await life.get("ChurnModel", "telco"))["status"]["conditions"][0]
    assert (after["status"], after["lastTransitionTime"]) == ("True", ready["lastTransitionTime"])
    service = await life.get("Service", "telco", "v1")
    assert service["spec"]["selector"]["serving.kserve.io/inferenceservice"] == "telco-v2"
    life.now += timedelta(minutes=2)
    assert "delete inferenceservices telco-v1" in await life.settle()


async def test_a_rejected_challenger_leaves_the_champion(life: Life) -> None:
    await served(life)
    life.kubectl("patch", "chm", "telco", "--type=merge", "-p", '{"spec":{"training":{"metric":"recall"}}}')
    life.now += timedelta(minutes=1)
    await life.settle()
    bad = make_result(2, metrics={"roc_auc": 0.5, "parity": 0.0}, comparisons=(make_comparison(0.0),))
    await life.end("telco-2-train", encode_result(bad))
    await life.settle()
    run = await life.get("TrainingRun", "telco-2")
    refused = next(c for c in run["status"]["conditions"] if c["type"] == "GatesPassed")
    assert run["status"]["phase"] == "Rejected"
    assert refused["message"].startswith("Gate quality: roc_auc is 0.5 on 1409 held-out rows; at least 0.8")
    assert [server["metadata"]["name"] for server in await servers(life)] == ["telco-v1"]


@pytest.mark.parametrize(
    ("reason", "exit_code", "message", "expected"),
    [
        pytest.param("OOMKilled", 137, "", "OutOfMemory", id="killed for its memory"),
        pytest.param(
            None, 10, '{"outcome": "Failed", "reason": "OneClass", "message": "only No"}', "OneClass", id="bad data"
        ),
        pytest.param(None, 0, "no JSON", "ResultUnreadable", id="a result that is none"),
        pytest.param(None, 1, "Traceback", "JobFailed", id="a crash"),
    ],
)
async def test_a_job_that_gives_up_fails_its_run(
    life: Life, reason: str | None, exit_code: int, message: str, expected: str
) -> None:
    await life.settle()
    await life.end("telco-1-train", message, exit_code, reason)
    await life.settle()
    assert (await life.get("TrainingRun", "telco-1"))["status"]["reason"] == expected
    assert (await life.get("ChurnModel", "telco"))["status"]["phase"] in {"Failed", "Pending"}


async def test_a_server_deleted_by_hand_is_back_and_a_silent_one_is_told(life: Life) -> None:
    await served(life)
    life.kubectl("delete", "inferenceservice", "telco-v1")
    assert "patch inferenceservices telco-v1" in await life.settle()
    life.serve("telco-v1")
    life.now += timedelta(minutes=1)
    life.silent = {"v1"}
    await life.settle()
    ready = (await life.get("ChurnModel", "telco"))["status"]["conditions"][0]
    assert (ready["status"], ready["reason"], ready["message"]) == (
        "False",
        "ChampionNotAnswering",
        "v1 does not answer a prediction: v1 was asked: it has no pod",
    )


async def test_without_kserve_a_model_is_trained_and_served_as_soon_as_kserve_comes(life: Life) -> None:
    remove_kserve(life.plane)
    await life.settle()
    await life.end("telco-1-train", encode_result(make_result(1)))
    await life.settle()
    ready = (await life.get("ChurnModel", "telco"))["status"]["conditions"][0]
    assert (ready["status"], ready["reason"]) == ("False", "KServeMissing")
    assert "KServe" in ready["message"]
    assert (await life.get("TrainingRun", "telco-1"))["status"]["phase"] == "Accepted"
    assert await life.settle() == []
    install_kserve(life.plane)
    assert "patch inferenceservices telco-v1" in await life.settle()
    life.serve("telco-v1")
    await life.settle()
    assert "True" in life.kubectl("get", "chm", "telco")


async def test_somebody_elses_service_of_that_name_is_left_alone_and_told(life: Life) -> None:
    life.kubectl("create", "service", "clusterip", "telco", "--tcp=80:80")
    await served(life)
    ready = (await life.get("ChurnModel", "telco"))["status"]["conditions"][0]
    service = await life.get("Service", "telco", "v1")
    assert ready["reason"] == "ChildConflict"
    assert service["spec"]["selector"] == {"app": "telco"}


async def test_a_run_made_by_hand_trains_and_is_judged(life: Life) -> None:
    await served(life)
    spec = {"modelRef": {"name": "telco"}, "reason": "the board asked"}
    run = {"apiVersion": API_VERSION, "kind": "TrainingRun", "metadata": {"name": "telco-5"}, "spec": spec}
    life.kubectl("create", "-f", "-", stdin=json.dumps(run))
    await life.settle()
    await life.end("telco-5-train", encode_result(make_result(2, comparisons=(make_comparison(0.02),))))
    await life.settle()
    assert [server["metadata"]["name"] for server in await servers(life)] == ["telco-v1", "telco-v5"]


async def replaying(life: Life) -> None:
    """Version 2 answers beside champion 1, whose predictions are logged, and is asked what clients asked that."""
    settings = Settings(**vars(life.kinds["ChurnModel"].settings) | {"collector_url": "http://collector"})
    life.kinds["ChurnModel"] = ChurnModelKind(settings)
    await served(life)
    changed = {"training": {"metric": "recall"}, "rollout": {"strategy": "Shadow", "shadow": {"minAgreement": 0.9}}}
    life.kubectl("patch", "chm", "telco", "--type=merge", "-p", json.dumps({"spec": changed}))
    life.now += timedelta(seconds=10)
    await life.settle()
    await life.end("telco-2-train", encode_result(make_result(2, comparisons=(make_comparison(0.02),))))
    await life.settle()
    life.serve("telco-v2")
    assert other_writes(await life.settle()) == ["create jobs telco-v2-shadow"]
    assert await life.settle() == []


async def champion(life: Life) -> str:
    service = await life.get("Service", "telco", "v1")
    return str(service["spec"]["selector"]["serving.kserve.io/inferenceservice"])


async def rollout(life: Life) -> Any:
    return (await life.get("ChurnModel", "telco"))["status"]["rollout"]


async def test_a_challenger_that_answered_what_clients_asked_takes_the_traffic(life: Life) -> None:
    await replaying(life)
    assert (await rollout(life))["phase"] == "Shadowing"
    assert await champion(life) == "telco-v1"
    await life.end("telco-v2-shadow", encode_result(make_shadow_result()))
    news = other_writes(await life.settle())
    assert {"patch services telco", "delete jobs telco-v2-shadow"} <= set(news)
    assert await champion(life) == "telco-v2"
    told = await rollout(life)
    assert (told["phase"], told["shadow"]["result"]["agreement"]) == ("Guarding", 0.98)


async def test_a_replay_that_found_nothing_is_begun_again_and_what_it_finds_then_counts(life: Life) -> None:
    await replaying(life)
    failure = '{"outcome": "Failed", "reason": "StorageUnavailable", "message": "s3://models does not answer"}'
    await life.end("telco-v2-shadow", failure, 11)
    assert other_writes(await life.settle()) == []
    told = await rollout(life)
    assert (told["verdict"]["result"], told["shadow"]["reason"]) == ("Error", "StorageUnavailable")
    healthy = (await life.get("ChurnModel", "telco"))["status"]["conditions"][2]
    assert (healthy["status"], healthy["reason"]) == ("Unknown", "StorageUnavailable")
    life.now += timedelta(seconds=61)
    assert other_writes(await life.settle()) == ["create jobs telco-v2-shadow-2", "delete jobs telco-v2-shadow"]
    await life.end("telco-v2-shadow-2", encode_result(make_shadow_result(changed=200, agreement=0.6)))
    assert set(other_writes(await life.settle())) == {
        "delete jobs telco-v2-shadow-2",
        "delete inferenceservices telco-v2",
    }
    assert await champion(life) == "telco-v1"
    versions = (await life.get("ChurnModel", "telco"))["status"]["versions"]
    assert [(v["version"], v["state"]) for v in versions] == [("v2", "RolledBack"), ("v1", "Champion")]
    assert "200 of 500 decisions are not the champion's (40.0%), where 10.00% may be otherwise" in versions[0]["reason"]


async def test_an_abort_takes_the_replay_away(life: Life) -> None:
    await replaying(life)
    order = {"action": "Abort", "by": "alice", "at": stamp(life.now)}
    life.kubectl(
        *(
            "patch",
            "chm",
            "telco",
            "--subresource=status",
            "--type=merge",
            "-p",
            json.dumps({"status": {"command": order}}),
        )
    )
    assert set(other_writes(await life.settle())) == {
        "delete jobs telco-v2-shadow",
        "delete inferenceservices telco-v2",
    }
    assert (await rollout(life))["phase"] == "RolledBack"


async def servers(life: Life) -> tuple[Object, ...]:
    return await life.api.list("serving.kserve.io/v1beta1", "InferenceService", life.namespace)


async def test_the_fallback_answers_until_the_champion_does_again(life: Life) -> None:
    await served(life)
    life.kubectl(
        "patch", "chm", "telco", "--type=merge", "-p", '{"spec": {"serving": {"fallback": {"version": "v1"}}}}'
    )
    spec = {"modelRef": {"name": "telco"}, "reason": "the board asked"}
    run = {"apiVersion": API_VERSION, "kind": "TrainingRun", "metadata": {"name": "telco-2"}, "spec": spec}
    life.kubectl("create", "-f", "-", stdin=json.dumps(run))
    await life.settle()
    await life.end("telco-2-train", encode_result(make_result(2, comparisons=(make_comparison(0.02),))))
    await life.settle()
    life.serve("telco-v2")
    await life.settle()
    life.now += timedelta(days=1)  # the guard time is over, and the fallback keeps its server
    await life.settle()
    assert {name_of(server) for server in await servers(life)} == {"telco-v1", "telco-v2"}
    life.silent = {"v2"}
    assert "patch services telco" in await life.settle()
    assert await champion(life) == "telco-v1"
    ready = (await life.get("ChurnModel", "telco"))["status"]["conditions"][0]
    assert (ready["status"], ready["reason"]) == ("False", "FallbackServing")
    life.silent = set()
    assert other_writes(await life.settle()) == [], "it waits for whether the champion goes on"
    life.now += timedelta(seconds=10)
    await life.settle()
    assert await champion(life) == "telco-v2"


async def test_a_constant_is_there_while_it_is_set_and_answers_for_a_silent_champion(life: Life) -> None:
    await served(life)
    life.kubectl(
        "patch", "chm", "telco", "--type=merge", "-p", '{"spec": {"serving": {"fallback": {"probability": 0.2}}}}'
    )
    assert "patch inferenceservices telco-fallback" in await life.settle()
    life.serve("telco-fallback")
    life.now += timedelta(minutes=1)
    await life.settle()
    life.silent = {"v1"}
    await life.settle()
    assert await champion(life) == "telco-fallback"
    assert "Degraded" in life.kubectl("get", "chm", "telco")
    life.kubectl("patch", "chm", "telco", "--type=json", "-p", '[{"op": "remove", "path": "/spec/serving/fallback"}]')
    news = other_writes(await life.settle())
    assert news == ["patch services telco", "delete inferenceservices telco-fallback"]
    assert await champion(life) == "telco-v1"
    assert "fallback" not in (await life.get("ChurnModel", "telco"))["status"]
