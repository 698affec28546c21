"""Our metrics are scikit-learn's, weighted and by the thousand."""

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from churn_operator.api.analysis import SCORE_BINS
from churn_operator.api.training import Metric
from churn_operator.jobs.metrics import (
    _METRICS,
    METRICS,
    Forecast,
    best_threshold,
    evaluate,
    improvement_bound,
    score_counts,
)
from churn_operator.predictor.metrics import Probabilities

RNG = np.random.default_rng(3)
TRUTH = RNG.integers(0, 2, 300)
PROBABILITY = np.clip(TRUTH * 0.3 + RNG.random(300) * 0.7, 0, 1).round(2)  # rounded: many are equal
FORECAST = Forecast(TRUTH, PROBABILITY, 0.5)

BOUNDS = [float(np.float32(bound)) for bound in SCORE_BINS]

RANKED = {"roc_auc": sk.roc_auc_score, "average_precision": sk.average_precision_score}
CALLED = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "f1": sk.f1_score,
    "precision": sk.precision_score,
    "recall": sk.recall_score,
}
SCORED = {"log_loss": sk.log_loss, "brier_score": sk.brier_score_loss}


def reference(metric: str, forecast: Forecast, weights: Any = None) -> float:
    if metric in CALLED:
        return float(CALLED[metric](forecast.truth, forecast.called, sample_weight=weights))
    return float((RANKED | SCORED)[metric](forecast.truth, forecast.probability, sample_weight=weights))


@pytest.mark.parametrize("metric", [m for m in METRICS if m != "expected_calibration_error"])
def test_a_metric_is_the_one_of_scikit_learn(metric: Metric) -> None:
    assert evaluate(metric, FORECAST) == pytest.approx(reference(metric, FORECAST), abs=1e-12)


@pytest.mark.parametrize("metric", [m for m in METRICS if m != "expected_calibration_error"])
def test_drawing_a_row_twice_is_weighing_it_twice(metric: Metric) -> None:
    weights = RNG.integers(0, 4, (5, 300)).astype(np.float64)
    found = _METRICS[metric](FORECAST, weights)
    assert found == pytest.approx([reference(metric, FORECAST, row) for row in weights], abs=1e-12)


@given(arrays(np.int64, 40, elements=st.integers(0, 1)), arrays(np.float64, 40, elements=st.floats(0, 1)))
def test_the_area_is_right_for_any_ties(truth: Any, probability: Any) -> None:
    if 0 < truth.sum() < 40:
        assert evaluate("roc_auc", Forecast(truth, probability)) == pytest.approx(sk.roc_auc_score(truth, probability))


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    truth = np.array([1, 1, 0, 0, 0, 1])
    probability = np.array([0.9, 0.9, 0.9, 0.1, 0.1, 1.0])
    expected = (3 * abs(2 / 3 - 0.9) + 2 * 0.1 + 1 * 0.0) / 6
    assert evaluate("expected_calibration_error", Forecast(truth, probability)) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["precision", "recall", "f1"])
def test_calling_nobody_scores_nothing(metric: Metric) -> None:
    assert evaluate(metric, Forecast(TRUTH, np.zeros(300), 0.5)) == 0


def test_a_model_is_no_better_than_itself() -> None:
    assert improvement_bound("roc_auc", FORECAST, FORECAST, confidence=0.95, seed=1) == 0


@pytest.mark.parametrize("metric", METRICS)
def test_better_is_positive_whatever_the_direction(metric: Metric) -> None:
    worse = Forecast(TRUTH, RNG.random(300), 0.5)
    perfect = Forecast(TRUTH, TRUTH.astype(np.float64), 0.5)
    assert improvement_bound(metric, perfect, worse, confidence=0.95, seed=1) > 0
    assert improvement_bound(metric, worse, perfect, confidence=0.95, seed=1) < 0


def test_the_bound_lies_below_the_difference_and_sinks_with_confidence() -> None:
    other = Forecast(TRUTH, np.clip(PROBABILITY + RNG.normal(0, 0.1, 300), 0, 1))
    gain = evaluate("roc_auc", FORECAST) - evaluate("roc_auc", other)
    bounds = [improvement_bound("roc_auc", FORECAST, other, confidence=c, seed=5) for c in (0.5, 0.9, 0.99)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] == pytest.approx(gain, abs=0.005)
    assert bounds[1] < gain


def test_the_bound_is_that_of_a_bootstrap_written_out() -> None:
    other = Forecast(TRUTH, np.clip(PROBABILITY + RNG.normal(0, 0.1, 300), 0, 1))
    rng = np.random.default_rng(11)
    better = (other.probability - TRUTH) ** 2 - (PROBABILITY - TRUTH) ** 2
    gains = [better[rng.integers(0, 300, 300)].mean() for _ in range(2000)]
    expected = np.quantile(gains, 0.05)
    found = improvement_bound("brier_score", FORECAST, other, confidence=0.95, seed=5)
    assert found == pytest.approx(expected, abs=0.15 * float(np.std(gains)))


def test_the_same_seed_gives_the_same_bound() -> None:
    other = Forecast(TRUTH, RNG.random(300))
    first, again, another = (
        improvement_bound("log_loss", FORECAST, other, confidence=0.9, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != another


def test_a_resample_without_one_of_the_classes_is_left_out() -> None:
    truth = np.array([1] + [0] * 19)
    good, bad = Forecast(truth, truth * 0.9), Forecast(truth, 1 - truth * 0.9)
    assert improvement_bound("roc_auc", good, bad, confidence=0.95, seed=0) == 1


def test_rows_that_do_not_fit_into_memory_at_once_give_the_same_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Forecast(TRUTH, RNG.random(300))
    whole = improvement_bound("accuracy", FORECAST, other, confidence=0.9, seed=1)
    monkeypatch.setattr("churn_operator.jobs.metrics._CHUNK", 300 * 7)
    assert improvement_bound("accuracy", FORECAST, other, confidence=0.9, seed=1) == whole


def test_the_threshold_is_the_one_of_the_highest_f1() -> None:
    threshold = best_threshold(TRUTH, PROBABILITY)
    best = max(sk.f1_score(TRUTH, t <= PROBABILITY) for t in np.unique(PROBABILITY))
    assert sk.f1_score(TRUTH, threshold <= PROBABILITY) == best
    assert threshold not in PROBABILITY


def test_the_threshold_of_one_probability_for_all_is_that_one() -> None:
    assert best_threshold(TRUTH, np.full(300, 0.4)) == pytest.approx(0.4)


@given(arrays(np.float32, st.integers(0, 50), elements=st.floats(0, 1, width=32) | st.sampled_from(BOUNDS)))
def test_probabilities_are_counted_as_the_predictor_counts_them(probability: Any) -> None:
    """Also on the bounds of bins, which a number of 32 bits may miss by a little."""
    served = Probabilities()
    served.add(("telco", "v1"), probability.tolist())
    buckets = [s.value for m in served.collect() for s in m.samples if s.name == "churn_predictor_probability_bucket"]
    assert np.cumsum(score_counts(probability.astype(np.float64))).tolist() == buckets[:-1]
