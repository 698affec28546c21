"""What is kept of a body, and what of it is personal."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.collector.making import KEY, ROW, contract

from churn_operator.api.data import PersonalData
from churn_operator.api.inference_log import hashed
from churn_operator.collector.rows import MAX_ROWS, Answer, Forbidden, Reader, Row, Unreadable, answers

EXPECTED = Row("ada", (12.0, "basic"))


def read(body: object, *personal: PersonalData, key: bytes | None = KEY) -> list[Row]:
    return Reader(contract(*personal), key).rows(json.dumps(body).encode())


TENSORS = [
    {"name": "tenure", "shape": [2], "datatype": "FP32", "data": [12, None]},
    {"name": "plan", "shape": [2, 1], "datatype": "BYTES", "data": [["basic"], [""]]},
]
REQUESTS: dict[str, tuple[object, list[Row]]] = {
    "V1": ({"instances": [ROW]}, [EXPECTED]),
    "V1, two rows": ({"instances": [ROW, ROW]}, [EXPECTED, EXPECTED]),
    "V2": ({"inputs": TENSORS}, [Row(None, (12.0, "basic")), Row(None, (None, None))]),
    "one plain row": (ROW, [EXPECTED]),
    "plain rows": ([ROW, ROW], [EXPECTED, EXPECTED]),
    "a probe's, which holds no column": ({"instances": [{}]}, [Row(None, (None, None))]),
    "text that reads as a number": ([{**ROW, "tenure": " 12 "}], [EXPECTED]),
    "an identifier that is a number": ([{**ROW, "customer": 7.0}], [Row("7", (12.0, "basic"))]),
}


@pytest.mark.parametrize(("body", "rows"), REQUESTS.values(), ids=REQUESTS)
def test_rows_of_each_protocol_hold_the_contracts_columns_and_no_other(body: object, rows: list[Row]) -> None:
    assert read(body) == rows


UNREADABLE: dict[str, object] = {
    "a number": 7,
    "no rows": {"instances": []},
    "too many rows": {"instances": [{}] * (MAX_ROWS + 1)},
    "a row that is none": {"instances": [7]},
    "text for a number": {"instances": [{**ROW, "tenure": "long"}]},
    "a number for text": {"instances": [{**ROW, "plan": 7}]},
    "a number beyond all": {"instances": [{**ROW, "tenure": 10**400}]},
    "half a character": {"instances": [{**ROW, "plan": "\ud800"}]},
    "half a character in an identifier": {"instances": [{**ROW, "customer": "\ud800"}]},
    "an identifier that is none": {"instances": [{**ROW, "customer": True}]},
    "tensors of different lengths": {"inputs": [TENSORS[0], {"name": "plan", "data": ["basic"]}]},
    "no tensor": {"inputs": []},
    "a tensor without data": {"inputs": [{"name": "tenure"}]},
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_what_the_predictor_must_have_refused_is_unreadable(body: object) -> None:
    with pytest.raises(Unreadable):
        read(body)


DROP, HASH, FAIL = (PersonalData(column="customer", action=action) for action in ("Drop", "Hash", "Fail"))
PERSONAL: dict[str, tuple[PersonalData, str | None]] = {"dropped": (DROP, None), "hashed": (HASH, hashed("ada", KEY))}


@pytest.mark.parametrize(("personal", "name"), PERSONAL.values(), ids=PERSONAL)
def test_a_personal_identifier_is(personal: PersonalData, name: str | None) -> None:
    assert read([ROW], personal) == [EXPECTED._replace(id=name)]


def test_a_personal_column_is_no_column_of_the_log() -> None:
    reader = Reader(contract(PersonalData(column="tenure", action="Drop")), KEY)
    assert [tuple(column) for column in reader.columns] == [("feature.plan", "string")]
    assert reader.rows(json.dumps(ROW).encode()) == [Row("ada", ("basic",))]


def test_a_hashed_number_is_text() -> None:
    reader = Reader(contract(PersonalData(column="tenure", action="Hash")), KEY)
    assert [tuple(column) for column in reader.columns] == [("feature.tenure", "string"), ("feature.plan", "string")]
    assert reader.rows(b'[{"tenure": 12}, {"tenure": null}]') == [
        Row(None, (hashed("12.0", KEY), None)),
        Row(None, (None, None)),
    ]


def test_without_a_key_what_is_to_be_hashed_is_dropped() -> None:
    reader = Reader(contract(HASH, PersonalData(column="tenure", action="Hash")), None)
    assert reader.hashes_dropped
    assert [column.name for column in reader.columns] == ["feature.plan"]
    assert reader.rows(json.dumps(ROW).encode()) == [Row(None, ("basic",))]


def test_a_column_that_must_not_be_sent_takes_its_request_along() -> None:
    with pytest.raises(Forbidden):
        read([{"tenure": 1}, ROW], FAIL)
    assert read([{"tenure": 1}], FAIL) == [Row(None, (1.0, None))]


RESPONSES: dict[str, tuple[object, list[Answer]]] = {
    "V1": ({"predictions": [{"probability": 0.7, "churn": True, "version": "v7"}]}, [Answer(0.7, churn=True)]),
    "V2": (
        {"outputs": [{"name": "probability", "data": [0.7, 0.2]}, {"name": "churn", "data": [True, False]}]},
        [Answer(0.7, churn=True), Answer(0.2, churn=False)],
    ),
    "V2 of a client that asked for probabilities alone": (
        {"parameters": {"threshold": 0.7}, "outputs": [{"name": "probability", "data": [0.7, 0.2]}]},
        [Answer(0.7, churn=True), Answer(0.2, churn=False)],
    ),
    "V2 whose decision is not what the threshold makes it": (
        {
            "parameters": {"threshold": 0.7},
            "outputs": [{"name": "probability", "data": [0.9]}, {"name": "churn", "data": [False]}],
        },
        [Answer(0.9, churn=False)],
    ),
    "one plain prediction": ({"probability": 1, "churn": True}, [Answer(1.0, churn=True)]),
    "plain predictions": ([{"probability": 0, "churn": False}], [Answer(0.0, churn=False)]),
}


@pytest.mark.parametrize(("body", "expected"), RESPONSES.values(), ids=RESPONSES)
def test_answers_of_each_protocol_are_read(body: object, expected: list[Answer]) -> None:
    assert answers(json.dumps(body).encode()) == expected


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="half of JSON"),
        pytest.param(b"[" * 100_000, id="no bottom"),
        pytest.param(b"\xff", id="no text"),
        pytest.param(b"[]", id="no answer"),
        pytest.param(b"7", id="a number"),
        pytest.param(b'{"probability": 2, "churn": true}', id="beyond 1"),
        pytest.param(b'{"probability": NaN}', id="no number"),
        pytest.param(b'{"outputs": [{"name": "probability", "data": [0.7]}]}', id="V2 without a threshold"),
        pytest.param(
            b'{"outputs": [{"name": "probability", "data": [0.7]}], "parameters": {"threshold": "0.7"}}',
            id="V2 with text for a threshold",
        ),
        pytest.param(
            b'{"outputs": [{"name": "churn", "data": [true]}], "parameters": {"threshold": 0.7}}',
            id="V2 without probabilities",
        ),
    ],
)
def test_what_is_no_answer_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        answers(body)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["instances", "inputs", "name", "data", "tenure", "plan", "customer"]), inner)
    ),
    max_leaves=12,
)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_readable_or_not(body: bytes) -> None:
    for understand in (Reader(contract(HASH), KEY).rows, answers):
        try:
            found = understand(body)
        except Unreadable:
            continue
        assert found
        json.dumps(found, allow_nan=False)
