"""The SDK's application with the model in it: what a client sees."""

import gzip
import json
import logging
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.predictor.counting import grown
from unit.predictor.trained import Trained

from churn_operator.predictor.request import MAX_BODY, shown

PREDICT = "/v1/models/telco:predict"
JSON = {"content-type": "application/json"}
CLOUD_EVENT = {"ce-id": "1", "ce-source": "x", "ce-type": "y", "ce-specversion": "1.0"}

pytestmark = pytest.mark.filterwarnings("ignore:ORJSONResponse is deprecated")  # the SDK's choice


def request(trained: Trained, *rows: dict[str, Any]) -> bytes:
    """The first training row, once with each of the changes."""
    return json.dumps({"instances": [trained.rows[0] | row for row in rows]}).encode()


def test_an_idle_connection_is_kept_for_longer_than_a_proxy_keeps_it(assembled: tuple[Any, Any, Any]) -> None:
    """Or the request that comes as the server closes it fails."""
    idle_seconds_of_go_clients = 90
    assert assembled[0].timeout_keep_alive > idle_seconds_of_go_clients


async def test_each_row_gets_probability_decision_and_version(client: httpx.AsyncClient, trained: Trained) -> None:
    answer = await client.post(PREDICT, content=json.dumps({"instances": trained.rows[:40]}), headers=JSON)
    predictions = answer.json()["predictions"]
    assert answer.status_code == 200
    assert [set(each) for each in predictions] == [{"probability", "churn", "version"}] * 40
    assert {each["version"] for each in predictions} == {"v1"}
    assert [each["churn"] for each in predictions] == [each["probability"] >= 0.4 for each in predictions]
    assert {each["churn"] for each in predictions} == {True, False}


@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream"],
)
async def test_json_is_read_whatever_the_content_type(
    client: httpx.AsyncClient, trained: Trained, content_type: str
) -> None:
    answer = await client.post(PREDICT, content=request(trained, {}), headers={"content-type": content_type})
    assert answer.status_code == 200


@pytest.mark.parametrize("content_type", ["application/json", "text/csv", "application/json; charset=utf-8"])
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"NaN", b'{"a": Infinity}', b"a,b\n1,2", b"\xff\xfe", b"[" * 50_000, b"{} x"],
    ids=["empty", "cut off", "NaN", "Infinity", "csv", "no UTF-8", "deep", "more behind"],
)
async def test_a_body_that_is_no_json_is_refused(client: httpx.AsyncClient, content_type: str, body: bytes) -> None:
    answer = await client.post(PREDICT, content=body, headers={"content-type": content_type})
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


async def test_a_refusal_names_the_field(client: httpx.AsyncClient, trained: Trained) -> None:
    answer = await client.post(PREDICT, content=request(trained, {}, {"monthly_charges": "abc"}), headers=JSON)
    assert answer.status_code == 400
    assert answer.json() == {"error": 'instances[1].monthly_charges: must be a number, got "abc"'}


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "x" * 200])
async def test_a_body_in_an_encoding_is_refused_naming_it(client: httpx.AsyncClient, encoding: str) -> None:
    headers = {"content-encoding": encoding}
    told = f"content-encoding: must be identity, got {shown(encoding)}"
    for content in (gzip.compress(b"{}"), b"no gzip", b""):
        answer = await client.post(PREDICT, content=content, headers=headers)
        assert (answer.status_code, answer.json()) == (415, {"error": told})
    label = "caller=client,outcome=refused,protocol=v1"
    assert (await grown(client, (PREDICT, {}, headers)))[f"churn_predictor_requests_total{{{label}}}"] == 1


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_a_body_as_it_is_may_say_so(client: httpx.AsyncClient, trained: Trained, encoding: str) -> None:
    answer = await client.post(PREDICT, content=request(trained, {}), headers={"content-encoding": encoding})
    assert answer.status_code == 200


