"""What becomes of a request when the model fails: it is answered, named, counted and told like any other."""

import asyncio
import logging
import math
from typing import Any

import httpx
import pytest
from unit.predictor.counting import grown
from unit.predictor.trained import Trained

from churn_operator.predictor.bundle import read_bundle
from churn_operator.predictor.drain import Drain
from churn_operator.predictor.edge import FAILED
from churn_operator.predictor.model import Predictor
from churn_operator.predictor.request import Rows
from churn_operator.predictor.scorer import load

WHY = "onnxruntime: Non-zero status code returned while running Gather node"


def bodies(trained: Trained) -> dict[str, tuple[str, object]]:
    """One request of each protocol, by what it is counted under."""
    row = trained.rows[0]
    tensors = [{"name": name, "datatype": "BYTES", "shape": [1], "data": [str(row[name])]} for name in row]
    return {
        "v1": ("/v1/models/telco:predict", {"instances": [row]}),
        "v2": ("/v2/models/telco/infer", {"inputs": tensors}),
        "predict": ("/predict", row),
    }


@pytest.fixture
def broken(assembled: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def score(_rows: Rows) -> list[float]:
        raise RuntimeError(WHY)

    answers_with(assembled[1], score, monkeypatch)


def answers_with(model: Any, score: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "_backend", model._backend._replace(score=score))  # noqa: SLF001 - as `monkeypatch` does


@pytest.mark.parametrize("protocol", ["v1", "v2", "predict"])
@pytest.mark.usefixtures("broken")
async def test_a_model_that_raises_is_counted_and_told_and_its_words_are_not_the_clients(
    client: httpx.AsyncClient, trained: Trained, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "churn.access")
    path, body = bodies(trained)[protocol]
    answer = await client.post(path, json=body, headers={"x-request-id": "order-7"})
    assert (answer.status_code, answer.json()) == (500, {"error": FAILED})
    assert answer.headers["x-request-id"] == "order-7"
    told, request = [record for record in caplog.records if record.name == "churn.access"]
    assert (told.levelno, str(told.exc_info and told.exc_info[1])) == (logging.ERROR, WHY)
    assert vars(request)["fields"].items() >= {"path": path, "status": 500}.items()
    label = f"caller=client,outcome=failed,protocol={protocol}"
    assert await grown(client, (path, body, {})) == {
        f"churn_predictor_requests_total{{{label}}}": 1,
        f"churn_predictor_request_seconds_count{{{label}}}": 1,
    }


@pytest.mark.usefixtures("broken")
async def test_a_failure_too_closes_its_connection_while_the_server_leaves(
    client: httpx.AsyncClient, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Drain, "under_way", True)
    answer = await client.post("/predict", json=trained.rows[0])
    assert (answer.status_code, answer.headers["connection"]) == (500, "close")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("protocol", ["v1", "v2", "predict"])
async def test_a_score_that_is_no_number_is_a_failure_and_no_answer(
    client: httpx.AsyncClient,
    assembled: tuple[Any, Any, Any],
    trained: Trained,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
    number: float,
) -> None:
    answers_with(assembled[1], lambda rows: [number] * len(rows.numbers), monkeypatch)
    path, body = bodies(trained)[protocol]
    assert (await client.post(path, json=body)).json() == {"error": FAILED}
    label = f"caller=client,outcome=failed,protocol={protocol}"
    assert await grown(client, (path, body, {})) == {
        f"churn_predictor_requests_total{{{label}}}": 1,
        f"churn_predictor_request_seconds_count{{{label}}}": 1,
    }


async def test_in_a_batch_only_the_request_with_such_a_score_fails(trained: Trained) -> None:
    backend = load(read_bundle(trained.folder))._replace(score=lambda rows: [n for n, *_ in rows.numbers])
    model = Predictor("telco", "batched", backend, batch_rows=2, batch_seconds=60)
    tenure = backend.contract.numerical[0].name
    asked = [model.predict_plain(trained.rows[0] | {tenure: value}, "client") for value in (None, 0.25)]
    failed, answered = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(failed, FloatingPointError)
    assert answered == {"probability": 0.25, "churn": False, "version": "batched"}
