"""When a part of the bench ends with 1."""

from pathlib import Path

import pytest
from hack.bench import predictor, story
from hack.bench.bounds import Bound, judged
from hack.demo import story as teller


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


@pytest.mark.parametrize(
    ("p95", "past"),
    [
        pytest.param({predictor.PREDICTOR: 0.0049, predictor.UNLOGGED: 0.0029, predictor.EMPTY: 0.002}, 0, id="none"),
        pytest.param({predictor.PREDICTOR: 0.0051, predictor.UNLOGGED: 0.002, predictor.EMPTY: 0.002}, 1, id="logged"),
        pytest.param({predictor.PREDICTOR: 0.0049, predictor.UNLOGGED: 0.0031, predictor.EMPTY: 0.002}, 1, id="rival"),
        pytest.param({predictor.PREDICTOR: 0.0031, predictor.EMPTY: 0.002}, 1, id="nothing that logs"),
        pytest.param({predictor.PREDICTOR: 0.0049}, 0, id="no rival"),
    ],
)
def test_a_prediction_is_within_5_ms_and_past_the_logger_half_as_long_again_as_the_rivals(
    p95: dict[str, float], past: int
) -> None:
    assert sum(not bound.holds for bound in predictor.bounds_of(p95)) == past


@pytest.mark.parametrize(
    ("alarm", "champion", "past"),
    [
        pytest.param(30.0, 120.0, 0, id="just in time"),
        pytest.param(30.1, 120.0, 1, id="an alarm that is late"),
        pytest.param(30.0, 120.1, 1, id="a champion that is late"),
        pytest.param(None, 120.0, 1, id="no alarm"),
    ],
)
def test_the_story_is_told_in_time(alarm: float | None, champion: float, past: int) -> None:
    asked, serving = story.SECONDS
    figures = [(serving, champion), *([] if alarm is None else [(asked, alarm)])]
    assert sum(not bound.holds for bound in story.bounds_of(figures)) == past


def test_the_story_has_the_figures_that_are_bound() -> None:
    text = Path(teller.__file__).read_text()
    assert [what for what in story.SECONDS if f'"{what}"' not in text] == []
