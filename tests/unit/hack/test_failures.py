"""Whose a failed request is, in the bench of challengers that fail."""

import json

import pytest
from hack.bench.failures import PER_SECOND, STILL, WEIGHTS, gets_traffic, given_to, is_own, others
from hack.bench.faults import FAULTS, RUSH, Rush
from hack.demo.load import Sample


def logged(name: str, version: str | None) -> str:
    """A line of the Gateway's log."""
    service = f"churn-bench-failures-gym-{version}-predictor-http-80@kubernetesgateway"
    line = {"DownstreamStatus": 502, "request_Ce-Id": name}
    return json.dumps(line | ({"ServiceName": service} if version else {}))


LOG = "\n".join(
    ["time=… level=info", logged("a", "v10"), logged("b", "v1"), logged("c", "v100"), logged("d", None), "{}"]
)
CLIENT, PROBE = False, True
GONE = "NotAnswered(502, 'Bad Gateway')"


STEADY = [10 + number / 10 for number in range(50)]
"""Ten answers of the champion a second, from second 10 to 15."""


@pytest.mark.parametrize(
    ("name", "problem", "at", "own"),
    [
        pytest.param("a", GONE, 12.0, True, id="it was given to the challenger"),
        pytest.param("b", GONE, 12.0, False, id="to the champion"),
        pytest.param("c", GONE, 12.0, False, id="to a version whose name only begins alike"),
        pytest.param("d", GONE, 12.0, True, id="to nobody, while the champion answered"),
        pytest.param("d", GONE, 9.9, False, id="to nobody, before the champion answered"),
        pytest.param("d", GONE, 15.1, False, id="to nobody, and the champion answered no more"),
        pytest.param("e", "TimeoutError()", 12.0, False, id="the Gateway never saw it fail"),
        pytest.param("e", "KeyError('version')", 12.0, True, id="an answer of another schema"),
    ],
)
def test_a_failed_request_is_the_challengers_where_the_gateway_gave_it_to_it(
    name: str, problem: str, at: float, *, own: bool
) -> None:
    assert is_own(Sample(name, at, 0.01, None, problem), "v10", given_to(LOG), STEADY) is own


def test_a_challenger_that_answers_the_operator_wrongly_gets_no_traffic() -> None:
    never = [fault.name for fault in FAULTS if not gets_traffic(fault)]
    assert never == [
        "ends at its start",
        "never gets ready",
        "answers wrongly",
        "answers NaN",
        "answers another schema",
    ]


@pytest.mark.parametrize(("weight", "rushed"), list(zip(WEIGHTS, (False, True), strict=True)))
def test_the_second_steps_traffic_is_a_rush_and_the_firsts_is_none_however_long_it_lasts(
    weight: int, *, rushed: bool
) -> None:
    now = iter(number / (PER_SECOND * weight / 100) for number in range(50 * RUSH))
    rush = Rush(lambda: next(now))
    assert any(rush(number, CLIENT) for number in range(50 * RUSH)) is rushed


def test_what_the_operator_asks_is_no_rush() -> None:
    rush = Rush(lambda: 0.0)
    assert not any(rush(0, PROBE) for _ in range(2 * RUSH))


@pytest.mark.parametrize(
    ("seen", "past"),
    [
        pytest.param([STILL] * 90, [], id="a challenger that is held all the while"),
        pytest.param(["RolledBack, step None, None"] * 90, ["RolledBack, step None, None"], id="one given up at once"),
        pytest.param([STILL, "RollingOut, step 2, Error"], ["RollingOut, step 2, Error"], id="one that goes on"),
    ],
)
def test_a_mute_challenger_is_neither_promoted_nor_given_up(seen: list[str], past: list[str]) -> None:
    assert others(seen) == past
