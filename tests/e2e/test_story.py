"""The story that `make demo` tells, asserted chapter by chapter on the real cluster."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pandas as pd
import pytest
from hack.demo import world
from hack.demo.kube import Kubectl, Object, condition, holds, wait_until
from hack.demo.load import WORKERS, Load, predict
from hack.demo.processes import processes
from hack.demo.stage import REPOSITORY, Mlflow, Stage, customer, customers

pytestmark = pytest.mark.usefixtures("told_so_far")
T = TypeVar("T")


@dataclass
class Telco:
    """The model of the story, and what its chapters remember."""

    stage: Stage
    revisions: dict[str, str] = field(default_factory=dict)
    asked: int = 0
    """Customers that were asked about and answered, over all versions so far."""
    load: Load | None = None

    @property
    def kubectl(self) -> Kubectl:
        return self.stage.kubectl

    def model(self) -> Object | None:
        return self.kubectl.get("churnmodels", "telco")

    def run(self, number: int) -> Object | None:
        return self.kubectl.get("trainingruns", f"telco-{number}")

    def runs(self) -> list[str]:
        return sorted(run["metadata"]["name"] for run in self.kubectl.list("trainingruns"))

    def wait(self, what: str, look: Callable[[], T | None], seconds: float) -> T:
        return wait_until(what, look, seconds=seconds, diagnose=self.kubectl.diagnose)

    def wait_for_run(self, number: int, phase: str, seconds: float) -> Object:
        def ended() -> Object | None:
            run = self.run(number)
            reached = (run or {}).get("status", {}).get("phase")
            if reached in {"Accepted", "Rejected", "Failed"} and reached != phase:
                pytest.fail(f"telco-{number} is {reached}, not {phase}\n{self.kubectl.diagnose()}")
            return run if reached == phase else None

        return self.wait(f"TrainingRun telco-{number} {phase}", ended, seconds)

    def wait_for_champion(self, version: str, seconds: float) -> Object:
        def serving() -> Object | None:
            model = self.model()
            summary = (model or {}).get("status", {}).get("summary", {})
            return model if holds(model, "Ready") and summary.get("champion") == version else None

        return self.wait(f"ChurnModel telco Ready with champion {version}", serving, seconds)


@pytest.fixture(scope="module")
def telco(stage: Stage) -> Telco:
    return Telco(stage)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.read_csv(world.TELCO)


def kill_operator(operator: Kubectl) -> None:
    operator.run("delete", "pod", "--selector=app.kubernetes.io/name=churn-operator", "--grace-period=0", "--force")


class Watch:
    """`kubectl get … --watch`, read when it is stopped."""

    def __init__(self, kubectl: Kubectl, kind: str) -> None:
        command = [kubectl.program, f"--namespace={kubectl.namespace}", "get", kind, "--watch"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def stop(self) -> str:
        self._process.terminate()
        return self._process.communicate()[0]


@contextmanager
def stopped(kubectl: Kubectl, server: str) -> Iterator[None]:
    """Freeze the predictor's processes, which run on this machine: it answers nothing, and nobody is told."""
    pods = kubectl.list("pods", f"serving.kserve.io/inferenceservice={server}")
    found = processes(pods, "predictor")
    assert found, f"no process of {server} on this machine"
    for process in found:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in found:
            os.kill(process, signal.SIGCONT)


def tags(of: Object) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in of["tags"]}


def test_1_applying_the_file_opens_a_run_that_shows_its_progress(telco: Telco) -> None:
    telco.revisions["old"] = telco.stage.publish_file(world.TELCO, "telco.csv")
    watch = Watch(telco.kubectl, "trun")
    telco.kubectl.apply(telco.stage.sample("telco/churnmodel.yaml"))

    opened = telco.wait("TrainingRun telco-1", lambda: telco.run(1), 30)
    assert opened["spec"]["trigger"] == "Initial"

    run = telco.wait_for_run(1, "Accepted", 180)
    shown = watch.stop()
    assert re.search(r" (Running|Evaluating) +\d+ +[a-z]+ ", shown), shown
    assert re.search(r" 100 +done +0\.\d+ +v1 ", shown), shown
    assert holds(run, "Succeeded")
    assert run["status"]["version"] == "v1"
    assert run["status"]["result"]["data"]["revision"] == f"version:{telco.revisions['old']}"


