"""Columns as people keep them become float32 or text, or are refused by name and count."""

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.jobs.making import clean_frame, customers, spec

from churn_operator.api.contract import MISSING, Contract, Feature, as_category, as_number
from churn_operator.api.reasons import Reason
from churn_operator.jobs.frame import arrays, candidates, clean, conform, infer
from churn_operator.storage.failure import Refused

NUMBERS = [
    pytest.param([1, 2, 3], [1, 2, 3], id="integers"),
    pytest.param([1.5, None, 3.25], [1.5, np.nan, 3.25], id="numbers with a gap"),
    pytest.param([True, False, True], [1, 0, 1], id="booleans"),
    pytest.param([True, None, False], [1, np.nan, 0], id="booleans with a gap"),
    pytest.param(pd.array([1, None, 3], dtype="Int64"), [1, np.nan, 3], id="nullable integers"),
    pytest.param(pd.array([True, None, False], dtype="boolean"), [1, np.nan, 0], id="nullable booleans"),
    pytest.param([Decimal("1.5"), None, Decimal(2)], [1.5, np.nan, 2], id="decimals"),
    pytest.param(["1.5", " ", "2"], [1.5, np.nan, 2], id="text that is numbers and blanks"),
    pytest.param(["1", "NA", "3"], [1, np.nan, 3], id="text with a word for missing"),
    pytest.param([1.0, np.inf, -np.inf], [1, np.nan, np.nan], id="infinities, which count as missing"),
    pytest.param([1.0, 1e39, 3.0], [1, np.nan, 3], id="more than float32 holds, which counts as missing"),
    pytest.param(pd.Categorical([3, 4, 3]), [3, 4, 3], id="a dictionary of numbers"),
]

TEXTS = [
    pytest.param([" a", "b ", "a"], ["a", "b", "a"], id="text between blanks"),
    pytest.param(["a", None, ""], ["a", MISSING, MISSING], id="text with gaps"),
    pytest.param(["a", "NULL", "None"], ["a", MISSING, "None"], id="words for missing, of which None is none"),
    pytest.param(["1", "2", "x"], ["1", "2", "x"], id="numbers and a category"),
    pytest.param(pd.Categorical(["a", "b", None]), ["a", "b", MISSING], id="a dictionary of text"),
    pytest.param(pd.array(["a", None, "b"], dtype="string"), ["a", MISSING, "b"], id="nullable text"),
    pytest.param(["2024-01-01", "soon", "later"], ["2024-01-01", "soon", "later"], id="a date among text"),
]


@pytest.mark.parametrize(("given", "expected"), NUMBERS)
def test_a_numerical_column_becomes_float32(given: Any, expected: list[float]) -> None:
    column = clean(pd.Series(given, name="x"))
    assert column.dtype == np.float32
    np.testing.assert_array_equal(column.to_numpy(), np.array(expected, dtype=np.float32))


@pytest.mark.parametrize(("given", "expected"), TEXTS)
def test_a_column_of_text_keeps_its_categories(given: Any, expected: list[str]) -> None:
    column = clean(pd.Series(given, name="x"))
    assert column.dtype == object
    assert column.tolist() == expected


