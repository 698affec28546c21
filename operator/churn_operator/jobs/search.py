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

from churn_operator.api.contract import Contract
from churn_operator.api.reasons import Reason
from churn_operator.api.training import LOWER_IS_BETTER, EstimatorName, Metric, TrainingSpec
from churn_operator.jobs import metrics, pipeline
from churn_operator.jobs.failure import Refused

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


Report = Callable[[int, int, float | None], None]
"""Told after each fit: how many are done, of how many, and the best score of a candidate so far."""


def run(
    frame: pd.DataFrame, truth: NDArray[np.int64], contract: Contract, spec: TrainingSpec, report: Report
) -> list[Candidate]:
    """All candidates, best first; equal ones stay in the spec's order."""
    folds = spec.cross_validation.folds
    if (fewer := int(np.bincount(truth, minlength=2).min())) < folds:
        raise Refused(Reason.DataEmpty, f"the training rows hold {fewer} of one class; {folds} folds need {folds}")
    splits = list(StratifiedKFold(folds, shuffle=True, random_state=0).split(frame, truth))
    trials = [(e.name, params) for e in spec.estimators for params in pipeline.settings(e, spec.search)]
    sign = -1 if spec.metric in LOWER_IS_BETTER else 1
    found: list[Candidate] = []
    for name, params in trials:
        best = max((c.score * sign for c in found), default=None)
        done = len(found) * folds

        def tell(fits: int, *, done: int = done, best: float | None = best) -> None:
            report(done + fits, len(trials) * folds, None if best is None else best * sign)

        candidate = _validate(frame, truth, contract, name, params, splits, spec.metric, tell)
        log.info("%s %s: %s %.4f ± %.4f", name, params, spec.metric, candidate.score, candidate.spread)
        found.append(candidate)
    return sorted(found, key=lambda c: -sign * c.score)


def fit(
    frame: pd.DataFrame, truth: NDArray[np.int64], contract: Contract, name: EstimatorName, params: dict[str, Any]
) -> Any:
    """The fitted pipeline.

    Raises:
        Refused: the estimator does not take its params.
    """
    from sklearn.utils._param_validation import InvalidParameterError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return pipeline.build(contract, name, params).fit(frame, truth)
    except InvalidParameterError as error:
        raise Refused(Reason.JobFailed, f"estimator {name} refuses its params: {error}") from error


def _validate(
    frame: pd.DataFrame,
    truth: NDArray[np.int64],
    contract: Contract,
    name: EstimatorName,
    params: dict[str, Any],
    splits: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
    metric: Metric,
    tell: Callable[[int], None],
) -> Candidate:
    out_of_fold = np.empty(len(frame))
    scores = []
    for fits, (train, test) in enumerate(splits, start=1):
        model = fit(frame.iloc[train], truth[train], contract, name, params)
        out_of_fold[test] = model.predict_proba(frame.iloc[test])[:, 1]
        scores.append(metrics.evaluate(metric, metrics.Forecast(truth[test], out_of_fold[test])))
        tell(fits)
    return Candidate(name, params, float(np.mean(scores)), float(np.std(scores)), out_of_fold)
