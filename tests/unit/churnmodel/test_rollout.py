"""Which version serves."""

from datetime import timedelta
from typing import Any

import pytest
from support.kinds import (
    NOW,
    SETTINGS,
    make_monitor,
    make_object,
    make_result,
    make_run,
    make_server,
    make_spec,
    make_version,
    model_world,
    serving_world,
)

from churn_operator.api.churnmodel import ServedVersion, VersionState
from churn_operator.api.trainingrun import RunPhase
from churn_operator.churnmodel.build import build
from churn_operator.churnmodel.decide import decide
from churn_operator.churnmodel.moves import GiveUp, Promote, Start, Stay
from churn_operator.churnmodel.rollout import decide_rollout
from churn_operator.churnmodel.servers import SCRAPED
from churn_operator.churnmodel.versions import version_of
from churn_operator.core import clock
from churn_operator.core.job import Finished
from churn_operator.core.objects import Alias, Desired
from churn_operator.predictor.__main__ import parser

ROLLING = make_version(2, VersionState.RollingOut, since=clock.stamp(NOW - timedelta(minutes=1)))
LATE = make_version(2, VersionState.RollingOut, since=clock.stamp(NOW - timedelta(minutes=11)))
AGO, LATELY = NOW - timedelta(minutes=10), NOW - timedelta(minutes=9)
SILENT = make_server(2, ok=False)
RUNS = (make_run(1, RunPhase.Accepted), make_run(2, RunPhase.Accepted))
WAITS = make_run(1, RunPhase.AwaitingApproval)
EXPIRED = make_run(2, RunPhase.Expired, result=make_result(2))


def rolling(version: ServedVersion = ROLLING, *servers: Any, **fields: Any) -> Any:
    status = {"versions": [version, make_version(1)]}
    return serving_world(status=status, runs=RUNS, servers=(make_server(1), *servers), **fields)


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(model_world(), Stay, id="nothing accepted, nothing to do"),
        pytest.param(model_world(runs=RUNS[:1]), Start, id="an accepted run gets a server"),
        pytest.param(model_world(make_spec(suspend=True), runs=RUNS[:1]), Stay, id="not while suspended"),
        pytest.param(serving_world(runs=RUNS), Start, id="a newer one gets a server beside the champion"),
        pytest.param(
            serving_world(status={"versions": [make_version(3)]}, runs=RUNS), Stay, id="an older one than it does not"
        ),
        pytest.param(model_world(runs=(WAITS,)), Stay, id="one that awaits approval gets no server"),
        pytest.param(serving_world(runs=(RUNS[0], EXPIRED)), Stay, id="nor one that nobody approved"),
        pytest.param(rolling(), Stay, id="a version waits for its server"),
        pytest.param(rolling(ROLLING, make_server(2, ready=False, ok=None)), Stay, id="until it is ready"),
        pytest.param(rolling(ROLLING, SILENT), Stay, id="and answers as expected"),
        pytest.param(rolling(ROLLING, make_server(2)), Promote, id="then it takes the traffic"),
        pytest.param(rolling(LATE, make_server(2)), Promote, id="however late"),
        pytest.param(rolling(LATE, SILENT), GiveUp, id="one that never answers is given up"),
        pytest.param(rolling(LATE, make_server(2, ready=False, ok=None)), GiveUp, id="or never gets ready"),
        pytest.param(rolling(LATE, make_server(2, ok=False, made=AGO)), GiveUp, id="for long enough"),
        pytest.param(rolling(LATE, make_server(2, ok=False, made=LATELY)), Stay, id="but not one just made"),
        pytest.param(rolling(LATE, SILENT, looking_since=AGO), GiveUp, id="and was looked at for long enough"),
        pytest.param(rolling(LATE, SILENT, looking_since=LATELY), Stay, id="but not one that nobody looked at"),
        pytest.param(rolling(LATE), Stay, id="nor one that could not be made"),
        pytest.param(rolling(LATE, kserve_missing=True), Stay, id="for want of KServe"),
    ],
)
def test_each_state_of_a_rollout_has_one_step(world: Any, expected: type) -> None:
    assert isinstance(decide_rollout(world, NOW).move, expected)


