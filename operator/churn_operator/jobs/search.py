"""Which candidate is kept: the best mean over stratified folds of the training rows."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from churn_operator.api.contract import Contract
from churn_operator.api.reasons import Reason
from churn_operator.api.training import LOWER_IS_BETTER, EstimatorName, TrainingSpec
from churn_operator.jobs import pipeline
from churn_operator.jobs.metrics import Forecast, evaluate
from churn_operator.storage.failure import Refused

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Candidate:
    """One setting of one estimator."""

    name: EstimatorName
    params: dict[str, Any]
    score: float
    """Mean of the training metric over the folds."""
    spread: float
    """Its standard deviation."""
    out_of_fold: NDArray[np.float64]
    """The probability of each training row, given by a model that was fitted without it."""


MANY_ROWS = 100_000
"""From here on threads help: one takes as long for fewer, and on a busy node two spin ten times longer in OpenMP."""


def threads(rows: int) -> threadpool_limits:
    """Holds OpenMP and BLAS to what the rows are worth, as a context manager."""
    return threadpool_limits(None if rows >= MANY_ROWS else 1)


Report = Callable[[int, int, float], None]
"""Told after each fit: how many are done, of how many, and the best score so far."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Clean rows to learn from, and the truth as 0 and 1."""

    frame: pd.DataFrame
    truth: NDArray[np.int64]
    contract: Contract

    def take(self, rows: NDArray[np.intp]) -> "Sample":
        return Sample(self.frame.iloc[rows], self.truth[rows], self.contract)


def run(sample: Sample, spec: TrainingSpec, report: Report) -> list[Candidate]:
    """All candidates, best first; equal ones stay in the spec's order.

    Raises:
        Refused: there are too few rows of a class for so many folds, or an estimator does not take its params.
    """
    folds = spec.cross_validation.folds
    if (fewer := int(np.bincount(sample.truth, minlength=2).min())) < folds:
        raise Refused(Reason.DataEmpty, f"the training rows hold {fewer} of one class, too few for {folds} folds")
    splits = list(StratifiedKFold(folds, shuffle=True, random_state=pipeline.SEED).split(sample.frame, sample.truth))
    trials = [(e.name, params) for e in spec.estimators for params in pipeline.settings(e, spec.search)]
    sign = -1 if spec.metric in LOWER_IS_BETTER else 1
    found: list[Candidate] = []
    for name, params in trials:
        out_of_fold = np.empty(len(sample.truth))
        scores = []
        for train, test in splits:
            model = fit(sample.take(train), name, params)
            out_of_fold[test] = model.predict_proba(sample.frame.iloc[test])[:, 1]
            scores.append(evaluate(spec.metric, Forecast(sample.truth[test], out_of_fold[test])))
            known = [float(np.mean(scores)), *(candidate.score for candidate in found)]
            report(len(found) * folds + len(scores), len(trials) * folds, max(known, key=lambda s: sign * s))
        candidate = Candidate(name, params, float(np.mean(scores)), float(np.std(scores)), out_of_fold)
        log.info("%s %s: %s %.4f ± %.4f", name, params, spec.metric, candidate.score, candidate.spread)
        found.append(candidate)
    return sorted(found, key=lambda c: -sign * c.score)


def fit(sample: Sample, name: EstimatorName, params: dict[str, Any]) -> Any:
    """The fitted pipeline.

    Raises:
        Refused: the estimator does not take its params.
    """
    from sklearn.utils._param_validation import InvalidParameterError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return pipeline.build(sample.contract, name, params).fit(sample.frame, sample.truth)
    except InvalidParameterError as error:
        raise Refused(Reason.ParamsRefused, f"estimator {name} refuses its params: {error}") from error
