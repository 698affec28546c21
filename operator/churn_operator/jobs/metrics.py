"""How good probabilities are, and how surely one model beats another.

Each metric takes weights of shape (resamples, rows) and gives one value for each resample, so that a bootstrap is the
same arithmetic as a single measurement. The definitions are scikit-learn's; a denominator of zero gives 0. The
calibration error is that of Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017), section 2, with 15
bins of equal width over the probability of churn.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from churn_operator.api.analysis import SCORE_BINS
from churn_operator.api.training import LOWER_IS_BETTER, Metric

Floats = NDArray[np.float64]

METRICS: tuple[Metric, ...] = get_args(Metric)
RESAMPLES = 1000
BINS = 15
_CHUNK = 4_000_000
"""Weights held in memory at a time."""
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Forecast:
    """Probabilities of shape (rows,), the truth as 0 and 1, and the threshold from which on a 1 is forecast."""

    truth: NDArray[np.int64]
    probability: Floats
    threshold: float = 0.5

    @cached_property
    def positive(self) -> Floats:
        return self.truth.astype(np.float64)

    @cached_property
    def called(self) -> Floats:
        return (self.probability >= self.threshold).astype(np.float64)

    @cached_property
    def ranks(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows by descending probability, and where each group of equal ones starts."""
        order = np.argsort(-self.probability, kind="stable")
        ordered = self.probability[order]
        return order, np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])

    @cached_property
    def bins(self) -> Floats:
        """Membership of shape (rows, BINS)."""
        edges = np.linspace(0, 1, BINS + 1)[1:-1]
        membership: Floats = np.eye(BINS)[np.searchsorted(edges, self.probability, side="right")]
        return membership


def evaluate(metric: Metric, forecast: Forecast) -> float:
    """The metric over all rows."""
    return float(_METRICS[metric](forecast, np.ones((1, len(forecast.truth))))[0])


def improvement_bound(
    metric: Metric, challenger: Forecast, champion: Forecast, *, confidence: float, seed: int
) -> float:
    """Lower confidence bound of how much better the challenger is on the same rows; positive is better.

    A paired percentile bootstrap of RESAMPLES resamples (Efron and Tibshirani, "An Introduction to the Bootstrap",
    1993, chapter 13): both models are measured on each resample of the rows. Resamples without one of the classes say
    nothing and are left out.
    """
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    measure = _METRICS[metric]
    gains = [
        sign * (measure(challenger, weights) - measure(champion, weights))
        for weights in _resamples(len(challenger.truth), seed)
    ]
    return float(np.nanquantile(np.concatenate(gains), 1 - confidence))


def _resamples(rows: int, seed: int) -> Iterator[Floats]:
    """How often each row was drawn, as weights of shape (some, rows), RESAMPLES in all."""
    rng = np.random.default_rng(seed)
    size = max(1, min(RESAMPLES, _CHUNK // rows))
    for start in range(0, RESAMPLES, size):
        count = min(size, RESAMPLES - start)
        drawn = rng.integers(0, rows, size=(count, rows)) + np.arange(count)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)


def _divide(above: Floats, below: Floats, otherwise: float = 0.0) -> Floats:
    quotient: Floats = np.full(np.broadcast_shapes(above.shape, below.shape), otherwise)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def _groups(f: Forecast, weights: Floats) -> tuple[Floats, Floats]:
    """Weight of the churners and of the others in each group of equal probability, highest first."""
    order, starts = f.ranks
    ranked = weights[:, order]
    churners = ranked * f.positive[order]
    above = np.add.reduceat(churners, starts, axis=1)
    return above, np.add.reduceat(ranked, starts, axis=1) - above


def _roc_auc(f: Forecast, weights: Floats) -> Floats:
    churners, others = _groups(f, weights)
    won = (churners.cumsum(axis=1) - churners / 2) * others
    return _divide(won.sum(axis=1), churners.sum(axis=1) * others.sum(axis=1), np.nan)


def _average_precision(f: Forecast, weights: Floats) -> Floats:
    churners, others = _groups(f, weights)
    found = churners.cumsum(axis=1)
    precision = _divide(found, found + others.cumsum(axis=1))
    return _divide((precision * churners).sum(axis=1), found[:, -1], np.nan)


def _accuracy(f: Forecast, weights: Floats) -> Floats:
    return _divide(weights @ (f.called == f.positive), weights.sum(axis=1))


def _precision(f: Forecast, weights: Floats) -> Floats:
    return _divide(weights @ (f.called * f.positive), weights @ f.called)


def _recall(f: Forecast, weights: Floats) -> Floats:
    return _divide(weights @ (f.called * f.positive), weights @ f.positive)


def _balanced_accuracy(f: Forecast, weights: Floats) -> Floats:
    others = 1 - f.positive
    return (_recall(f, weights) + _divide(weights @ ((1 - f.called) * others), weights @ others)) / 2


def _f1(f: Forecast, weights: Floats) -> Floats:
    return _divide(2 * (weights @ (f.called * f.positive)), weights @ f.called + weights @ f.positive)


def _log_loss(f: Forecast, weights: Floats) -> Floats:
    p = np.clip(f.probability, _EPS, 1 - _EPS)
    return _divide(-(weights @ np.where(f.truth == 1, np.log(p), np.log1p(-p))), weights.sum(axis=1))


def _brier_score(f: Forecast, weights: Floats) -> Floats:
    return _divide(weights @ (f.probability - f.positive) ** 2, weights.sum(axis=1))


def _calibration_error(f: Forecast, weights: Floats) -> Floats:
    gap = weights @ (f.bins * (f.positive - f.probability)[:, None])
    return _divide(np.abs(gap).sum(axis=1), weights.sum(axis=1))


_METRICS: dict[Metric, Callable[[Forecast, Floats], Floats]] = {
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1": _f1,
    "precision": _precision,
    "recall": _recall,
    "log_loss": _log_loss,
    "brier_score": _brier_score,
    "expected_calibration_error": _calibration_error,
}


def score_counts(probability: Floats) -> tuple[int, ...]:
    """How many of the probabilities, of shape (rows,), each of SCORE_BINS holds; as the predictor counts them."""
    numbers = np.searchsorted(SCORE_BINS[:-1], probability, side="left")
    return tuple(np.bincount(numbers, minlength=len(SCORE_BINS)).tolist())


def best_threshold(truth: NDArray[np.int64], probability: Floats) -> float:
    """The threshold of the highest F1, halfway to the next lower probability.

    To be given out-of-fold predictions: on the rows a model was fitted on it would be too sure of itself, and the
    held-out rows must not choose anything.
    """
    forecast = Forecast(truth, probability)
    churners, others = (w[0] for w in _groups(forecast, np.ones((1, len(truth)))))
    found, called = churners.cumsum(), (churners + others).cumsum()
    best = int(np.argmax(2 * found / (called + found[-1])))
    order, starts = forecast.ranks
    steps = probability[order][starts]
    below = steps[best + 1] if best + 1 < len(steps) else steps[best]
    return float(min(1.0, max(0.0, (steps[best] + below) / 2)))