def test_1_the_run_is_in_mlflow_with_its_data_and_its_lineage(telco: Telco, mlflow: Mlflow) -> None:
    run = telco.wait_for_run(1, "Accepted", 10)
    result = run["status"]["result"]
    logged = mlflow.run(result["runId"])
    assert {metric["key"]: metric["value"] for metric in logged["data"]["metrics"]}["roc_auc"] == pytest.approx(
        result["metrics"]["roc_auc"]
    )
    assert logged["data"]["params"]
    values = {**tags(logged["data"]), **{param["key"]: param["value"] for param in logged["data"]["params"]}}.values()
    assert result["data"]["digest"] in values

    version = next(
        found
        for found in mlflow.versions(f"{telco.stage.namespace}.telco")
        if found["version"] == result["registryVersion"]
    )
    lineage = tags(version)
    assert lineage["churnops.dev/run"] == "telco-1"
    assert {result["data"]["digest"], result["data"]["revision"], "Initial"} <= set(lineage.values())


def test_2_the_champion_answers_predictions_as_soon_as_the_model_is_ready(
    telco: Telco, mlflow: Mlflow, rows: pd.DataFrame
) -> None:
    model = telco.wait_for_champion("v1", 120)
    answer = predict(telco.stage.endpoint("telco"), customer(rows))
    telco.asked += 1
    assert answer["version"] == "v1"
    assert 0 <= answer["probability"] <= 1

    assert holds(telco.kubectl.get("inferenceservices", "telco-v1"), "Ready")
    assert model["status"]["traffic"] == [{"version": "v1", "percent": 100}]
    registry_version = model["status"]["versions"][0]["registryVersion"]
    registered = f"{telco.stage.namespace}.telco"
    telco.wait(
        "alias champion on the version that serves",
        lambda: mlflow.alias(registered, "champion") == registry_version,
        30,
    )

    table = telco.kubectl.run("get", "churn")
    assert "churnmodel.churnops.dev/telco" in table
    assert "trainingrun.churnops.dev/telco-1" in table
    assert "driftmonitor.churnops.dev/telco" in table


def passes_smoke_test(telco: Telco) -> bool:
    """That of an installation, of this namespace's models."""
    environment = os.environ | {"TIMEOUT": "5s"}
    command = [str(REPOSITORY / "hack/smoke"), telco.stage.namespace]
    return subprocess.run(command, check=False, capture_output=True, env=environment).returncode == 0


def test_2_ready_is_false_within_15_s_of_the_champions_failing(telco: Telco) -> None:
    telco.wait("a smoke test that passes", lambda: passes_smoke_test(telco), 120)
    with stopped(telco.kubectl, "telco-v1"):
        telco.wait("Ready False", lambda: condition(telco.model(), "Ready").get("status") == "False", 15)
        assert not passes_smoke_test(telco)
        assert condition(telco.model(), "Ready")["reason"] == "ChampionNotAnswering"
    telco.wait_for_champion("v1", 60)


def test_3_silence_is_no_news(telco: Telco) -> None:
    """The operator's own probes are in the log, and are not taken for customers."""

    def looked() -> Object | None:
        said = condition(telco.kubectl.get("driftmonitors", "telco"), "WithinDriftLimits")
        return said if said.get("reason") == "TooFewPredictions" else None

    said = telco.wait("a look at the predictions", looked, 60)
    assert said["status"] == "Unknown"
    assert re.search(r"there are [01] predictions .*, and fewer than 500 are not judged", said["message"])


