"""What bad input gets on a real cluster: a run whose reason is its own, and whose message names what is wrong."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import requests
import yaml
from hack.demo import world
from hack.demo.kube import Kubectl, Object, condition, wait_until
from hack.demo.stage import Mlflow, Stage

KNOWN_WITHIN = 30


@pytest.fixture(scope="module")
def telco() -> pd.DataFrame:
    return pd.read_csv(world.TELCO)


def churnmodel(name: str, uri: str, **training: object) -> str:
    spec = {"data": {"source": {"uri": uri}, "target": "churn"}, "training": {"metric": "roc_auc", **training}}
    return yaml.safe_dump(
        {"apiVersion": "churnops.dev/v1alpha1", "kind": "ChurnModel", "metadata": {"name": name}, "spec": spec}
    )


def first_run(stage: Stage, model: str) -> Object | None:
    return stage.kubectl.get("trainingruns", f"{model}-1")


@dataclass(frozen=True)
class BadData:
    """A table nobody can learn from, the reason it gets, and what the message must name."""

    name: str
    reason: str
    names: tuple[str, ...]
    table: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    uri: str = ""
    seconds: int = 3600
    """Of the Job, which asks a source that does not answer for longer than a test may take."""


def hundred_thousand_categories(rows: pd.DataFrame) -> pd.DataFrame:
    many = rows.sample(120_000, replace=True, random_state=0, ignore_index=True)
    return many.assign(street=[f"street {number}" for number in np.arange(len(many)) % 100_000])


BAD_DATA = (
    BadData("missing", "DataNotFound", ("missing.csv",)),
    BadData("unreachable", "DataUnreachable", ("nobody.invalid",), uri="http://nobody.invalid/telco.csv", seconds=120),
    BadData("empty", "DataEmpty", ("no rows",), lambda rows: rows.head(0)),
    BadData("no-target", "TargetMissing", ("churn",), lambda rows: rows.drop(columns="churn")),
    BadData("one-class", "OneClass", ("churn", "No"), lambda rows: rows.assign(churn="No")),
    BadData("all-null", "ColumnEmpty", ("tenure", "7043"), lambda rows: rows.assign(tenure=np.nan)),
    BadData("categories", "TooManyCategories", ("street", "100000"), hundred_thousand_categories),
)


@dataclass(frozen=True)
class BadJob:
    """A Job that Kubernetes cannot run or ends, how Kubernetes says so, and the reason the run gets."""

    name: str
    reason: str
    training: dict[str, object]
    known: Callable[[Kubectl, str], bool]


def pod_condition(kubectl: Kubectl, run: str) -> bool:
    pods = kubectl.list("pods", f"job-name={run}-train")
    return any(one.get("reason") == "Unschedulable" for pod in pods for one in pod["status"].get("conditions", []))


def killed(kubectl: Kubectl, run: str) -> bool:
    pods = kubectl.list("pods", f"job-name={run}-train")
    return any(
        "terminated" in container["state"] for pod in pods for container in pod["status"].get("containerStatuses", [])
    )


def past_its_deadline(kubectl: Kubectl, run: str) -> bool:
    job = kubectl.get("jobs", f"{run}-train") or {}
    return any(one.get("reason") == "DeadlineExceeded" for one in job.get("status", {}).get("conditions", []))


BAD_JOBS = (
    BadJob("hungry", "OutOfMemory", {"resources": {"limits": {"memory": "48Mi"}}}, killed),
    BadJob("wide", "Unschedulable", {"resources": {"requests": {"cpu": "900"}}}, pod_condition),
    BadJob(
        "slow",
        "DeadlineExceeded",
        {
            "activeDeadlineSeconds": 60,
            "estimators": [{"name": "RandomForest", "params": {"n_estimators": 3000}}],
            "search": {"trials": 50},
        },
        past_its_deadline,
    ),
)


@pytest.fixture(scope="module")
def problems(stage: Stage, telco: pd.DataFrame, mlflow: Mlflow) -> Stage:
    """All at once: most of them wait for something."""
    stage.publish_file(world.TELCO, "telco.csv")
    name = {"name": f"{stage.namespace}.taken"}
    requests.post(f"{mlflow.url}/api/2.0/mlflow/registered-models/create", json=name, timeout=30).raise_for_status()
    stage.kubectl.apply(churnmodel("taken", stage.uri("telco.csv")))
    for bad in BAD_DATA:
        if bad.table is not None:
            stage.publish_table(bad.table(telco), f"{bad.name}.csv")
        uri = bad.uri or stage.uri(f"{bad.name}.csv")
        stage.kubectl.apply(churnmodel(bad.name, uri, activeDeadlineSeconds=bad.seconds))
    for worse in BAD_JOBS:
        stage.kubectl.apply(churnmodel(worse.name, stage.uri("telco.csv"), **worse.training))
    return stage


def expect_reason(stage: Stage, run: str, reason: str) -> None:
    wait_until(
        f"{reason} in kubectl get trun {run}",
        lambda: reason in stage.kubectl.run("get", "trun", run),
        seconds=KNOWN_WITHIN,
        diagnose=stage.kubectl.diagnose,
    )


def failure_of(stage: Stage, model: str) -> Object:
    """Why the model's first run failed."""

    def ended() -> Object | None:
        run = first_run(stage, model)
        return run if (run or {}).get("status", {}).get("phase") == "Failed" else None

    return condition(wait_until(f"{model}-1 Failed", ended, seconds=240, diagnose=stage.kubectl.diagnose), "Succeeded")


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.name) for bad in BAD_DATA])
def test_data_that_cannot_be_learned_from_fails_with_its_own_reason(problems: Stage, bad: BadData) -> None:
    failure = failure_of(problems, bad.name)
    assert failure["reason"] == bad.reason, failure
    for name in bad.names:
        assert name in failure["message"].replace(",", "").replace("\u202f", "")
    assert bad.reason in problems.kubectl.run("get", "trun", f"{bad.name}-1")


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.name) for bad in BAD_JOBS])
def test_what_kubernetes_does_to_a_job_is_the_runs_reason_within_30_s(problems: Stage, bad: BadJob) -> None:
    run = f"{bad.name}-1"
    known = lambda: bad.known(problems.kubectl, run)  # noqa: E731 - reads better than a function around a function
    wait_until(f"Kubernetes knows about {run}", known, seconds=240, diagnose=problems.kubectl.diagnose)
    expect_reason(problems, run, bad.reason)


