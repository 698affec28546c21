"""Which requests are events, and of which version of which model."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.collector.making import HEADERS, MODEL_URI, NOW

from churn_operator.api.inference_log import Partition
from churn_operator.collector.event import NotAnEvent, believed, digest, parse

ANNOTATIONS = json.loads(HEADERS["Ce-Annotations"])


def test_kserves_headers_are_an_event() -> None:
    event = parse(HEADERS)
    assert (event.role, event.partition, event.kind) == ("request", Partition("team-a", "telco", "v7"), "Client")
    assert event.time == datetime(2026, 11, 21, 11, 59, 59, 123456, UTC)
    assert event.model_uri == MODEL_URI


def test_a_header_may_be_percent_encoded_as_the_standard_asks() -> None:
    encoded = HEADERS["Ce-Annotations"].replace('"', "%22").replace("{", "%7B").replace("}", "%7D").replace(" ", "%20")
    assert parse({**HEADERS, "Ce-Annotations": encoded}) == parse(HEADERS)


def test_the_requests_own_headers_tell_a_probe() -> None:
    assert parse({**HEADERS, "Ce-Metadata": '{"X-Churn-Probe": ["true"]}'}).kind == "Probe"


def annotations(**changed: object) -> dict[str, str]:
    return {"Ce-Annotations": json.dumps({**ANNOTATIONS, **{f"churnops.dev/{k}": v for k, v in changed.items()}})}


WRONG = {
    "no CloudEvent": ({"Ce-Specversion": ""}, "Ce-Specversion: must be 1.0"),
    "an older CloudEvent": ({"Ce-Specversion": "0.3"}, "Ce-Specversion: must be 1.0"),
    "another type": ({"Ce-Type": "org.example.order"}, "Ce-Type: must be one of org.kubeflow"),
    "no id": ({"Ce-Id": ""}, "Ce-Id: must have 1 to 1024 characters"),
    "an endless id": ({"Ce-Id": "x" * 1025}, "Ce-Id: must have 1 to 1024 characters"),
    "no time": ({"Ce-Time": ""}, "Ce-Time: must have 1"),
    "a time of no kind": ({"Ce-Time": "yesterday"}, "Ce-Time: must be a time"),
    "a time of no zone": ({"Ce-Time": "2026-11-21T12:00:00"}, "Ce-Time: must be a time"),
    "a time before time": ({"Ce-Time": "0001-01-01T00:00:00+14:00"}, "Ce-Time: must be a time"),
    "no annotations": ({"Ce-Annotations": "{}"}, "churnops.dev/model-uri is missing"),
    "annotations that are no JSON": ({"Ce-Annotations": "{"}, "Ce-Annotations: must be JSON"),
    "annotations that are a list": ({"Ce-Annotations": "[]"}, "Ce-Annotations: must be a JSON object"),
    "annotations without a bottom": ({"Ce-Annotations": '{"a":' + "[" * 100_000}, "Ce-Annotations: must be JSON"),
    "metadata that is no JSON": ({"Ce-Metadata": "{"}, "Ce-Metadata: must be JSON"),
    "a namespace that leads elsewhere": ({"Ce-Namespace": ".."}, "namespace '..' is not a DNS label"),
    "a model that leads elsewhere": (annotations(model="../../x"), "model '../../x' is not a DNS label"),
    "a version that is a number": (annotations(version=7), "churnops.dev/version is missing"),
    "a model on this machine": (annotations(**{"model-uri": "file:///etc/passwd"}), "must be s3://"),
    "a model of another server": (annotations(**{"model-uri": f"http://x/models/{'0' * 64}"}), "must be s3://"),
    "a model without a digest": (annotations(**{"model-uri": "s3://churn/models/latest"}), "must be s3://"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_what_is_no_event_is_refused_by_name(change: dict[str, str], message: str) -> None:
    with pytest.raises(NotAnEvent, match=message):
        parse({**HEADERS, **change})


@given(st.dictionaries(st.sampled_from(sorted(HEADERS)), st.text(max_size=60)))
def test_any_headers_are_an_event_or_none(change: dict[str, str]) -> None:
    try:
        event = parse({**HEADERS, **change})
    except NotAnEvent:
        return
    assert event.partition.path.count("/") == 2


CLOCKS = {
    "a little late": (timedelta(minutes=-5), True),
    "a little early": (timedelta(minutes=5), True),
    "a day late and more": (timedelta(days=-1, seconds=-1), False),
    "of next year": (timedelta(days=365), False),
}


@pytest.mark.parametrize(("off", "holds"), CLOCKS.values(), ids=CLOCKS)
def test_a_clock_that_jumps_is_not_believed(off: timedelta, holds: bool) -> None:  # noqa: FBT001 - a row of a table
    assert believed(NOW + off, NOW) == (NOW + off if holds else NOW)


def test_request_and_response_have_the_call_in_common_and_not_the_key() -> None:
    request = parse(HEADERS)
    response = parse({**HEADERS, "Ce-Type": "org.kubeflow.serving.inference.response"})
    assert request.call == response.call
    assert request.key(b"{}") != response.key(b"{}")


@pytest.mark.parametrize(
    "change", [{"Ce-Time": "2026-11-21T11:59:59.123456788Z"}, {"Ce-Id": "call-2"}, annotations(version="v8")]
)
def test_another_event_has_another_key(change: dict[str, str]) -> None:
    assert parse({**HEADERS, **change}).key(b"{}") != parse(HEADERS).key(b"{}")
    assert parse(HEADERS).key(b"[]") != parse(HEADERS).key(b"{}")


def test_an_id_that_is_no_text_has_a_digest_too() -> None:
    assert digest("\udcff") != digest("\udcfe")


def test_parts_of_a_digest_are_told_apart() -> None:
    assert digest("ab", "c") != digest("a", "bc")
