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

log = logging.getLogger(__name__)


def unseen(
    table: pd.DataFrame, champion: Bundle, held_out: NDArray[np.bool_], split_by: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Which of the held-out rows the champion was not trained on either.

    Where the columns that decide changed since, a row must be held out by the old ones and by the new ones. Where the
    old ones are gone from the table, nobody can tell, and the new ones alone decide.
    """
    by = champion.manifest.split_by
    if by == split_by or set(by) == set(split_by):
        return held_out
    if gone := [name for name in by if name not in table.columns]:
        log.warning("which rows the champion has seen cannot be told: no column %s any more", ", ".join(gone))
        return held_out
    clean, _ = conform(table, champion.contract)
    columns = {name: clean[name] if name in clean else split.identifiers(table[name]) for name in by}
    both = held_out & split.held_out(pd.DataFrame(columns), by)
    if len(np.unique(both)) < 2:
        log.warning("no held-out row is one that the champion has not seen")
        return held_out
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
