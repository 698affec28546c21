"""Challenger against champion, on rows that neither was trained on."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from churn_operator.api.tasks import Comparison, ComparisonResult, Golden
from churn_operator.jobs import convert, split
from churn_operator.jobs.bundle import Bundle
from churn_operator.jobs.frame import conform
from churn_operator.jobs.metrics import Forecast, evaluate, improvement_bound
from churn_operator.jobs.rows import Rows
from churn_operator.jobs.target import MIN_CLASS_ROWS

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Challenger:
    """What is judged, wherever it comes from."""

    bundle: Bundle
    rows: Rows
    """The table, and which of its rows it was not trained on."""
    forecast: Forecast
    """Of the ONNX model on the held-out rows."""
    parity: float
    golden: Golden
    params: Mapping[str, object]
    """For the MLflow run."""
    scores: Mapping[str, float]
    """Of the search, for the MLflow run."""


@dataclass(frozen=True, eq=False)
class CommonRows:
    """The held-out rows that both are asked about."""

    mask: NDArray[np.bool_]
    """One for each row of the table."""
    unseen: bool
    """Whether the champion was trained on none of them."""


def common_rows(rows: Rows, champion: Bundle) -> CommonRows:
    """The held-out rows that the champion was not trained on either.

    Where the columns that decide changed since, a row must be held out by the old ones and by the new ones. Where the
    old ones are gone from the table, or leave too few rows, the new ones alone decide: rows that the champion knows
    favour it, so that no challenger wins by them.
    """
    by = champion.manifest.split_by
    if set(by) == set(rows.split_by):
        return CommonRows(rows.held_out, unseen=True)
    if gone := [name for name in by if name not in rows.table.columns]:
        log.warning("which rows the champion has seen cannot be told: no column %s any more", ", ".join(gone))
        return CommonRows(rows.held_out, unseen=False)
    clean, _ = conform(rows.table, champion.contract)
    columns = {name: clean[name] if name in clean else split.identifiers(rows.table[name]) for name in by}
    both = rows.held_out & split.held_out(pd.DataFrame(columns), by)
    if np.bincount(rows.truth[both], minlength=2).min() < MIN_CLASS_ROWS:
        log.warning("only %d held-out rows are ones that the champion has not seen: all are compared", both.sum())
        return CommonRows(rows.held_out, unseen=False)
    return CommonRows(both, unseen=True)


def answers(champion: Bundle, table: pd.DataFrame) -> NDArray[np.float64]:
    """The champion's probabilities: what it would answer as a server, a missing column counting as missing values."""
    clean, notes = conform(table, champion.contract)
    for note in notes:
        log.warning("for the champion, %s", note)
    return convert.Model(champion.onnx, champion.contract).probabilities(clean)


def compare(
    asked: Comparison, challenger: Forecast, champion: Forecast, common: CommonRows, seed: int
) -> ComparisonResult:
    """One comparison on the common rows, with the bound that its gate asks for."""
    return ComparisonResult(
        metric=asked.metric,
        confidence=asked.confidence,
        challenger=evaluate(asked.metric, challenger),
        champion=evaluate(asked.metric, champion),
        lower_bound=improvement_bound(asked.metric, challenger, champion, confidence=asked.confidence, seed=seed),
        rows=int(common.mask.sum()),
        unseen=common.unseen,
    )