def test_3_customers_as_they_were_raise_no_alarm(telco: Telco) -> None:
    telco.asked += telco.stage.ask("telco", "baseline", slice(world.BASELINE_ROWS))

    def judged() -> Object | None:
        monitor = telco.kubectl.get("driftmonitors", "telco")
        return monitor if (monitor or {}).get("status", {}).get("checks") else None

    monitor = telco.wait("the first window compared", judged, 120)
    assert condition(monitor, "WithinDriftLimits")["reason"] == "WithinLimits"


def test_3_a_changed_world_is_an_alarm_that_names_the_columns(telco: Telco, mlflow: Mlflow) -> None:
    telco.asked += telco.stage.ask("telco", "current")

    def alarmed() -> Object | None:
        monitor = telco.kubectl.get("driftmonitors", "telco")
        return monitor if condition(monitor, "WithinDriftLimits").get("status") == "False" else None

    monitor = telco.wait("WithinDriftLimits False", alarmed, 120)
    alarm = condition(monitor, "WithinDriftLimits")
    assert alarm["reason"] == "DriftDetected"
    assert "monthly_charges" in alarm["message"]
    assert "tenure" in alarm["message"]
    assert "The predictions moved by" in alarm["message"]
    assert monitor["status"]["columns"][-1]["kind"] == "Prediction"

    link = monitor["status"]["links"]["report"]
    run_id, path = link.partition("/runs/")[2].split("/artifacts/")
    assert b"<html" in mlflow.artifact(run_id, path)[:2000].lower()


def test_3_each_customer_who_asked_is_in_the_log_once_and_every_golden_request_is_marked(telco: Telco) -> None:
    def all_there() -> pd.DataFrame | None:
        log = telco.stage.logged("telco")
        return log if len(log) and (log["kind"] == "Client").sum() >= telco.asked else None

    wait_until("every row", lambda: all_there() is not None, seconds=30, diagnose=telco.kubectl.diagnose)
    once = telco.stage.logged("telco")
    assert dict(once["kind"].value_counts()).keys() == {"Client", "Golden"}
    assert (once["kind"] == "Client").sum() == telco.asked
    assert once["id"].isna().all()
    features = {name.removeprefix("feature.") for name in once.columns if name.startswith("feature.")}
    assert features == set(pd.read_csv(world.TELCO).columns) - {world.TARGET}
    assert once["probability"].between(0, 1).all()


def test_4_drift_waits_for_data_that_nobody_trained_on(telco: Telco) -> None:
    def held() -> Object | None:
        waiting: Object = (telco.model() or {}).get("status", {}).get("retraining", {})
        return waiting if waiting.get("heldBy") == "NoNewData" else None

    assert telco.wait("the retraining held by NoNewData", held, 120)["trigger"] == "Drift"
    assert telco.runs() == ["telco-1"]


def test_4_new_labels_open_a_run_that_carries_the_evidence(telco: Telco, operator: Kubectl) -> None:
    telco.revisions["labelled"] = telco.stage.publish("labelled", "telco.csv")
    run = telco.wait("TrainingRun telco-2", lambda: telco.run(2), 120)
    kill_operator(operator)

    assert run["spec"]["trigger"] == "Drift"
    evidence = run["spec"]["evidence"]
    assert evidence["monitor"] == "telco"
    assert evidence["window"]["uri"].endswith(f"namespace={telco.stage.namespace}/model=telco/version=v1")
    assert evidence["window"]["revision"].startswith("sha256:")
    assert evidence["window"]["since"] < evidence["window"]["until"]
    assert evidence["window"]["rows"] >= 500
    assert evidence["share"] >= 0.25
    assert evidence["report"].startswith("http")


