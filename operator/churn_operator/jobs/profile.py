"""What the training rows looked like, column by column, without the rows.

A numerical column is kept as values and how often each occurs: exactly, where it has no more than MAX_GROUPS different
ones; else as MAX_GROUPS groups of equally many sorted values, each by its mean, the smallest and the largest value
being groups of their own. Means of groups keep the column's mean, and put every quantile within its group. A
categorical column is kept as counts, which is exact. How columns depend on each other is not kept.
"""

from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from churn_operator.api.base import Column, Model
from churn_operator.api.contract import MISSING, Contract

MAX_GROUPS = 1024
MAX_ROWS = 20_000
"""No rebuilt frame is longer: a distance between marginals gains nothing from more."""


class NumberProfile(Model):
    """A numerical column."""

    name: Column
    points: tuple[float, ...]
    """Ascending."""
    counts: tuple[int, ...]
    nulls: Annotated[int, Field(ge=0)] = 0


class CategoryProfile(Model):
    """A categorical column."""

    name: Column
    counts: dict[str, int]
    nulls: Annotated[int, Field(ge=0)] = 0


class Profile(Model):
    """The marginals of the training rows."""

    rows: Annotated[int, Field(ge=1)]
    numerical: tuple[NumberProfile, ...] = ()
    categorical: tuple[CategoryProfile, ...] = ()
    prediction: NumberProfile | None = None
    """What the model answered for rows it was not trained on; models of an earlier release do not tell."""


def describe(frame: pd.DataFrame, contract: Contract, probability: NDArray[np.float64] | None = None) -> Profile:
    """The profile of clean rows, and of the probabilities that a model gave for other ones."""
    return Profile(
        rows=len(frame),
        numerical=tuple(_numbers(frame[f.name]) for f in contract.numerical),
        categorical=tuple(_categories(frame[f.name]) for f in contract.categorical),
        prediction=None if probability is None else _numbers(pd.Series(probability, name="probability")),
    )


def _numbers(column: pd.Series) -> NumberProfile:
    present = np.sort(column.dropna().to_numpy(dtype=np.float64))
    values, counts = np.unique(present, return_counts=True)
    if len(values) > MAX_GROUPS:
        inner = np.array_split(present[1:-1], MAX_GROUPS - 2)
        groups = [present[:1], *inner, present[-1:]]
        values = np.array([group.mean() for group in groups])
        counts = np.array([len(group) for group in groups])
    return NumberProfile(
        name=str(column.name),
        points=tuple(values.tolist()),
        counts=tuple(counts.tolist()),
        nulls=len(column) - len(present),
    )


def _categories(column: pd.Series) -> CategoryProfile:
    counts = column.value_counts().to_dict()
    nulls = counts.pop(MISSING, 0)
    return CategoryProfile(name=str(column.name), counts={str(k): int(v) for k, v in counts.items()}, nulls=int(nulls))


def rebuild(profile: Profile) -> pd.DataFrame:
    """Rows with the profile's marginals, each column sorted by itself.

    Exact: the number of rows up to MAX_ROWS, every categorical column, numerical columns of no more than MAX_GROUPS
    different values. Not exact: other numerical columns inside their groups, every column's shares beyond MAX_ROWS
    (to 1 in MAX_ROWS), and any relation between columns, which is lost.
    """
    rows = min(profile.rows, MAX_ROWS)
    columns: dict[str, object] = {}
    for number in profile.numerical:
        cells = _spread([*number.counts, number.nulls], rows)
        columns[number.name] = np.array([*number.points, np.nan], dtype=np.float32)[cells]
    for category in profile.categorical:
        cells = _spread([*category.counts.values(), category.nulls], rows)
        columns[category.name] = np.array([*category.counts, MISSING], dtype=object)[cells]
    return pd.DataFrame(columns)


def rebuild_prediction(profile: Profile) -> NDArray[np.float64] | None:
    """As many probabilities as `rebuild` gives rows, of the distribution that the profile tells, if it does."""
    if profile.prediction is None:
        return None
    cells = _spread(list(profile.prediction.counts), min(profile.rows, MAX_ROWS))
    return np.array(profile.prediction.points)[cells]


def _spread(counts: list[int], rows: int) -> NDArray[np.intp]:
    """For each of the rows, the cell it falls into, in proportion to the counts."""
    edges = np.cumsum(counts)
    middles = (np.arange(rows) + 0.5) * (edges[-1] / rows)
    cells: NDArray[np.intp] = np.searchsorted(edges, middles, side="right")
    return cells
