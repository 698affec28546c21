"""Ten lines on another data set, with MLflow away when they are applied and bad rows afterwards."""

import pandas as pd
import pytest
import yaml
from hack.demo.kube import Kubectl, Object, condition, holds, wait_until
from hack.demo.load import predict
from hack.demo.stage import SAMPLES, Stage
from hack.demo.storage import NAMESPACE as NEIGHBOURS

MEMBERS = SAMPLES / "gym" / "gym.csv"


@pytest.fixture(scope="module")
def gym(stage: Stage) -> Stage:
    stage.publish_file(MEMBERS, "gym.csv")
    return stage


def ready(stage: Stage, name: str) -> Object | None:
    model = stage.kubectl.get("churnmodels", name)
    return model if holds(model, "Ready") else None


def member() -> Object:
    rows = pd.read_csv(MEMBERS)
    row: Object = yaml.safe_load(rows.drop(columns=["member", "cancelled"]).iloc[0].to_json())
    return row


def tracking_missed(stage: Stage) -> bool:
    seen = [*stage.kubectl.list("churnmodels"), *stage.kubectl.list("trainingruns")]
    reasons = [one["reason"] for thing in seen for one in thing.get("status", {}).get("conditions", [])]
    held = [thing.get("status", {}).get("retraining", {}).get("heldBy") for thing in seen]
    return "TrackingUnavailable" in [*reasons, *held]


@pytest.mark.usefixtures("nobody_installs")
def test_without_mlflow_a_condition_says_so_and_the_model_goes_on_when_it_comes(gym: Stage) -> None:
    neighbours = Kubectl(NEIGHBOURS)
    neighbours.run("scale", "deployment/mlflow", "--replicas=0")
    neighbours.run("wait", "--for=delete", "pod", "--selector=app=mlflow", "--timeout=60s")
    try:
        gym.kubectl.apply(gym.sample("gym/churnmodel.yaml"))
        wait_until("TrackingUnavailable said", lambda: tracking_missed(gym), seconds=90, diagnose=gym.kubectl.diagnose)
    finally:
        neighbours.run("scale", "deployment/mlflow", "--replicas=1")
        neighbours.run("rollout", "status", "deployment/mlflow", "--timeout=120s")
    wait_until("ChurnModel gym Ready", lambda: ready(gym, "gym"), seconds=300, diagnose=gym.kubectl.diagnose)


def test_ten_lines_serve_a_model_of_other_columns(gym: Stage) -> None:
    model = wait_until("ChurnModel gym Ready", lambda: ready(gym, "gym"), seconds=10, diagnose=gym.kubectl.diagnose)
    often = predict(gym.endpoint("gym"), member() | {"visits_last_month": 20, "fee_rise": 0})
    never = predict(gym.endpoint("gym"), member() | {"visits_last_month": 0, "fee_rise": 5})
    assert often["probability"] < 0.2
    assert never["probability"] > 0.6
    assert model["status"]["summary"]["metric"].startswith("average_precision=")


def test_an_unknown_category_and_a_missing_value_are_scored(gym: Stage) -> None:
    odd = member() | {"club": "Opened yesterday", "kilometres_to_club": None}
    assert 0 <= predict(gym.endpoint("gym"), odd)["probability"] <= 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("monthly_fee", "cheap", id="text where a number belongs"),
        pytest.param("visits_last_month", [1], id="a list where a number belongs"),
    ],
)
def test_a_malformed_request_is_refused_and_the_field_is_named(gym: Stage, field: str, value: object) -> None:
    with pytest.raises(OSError, match=rf"answered 400.*{field}"):
        predict(gym.endpoint("gym"), member() | {field: value})