def test_4_the_challenger_wins_and_takes_the_traffic_without_one_failed_request(
    telco: Telco, operator: Kubectl, rows: pd.DataFrame
) -> None:
    url, today = telco.stage.endpoint("telco"), customers(world.current(rows, np.random.default_rng(world.SEED)))
    with Load(url, today) as load, Load(url, today, per_second=20, keep_alive=True) as kept:
        run = telco.wait_for_run(2, "Accepted", 180)
        kill_operator(operator)
        telco.wait_for_champion("v2", 120)
        telco.wait(
            "telco-v1 and its pods gone after the guard time",
            lambda: not telco.kubectl.list("pods", "serving.kserve.io/inferenceservice=telco-v1"),
            120,
        )
        assert telco.kubectl.get("inferenceservices", "telco-v1") is None

    assert run["status"]["result"]["data"]["revision"] == f"version:{telco.revisions['labelled']}"
    verdicts = {verdict["name"]: verdict for verdict in run["status"]["verdicts"]}
    assert verdicts["champion"]["verdict"] == "Passed"
    comparison = run["status"]["result"]["comparisons"][0]
    assert comparison["challenger"] > comparison["champion"]
    assert comparison["lowerBound"] > 0

    assert load.failures == [], load.summary()
    assert load.versions == ["v1", "v2"], load.summary()
    assert len(load.samples) > 1000
    assert kept.failures == [], kept.summary()
    assert len(kept.repeated) <= WORKERS, "a connection was lost more than once"
    assert kept.versions == ["v1", "v2"], kept.summary()


def test_5_poisoned_data_is_rejected_with_gate_value_and_bound(telco: Telco) -> None:
    telco.revisions["poisoned"] = telco.stage.publish("poisoned", "telco.csv")
    telco.wait("TrainingRun telco-3", lambda: telco.run(3), 90)
    run = telco.wait_for_run(3, "Rejected", 180)

    refusal = condition(run, "GatesPassed")
    assert refusal["status"] == "False"
    assert "quality" in refusal["message"]
    assert "0.8" in refusal["message"]
    assert f"{run['status']['result']['metrics']['roc_auc']:.2f}" in refusal["message"]
    assert holds(telco.model(), "Ready")
    assert (telco.model() or {})["status"]["summary"]["champion"] == "v2"


def test_6_an_inferenceservice_deleted_by_hand_is_back_in_seconds(telco: Telco) -> None:
    before = telco.kubectl.get("inferenceservices", "telco-v2")
    assert before is not None
    telco.kubectl.delete("inferenceservices", "telco-v2", "--wait=false")

    def back() -> Object | None:
        now = telco.kubectl.get("inferenceservices", "telco-v2")
        return now if now is not None and now["metadata"]["uid"] != before["metadata"]["uid"] else None

    telco.wait("InferenceService telco-v2 again", back, 10)
    telco.wait("InferenceService telco-v2 Ready", lambda: holds(back(), "Ready"), 90)
    telco.wait_for_champion("v2", 30)


def test_6_nothing_retrains_twice_on_the_same_data(telco: Telco, operator: Kubectl) -> None:
    kill_operator(operator)
    operator.run("rollout", "status", "deployment/churn-operator", "--timeout=60s")
    looks = {job["metadata"]["name"] for job in telco.kubectl.list("jobs", "churnops.dev/role=probe")}

    def looked_again() -> bool:
        finished = telco.kubectl.list("jobs", "churnops.dev/role=probe")
        return any(job["metadata"]["name"] not in looks and job["status"].get("succeeded") for job in finished)

    telco.wait("another look at the source", looked_again, 90)

    runs = telco.kubectl.list("trainingruns")
    read = [run["status"]["result"]["data"]["revision"] for run in runs]
    assert telco.runs() == ["telco-1", "telco-2", "telco-3"]
    assert sorted(read) == sorted(f"version:{telco.revisions[name]}" for name in ("old", "labelled", "poisoned"))


def test_describe_of_each_kind_reads_like_an_explanation(telco: Telco) -> None:
    for kind in ("churnmodel/telco", "trainingrun/telco-2", "trainingrun/telco-3", "driftmonitor/telco"):
        told = telco.kubectl.run("describe", kind)
        assert "Message:" in told
        assert "Reason:" in told