async def test_a_body_that_is_too_large_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post(PREDICT, content=b" " * (MAX_BODY + 1), headers=JSON)
    assert answer.status_code == 413
    assert answer.json() == {"error": f"body: must be at most {MAX_BODY} bytes"}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/metrics",
        "/health",
        "/ready",
        "/docs",
        "/openapi.json",
        "/v1/models",
        "/v1/models/telco",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models",
        "/v2/models/telco",
        "/v2/models/telco/ready",
    ],
)
async def test_questions_are_answered_and_nothing_else_is_done_there(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200
    assert (await client.post(path, content=b"{}")).status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/v2/repository/models/telco/unload",
        "/v2/repository/models/telco/load",
        "/v2/models/telco/versions/v2/infer",
        "/v2/models/other/infer",
        "/v1/models/telco:explain",
        "/v1/models/other:predict",
        "/nowhere",
    ],
)
async def test_no_other_path_is_served(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, content=b"{}", headers=JSON)
    assert answer.status_code == 404
    assert answer.json() == {"error": f"{path}: no such path"}
    assert (await client.get("/v1/models/telco")).json() == {"name": "telco", "ready": True}


@pytest.mark.parametrize("headers", [CLOUD_EVENT, CLOUD_EVENT | {"ce-specversion": "9"}, {"ce-specversion": "1.0"}])
async def test_cloud_events_headers_make_no_difference(
    client: httpx.AsyncClient, trained: Trained, headers: dict[str, str]
) -> None:
    answer = await client.post(PREDICT, content=request(trained, {}), headers=JSON | headers)
    assert answer.status_code == 200
    assert (await client.post(PREDICT, content=b"", headers=JSON | headers)).status_code == 400


async def test_a_golden_request_may_leave_columns_out_only_as_a_probe(client: httpx.AsyncClient) -> None:
    body = b'{"instances": [{"tenure": 3}]}'
    assert (await client.post(PREDICT, content=body, headers=JSON)).status_code == 400
    assert (await client.post(PREDICT, content=body, headers=JSON | {"x-churn-probe": "true"})).status_code == 200


@pytest.mark.parametrize(
    ("body", "headers", "level"),
    [
        pytest.param(b"{}", {}, logging.INFO, id="a refusal is told"),
        pytest.param(b"{}", {"x-churn-probe": "true"}, logging.DEBUG, id="a probe's is not"),
    ],
)
async def test_answers_are_logged_without_what_the_client_sent(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, body: bytes, headers: dict[str, str], level: int
) -> None:
    caplog.set_level(logging.DEBUG, "churn.access")
    await client.post(PREDICT, content=body, headers=JSON | headers)
    (record,) = [record for record in caplog.records if record.name == "churn.access"]
    assert record.levelno == level
    assert {key: value for key, value in vars(record)["fields"].items() if key != "milliseconds"} == {
        "method": "POST",
        "path": PREDICT,
        "status": 400,
    }


KEYS = st.sampled_from(["instances", "tenure", "contract", "data", "id", "time", "type", "source", "specversion"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=9)
)
HEADERS = st.fixed_dictionaries(
    {"content-type": st.sampled_from(["application/json", "text/plain", "application/cloudevents+json", "x"])},
    optional={name: st.sampled_from(["", "1.0", "x"]) for name in (*CLOUD_EVENT, "x-churn-probe", "ce-contenttype")},
)


@settings(deadline=None)
@given(body=ANYTHING, changes=st.dictionaries(KEYS, ANYTHING), headers=HEADERS)
async def test_no_body_makes_the_server_fail(
    application: Any, trained: Trained, body: object, changes: dict[str, Any], headers: dict[str, str]
) -> None:
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://telco") as client:
        for content in (json.dumps(body).encode(), request(trained, changes)):
            answer = await client.post(PREDICT, content=content, headers=headers)
            assert answer.status_code in {200, 400}, answer.text
            assert set(answer.json()) == ({"predictions"} if answer.status_code == 200 else {"error"})


@settings(deadline=None)
@given(body=st.binary(), headers=HEADERS)
async def test_no_bytes_make_the_server_fail(application: Any, body: bytes, headers: dict[str, str]) -> None:
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://telco") as client:
        assert (await client.post(PREDICT, content=body, headers=headers)).status_code == 400
