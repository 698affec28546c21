"""`POST /predict`: a row in, a prediction out, for a client that knows no protocol."""

import json
from typing import Any

import httpx
import pytest
from unit.predictor.trained import Trained


async def test_one_row_gets_one_prediction_and_a_list_a_list(client: httpx.AsyncClient, trained: Trained) -> None:
    one = await client.post("/predict", json=trained.rows[0])
    many = await client.post("/predict", json=trained.rows[:3])
    v1 = await client.post("/v1/models/telco:predict", json={"instances": trained.rows[:3]})
    assert many.json() == v1.json()["predictions"]
    # The model's arithmetic differs in the last digit with the number of rows.
    assert one.json() == many.json()[0] | {"probability": pytest.approx(many.json()[0]["probability"], abs=1e-6)}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(3, "body: must be an object of columns or a list of such, got 3", id="a number"),
        pytest.param([], "body: must hold 1 to 1000 rows, got 0", id="no row"),
        pytest.param([3], "[0]: must be an object of columns, got 3", id="a list of numbers"),
        pytest.param({"tenur": 3}, "tenur: unknown column", id="an unknown column"),
        pytest.param([{"tenur": 3}], "[0].tenur: unknown column", id="an unknown column in a list"),
        pytest.param({"tenure": 3}, "female: required", id="a column is not there"),
    ],
)
async def test_a_refusal_names_the_field_as_the_client_sees_it(
    client: httpx.AsyncClient, body: object, told: str
) -> None:
    answer = await client.post("/predict", content=json.dumps(body))
    assert (answer.status_code, answer.json()) == (400, {"error": told})


async def test_a_value_is_refused_in_the_words_of_v1(client: httpx.AsyncClient, trained: Trained) -> None:
    wrong = trained.rows[0] | {"monthly_charges": "abc"}
    answer = await client.post("/predict", json=wrong)
    assert answer.json() == {"error": 'monthly_charges: must be a number, got "abc"'}


async def test_a_probe_may_leave_columns_out(client: httpx.AsyncClient) -> None:
    assert (await client.post("/predict", json={"tenure": 3}, headers={"x-churn-probe": "true"})).status_code == 200


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        pytest.param("order-7/a:b@c", True, id="a sane one is kept"),
        pytest.param("", False, id="an empty one is replaced"),
        pytest.param("x" * 129, False, id="a long one is replaced"),
        pytest.param("a b", False, id="one with a blank is replaced"),
        pytest.param('"}{"', False, id="one with JSON in it is replaced"),
        pytest.param(None, False, id="without one there is one"),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/v1/models/telco:predict", "/nowhere", "/v1/models/telco"])
async def test_every_answer_carries_the_requests_id(
    client: httpx.AsyncClient,
    path: str,
    sent: str | None,
    kept: bool,  # noqa: FBT001 - a row of the table
) -> None:
    answer = await client.post(path, content=b"{}", headers={} if sent is None else {"x-request-id": sent})
    assert (answer.headers["x-request-id"] == sent) is kept
    assert len(answer.headers["x-request-id"]) == (len(sent) if kept and sent else 32)


async def test_the_document_is_made_of_the_contract(client: httpx.AsyncClient, trained: Trained) -> None:
    document: dict[str, Any] = (await client.get("/openapi.json")).json()
    row = document["components"]["schemas"]["Row"]
    assert row["required"] == [feature.name for feature in trained.contract.features]
    assert row["properties"]["contract"]["examples"] == ["Month-to-month", "One year", "Two year"]
    assert set(document["paths"]) >= {"/predict", "/v1/models/telco:predict", "/v2/models/telco/infer"}


@pytest.mark.parametrize("path", ["/predict", "/v1/models/telco:predict", "/v2/models/telco/infer"])
async def test_an_example_of_the_document_is_answered(client: httpx.AsyncClient, path: str) -> None:
    operation = (await client.get("/openapi.json")).json()["paths"][path]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    assert (await client.post(path, json=example)).status_code == 200


async def test_the_page_names_every_column_and_needs_nothing_from_elsewhere(
    client: httpx.AsyncClient, trained: Trained
) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert [feature.name for feature in trained.contract.features if feature.name not in page.text] == []
    assert "<script" not in page.text
    assert "//" not in page.text, "something is fetched from elsewhere"
