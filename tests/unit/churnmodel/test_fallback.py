"""Who answers while the champion cannot."""

from typing import Any

import pytest
from pydantic import ValidationError
from support.canary import ago
from support.kinds import (
    NOW,
    SETTINGS,
    make_object,
    make_run,
    make_server,
    make_spec,
    make_version,
    model_world,
    serving_world,
)
from support.memory import CLUSTER_IP, MemoryCluster

from churn_operator.api.churnmodel import ChurnModelStatus, FallbackStatus, VersionState
from churn_operator.api.tasks import Golden
from churn_operator.api.trainingrun import RunPhase
from churn_operator.churnmodel.build import build
from churn_operator.churnmodel.decide import SOON, decide
from churn_operator.churnmodel.fallback import is_over, stands_in
from churn_operator.churnmodel.observe import ChurnModelWorld, ServerSeen, observe, server_name
from churn_operator.churnmodel.report import report
from churn_operator.churnmodel.rollout import decide_rollout
from churn_operator.churnmodel.route import RouteSeen
from churn_operator.core.kind import Answer
from churn_operator.core.objects import MODEL_LABEL, OWNED, Desired, Key

GATEWAY = {"parentRefs": [{"name": "public"}]}
SILENT, WELL = make_server(2, ok=False), make_server(1)
VERSION, CONSTANT = {"version": "v1"}, {"probability": 0.2}
READY = {"type": "Ready", "status": "True"}


def constant(*, ok: bool = True) -> ServerSeen:
    return ServerSeen("fallback", message="ready", answer=Answer(ok, "answered" if ok else "refused"))


def stood(recovered: str | None = None, *, since: str = ago(minutes=5), version: str = "v1") -> FallbackStatus:
    return FallbackStatus(version=version, since=since, recovered=recovered)


def named(*servers: Any, fallback: Any = VERSION, state: VersionState = VersionState.Retired, target: str = "v2",
          champion: Any = (), status: Any = (), **fields: Any) -> ChurnModelWorld:  # fmt: skip
    """Champion 2, and version 1 that was champion long ago."""
    serving = {"gateway": GATEWAY} | ({"fallback": fallback} if fallback else {})
    versions = [make_version(2, **dict(champion)), make_version(1, state, since=ago(hours=9))]
    world: dict[str, Any] = {
        "status": {"versions": versions} | dict(status),
        "servers": servers,
        "target": target,
        "route": RouteSeen({target: 100}),
        "children": (make_object("InferenceService", "telco-v2", {}),),
    }
    return serving_world(make_spec(serving=serving, suspend=fields.pop("suspend", False)), **(world | fields))


def built(world: ChurnModelWorld) -> dict[str, Any]:
    found = [item.object for item in build(world, decide(world, NOW)) if isinstance(item, Desired)]
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in found}


def reported(world: ChurnModelWorld) -> ChurnModelStatus:
    return report(world, decide(world, NOW), None, NOW)


def ready(world: ChurnModelWorld) -> tuple[str, str, str]:
    found = reported(world).condition("Ready")
    assert found is not None
    return found.status, found.reason, found.message


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(named(make_server(2), WELL), "v2", id="a champion that answers"),
        pytest.param(named(SILENT, WELL), "v1", id="one that does not"),
        pytest.param(named(WELL), "v1", id="one that has no server"),
        pytest.param(named(make_server(2, ready=False, ok=None), WELL), "v1", id="one that starts again"),
        pytest.param(named(SILENT, WELL, target="v1"), "v1", id="one that stays away"),
        pytest.param(
            named(make_server(2), WELL, target="v1"), "v2", id="one that is back, and nobody knows since when"
        ),
        pytest.param(named(SILENT, make_server(1, ok=False)), "v2", id="a fallback that does not answer either"),
        pytest.param(named(SILENT), "v2", id="a fallback that has no server"),
        pytest.param(named(SILENT, WELL, fallback=None), "v2", id="no fallback"),
        pytest.param(named(SILENT, WELL, fallback={"version": "v7"}), "v2", id="a fallback that there is not"),
        pytest.param(named(SILENT, WELL, state=VersionState.Quarantined), "v2", id="a fallback that failed"),
        pytest.param(named(make_server(2), constant(), fallback=CONSTANT), "v2", id="a constant is not needed"),
        pytest.param(named(SILENT, constant(), fallback=CONSTANT), "fallback", id="a constant"),
        pytest.param(named(SILENT, constant(ok=False), fallback=CONSTANT), "v2", id="a constant that does not answer"),
    ],
)
def test_clients_are_led_to_who_answers(world: ChurnModelWorld, expected: str) -> None:
    objects = built(world)
    selector = objects["Service/telco"]["spec"]["selector"]
    assert selector["serving.kserve.io/inferenceservice"] == f"telco-{expected}"
    (backend,) = objects["HTTPRoute/telco"]["spec"]["rules"][0]["backendRefs"]
    assert (backend["name"], backend["weight"]) == (f"telco-{expected}-predictor", 100)


