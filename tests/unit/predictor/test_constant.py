"""A server without a model, as a process: each row of each protocol gets the probability that it was started with."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from hack.bench.ports import free_port
from kserve import InferInput, InferRequest
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from prometheus_client.parser import text_string_to_metric_families

from churn_operator.churnmodel.counts import Counts, parse_counts
from churn_operator.predictor.request import PROBE_HEADER

PROBABILITY = 0.2
PREDICTION = {"probability": PROBABILITY, "churn": False, "version": "fallback"}
V1, V2 = "/v1/models/telco:predict", "/v2/models/telco/infer"
DEADLINE = 90.0
TWO_ROWS = {"name": "tenure", "datatype": "INT64", "shape": [2], "data": [1, 2]}
OUTPUTS = [
    {"name": "probability", "datatype": "FP64", "shape": [2], "data": [PROBABILITY] * 2},
    {"name": "churn", "datatype": "BOOL", "shape": [2], "data": [False, False]},
]


@dataclass(frozen=True)
class Fallback:
    client: httpx.Client
    grpc_address: str

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        return self.client.post(path, json=body, headers=headers)

    def rows(self) -> float:
        text = self.client.get("/metrics", headers={"accept": "text/plain"}).text
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        key = {"model": "telco", "version": "fallback"}
        return next(s.value for s in samples if s.name == "churn_predictor_rows_total" and s.labels == key)

    def counts(self) -> Counts:
        text = self.client.get("/metrics", headers={"accept": "text/plain"}).text
        return parse_counts(text, "fallback", 0.1)


@pytest.fixture(scope="module")
def fallback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fallback]:
    port, grpc_port = free_port(), free_port()
    # As the operator starts it: there is no folder of a model.
    options = ["--model-name=telco", "--version=fallback", f"--probability={PROBABILITY}"]
    command = [sys.executable, "-m", "churn_operator.predictor", *options, f"--http-port={port}"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3] / "operator")}
    log = tmp_path_factory.mktemp("fallback") / "stdout"
    with (
        log.open("wb") as stdout,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client,
        subprocess.Popen([*command, f"--grpc-port={grpc_port}"], stdout=stdout, env=environment) as process,
    ):
        try:
            wait_until_it_answers(client, process)
            yield Fallback(client, f"127.0.0.1:{grpc_port}")
        finally:
            process.terminate()
            process.wait(DEADLINE)


def wait_until_it_answers(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        try:
            if client.get("/v1/models/telco").status_code == 200:
                return
        except httpx.ConnectError:
            assert process.poll() is None, "the server ended before it answered"
    pytest.fail(f"no answer within {DEADLINE} s")


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        pytest.param(V1, {"instances": [{"tenure": 1}, {}]}, {"predictions": [PREDICTION] * 2}, id="V1"),
        pytest.param("/predict", {"tenure": "never heard of"}, PREDICTION, id="a plain row"),
        pytest.param("/predict", [{"a": None}, {"b": [1]}, {}], [PREDICTION] * 3, id="plain rows"),
        pytest.param(
            V2,
            {"id": "7", "inputs": [TWO_ROWS, TWO_ROWS | {"name": "contract", "datatype": "BYTES", "data": ["a", ""]}]},
            {
                "id": "7",
                "model_name": "telco",
                "model_version": "fallback",
                "parameters": {"threshold": 0.5},
                "outputs": OUTPUTS,
            },
            id="V2",
        ),
    ],
)
def test_every_row_gets_the_probability_and_hears_that_it_is_of_the_fallback(
    fallback: Fallback, path: str, body: object, expected: object
) -> None:
    before = fallback.rows()
    answer = fallback.post(path, body)
    assert (answer.status_code, answer.json()) == (200, expected)
    assert fallback.rows() > before


def test_grpc_is_answered_alike(fallback: Fallback) -> None:
    column = InferInput("tenure", [2], "FP64", [1.0, 2.0])
    with grpc.insecure_channel(fallback.grpc_address) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(InferRequest("telco", [column]).to_grpc(), timeout=10)
    assert answer.model_version == "fallback"
    found = {output.name: output.contents for output in answer.outputs}
    assert list(found["probability"].fp64_contents) == [PROBABILITY] * 2
    assert list(found["churn"].bool_contents) == [False] * 2


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        pytest.param(V1, {"rows": []}, "instances: required", id="V1 without rows"),
        pytest.param(V1, {"instances": []}, "instances: must hold 1 to 1000 rows, got 0", id="no row"),
        pytest.param(
            V1, {"instances": [{}, 3]}, "instances[1]: must be an object of columns, got 3", id="a row that is none"
        ),
        pytest.param("/predict", [{}] * 1001, "body: must hold 1 to 1000 rows, got 1001", id="too many rows"),
        pytest.param(V2, {"inputs": []}, "inputs: required", id="V2 without columns"),
        pytest.param(
            V2,
            {"inputs": [TWO_ROWS, TWO_ROWS | {"name": "b", "shape": [3]}]},
            "inputs.b.shape: must be [2] or [2, 1], got [3]",
            id="columns of different lengths",
        ),
        pytest.param(V2, {"inputs": [TWO_ROWS, TWO_ROWS]}, "inputs.tenure: given twice", id="a column twice"),
    ],
)
def test_what_no_model_would_take_is_refused_here_too(fallback: Fallback, path: str, body: object, told: str) -> None:
    answer = fallback.post(path, body)
    assert (answer.status_code, answer.json()) == (400, {"error": told})


def test_clients_are_counted_as_of_the_fallback_and_probes_are_not(fallback: Fallback) -> None:
    before = fallback.counts()
    for headers in ({}, {PROBE_HEADER: "true"}):
        fallback.post(V1, {"instances": [{}]}, **headers)
    since = fallback.counts() - before
    assert (since.requests, since.errors, sum(since.scores)) == (1, 0, 1)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/ready", {"name": "telco", "version": "fallback", "ready": True}, id="readiness"),
        pytest.param(
            "/v2/models/telco",
            {"name": "telco", "versions": ["fallback"], "platform": "constant", "inputs": [], "outputs": [
                {"name": "probability", "datatype": "FP64", "shape": [-1]},
                {"name": "churn", "datatype": "BOOL", "shape": [-1]},
            ]},
            id="metadata",
        ),
    ],
)  # fmt: skip
def test_it_says_of_itself_what_it_is(fallback: Fallback, path: str, expected: object) -> None:
    assert fallback.client.get(path).json() == expected


def test_its_document_says_that_no_model_answers_and_its_examples_are_answered(fallback: Fallback) -> None:
    document: dict[str, Any] = fallback.client.get("/openapi.json").json()
    assert document["info"]["description"].startswith("A fallback answers, and no model:")
    assert document["components"]["schemas"]["Row"]["additionalProperties"] is True
    for path in ("/predict", V1, V2):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        assert fallback.post(path, body).status_code == 200
    assert "A fallback answers" in fallback.client.get("/docs").text
