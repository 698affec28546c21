"""Evidently's distances between two frames, and its report."""

import os

# Evidently asks when it is imported
os.environ.setdefault("DO_NOT_TRACK", "1")

import warnings
from dataclasses import dataclass
from typing import Any

import pandas as pd

from churn_operator.api.contract import MISSING, Contract
from churn_operator.api.tasks import ColumnDrift, ColumnTests

MISSING_LABEL = "(missing)"
"""The category that stands for missing ones, so that more gaps are seen as a drift."""


@dataclass(frozen=True, eq=False)
class Distances:
    """Each feature's distance, farthest first."""

    columns: list[ColumnDrift]
    snapshot: Any
    prediction: ColumnDrift | None = None
    """The distance of the predictions, where they were asked for."""

    @property
    def drifted(self) -> int:
        return sum(column.drifted for column in self.columns)

    @property
    def share(self) -> float:
        return self.drifted / len(self.columns)

    def html(self) -> bytes:
        """The report, a page of about 4 MB."""
        return str(self.snapshot.get_html_str(as_iframe=False)).encode()


def measure(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    contract: Contract,
    tests: ColumnTests,
    prediction: str | None = None,
) -> Distances:
    """The distances of clean current rows from a reference of the same columns; `prediction` names one beside them.

    A numerical column without a single value in one of the two has no distance: it counts as drifted, with a score of
    1 or the threshold, whichever is more. Single missing numbers are left out by Evidently; a missing category is a
    category.
    """
    with warnings.catch_warnings():
        # deprecated parts of litestar and numpy that Evidently imports
        warnings.simplefilter("ignore", DeprecationWarning)
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

    reference, current = _labelled(reference, contract), _labelled(current, contract)
    numerical = [
        f.name for f in contract.numerical if reference[f.name].notna().any() and current[f.name].notna().any()
    ]
    categorical = [f.name for f in contract.categorical]
    empty = [f.name for f in contract.numerical if f.name not in numerical]
    columns = [f.name for f in contract.features if f.name not in empty]
    if prediction is not None:
        numerical.append(prediction)
        columns.append(prediction)
    definition = DataDefinition(numerical_columns=numerical, categorical_columns=categorical)
    preset = DataDriftPreset(
        columns=columns,
        num_method=tests.numerical,
        cat_method=tests.categorical,
        num_threshold=tests.threshold,
        cat_threshold=tests.threshold,
        include_tests=False,
    )
    snapshot = Report([preset]).run(
        Dataset.from_pandas(current[columns], data_definition=definition),
        Dataset.from_pandas(reference[columns], data_definition=definition),
    )
    scores = _scores(snapshot) | dict.fromkeys(empty, max(1.0, tests.threshold))
    answered = None
    if prediction is not None:
        score = scores.pop(prediction)
        answered = ColumnDrift(name="probability", kind="Prediction", score=score, drifted=score >= tests.threshold)
    found = [ColumnDrift(name=name, score=score, drifted=score >= tests.threshold) for name, score in scores.items()]
    return Distances(sorted(found, key=lambda column: (-column.score, column.name)), snapshot, answered)


def _scores(snapshot: Any) -> dict[str, float]:
    metrics = snapshot.dict()["metrics"]
    return {
        m["config"]["column"]: float(m["value"]) for m in metrics if m["config"].get("type", "").endswith(":ValueDrift")
    }


def _labelled(frame: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    return frame.assign(
        **{f.name: frame[f.name].mask(frame[f.name].isin([MISSING]), MISSING_LABEL) for f in contract.categorical}
    )