def test_without_a_champion_nobody_stands_in() -> None:
    world = model_world(make_spec(serving={"fallback": CONSTANT}), servers=(constant(),))
    assert decide_rollout(world, NOW).stand_in is None
    assert "Service/telco" not in built(world)
    assert "InferenceService/telco-fallback" in built(world), "it is warm before there is one"


BACK, SHORTLY, LATELY, LONG = ago(seconds=10), ago(seconds=9), ago(seconds=19), ago(seconds=20)


@pytest.mark.parametrize(
    ("champion", "last", "expected"),
    [
        pytest.param(SILENT, None, stood(since=ago()), id="silent: the fallback begins"),
        pytest.param(SILENT, stood(), stood(), id="still silent: it goes on"),
        pytest.param(make_server(2), stood(), stood(ago()), id="heard again: it is noted"),
        pytest.param(make_server(2), stood(SHORTLY), stood(SHORTLY), id="heard for some seconds: it goes on"),
        pytest.param(SILENT, stood(SHORTLY), stood(), id="silent before it was heard for long enough: it goes on"),
        pytest.param(make_server(2), stood(BACK), stood(BACK), id="heard for long enough: it is over"),
        pytest.param(SILENT, stood(BACK), stood(BACK), id="just back: what is heard may be the fallback"),
        pytest.param(SILENT, stood(LATELY), stood(LATELY), id="back for some seconds: still so"),
        pytest.param(SILENT, stood(LONG), stood(since=ago()), id="back for long: it begins again"),
        pytest.param(make_server(2), stood(LONG), None, id="back for long: nothing is said any more"),
        pytest.param(make_server(2), stood(version="fallback"), None, id="another stood in"),
        pytest.param(make_server(2), stood(since=ago(hours=3)), None, id="it stood in until this one was promoted"),
        pytest.param(SILENT, stood(since=ago(hours=4)), stood(since=ago()), id="it stood in for another champion"),
    ],
)
def test_the_champion_has_its_clients_back_when_it_answered_for_some_seconds(
    champion: ServerSeen, last: FallbackStatus | None, expected: FallbackStatus | None
) -> None:
    world = named(champion, WELL, status={"fallback": last} if last else {})
    rollout = decide_rollout(world, NOW)
    assert rollout.fallback == expected
    assert (rollout.stand_in is not None) == (expected is not None and not is_over(expected, NOW))
    assert reported(world).fallback == expected


@pytest.mark.parametrize(
    ("since", "begins"),
    [pytest.param(SHORTLY, False, id="just promoted"), pytest.param(BACK, True, id="some seconds ago")],
)
def test_the_silence_of_a_champion_that_just_got_the_traffic_is_not_believed(since: str, begins: bool) -> None:  # noqa: FBT001
    world = named(SILENT, WELL, champion={"since": since})
    assert (stands_in(world, world.champion, NOW) is not None) == begins


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(None, id="at once"),
        pytest.param(stood(since=ago(), version="fallback"), id="and from who stands in"),
    ],
)
def test_a_rollback_goes_before(last: FallbackStatus | None) -> None:
    rollout = {"version": "v2", "phase": "Guarding", "began": ago(hours=1), "since": ago(minutes=1)}
    versions = [make_version(2), make_version(1, VersionState.Retired, since=ago(minutes=1))]
    status = {"versions": versions, "rollout": rollout} | ({"fallback": last} if last else {})
    decided = decide_rollout(named(SILENT, WELL, constant(), fallback=CONSTANT, status=status), NOW)
    assert (decided.champion and decided.champion.version, decided.fallback, decided.stand_in) == ("v1", None, None)


def test_a_fallback_is_looked_at_again_soon() -> None:
    assert decide(named(make_server(2), WELL, status={"fallback": stood(SHORTLY)}), NOW).wake == SOON


