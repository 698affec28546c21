"""A profile keeps what drift needs of the training rows, and none of the rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.jobs.making import TELCO, clean_frame, customers

from churn_operator.api.contract import MISSING
from churn_operator.jobs.profile import MAX_GROUPS, MAX_ROWS, Profile, describe, rebuild, rebuild_prediction


def column(values: list[object], rows: int | None = None) -> pd.Series:
    frame, contract = clean_frame(pd.DataFrame({"x": values * (rows or 1)}))
    return rebuild(describe(frame, contract))["x"]


@given(st.lists(st.none() | st.floats(-1e6, 1e6, width=32), min_size=2, max_size=60).filter(any))
def test_a_column_of_few_values_comes_back_exactly(values: list[float | None]) -> None:
    frame, contract = clean_frame(pd.DataFrame({"x": pd.Series(values, dtype=float)}))
    assert rebuild(describe(frame, contract))["x"].tolist() == pytest.approx(
        sorted(frame["x"], key=lambda v: (np.isnan(v), v)), nan_ok=True, abs=0
    )


def test_categories_come_back_exactly() -> None:
    assert sorted(column(["a", "b", None, "a", ""])) == [MISSING, MISSING, "a", "a", "b"]


def test_a_column_of_many_values_keeps_mean_extremes_and_quantiles() -> None:
    values = np.random.default_rng(0).lognormal(3, 1, 9000).astype(np.float32)
    frame, contract = clean_frame(pd.DataFrame({"x": values}))
    profile = describe(frame, contract)
    again = rebuild(profile)["x"]
    assert len(profile.numerical[0].points) == MAX_GROUPS
    assert len(again) == 9000
    assert (again.min(), again.max()) == (values.min(), values.max())
    assert again.mean() == pytest.approx(values.mean(), rel=1e-5)
    levels = np.linspace(0.05, 0.95, 91)
    assert again.quantile(levels).to_numpy() == pytest.approx(np.quantile(values, levels), rel=0.01)


def test_a_rebuilt_frame_stays_small_and_in_proportion() -> None:
    again = column(["a"] * 7 + ["b"] * 2 + [None], rows=10_000)
    assert len(again) == MAX_ROWS
    assert again.value_counts(normalize=True).to_dict() == pytest.approx({"a": 0.7, "b": 0.2, MISSING: 0.1})


def test_probabilities_come_back_as_many_as_rows_and_of_their_distribution() -> None:
    frame, contract = clean_frame(customers(400)[["months"]])
    asked = np.random.default_rng(1).beta(2, 5, 90)
    answers = rebuild_prediction(describe(frame, contract, asked))
    assert answers is not None
    assert len(answers) == 400
    assert np.quantile(answers, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(asked, [0.1, 0.5, 0.9]), abs=0.02)
    assert rebuild_prediction(describe(frame, contract)) is None


def test_a_profile_survives_its_json() -> None:
    profile = describe(*clean_frame(customers(200)[["months", "charge", "plan"]]))
    assert Profile.model_validate_json(profile.model_dump_json()) == profile


def test_telcos_profile_takes_little_room() -> None:
    profile = describe(*clean_frame(pd.read_csv(TELCO)))
    assert len(profile.model_dump_json()) < 60_000