def test_a_registered_model_of_that_name_that_is_anothers_is_left_alone(problems: Stage, mlflow: Mlflow) -> None:
    name = f"{problems.namespace}.taken"
    failure = failure_of(problems, "taken")
    assert failure["reason"] == "RegistryNameTaken"
    assert name in failure["message"]
    assert mlflow.versions(name) == []


def waits_for_image(kubectl: Kubectl, run: str) -> bool:
    pods = kubectl.list("pods", f"job-name={run}-train")
    states = [container["state"] for pod in pods for container in pod["status"].get("containerStatuses", [])]
    return any("Image" in state.get("waiting", {}).get("reason", "") for state in states)


def test_an_image_that_cannot_be_pulled_is_the_runs_reason_within_30_s(stage: Stage, without_jobs_image: None) -> None:  # noqa: ARG001 - what it breaks
    stage.publish_file(world.TELCO, "telco.csv")
    stage.kubectl.apply(churnmodel("imageless", stage.uri("telco.csv")))
    known = lambda: waits_for_image(stage.kubectl, "imageless-1")  # noqa: E731 - reads better than a function around a function
    wait_until("Kubernetes knows about imageless-1", known, seconds=90, diagnose=stage.kubectl.diagnose)
    expect_reason(stage, "imageless-1", "ImagePullFailed")