def states(world: Any) -> dict[str, str]:
    return {version.version: version.state for version in decide_rollout(world, NOW).versions}


def test_a_promotion_retires_the_champion() -> None:
    assert states(rolling(ROLLING, make_server(2))) == {"v2": "Champion", "v1": "Retired"}


def test_a_promotion_leaves_older_versions_alone() -> None:
    status = {"versions": [ROLLING, make_version(1), make_version(0, VersionState.RolledBack)]}
    world = serving_world(status=status, runs=RUNS, servers=(make_server(1), make_server(2)))
    assert states(world) == {"v2": "Champion", "v1": "Retired", "v0": "RolledBack"}


def test_giving_up_leaves_the_champion() -> None:
    assert states(rolling(LATE, SILENT)) == {"v2": "RolledBack", "v1": "Champion"}


def test_what_was_last_heard_of_a_version_that_is_given_up_is_told() -> None:
    (given_up, _) = decide_rollout(rolling(LATE, SILENT), NOW).versions
    assert given_up.reason == "v2 was not ready after 10m: connection refused"


def test_an_accepted_run_becomes_a_version_with_the_images_of_the_day() -> None:
    (version,) = decide_rollout(model_world(runs=RUNS[:1]), NOW).versions
    assert (version.version, version.run, version.registry_version) == ("v1", "telco-1", "1")
    assert (version.image, version.fetch_image, version.metric) == ("predictor:1", "jobs:1", "roc_auc=0.8400")


def test_a_version_tells_who_approved_it() -> None:
    said = {"type": "Approved", "status": "True", "reason": "Approved", "message": "Approved by bob."}
    run = make_run(1, RunPhase.Accepted, conditions=[said | {"lastTransitionTime": clock.stamp(NOW)}])
    (version,) = decide_rollout(model_world(runs=(run,)), NOW).versions
    assert version.reason == "telco-1 passed every gate. Approved by bob."


def test_the_list_of_versions_is_bounded_and_keeps_the_champion() -> None:
    old = [make_version(number, VersionState.RolledBack) for number in range(11, 2, -1)] + [make_version(1)]
    world = serving_world(status={"versions": old}, runs=(make_run(12, RunPhase.Accepted),))
    versions = decide_rollout(world, NOW).versions
    assert len(versions) == 10
    assert [v.version for v in versions if v.state is VersionState.Champion] == ["v1"]
    assert versions[0].version == "v12"


@pytest.mark.parametrize(
    ("age", "live", "expected"),
    [
        pytest.param(timedelta(minutes=59), 1, ["v2", "v1"], id="the version before stays warm for the guard time"),
        pytest.param(timedelta(minutes=60), 1, ["v2"], id="and then goes"),
        pytest.param(timedelta(minutes=59), 2, ["v2"], id="and does not come back when the clock is put back"),
    ],
)
def test_the_guard_time(age: timedelta, live: int, expected: list[str]) -> None:
    retired = make_version(1, VersionState.Retired, since=clock.stamp(NOW - age))
    children = (make_object("InferenceService", f"telco-v{live}", {}),)
    world = serving_world(status={"versions": [make_version(2), retired]}, runs=RUNS, children=children)
    assert [version.version for version in decide_rollout(world, NOW).served] == expected


def objects(world: Any) -> dict[tuple[str, str], Any]:
    built = build(world, decide(world, NOW))
    return {(d.object["kind"], d.object["metadata"]["name"]): d.object for d in built if isinstance(d, Desired)}


