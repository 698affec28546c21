"""Challenger against champion, on rows that neither was trained on."""

import logging

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from churn_operator.api.tasks import Comparison, ComparisonResult
from churn_operator.jobs import convert, split
from churn_operator.jobs.bundle import Bundle
from churn_operator.jobs.frame import conform
from churn_operator.jobs.metrics import Forecast, evaluate, improvement_bound
from churn_operator.jobs.rows import Rows
from churn_operator.jobs.target import MIN_CLASS_ROWS

log = logging.getLogger(__name__)


def unseen(rows: Rows, champion: Bundle) -> NDArray[np.bool_]:
    """Which of the held-out rows the champion was not trained on either.

    Where the columns that decide changed since, a row must be held out by the old ones and by the new ones. Where the
    old ones are gone from the table, or leave too few rows, the new ones alone decide.
    """
    by = champion.manifest.split_by
    if set(by) == set(rows.split_by):
        return rows.held_out
    if gone := [name for name in by if name not in rows.table.columns]:
        log.warning("which rows the champion has seen cannot be told: no column %s any more", ", ".join(gone))
        return rows.held_out
    clean, _ = conform(rows.table, champion.contract)
    columns = {name: clean[name] if name in clean else split.identifiers(rows.table[name]) for name in by}
    both = rows.held_out & split.held_out(pd.DataFrame(columns), by)
    if np.bincount(rows.truth[both], minlength=2).min() < MIN_CLASS_ROWS:
        log.warning("only %d held-out rows are ones that the champion has not seen: all are compared", both.sum())
        return rows.held_out
    return both


def answers(champion: Bundle, table: pd.DataFrame) -> NDArray[np.float64]:
    """The champion's probabilities: what it would answer as a server, a missing column counting as missing values."""
    clean, notes = conform(table, champion.contract)
    for note in notes:
        log.warning("for the champion, %s", note)
    return convert.Model(champion.onnx, champion.contract).probabilities(clean)


def compare(asked: Comparison, challenger: Forecast, champion: Forecast, seed: int) -> ComparisonResult:
    """One comparison, with the bound that its gate asks for."""
    return ComparisonResult(
        metric=asked.metric,
        confidence=asked.confidence,
        challenger=evaluate(asked.metric, challenger),
        champion=evaluate(asked.metric, champion),
        lower_bound=improvement_bound(asked.metric, challenger, champion, confidence=asked.confidence, seed=seed),
    )
