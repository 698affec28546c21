"""Results in a termination message."""

import base64
import json
import secrets
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import kinds

from churn_operator.api.results import PREFIX, decode_result, encode_result
from churn_operator.api.tasks import RESULT_LIMIT, JobFailure, TrainResult


def test_a_small_result_can_be_read_by_people() -> None:
    failure = JobFailure(reason="OneClass", message="every row's churn is Nein, für alle 12 Zeilen")
    text = encode_result(failure)
    assert "für alle 12 Zeilen" in text
    assert json.loads(text) == failure.to_dict()


def test_a_large_result_is_packed_and_comes_back_whole() -> None:
    columns = {f"column_{number}": "the most frequent category" for number in range(200)}
    result = kinds.make_result(golden={"instance": columns, "probability": 0.5})
    text = encode_result(result)
    assert text.startswith(PREFIX)
    assert len(text.encode()) <= RESULT_LIMIT
    assert TrainResult.model_validate_json(decode_result(text)) == result


def test_the_scores_of_a_million_rows_fit_beside_the_rest() -> None:
    result = kinds.make_result(scores=[50_000] * 20)
    assert len(encode_result(result)) - len(encode_result(kinds.make_result())) < RESULT_LIMIT / 20
    assert TrainResult.model_validate_json(encode_result(result)) == result


def test_a_result_of_before_scores_were_counted_has_none() -> None:
    assert TrainResult.model_validate_json(encode_result(kinds.make_result())).scores is None


def test_a_result_that_cannot_be_packed_is_refused_with_its_size() -> None:
    noise = {f"column_{number}": secrets.token_hex(40) for number in range(200)}
    with pytest.raises(ValueError, match=f"the result takes [0-9]+ bytes of {RESULT_LIMIT}"):
        encode_result(kinds.make_result(golden={"instance": noise, "probability": 0.5}))


def packed(data: bytes) -> str:
    return PREFIX + base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(PREFIX + "???", "base64", id="no base64"),
        pytest.param(packed(b"plain"), "not a zlib stream", id="no zlib stream"),
        pytest.param(packed(zlib.compress(b"{}" * 100)[:-5]), "cut off", id="cut off"),
        pytest.param(packed(zlib.compress(b" " * 3_000_000)), "too large", id="a bomb"),
        pytest.param(packed(zlib.compress(b"\xff")), "utf-8", id="no text"),
    ],
)
def test_a_message_that_is_no_result_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_result(text)


@given(st.text())
def test_what_is_not_packed_is_left_as_it_is(text: str) -> None:
    assert text.startswith(PREFIX) or decode_result(text) == text
