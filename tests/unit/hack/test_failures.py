"""Whose a failed request is, in the bench of challengers that fail."""

import json

import pytest
from hack.bench.failures import STILL, failed_at, gets_traffic, is_own, others
from hack.bench.faults import FAULTS
from hack.demo.load import Sample


def logged(name: str, version: str | None) -> str:
    """A line of the Gateway's log."""
    service = f"churn-bench-failures-gym-{version}-predictor-http-80@kubernetesgateway"
    line = {"DownstreamStatus": 502, "request_Ce-Id": name}
    return json.dumps(line | ({"ServiceName": service} if version else {}))


LOG = "\n".join(
    ["time=… level=info", logged("a", "v10"), logged("b", "v1"), logged("c", "v100"), logged("d", None), "{}"]
)
GONE = "NotAnswered(502, 'Bad Gateway')"


@pytest.mark.parametrize(
    ("name", "problem", "own"),
    [
        pytest.param("a", GONE, True, id="it was given to the challenger"),
        pytest.param("b", GONE, False, id="to the champion"),
        pytest.param("c", GONE, False, id="to a version whose name only begins alike"),
        pytest.param("d", GONE, False, id="to nobody"),
        pytest.param("e", "TimeoutError()", False, id="the Gateway never saw it fail"),
        pytest.param("e", "KeyError('version')", True, id="an answer of another schema"),
    ],
)
def test_a_failed_request_is_the_challengers_where_the_gateway_gave_it_to_it(
    name: str, problem: str, *, own: bool
) -> None:
    failure = Sample(name, 12.0, 0.01, None, problem)
    assert is_own(failure, failed_at(LOG, "v10")) is own


def test_a_challenger_that_answers_the_operator_wrongly_gets_no_traffic() -> None:
    never = [fault.name for fault in FAULTS if not gets_traffic(fault)]
    assert never == [
        "ends at its start",
        "never gets ready",
        "answers wrongly",
        "answers NaN",
        "answers another schema",
    ]


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
