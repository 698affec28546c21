"""Who answers while the champion cannot."""

from typing import Any

import pytest
from support.canary import ago
from support.kinds import NOW, make_object, make_server, make_spec, make_version, serving_world

from churn_operator.api.churnmodel import VersionState
from churn_operator.churnmodel.build import build
from churn_operator.churnmodel.decide import decide
from churn_operator.churnmodel.observe import ChurnModelWorld, RouteSeen
from churn_operator.churnmodel.report import report
from churn_operator.churnmodel.rollout import decide_rollout
from churn_operator.core.objects import Desired

GATEWAY = {"parentRefs": [{"name": "public"}]}
SILENT, WELL = make_server(2, ok=False), make_server(1)


def named(*servers: Any, fallback: str | None = "v1", state: VersionState = VersionState.Retired, target: str = "v2",
          since: str = ago(hours=9)) -> ChurnModelWorld:  # fmt: skip
    """Champion 2, and version 1 that was champion long ago."""
    serving = {"gateway": GATEWAY} | ({"fallback": {"version": fallback}} if fallback else {})
    return serving_world(
        make_spec(serving=serving),
        status={"versions": [make_version(2), make_version(1, state, since=since)]},
        servers=servers,
        target=target,
        route=RouteSeen({target: 100}),
        children=(make_object("InferenceService", "telco-v2", {}),),
    )


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(named(make_server(2), WELL), "v2", id="a champion that answers"),
        pytest.param(named(SILENT, WELL), "v1", id="one that does not"),
        pytest.param(named(WELL), "v1", id="one that has no server"),
        pytest.param(named(make_server(2, ready=False, ok=None), WELL), "v1", id="one that starts again"),
        pytest.param(named(SILENT, WELL, target="v1"), "v1", id="one that stays away"),
        pytest.param(named(make_server(2), WELL, target="v1"), "v2", id="one that is back"),
        pytest.param(named(SILENT, make_server(1, ok=False)), "v2", id="a fallback that does not answer either"),
        pytest.param(named(SILENT, WELL, fallback=None), "v2", id="no fallback"),
        pytest.param(named(SILENT, WELL, fallback="v7"), "v2", id="a fallback that there is not"),
        pytest.param(named(SILENT, WELL, state=VersionState.Quarantined), "v2", id="a fallback that failed"),
    ],
)
def test_clients_are_led_to_who_answers(world: ChurnModelWorld, expected: str) -> None:
    built = {d.object["kind"]: d.object for d in build(world, decide(world, NOW)) if isinstance(d, Desired)}
    assert built["Service"]["spec"]["selector"]["serving.kserve.io/inferenceservice"] == f"telco-{expected}"
    (backend,) = built["HTTPRoute"]["spec"]["rules"][0]["backendRefs"]
    assert (backend["name"], backend["weight"]) == (f"telco-{expected}-predictor", 100)


@pytest.mark.parametrize(
    ("fallback", "served"),
    [pytest.param("v1", ["v2", "v1"], id="while it is named"), pytest.param(None, ["v2"], id="and no longer")],
)
def test_the_fallback_keeps_its_server(fallback: str | None, served: list[str]) -> None:
    world = named(make_server(2), fallback=fallback)
    assert [version.version for version in decide_rollout(world, NOW).served] == served


def test_the_champion_stays_champion_and_is_degraded() -> None:
    world = named(SILENT, WELL)
    reported = report(world, decide(world, NOW), None, NOW)
    ready = reported.condition("Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "FallbackServing")
    assert ready.message == "v2 does not answer: connection refused; v1 answers in its place."
    assert (reported.phase, reported.summary.champion) == ("Degraded", "v2")