@pytest.mark.parametrize(
    ("fallback", "served"),
    [
        pytest.param(VERSION, ["telco-v2", "telco-v1"], id="a version, while it is named"),
        pytest.param(CONSTANT, ["telco-v2", "telco-fallback"], id="a constant, while it is set"),
        pytest.param(None, ["telco-v2"], id="and no longer"),
    ],
)
def test_the_fallback_keeps_its_server(fallback: Any, served: list[str]) -> None:
    objects = built(named(make_server(2), fallback=fallback))
    assert [name for name in objects if name.startswith("Inf")] == [f"InferenceService/{name}" for name in served]


def test_a_constant_needs_no_file_and_no_secret_and_is_not_logged() -> None:
    world = named(SILENT, constant(), fallback=CONSTANT, champion={"log_url": "http://collector"})
    objects = built(world)
    server = objects["InferenceService/telco-fallback"]
    assert not [key for key in server["metadata"]["annotations"] if key.startswith("churnops.dev/")]
    pod = server["spec"]["predictor"]
    assert set(pod) & {"initContainers", "logger"} == set()
    (container,) = pod["containers"]
    assert container["args"] == ["--probability=0.2", "--model-name=telco", "--version=fallback", "--http-port=8080"]
    assert (container["image"], pod["minReplicas"], "envFrom" in container) == ("predictor:1", 1, False)
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp"]
    assert objects["Service/telco"]["spec"]["ports"][0]["targetPort"] == 8080, "there is no agent before it"


@pytest.mark.parametrize("server", ["telco-v2", "telco-fallback"])
def test_a_predictor_has_minutes_to_start_and_is_not_ended_for_being_busy(server: str) -> None:
    objects = built(named(SILENT, constant(), fallback=CONSTANT))
    (container,) = objects[f"InferenceService/{server}"]["spec"]["predictor"]["containers"]
    startup, liveness = container["startupProbe"], container["livenessProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 300
    assert startup["periodSeconds"] == 1, "nobody waits for a check that comes late"
    assert liveness["timeoutSeconds"] * liveness["failureThreshold"] == 30
    assert startup["httpGet"] == liveness["httpGet"] == {"path": "/", "port": 8080}


@pytest.mark.parametrize(
    ("world", "message"),
    [
        pytest.param(
            named(SILENT, WELL), "v2 does not answer: connection refused; v1 answers in its place.", id="a version"
        ),
        pytest.param(
            named(constant(), fallback=CONSTANT),
            "v2 does not answer: it has no InferenceService; fallback answers in its place.",
            id="a constant",
        ),
        pytest.param(
            named(make_server(2), WELL, status={"fallback": stood(SHORTLY)}),
            f"v2 answers again since {SHORTLY}; until it has for 10 s v1 answers in its place.",
            id="a champion that answers again",
        ),
    ],
)
def test_the_champion_stays_champion_and_is_degraded(world: ChurnModelWorld, message: str) -> None:
    assert ready(world) == ("False", "FallbackServing", message)
    assert (reported(world).phase, reported(world).summary.champion) == ("Degraded", "v2")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"suspend": True}, id="suspended"),
        pytest.param({"runs": (make_run(3, RunPhase.Running),)}, id="training"),
        pytest.param({"status": {"versions": [make_version(3, VersionState.RollingOut), make_version(2),
                                              make_version(1, VersionState.Retired)]}}, id="rolling out"),
    ],
)  # fmt: skip
def test_it_is_degraded_whatever_else_goes_on(fields: Any) -> None:
    assert reported(named(SILENT, WELL, **fields)).phase == "Degraded"


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        pytest.param((WELL,), "", id="one that does"),
        pytest.param((make_server(1, ready=False, ok=None),), " Its stand-in v1 does not: pod is starting.", id="not"),
        pytest.param((), " Its stand-in v1 does not: it has no InferenceService.", id="one that has no server"),
    ],
)
def test_a_fallback_that_would_not_answer_is_told_before_it_is_needed(servers: Any, expected: str) -> None:
    said = "v2 answers as expected at http://telco.team.svc/v1/models/telco:predict."
    assert ready(named(make_server(2), *servers)) == ("True", "ChampionServing", said + expected)


@pytest.mark.parametrize(
    ("fallback", "state", "why"),
    [
        pytest.param("v7", VersionState.Retired, "v7 is none of status.versions", id="one that is not known"),
        pytest.param("v2", VersionState.Retired, "v2 is the champion itself", id="the champion"),
        pytest.param(
            "v1",
            VersionState.Quarantined,
            "v1 is Quarantined, and only one that is Retired stands in",
            id="a failed one",
        ),
    ],
)
def test_a_fallback_that_cannot_stand_in_is_told_before_it_is_needed(fallback: str, state: Any, why: str) -> None:
    said = "v2 answers as expected at http://telco.team.svc/v1/models/telco:predict. Nobody stands in for it: "
    world = named(make_server(2), WELL, fallback={"version": fallback}, state=state)
    assert ready(world) == ("True", "ChampionServing", f"{said}spec.serving.fallback.version {why}.")


