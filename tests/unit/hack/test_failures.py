"""Whose a failed request is, in the bench of challengers that fail."""

import pytest
from hack.bench.failures import STILL, gets_traffic, may_be_its_own, others
from hack.bench.faults import FAULTS
from hack.demo.load import NotAnswered, Sample

from churn_operator.predictor.edge import FAILED

END = 20.0
STEADY = [10 + number / 10 for number in range(50)]
"""Answers of the challenger, ten a second, from second 10 to 15."""
GONE = "NotAnswered(502, 'Bad Gateway')"


@pytest.mark.parametrize(
    ("at", "problem", "answers", "own"),
    [
        pytest.param(12.0, repr(NotAnswered(500, f'{{"error":"{FAILED}"}}')), STEADY, True, id="its own words"),
        pytest.param(12.0, "KeyError('version')", STEADY, True, id="an answer of another schema"),
        pytest.param(15.0, GONE, STEADY, True, id="it is down"),
        pytest.param(19.0, GONE, STEADY, True, id="and stays so"),
        pytest.param(12.0, GONE, STEADY, False, id="it was up"),
        pytest.param(12.0, "TimeoutError()", [*STEADY[:21], 12.05], True, id="one that overtook it proves nothing"),
        pytest.param(9.9, GONE, STEADY, False, id="before its first answer"),
        pytest.param(20.1, GONE, STEADY, False, id="after it had lost its traffic"),
        pytest.param(12.0, GONE, [], False, id="it never had any"),
    ],
)
def test_a_failed_request_is_the_challengers_only_where_it_can_be(
    at: float, problem: str, answers: list[float], *, own: bool
) -> None:
    assert may_be_its_own(Sample(at, 0.01, None, problem), answers, END) is own


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
