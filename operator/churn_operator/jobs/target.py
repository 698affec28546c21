"""Which rows left: the target column as 0 and 1."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from churn_operator.api.data import DataSpec
from churn_operator.api.reasons import Reason
from churn_operator.jobs.frame import as_text, distinct
from churn_operator.storage.failure import Refused

USUAL_LABELS = ("Yes", "True", "1", "Churned")
MIN_ROWS = 50
MIN_CLASS_ROWS = 10


def labels(column: pd.Series) -> pd.Series:
    """The target's values as text, None where there is none: 1, 1.0 and "1" of any file format read alike."""
    codes, values = distinct(column)
    texts = [as_text(value) or None for value in values]
    return pd.Series(np.array([*texts, None], dtype=object)[codes], index=column.index, name=column.name)


def positive_label(values: pd.Series, spec: DataSpec) -> str:
    """The label that means churn: the spec's, else the one of USUAL_LABELS that the column holds.

    Raises:
        Refused: the column does not hold it, or holds none or several of the usual ones.
    """
    counts = values.value_counts()
    seen = ", ".join(f"{label} ({count})" for label, count in counts.head(6).items())
    if spec.positive_label is not None:
        wanted = [label for label in counts.index if label == spec.positive_label]
        if not wanted:
            wanted = [label for label in counts.index if str(label).casefold() == spec.positive_label.casefold()]
        if len(wanted) != 1:
            raise Refused(
                Reason.PositiveLabelUnknown,
                f"target {spec.target!r} has no value {spec.positive_label!r}; it holds {seen}",
            )
        return str(wanted[0])
    usual = {label.casefold() for label in USUAL_LABELS}
    found = [str(label) for label in counts.index if str(label).casefold() in usual]
    if len(found) != 1:
        raise Refused(
            Reason.PositiveLabelUnknown,
            f"which value of target {spec.target!r} means churn cannot be told; it holds {seen}: set positiveLabel",
        )
    return found[0]


def encode(values: pd.Series, spec: DataSpec) -> tuple[NDArray[np.int64], str]:
    """1 where a customer left, else 0; and the label that says so.

    Raises:
        Refused: the rows are too few, all alike, or nobody can tell which of them left.
    """
    if len(values) < MIN_ROWS:
        raise Refused(Reason.DataEmpty, f"{len(values)} rows have a {spec.target!r}; at least {MIN_ROWS} are needed")
    counts = values.value_counts()
    if len(counts) == 1:
        raise Refused(Reason.OneClass, f"target {spec.target!r} is {counts.index[0]!r} in all {len(values)} rows")
    label = positive_label(values, spec)
    left = (values == label).to_numpy().astype(np.int64)
    fewer = int(min(left.sum(), len(left) - left.sum()))
    if fewer < MIN_CLASS_ROWS:
        side = label if left.sum() == fewer else f"not {label}"
        raise Refused(
            Reason.DataEmpty,
            f"target {spec.target!r} is {side} in {fewer} of {len(left)} rows; at least {MIN_CLASS_ROWS} are needed",
        )
    return left, label