def test_the_service_moves_with_the_champion_and_nothing_else() -> None:
    before, after = objects(rolling()), objects(rolling(ROLLING, make_server(2)))
    selector = ("spec", "selector", "serving.kserve.io/inferenceservice")
    service = [before["Service", "telco"], after["Service", "telco"]]
    assert [s[selector[0]][selector[1]][selector[2]] for s in service] == ["telco-v1", "telco-v2"]
    assert before.keys() == after.keys()
    assert before["InferenceService", "telco-v1"] == after["InferenceService", "telco-v1"]


def test_the_alias_follows_the_champion_of_the_status() -> None:
    """An operator that is killed finds it where the status says, or where it was."""
    promoting = rolling(ROLLING, make_server(2), alias="1")
    assert decide(promoting, NOW).rollout.champion == promoted(promoting)
    assert aliases(promoting) == [Alias("http://mlflow:5000", "team.telco", "champion", "1", seen="1")]
    after = serving_world(status={"versions": [make_version(2)]}, alias="1")
    assert aliases(after) == [Alias("http://mlflow:5000", "team.telco", "champion", "2", seen="1")]


def promoted(world: Any) -> Any:
    return next(v for v in decide(world, NOW).rollout.versions if v.version == "v2")


def aliases(world: Any) -> list[Alias]:
    return [desired for desired in build(world, decide(world, NOW)) if isinstance(desired, Alias)]


def test_a_server_is_not_changed_by_an_upgrade_of_the_operator() -> None:
    newer = model_world().settings.model_copy(update={"predictor_image": "predictor:2", "jobs_image": "jobs:2"})
    server = ("InferenceService", "telco-v1")
    assert objects(serving_world())[server] == objects(serving_world(settings=newer))[server]


def server(world: Any) -> dict[str, Any]:
    built = build(world, decide(world, NOW))
    return next(dict(d.object) for d in built if isinstance(d, Desired) and d.object["kind"] == "InferenceService")


LOGGING = SETTINGS.model_copy(update={"collector_url": "http://collector.churn-system.svc"})


def test_a_new_version_is_logged_where_the_chart_says() -> None:
    accepted = decide_rollout(model_world(settings=LOGGING, runs=RUNS[:1]), NOW)
    assert accepted.versions[0].log_url == "http://collector.churn-system.svc"
    made = server(model_world(settings=LOGGING, runs=RUNS[:1]))
    assert made["spec"]["predictor"]["logger"] == {
        "mode": "all",
        "url": "http://collector.churn-system.svc",
        "metadataHeaders": ["X-Churn-Shadow", "X-Churn-Golden", "X-Churn-Probe"],
        "metadataAnnotations": ["churnops.dev/model", "churnops.dev/version", "churnops.dev/model-uri"],
    }
    assert made["metadata"]["annotations"] == SCRAPED | {
        "serving.kserve.io/autoscalerClass": "none",
        "churnops.dev/model": "telco",
        "churnops.dev/version": "v1",
        "churnops.dev/model-uri": make_version(1).model.uri,
    }


@pytest.mark.parametrize("settings", [SETTINGS, LOGGING], ids=["off", "on"])
@pytest.mark.parametrize("log_url", [None, "http://elsewhere"], ids=["made without", "made with"])
def test_switching_the_log_on_or_off_rolls_no_pod_that_serves(settings: Any, log_url: str | None) -> None:
    version = make_version(1, log_url=log_url)
    made = server(serving_world(settings=settings, status={"versions": [version]}))
    assert made == server(serving_world(status={"versions": [version]}))
    assert made["spec"]["predictor"].get("logger", {}).get("url") == log_url


@pytest.mark.parametrize(("log_url", "port"), [(None, 8080), ("http://collector", 9081)])
def test_clients_reach_a_logged_version_through_its_logger(log_url: str | None, port: int) -> None:
    world = serving_world(status={"versions": [make_version(1, log_url=log_url)]})
    (service,) = (
        d.object for d in build(world, decide(world, NOW)) if isinstance(d, Desired) and d.object["kind"] == "Service"
    )
    assert service["spec"]["ports"][0]["targetPort"] == port