def test_a_model_that_says_nothing_of_monitoring_is_monitored_by_its_predictions(gym: Stage) -> None:
    """Ten lines ask for nothing; a look a day is what they get, and too few predictions are no verdict."""

    def looked() -> Object | None:
        monitor = gym.kubectl.get("driftmonitors", "gym")
        return monitor if condition(monitor, "WithinDriftLimits").get("reason") == "TooFewPredictions" else None

    monitor = wait_until("a look at the predictions", looked, seconds=90, diagnose=gym.kubectl.diagnose)
    assert monitor["spec"]["current"] == {"predictions": {"window": "7d", "minRows": 500}}
    assert condition(monitor, "WithinDriftLimits")["status"] == "Unknown"


WINDOW = """
apiVersion: churnops.dev/v1alpha1
kind: DriftMonitor
metadata: {name: gym-table}
spec:
  modelRef: {name: gym}
  schedule: "@every 10s"
  current:
    source: {uri: s3://churn/gym-current.csv}
  persistence: {breaches: 2, of: 2}
"""


def test_a_second_monitor_looks_at_a_table_whose_states_are_its_windows(gym: Stage) -> None:
    members = pd.read_csv(MEMBERS).drop(columns="cancelled")
    gym.publish_table(members, "gym-current.csv")
    gym.kubectl.apply(WINDOW.replace("s3://churn/", gym.uri("")))

    def says(reason: str) -> Object:
        def said() -> Object | None:
            monitor = gym.kubectl.get("driftmonitors", "gym-table")
            return monitor if condition(monitor, "WithinDriftLimits").get("reason") == reason else None

        return wait_until(reason, said, seconds=90, diagnose=gym.kubectl.diagnose)

    says("WithinLimits")
    for rise, reason in ((20, "DriftSuspected"), (30, "DriftDetected")):
        dearer = members.assign(monthly_fee=members["monthly_fee"] + rise, fee_rise=rise, plan="Premium")
        window = gym.publish_table(dearer, "gym-current.csv")
        monitor = says(reason)
        assert monitor["status"]["checks"][0]["window"]["revision"] == f"version:{window}"
    assert len(monitor["status"]["checks"]) == 3
    gym.kubectl.delete("driftmonitors", "gym-table")


def test_a_run_forced_by_hand_on_bad_data_fails_and_the_champion_serves_on(gym: Stage) -> None:
    model = gym.kubectl.get("churnmodels", "gym") or {}
    champion = model["status"]["summary"]["champion"]
    number = model["status"]["lastRun"] + 1
    gym.publish_table(pd.read_csv(MEMBERS).drop(columns="cancelled"), "gym.csv")
    gym.kubectl.apply(
        yaml.safe_dump(
            {
                "apiVersion": "churnops.dev/v1alpha1",
                "kind": "TrainingRun",
                "metadata": {"name": f"gym-{number}"},
                "spec": {
                    "modelRef": {"name": "gym"},
                    "reason": "The marketing team asked.",
                    "requestedBy": gym.kubectl.whoami(),
                },
            }
        )
    )

    def failed() -> Object | None:
        run = gym.kubectl.get("trainingruns", f"gym-{number}")
        return run if (run or {}).get("status", {}).get("phase") == "Failed" else None

    run = wait_until(f"gym-{number} Failed", failed, seconds=180, diagnose=gym.kubectl.diagnose)
    assert run["spec"]["trigger"] == "Manual"
    assert condition(run, "Succeeded")["reason"] == "TargetMissing"
    assert predict(gym.endpoint("gym"), member())["version"] == champion
    assert ready(gym, "gym")


def test_helm_uninstall_leaves_the_champion_serving_and_strands_nothing(gym: Stage, uninstalled: None) -> None:  # noqa: ARG001 - what it changes
    assert predict(gym.endpoint("gym"), member())["version"] == "v1"
    gym.kubectl.run("delete", "churnmodel", "gym", "--timeout=60s")
    wait_until(
        "what the ChurnModel owned gone",
        lambda: not any(gym.kubectl.list(kind) for kind in ("inferenceservices", "services")),
        seconds=60,
        diagnose=gym.kubectl.diagnose,
    )
    gym.kubectl.run("delete", "namespace", gym.namespace, "--timeout=90s")
