"""When a part of the bench ends with 1."""

import pytest
from hack.bench.bounds import Bound, judged


@pytest.mark.parametrize(
    ("bound", "holds"),
    [
        pytest.param(Bound("requests failed", 0, most=0), True, id="none where none is asked for"),
        pytest.param(Bound("requests failed", 1, most=0), False, id="one too many"),
        pytest.param(Bound("times the rate", 1.6, least=1.6), True, id="just enough"),
        pytest.param(Bound("times the rate", 1.59, least=1.6), False, id="not quite"),
        pytest.param(Bound("share", 0.5, least=0.48, most=0.52), True, id="between two"),
        pytest.param(Bound("share", 0.53, least=0.48, most=0.52), False, id="beyond the second"),
        pytest.param(Bound("seconds", float("nan"), most=1), False, id="nothing that was measured"),
    ],
)
def test_a_part_ends_with_1_when_a_figure_is_past_its_bound(
    bound: Bound, capsys: pytest.CaptureFixture[str], *, holds: bool
) -> None:
    assert judged(Bound("another", 0, most=1), bound) == int(not holds)
    said = capsys.readouterr().out
    assert said == ("" if holds else f"PAST ITS BOUND: {bound}\n")


def test_a_bound_says_what_was_measured_and_what_is_asked_for() -> None:
    assert str(Bound("share of v2", 0.5312, 0.48, 0.52)) == (
        "share of v2: 0.5312, at least 0.48 and at most 0.52 is asked for"
    )