def test_what_is_heard_while_clients_are_led_back_is_no_silence_yet() -> None:
    world = named(SILENT, WELL, status={"fallback": stood(BACK)})
    assert ready(world) == ("False", "RollingOut", "The Service is being pointed at v2.")


def test_the_fallback_is_remembered_however_old_it_is() -> None:
    old = [make_version(number, VersionState.Retired) for number in range(10, 1, -1)]
    world = named(status={"versions": [make_version(11), *old[:8], make_version(1, VersionState.Retired)]},
                  runs=(make_run(12, RunPhase.Accepted),))  # fmt: skip
    kept = [version.version for version in decide_rollout(world, NOW).versions]
    assert kept == ["v12", "v11", "v10", "v9", "v8", "v7", "v6", "v5", "v4", "v1"]


@pytest.mark.parametrize(
    "fallback", [pytest.param({}, id="none"), pytest.param(VERSION | CONSTANT, id="both")]
)  # fmt: skip
def test_one_of_both_is_named(fallback: Any) -> None:
    with pytest.raises(ValidationError, match="exactly one of version and probability is required"):
        make_spec(serving={"fallback": fallback})


class Asked(MemoryCluster):
    """Remembers who was asked for what."""

    async def predict(self, url: str, golden: Golden) -> Answer:
        self.seen = {**getattr(self, "seen", {}), url: golden.rows}
        return await super().predict(url, golden)


def owned(kind: str, name: str, spec: Any, **labels: str) -> dict[str, Any]:
    owner = {"kind": "ChurnModel", "name": "telco", "uid": "uid-telco", "controller": True}
    thing = make_object(kind, name, spec)
    thing["metadata"] |= {"labels": {MODEL_LABEL: "telco", **OWNED, **labels}, "ownerReferences": [owner]}
    return thing


async def observed(fallback: Any, *, target: str = "v2", pods: Any = ()) -> tuple[ChurnModelWorld, Any]:
    world = named(fallback=fallback)
    model = make_object("ChurnModel", "telco", world.spec.to_dict()) | {"status": world.status.to_dict()}
    selector = {"serving.kserve.io/inferenceservice": server_name("telco", target)}
    things = [model, owned("Service", "telco", {"clusterIP": CLUSTER_IP, "selector": selector}), *pods]
    names = (f"telco-{version}" for version in ("v2", "v1", "fallback"))
    things += [owned("InferenceService", name, {}) | {"status": {"conditions": [READY]}} for name in names]
    cluster = Asked({(thing["kind"], thing["metadata"]["name"]): thing for thing in things}, answering={"fallback"})
    seen = await observe(SETTINGS, cluster, Key("ChurnModel", "team", "telco"), NOW)
    assert seen is not None
    return seen, cluster


async def test_a_constant_is_asked_for_its_probability_at_its_own_address() -> None:
    world, cluster = await observed(CONSTANT, target="fallback")
    theirs = "http://telco-fallback-predictor.team.svc/v1/models/telco:predict"
    assert cluster.seen[theirs] == (({}, 0.2),)
    assert world.server("fallback") == ServerSeen("fallback", message="not ready yet",
                                                  answer=Answer(ok=True, message="fallback was asked"))  # fmt: skip
    assert "http://telco-v2-predictor.team.svc/v1/models/telco:predict" in cluster.seen


ENDED = {"name": "kserve-container", "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        pytest.param([], "v2 was asked: it has no pod", id="no pod"),
        pytest.param([{}], "v2 was asked", id="one that says nothing"),
        pytest.param(
            [{"containerStatuses": [ENDED]}],
            "v2 was asked: pod a: container kserve-container ended with exit code 137 (OOMKilled)",
            id="one that ends",
        ),
    ],
)
async def test_why_a_champion_is_silent_is_told_by_its_pods(pods: Any, expected: str) -> None:
    label = {"serving.kserve.io/inferenceservice": "telco-v2"}
    seen, _ = await observed(CONSTANT, pods=[owned("Pod", "a", {}, **label) | {"status": status} for status in pods])
    server = seen.server("v2")
    assert server is not None
    assert server.heard == expected
