"""A result travels in a termination message, whatever its size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_operator.api.results import PREFIX, decode_result, encode_result
from churn_operator.api.tasks import RESULT_LIMIT, ColumnDrift, DriftResult, JobFailure, Window


def failure(message: str) -> JobFailure:
    return JobFailure(reason="JobFailed", message=message)


def drifted(name: str) -> DriftResult:
    columns = tuple(ColumnDrift(name=f"{name}{n}", score=n / 16, drifted=False) for n in range(16))
    return DriftResult(outcome="Compared", window=Window(uri="s3://a/b.csv", revision="etag:1"), columns=columns)


def test_a_small_result_is_plain_json() -> None:
    assert encode_result(failure("no column")) == '{"outcome":"Failed","reason":"JobFailed","message":"no column"}'


def test_absent_values_are_left_out() -> None:
    assert "report" not in encode_result(drifted("a"))


def test_a_large_result_is_packed_and_comes_back_whole() -> None:
    large = drifted("c" * 250)
    text = encode_result(large)
    assert text.startswith(PREFIX)
    assert len(text) <= RESULT_LIMIT
    assert DriftResult.model_validate_json(decode_result(text)) == large


@given(st.text(max_size=1024))
def test_whatever_text_it_holds_comes_back(message: str) -> None:
    result = failure(message)
    assert JobFailure.model_validate_json(decode_result(encode_result(result))) == result


def test_a_result_that_cannot_be_packed_is_refused() -> None:
    noise = "".join(chr(0x4E00 + (n * n * 7919) % 20000) for n in range(16 * 250))
    columns = tuple(ColumnDrift(name=noise[n * 250 : n * 250 + 250], score=0, drifted=False) for n in range(16))
    with pytest.raises(ValueError, match="bytes of 4096"):
        encode_result(drifted("a").model_copy(update={"columns": columns}))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("zlib:AAAA", id="no zlib stream"),
        pytest.param("zlib:no base64!", id="no base64"),
        pytest.param(encode_result(drifted("c" * 250))[:-8], id="cut off"),
    ],
)
def test_a_packed_text_that_is_broken_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"zlib|base64|cut off|padding"):
        decode_result(text)