def test_the_model_goes_no_sooner_than_the_logger_before_it() -> None:
    """KServe's agent waits 30 s for a last request: whoever asks meanwhile is still to be answered."""
    pod = server(serving_world(status={"versions": [make_version(1, log_url="http://collector")]}))["spec"]["predictor"]
    assert "--drain-seconds=32" in pod["containers"][0]["args"]
    assert pod["terminationGracePeriodSeconds"] == 40


def monitors(world: Any) -> list[Any]:
    built = build(world, decide(world, NOW))
    return [d.object["spec"] for d in built if isinstance(d, Desired) and d.object["kind"] == "DriftMonitor"]


def test_where_predictions_are_logged_a_model_is_monitored_by_them_unless_it_says_otherwise() -> None:
    assert monitors(serving_world()) == []
    (spec,) = monitors(serving_world(settings=LOGGING))
    assert (spec["schedule"], spec["current"]) == ("@daily", {"predictions": {"window": "7d", "minRows": 500}})
    own = make_spec(monitoring={"current": {"source": {"uri": "s3://churn/now.csv"}}, "suspend": True})
    (spec,) = monitors(serving_world(own, settings=LOGGING))
    assert (spec["current"], spec["suspend"]) == ({"source": {"uri": "s3://churn/now.csv"}}, True)


def test_batching_is_the_predictors_and_off_unless_asked_for() -> None:
    def arguments(**serving: Any) -> list[str]:
        world = serving_world(make_spec(serving=serving))
        (container,) = objects(world)["InferenceService", "telco-v1"]["spec"]["predictor"]["containers"]
        return [each for each in container["args"] if "batch" in each]

    assert arguments() == []
    assert arguments(batching={}) == ["--batch-rows=64", "--batch-milliseconds=2"]
    batching = {"maxRows": 8, "maxLatencyMilliseconds": 5}
    assert arguments(batching=batching) == ["--batch-rows=8", "--batch-milliseconds=5"]


def test_grpc_has_a_port_of_its_own_behind_the_stable_address() -> None:
    built = objects(serving_world())
    (container,) = built["InferenceService", "telco-v1"]["spec"]["predictor"]["containers"]
    assert [port["name"] for port in container["ports"]] == ["http1", "h2c"], "KServe takes the first one for HTTP"
    targets = {port["name"]: port["targetPort"] for port in built["Service", "telco"]["spec"]["ports"]}
    assert targets["grpc"] == container["ports"][1]["containerPort"] == parser().get_default("grpc_port")


def test_a_server_holds_no_token_and_its_container_no_credentials() -> None:
    predictor = objects(serving_world())["InferenceService", "telco-v1"]["spec"]["predictor"]
    assert predictor["automountServiceAccountToken"] is False
    assert "envFrom" not in predictor["containers"][0]


def test_replicas_resources_and_the_storage_secret_follow_the_spec() -> None:
    spec = make_spec(serving={"replicas": 3}, storage={"secretRef": {"name": "mine"}})
    predictor = objects(serving_world(spec))["InferenceService", "telco-v1"]["spec"]["predictor"]
    assert predictor["minReplicas"] == 3
    assert predictor["initContainers"][0]["envFrom"] == [{"secretRef": {"name": "mine"}}]


NONE = {"maxReplicas": None, "scaleMetric": None, "scaleTarget": None}


