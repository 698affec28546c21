"""The hold-out is a function of the row and of nothing else."""

import io
import random
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.jobs.making import clean_frame, customers

from churn_operator.jobs.split import held_out, identifiers

BY = ("months", "charge", "plan")
KNOWN = [1, 6, 11, 24, 27, 28, 35]


def held(table: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    frame, _ = clean_frame(table[list(BY)])
    return held_out(frame, BY)


@settings(max_examples=25)
@given(st.randoms(use_true_random=False), st.integers(1, 399))
def test_neither_the_order_of_the_rows_nor_other_rows_move_it(chance: random.Random, rows: int) -> None:
    table = customers()
    order = list(range(len(table)))
    chance.shuffle(order)
    order = order[:rows]
    kept = table.iloc[order].reset_index(drop=True)
    if kept["charge"].notna().any():
        assert held(kept).tolist() == held(table)[order].tolist()


def test_the_order_of_the_columns_does_not_move_it() -> None:
    frame, _ = clean_frame(customers()[list(BY)])
    assert held_out(frame[["plan", "charge", "months"]], BY[::-1]).tolist() == held_out(frame, BY).tolist()


def test_csv_and_parquet_hold_the_same_rows_out() -> None:
    table = customers()
    parquet = io.BytesIO()
    table.astype({"charge": np.float32, "months": np.int8}).to_parquet(parquet)
    csv = io.StringIO(table.to_csv(index=False, float_format="%.4f"))
    assert held(pd.read_parquet(parquet)).tolist() == held(table).tolist()
    assert held(pd.read_csv(csv)).tolist() == held(table).tolist()


def test_a_fifth_is_held_out() -> None:
    assert abs(held(customers(5000)).mean() - 0.2) < 0.02


def test_zero_has_one_sign_and_missing_one_bit_pattern() -> None:
    other_nan = np.frombuffer(np.uint32(0x7FC00123).tobytes(), dtype=np.float32)[0]
    rows = pd.DataFrame({"a": np.array([0.0, -0.0, np.nan, other_nan], dtype=np.float32)})
    zero, minus_zero, missing, other = (held_out(rows.iloc[[n]], ["a"])[0] for n in range(4))
    assert zero == minus_zero
    assert missing == other


def test_a_cell_that_moves_to_the_next_column_is_another_row() -> None:
    rows = pd.DataFrame({"a": ["xy", "x"] * 50, "b": ["z", "yz"] * 50}, dtype=object)
    names = [f"{n}" for n in range(50)]
    differs = [held_out(rows[:2].rename(columns={"a": f"a{n}"}), [f"a{n}", "b"]) for n in names]
    assert any(first != second for first, second in differs)


def test_a_known_row_stays_where_it_is() -> None:
    """A change here would let new models train on rows that champions were judged on."""
    frame = pd.DataFrame({"months": np.arange(40, dtype=np.float32), "plan": ["fibre", ""] * 20})
    assert np.flatnonzero(held_out(frame, ["months", "plan"])).tolist() == KNOWN


def test_an_identifier_is_one_customer_however_it_is_stored() -> None:
    stored: list[Any] = [[12, 7], [12.0, 7.0], ["12", " 7 "], pd.array([12, 7], dtype="Int64")]
    assert {tuple(identifiers(pd.Series(column))) for column in stored} == {("12", "7")}
    assert identifiers(pd.Series([1.5, None])).tolist() == ["1.5", ""]
