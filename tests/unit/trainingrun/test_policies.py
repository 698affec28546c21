"""What a challenger must show."""

import pytest
from support.kinds import make_comparison, make_result

from churn_operator.api.tasks import ComparisonResult
from churn_operator.api.training import ChampionGate, Gate
from churn_operator.trainingrun.policies import refuse, verdict

QUALITY = Gate(name="quality", metric="roc_auc", min=0.8)
CALIBRATION = Gate(name="calibration", metric="expected_calibration_error", max=0.05)
BAND = Gate(name="band", metric="recall", min=0.5, max=0.9)
CHAMPION = Gate(name="champion", champion=ChampionGate())


@pytest.mark.parametrize(
    ("gate", "metrics", "expected"),
    [
        pytest.param(QUALITY, {"roc_auc": 0.8}, "Passed", id="a value at its lower bound passes"),
        pytest.param(QUALITY, {"roc_auc": 0.799}, "Failed", id="a value below its lower bound fails"),
        pytest.param(QUALITY, {}, "Failed", id="a metric that was not measured fails"),
        pytest.param(QUALITY, {"roc_auc": float("nan")}, "Failed", id="not a number fails a lower bound"),
        pytest.param(
            CALIBRATION, {"expected_calibration_error": 0.05}, "Passed", id="a value at its upper bound passes"
        ),
        pytest.param(CALIBRATION, {"expected_calibration_error": 0.051}, "Failed", id="a value above its bound fails"),
        pytest.param(CALIBRATION, {"expected_calibration_error": float("nan")}, "Failed", id="nor an upper one"),
        pytest.param(BAND, {"recall": 0.7}, "Passed", id="a value between two bounds passes"),
        pytest.param(BAND, {"recall": 0.95}, "Failed", id="a value above the upper of two bounds fails"),
    ],
)
def test_a_metric_is_held_to_its_bounds(gate: Gate, metrics: dict[str, float], expected: str) -> None:
    assert verdict(gate, make_result(metrics=metrics)).verdict == expected


def test_a_verdict_names_the_value_the_bound_and_the_rows() -> None:
    message = verdict(QUALITY, make_result(metrics={"roc_auc": 0.5123})).message
    assert message == "roc_auc is 0.5123 on 1409 held-out rows; at least 0.8 is asked for."


@pytest.mark.parametrize(
    ("comparisons", "expected"),
    [
        pytest.param((), "NotApplicable", id="without a champion the gate does not apply"),
        pytest.param((make_comparison(-0.005),), "Passed", id="a lower bound at the least improvement passes"),
        pytest.param((make_comparison(-0.0051),), "Failed", id="a lower bound under it fails"),
    ],
)
def test_the_challenger_is_held_to_the_lower_bound(comparisons: tuple[object, ...], expected: str) -> None:
    assert verdict(CHAMPION, make_result(comparisons=comparisons)).verdict == expected


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        pytest.param(make_comparison(0.0), "on 1409 held-out rows that neither has seen", id="rows new to both"),
        pytest.param(
            make_comparison(0.0, unseen=False), "the champion may have, which favours it", id="rows it may know"
        ),
    ],
)
def test_a_comparison_tells_on_which_rows_it_was_made(comparison: ComparisonResult, words: str) -> None:
    assert words in verdict(CHAMPION, make_result(comparisons=(comparison,))).message


@pytest.mark.parametrize(
    ("metrics", "lower_bound", "reason"),
    [
        pytest.param({"roc_auc": 0.9, "parity": 1e-7}, 0.0, None, id="a good challenger is not refused"),
        pytest.param({"roc_auc": 0.9, "parity": 2e-5}, 0.0, "ParityFailed", id="one that serves otherwise is"),
        pytest.param({"roc_auc": 0.9}, 0.0, "ParityFailed", id="one whose parity was not measured is"),
        pytest.param({"roc_auc": 0.9, "parity": float("nan")}, 0.0, "ParityFailed", id="nor is NaN parity taken"),
        pytest.param({"roc_auc": 0.5, "parity": 0.0}, 0.0, "GateFailed", id="one below a bound is"),
        pytest.param({"roc_auc": 0.9, "parity": 0.0}, -0.1, "NotBetterThanChampion", id="a worse one is"),
    ],
)
def test_the_first_policy_that_does_not_hold_gives_the_reason(
    metrics: dict[str, float], lower_bound: float, reason: str | None
) -> None:
    violation = refuse((QUALITY, CHAMPION), make_result(metrics=metrics, comparisons=(make_comparison(lower_bound),)))
    assert (violation and violation.reason) == reason


def test_a_refusal_names_the_gate() -> None:
    violation = refuse((QUALITY,), make_result(metrics={"roc_auc": 0.5, "parity": 0.0}))
    assert violation is not None
    assert violation.message.startswith("Gate quality: roc_auc is 0.5 on 1409 held-out rows")