@pytest.mark.parametrize(
    ("serving", "autoscaler", "expected"),
    [
        pytest.param({"replicas": 2}, "none", {"minReplicas": 2} | NONE, id="absent: a fixed number"),
        pytest.param(
            {"replicas": 2, "autoscaling": {"maxReplicas": 6}}, "hpa",
            {"minReplicas": 2, "maxReplicas": 6, "scaleMetric": "cpu", "scaleTarget": 80}, id="by CPU unless said",
        ),
        pytest.param(
            {"autoscaling": {"maxReplicas": 3, "metric": "Memory", "targetUtilization": 60}}, "hpa",
            {"minReplicas": 1, "maxReplicas": 3, "scaleMetric": "memory", "scaleTarget": 60}, id="by memory",
        ),
    ],
)  # fmt: skip
def test_an_autoscaler_is_kserves_to_make(serving: dict[str, Any], autoscaler: str, expected: dict[str, Any]) -> None:
    """Another class is what tells KServe to delete it."""
    made = objects(serving_world(make_spec(serving=serving)))["InferenceService", "telco-v1"]
    assert made["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == autoscaler
    assert {field: made["spec"]["predictor"].get(field) for field in expected} == expected


def test_who_stands_in_with_a_constant_is_never_autoscaled() -> None:
    spec = make_spec(serving={"replicas": 2, "autoscaling": {"maxReplicas": 6}, "fallback": {"probability": 0.2}})
    made = objects(serving_world(spec))["InferenceService", "telco-fallback"]
    assert made["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "none"
    assert made["spec"]["predictor"]["minReplicas"] == 1
    assert "maxReplicas" not in made["spec"]["predictor"]


def test_without_kserve_everything_else_is_still_made() -> None:
    spec = make_spec(monitoring={"current": {"source": {"uri": "s3://churn/current.csv"}}})
    kinds = {kind for kind, _ in objects(serving_world(spec, kserve_missing=True))}
    assert kinds == {"Service", "DriftMonitor"}


def test_a_wanted_run_and_a_probe_are_made() -> None:
    found = '{"outcome": "Probed", "revision": "version:2"}'
    made = objects(serving_world(monitors=(make_monitor(),), probe=Finished(found)))
    slot = serving_world().probe_slot
    assert made["TrainingRun", "telco-2"]["spec"]["trigger"] == "Drift"
    assert made["TrainingRun", "telco-2"]["spec"]["evidence"]["monitor"] == "telco"
    assert made["TrainingRun", "telco-2"]["spec"]["revision"] == "version:2"
    assert ("Job", f"telco-probe-{slot}") in made


def test_servers_are_found_by_a_prometheus_that_goes_by_annotations() -> None:
    server = objects(serving_world())["InferenceService", "telco-v1"]
    found = {name: value for name, value in server["metadata"]["annotations"].items() if "prometheus" in name}
    assert found == {"prometheus.io/scrape": "true", "prometheus.io/port": "8080", "prometheus.io/path": "/metrics"}


def test_a_first_model_has_only_its_run() -> None:
    assert set(objects(model_world())) == {("TrainingRun", "telco-1")}


@pytest.mark.parametrize(
    ("world", "seconds"),
    [
        pytest.param(model_world(), 2, id="soon after opening a run"),
        pytest.param(model_world(make_spec(suspend=True)), 60, id="once a minute when nothing is due"),
        pytest.param(serving_world(), 5, id="as often as a champion is asked"),
        pytest.param(serving_world(servers=(make_server(1, ok=False),)), 2, id="more often while it does not answer"),
        pytest.param(
            serving_world(make_spec(retraining={"triggers": ["NewData"], "probeInterval": "1s"})),
            1,
            id="at the next probe",
        ),
        pytest.param(
            serving_world(
                status={
                    "versions": [
                        make_version(2),
                        make_version(
                            1, VersionState.Retired, since=clock.stamp(NOW - timedelta(minutes=59, seconds=57))
                        ),
                    ]
                },
                runs=RUNS,
                children=(make_object("InferenceService", "telco-v1", {}),),
            ),
            3,
            id="at the end of a guard time",
        ),
    ],
)
def test_the_next_look_comes_when_something_is_due(world: Any, seconds: int) -> None:
    assert decide(world, NOW).wake == timedelta(seconds=seconds)


def test_an_accepted_run_without_a_result_is_an_error() -> None:
    with pytest.raises(ValueError, match="telco-1 was accepted without a result"):
        version_of(model_world(), make_run(1, RunPhase.Rejected), NOW)
