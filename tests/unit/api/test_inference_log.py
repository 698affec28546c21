"""Names, days and identities of the inference log."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_operator.api import inference_log
from churn_operator.api.inference_log import Kind, Partition

TELCO = Partition("team-a", "telco", "v7")


def test_a_day_of_a_version_lies_in_one_folder() -> None:
    folder = inference_log.day_folder(inference_log.root("s3://churn/models/"), TELCO, date(2026, 11, 21))
    assert folder == "s3://churn/models/inference-log/namespace=team-a/model=telco/version=v7/day=2026-11-21"


def test_what_a_key_names_is_what_it_was_made_of() -> None:
    key = inference_log.day_folder("", TELCO, date(2026, 11, 21)).removeprefix("/") + "/x.parquet"
    assert inference_log.parse_key(key) == (TELCO, date(2026, 11, 21), "x.parquet")


@pytest.mark.parametrize(
    "key",
    [
        "pending/namespace=a/model=b/version=v1/x.parquet",
        "namespace=a/model=b/version=v1/day=2026-13-01/x.parquet",
        "namespace=a/model=B/version=v1/day=2026-11-01/x.parquet",
        "namespace=../model=b/version=v1/day=2026-11-01/x.parquet",
    ],
)
def test_other_keys_name_nothing(key: str) -> None:
    assert inference_log.parse_key(key) is None


@given(st.text(), st.sampled_from(Partition._fields))
def test_no_name_leads_out_of_the_log(text: str, field: str) -> None:
    partition = TELCO._replace(**{field: text})
    try:
        path = partition.path
    except ValueError:
        return
    assert path.count("/") == 2
    assert ".." not in path


DAYS = {
    "within a day": (datetime(2026, 11, 21, 1, tzinfo=UTC), timedelta(hours=2), [21]),
    "to midnight": (datetime(2026, 11, 21, 1, tzinfo=UTC), timedelta(hours=23), [21]),
    "over midnight": (datetime(2026, 11, 21, 23, tzinfo=UTC), timedelta(hours=2), [21, 22]),
    "of another zone": (datetime(2026, 11, 21, 1, tzinfo=timezone(timedelta(hours=2))), timedelta(minutes=1), [20]),
    "of no length": (datetime(2026, 11, 21, tzinfo=UTC), timedelta(0), []),
}


@pytest.mark.parametrize(("since", "length", "expected"), DAYS.values(), ids=DAYS)
def test_a_window_touches_the_days_of_its_rows(since: datetime, length: timedelta, expected: list[int]) -> None:
    assert [day.day for day in inference_log.days(since, since + length)] == expected


KINDS: dict[str, tuple[dict[str, object], Kind]] = {
    "a client's": ({}, "Client"),
    "a probe": ({"X-Churn-Probe": ["true"]}, "Probe"),
    "a golden request, which is a probe too": ({"X-Churn-Probe": ["true"], "X-Churn-Golden": ["true"]}, "Golden"),
    "a shadow": ({"X-Churn-Shadow": ["true"]}, "Shadow"),
    "a header that says no": ({"X-Churn-Probe": ["false"]}, "Client"),
    "a header that is no list": ({"X-Churn-Probe": "true"}, "Client"),
}


@pytest.mark.parametrize(("metadata", "kind"), KINDS.values(), ids=KINDS)
def test_headers_tell_who_asked(metadata: dict[str, object], kind: Kind) -> None:
    assert inference_log.kind_of(metadata) == kind


@pytest.mark.parametrize("value", [12, 12.0, "12", " 12 "])
def test_a_customer_is_one_however_the_identifier_is_written(value: object) -> None:
    assert inference_log.identifier(value) == "12"


@pytest.mark.parametrize("value", [None, "", " ", "NaN", float("nan")])
def test_a_missing_identifier_is_none(value: object) -> None:
    assert inference_log.identifier(value) is None


@pytest.mark.parametrize("value", [True, [], {}])
def test_what_is_no_identifier_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must be text or a number"):
        inference_log.identifier(value)


def test_a_digest_depends_on_the_key_and_on_the_value() -> None:
    assert inference_log.hashed("ada", b"k") == inference_log.hashed("ada", b"k")
    assert len({inference_log.hashed(text, key) for text in ("ada", "bob") for key in (b"k", b"l")}) == 4
