"""What a request must be, field by field."""

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_operator.api.contract import MISSING, Contract, Feature
from churn_operator.predictor.request import MAX_INSTANCES, Refused, RowReader

CONTRACT = Contract(
    features=(
        Feature(name="plan", kind="Categorical", categories=("gold", "silver")),
        Feature(name="tenure", kind="Numerical"),
        Feature(name="active", kind="Numerical"),
    )
)
READER = RowReader(CONTRACT)
ROW: dict[str, Any] = {"plan": "gold", "tenure": 12, "active": 1}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param([], 'body: must be an object {"instances": […]}, got []', id="a list"),
        pytest.param(None, 'body: must be an object {"instances": […]}, got null', id="null"),
        pytest.param({}, "instances: required", id="no instances"),
        pytest.param({"instances": {"a": 1}}, 'instances: must be a list, got {"a": 1}', id="instances is an object"),
        pytest.param({"instances": []}, "instances: must hold 1 to 1000 rows, got 0", id="no row"),
        pytest.param(
            {"instances": [ROW] * (MAX_INSTANCES + 1)}, "instances: must hold 1 to 1000 rows, got 1001", id="many rows"
        ),
        pytest.param(
            {"instances": [ROW, [1]]}, "instances[1]: must be an object of columns, got [1]", id="a bare list"
        ),
    ],
)
def test_a_body_that_is_no_list_of_rows_is_refused(body: object, told: str) -> None:
    with pytest.raises(Refused) as refused:
        READER.read(body)
    assert str(refused.value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        pytest.param([1] * 100_000, "[" + "1, " * 26 + "…", id="a long list"),
        pytest.param(orjson.loads("[" * 1020 + "]" * 1020), "[" * 79 + "…", id="lists in lists"),
        pytest.param({"a": "x" * 100_000}, '{"a": "' + "x" * 72 + "…", id="a long text"),
    ],
)
def test_of_a_value_only_the_beginning_is_told_however_long_or_deep_it_is(value: object, told: str) -> None:
    with pytest.raises(Refused) as refused:
        READER.read({"instances": value if isinstance(value, dict) else [value]})
    assert str(refused.value).endswith(f", got {told}")


def test_a_row_may_name_its_customer_and_is_scored_without() -> None:
    reader = RowReader(CONTRACT.model_copy(update={"id_column": "customer_id"}))
    named, nameless = {**ROW, "customer_id": "0042-XY"}, ROW
    assert reader.read({"instances": [named, nameless]}) == READER.read({"instances": [ROW, ROW]})
    with pytest.raises(Refused, match=r"instances\[0\]\.tenure: required"):
        reader.read({"instances": [{"customer_id": 1, "plan": "gold", "active": 1}]})
    with pytest.raises(Refused, match=r"instances\[0\]\.tenur: unknown column"):
        reader.read({"instances": [{**named, "tenur": 1}]})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"customer_id": 7}, "instances[1].customer_id: unknown column", id="a column that is no feature"),
        pytest.param({"tenur": 7}, "instances[1].tenur: unknown column", id="a typing error"),
        pytest.param({"tenure": "abc"}, 'instances[1].tenure: must be a number, got "abc"', id="text for a number"),
        pytest.param({"tenure": "inf"}, 'instances[1].tenure: must be a number, got "inf"', id="infinity as text"),
        pytest.param({"tenure": [1]}, "instances[1].tenure: must be a number, got [1]", id="a list for a number"),
        pytest.param(
            {"tenure": 1e39},
            "instances[1].tenure: must be a number between -3.4e38 and 3.4e38, got 1e+39",
            id="too large",
        ),
        pytest.param(
            {"tenure": 10**400},
            f"instances[1].tenure: must be a number between -3.4e38 and 3.4e38, got 1{'0' * 78}…",
            id="more than any float",
        ),
        pytest.param({"plan": 3}, "instances[1].plan: must be text, got 3", id="a number for text"),
        pytest.param({"plan": True}, "instances[1].plan: must be text, got true", id="a boolean for text"),
        pytest.param(
            {"tenure": "x" * 200}, f'instances[1].tenure: must be a number, got "{"x" * 78}…', id="a long value is cut"
        ),
        pytest.param({"y" * 200: 1}, f"instances[1].{'y' * 80}: unknown column", id="a long name is cut"),
    ],
)
def test_a_row_with_a_fault_is_refused_naming_the_field(changes: dict[str, object], told: str) -> None:
    with pytest.raises(Refused) as refused:
        READER.read({"instances": [ROW, ROW | changes]})
    assert str(refused.value) == told


@pytest.mark.parametrize("column", list(ROW))
def test_a_row_without_a_column_is_refused_naming_it(column: str) -> None:
    row = {name: value for name, value in ROW.items() if name != column}
    with pytest.raises(Refused, match=rf"^instances\[0\]\.{column}: required$"):
        READER.read({"instances": [row]})


def test_a_typing_error_is_told_before_the_column_it_hides() -> None:
    with pytest.raises(Refused, match=r"tenur: unknown column"):
        READER.read({"instances": [{"plan": "gold", "tenur": 1, "active": 1}]})


def test_a_probe_may_leave_columns_out_but_not_make_them_up() -> None:
    rows = READER.read({"instances": [{"tenure": 3}]}, complete=False)
    assert rows.categories == [[MISSING]]
    assert rows.numbers[0][0] == 3
    assert math.isnan(rows.numbers[0][1])
    with pytest.raises(Refused, match=r"tenur: unknown column"):
        READER.read({"instances": [{"tenur": 3}]}, complete=False)


@pytest.mark.parametrize(
    ("value", "read"),
    [(0, 0.0), (True, 1.0), (29.85, 29.85), ("29.85", 29.85), (" 7 ", 7.0), (-1e30, -1e30)],
    ids=["zero", "boolean", "fraction", "number as text", "blanks around", "outside training's range"],
)
def test_numbers_are_read_as_training_read_them(value: object, read: float) -> None:
    assert READER.read({"instances": [ROW | {"tenure": value}]}).numbers == [[read, 1.0]]


@pytest.mark.parametrize("value", [None, "", " ", "NA"], ids=["null", "empty text", "blanks", "NA"])
def test_a_missing_value_is_read_as_training_read_it(value: object) -> None:
    rows = READER.read({"instances": [ROW | {"tenure": value, "plan": value}]})
    assert math.isnan(rows.numbers[0][0])
    assert rows.categories == [[MISSING]]


def test_columns_come_in_the_contracts_order_whatever_the_requests() -> None:
    rows = READER.read({"instances": [{"active": 0, "tenure": 5, "plan": " silver "}]})
    assert rows == ([[5.0, 0.0]], [["silver"]])


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(values=st.fixed_dictionaries(dict.fromkeys(ROW, ANYTHING)))
def test_whatever_the_values_a_row_is_read_or_refused(values: dict[str, object]) -> None:
    try:
        rows = READER.read({"instances": [values]})
    except Refused as refused:
        assert str(refused).startswith("instances[0].")  # noqa: PT017 - either outcome is right, this is one of two
    else:
        assert len(rows.numbers[0]) == 2
        assert not any(math.isinf(number) for number in rows.numbers[0])