@pytest.mark.parametrize(
    ("given", "reason", "message"),
    [
        pytest.param([None] * 3, Reason.ColumnEmpty, "column 'x' has no value in any of 3 rows", id="nulls"),
        pytest.param([" ", "NA", None], Reason.ColumnEmpty, "no value in any of 3 rows", id="blanks"),
        pytest.param([np.inf] * 3, Reason.ColumnEmpty, "no finite number in any of 3 rows", id="infinities"),
        pytest.param(
            [f"c{n}" for n in range(1001)], Reason.TooManyCategories, "column 'x' has 1001 categories", id="categories"
        ),
        pytest.param(
            [*(f"{n}.5" for n in range(2000)), "soon", "?"],
            Reason.ColumnMixed,
            "column 'x' holds 2 values among 2000 numbers, such as 'soon'",
            id="numbers with typing errors",
        ),
        pytest.param(["2024-01-01", "2024-02-01 10:00"], Reason.ColumnMixed, "holds 2 dates", id="dates as text"),
        pytest.param(pd.to_datetime(["2024-01-01"] * 2), Reason.ColumnMixed, "holds 2 dates", id="dates"),
        pytest.param([dt.date(2024, 1, 1)] * 2, Reason.ColumnMixed, "2 values of type date", id="date objects"),
        pytest.param([[1], [2]], Reason.ColumnMixed, "2 values of type list", id="lists"),
        pytest.param(["a", b"b", 3], Reason.ColumnMixed, "2 values of type bytes, int among text", id="all sorts"),
        pytest.param([1j, 2j], Reason.ColumnMixed, "2 complex numbers", id="complex numbers"),
        pytest.param(pd.period_range("2024", periods=2), Reason.ColumnMixed, "2 values of type Period", id="periods"),
    ],
)
def test_a_column_of_which_no_feature_can_be_made_is_named(given: Any, reason: Reason, message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        clean(pd.Series(given, name="x"))
    assert refused.value.reason is reason


def test_a_thousand_categories_are_allowed_beside_missing_ones() -> None:
    assert clean(pd.Series([*(f"c{n}" for n in range(1000)), None], name="x")).nunique() == 1001


class TestCandidates:
    def test_target_id_excluded_and_unnamed_columns_are_no_features(self) -> None:
        table = customers(60).assign(note="x").reset_index(names="Unnamed: 0")
        assert candidates(table, spec(id_column="id", exclude=("note",))) == ["months", "charge", "plan"]

    def test_personal_data_that_is_dropped_is_no_feature_and_need_not_be_there(self) -> None:
        pii = [{"column": "plan", "action": "Drop"}, {"column": "email", "action": "Drop"}]
        assert candidates(customers(60), spec(pii=pii)) == ["id", "months", "charge"]

    def test_personal_data_that_is_hashed_is_a_feature(self) -> None:
        assert candidates(customers(60), spec(pii=[{"column": "plan", "action": "Hash"}]))[-1] == "plan"

    def test_a_table_without_forbidden_personal_data_is_taken(self) -> None:
        assert len(candidates(customers(60), spec(pii=[{"column": "email", "action": "Fail"}]))) == 4

    @pytest.mark.parametrize(
        ("overrides", "reason", "message"),
        [
            pytest.param(
                {"pii": [{"column": "plan", "action": "Fail"}]},
                Reason.DataPersonal,
                "there is a column plan, which data.pii says must not be there",
                id="forbidden personal data",
            ),
            pytest.param(
                {"target": "gone"}, Reason.TargetMissing, "no target column 'gone' among id, mon", id="target"
            ),
            pytest.param({"id_column": "key"}, Reason.ColumnMissing, "no column key among", id="id"),
            pytest.param({"exclude": ("a", "b")}, Reason.ColumnMissing, "no column a, b among", id="excluded"),
            pytest.param(
                {"exclude": ("id", "months", "charge", "plan")},
                Reason.NoFeatures,
                "no column is left",
                id="all excluded",
            ),
        ],
    )
    def test_what_the_spec_names_must_be_there(self, overrides: Any, reason: Reason, message: str) -> None:
        with pytest.raises(Refused, match=message) as refused:
            candidates(customers(60), spec(**overrides))
        assert refused.value.reason is reason

    def test_a_long_list_of_columns_is_cut(self) -> None:
        with pytest.raises(Refused, match="c0, c1, c2, c3, c4, c5, c6, c7 and 12 more"):
            candidates(pd.DataFrame({f"c{n}": [1] for n in range(20)}), spec())


def test_the_contract_tells_what_the_rows_hold() -> None:
    table = pd.DataFrame({"plan": ["b", None, "a", "b"], "age": [1.5, 3.0, None, None]})
    _, contract = clean_frame(table)
    assert contract.features == (
        Feature(name="plan", kind="Categorical", categories=("a", "b"), null_share=0.25),
        Feature(name="age", kind="Numerical", minimum=1.5, maximum=3, null_share=0.5),
    )


def test_a_column_that_is_empty_in_the_training_rows_only_has_no_range() -> None:
    contract = infer(pd.DataFrame({"age": np.array([np.nan, np.nan], dtype=np.float32)}))
    assert contract.features[0].minimum is None


CONTRACT = Contract(
    features=(Feature(name="plan", kind="Categorical", categories=("a",)), Feature(name="age", kind="Numerical"))
)


class TestConform:
    def test_rows_of_the_same_table_come_through_unchanged(self) -> None:
        table = customers(80)[["months", "charge", "plan"]]
        frame, contract = clean_frame(table)
        conformed, notes = conform(table, contract)
        pd.testing.assert_frame_equal(conformed[frame.columns], frame)
        assert notes == []

    def test_a_missing_column_counts_as_missing_values(self) -> None:
        conformed, notes = conform(pd.DataFrame({"other": [1, 2]}), CONTRACT)
        assert conformed["plan"].tolist() == [MISSING, MISSING]
        assert conformed["age"].isna().all()
        assert notes == ["column 'plan' is missing", "column 'age' is missing"]

    def test_values_of_another_kind_count_as_missing_and_are_noted(self) -> None:
        table = pd.DataFrame({"plan": ["a", [3], None, "new "], "age": ["1.5", "old", " NA ", True]})
        conformed, notes = conform(table, CONTRACT)
        assert conformed["plan"].tolist() == ["a", MISSING, MISSING, "new"]
        np.testing.assert_array_equal(conformed["age"], np.array([1.5, np.nan, np.nan, 1], dtype=np.float32))
        assert notes == ["column 'plan' has 1 values that are no text", "column 'age' has 1 values that are no number"]

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            pytest.param([1, 2], ["1", "2"], id="integers"),
            pytest.param([1.0, None, 2.5], ["1", MISSING, "2.5"], id="floats beside a gap"),
            pytest.param([True, False], ["True", "False"], id="booleans"),
        ],
    )
    def test_categories_that_a_csv_stored_as_numbers_are_text_again(self, given: Any, expected: list[str]) -> None:
        conformed, notes = conform(pd.DataFrame({"plan": given, "age": 1}), CONTRACT)
        assert conformed["plan"].tolist() == expected
        assert notes == []

    def test_floats_that_float32_cannot_hold_count_as_missing(self) -> None:
        conformed, notes = conform(pd.DataFrame({"plan": "a", "age": [1.5, None, np.inf, 1e300]}), CONTRACT)
        np.testing.assert_array_equal(conformed["age"], np.array([1.5, np.nan, np.nan, np.nan], dtype=np.float32))
        assert notes == ["column 'age' has 2 values that are no number"]

    def test_a_dictionary_column_is_read_as_its_values(self) -> None:
        table = pd.DataFrame({"plan": pd.Categorical(["a", "b"]), "age": pd.Categorical([1, 2])})
        conformed, notes = conform(table, CONTRACT)
        assert conformed["plan"].tolist() == ["a", "b"]
        assert conformed["age"].tolist() == [1, 2]
        assert notes == []

    @given(st.lists(st.none() | st.text(max_size=8), min_size=1), st.lists(st.none() | st.floats(), min_size=1))
    def test_a_table_is_read_as_a_request_is(self, texts: list[Any], numbers: list[Any]) -> None:
        rows = min(len(texts), len(numbers))
        table = pd.DataFrame(
            {"plan": pd.Series(texts[:rows], dtype=object), "age": pd.Series(numbers[:rows], dtype=object)}
        )
        conformed, _ = conform(table, CONTRACT)
        assert conformed["plan"].tolist() == [as_category(value) for value in texts[:rows]]
        np.testing.assert_array_equal(conformed["age"], np.array([asked(v) for v in numbers[:rows]], dtype=np.float32))


def asked(value: float | None) -> float:
    """A number as a request has it; what a request must not hold counts as missing in a table."""
    try:
        return as_number(value)
    except ValueError:
        return np.nan


def test_the_inputs_are_in_the_contracts_order() -> None:
    frame = pd.DataFrame({"age": np.array([1, 2], dtype=np.float32), "plan": ["a", "b"]})
    numbers, categories = arrays(frame, CONTRACT)
    assert numbers.dtype == np.float32
    assert numbers.tolist() == [[1], [2]]
    assert categories.tolist() == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, np.nan, id="null"),
        pytest.param(3, 3.0, id="an integer"),
        pytest.param(True, 1.0, id="a boolean"),
        pytest.param("1.5", 1.5, id="text that is a number"),
        pytest.param(" NA ", np.nan, id="a word for missing"),
        pytest.param("", np.nan, id="nothing"),
    ],
)
def test_a_value_of_a_request_is_read_as_a_number(value: Any, expected: float) -> None:
    np.testing.assert_equal(as_number(value), expected)


@pytest.mark.parametrize("value", [[1], {}, "many", float("inf"), 1e300, "inf"])
def test_a_value_that_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"number|convert"):
        as_number(value)


def test_a_value_that_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="must be text"):
        as_category(3)
