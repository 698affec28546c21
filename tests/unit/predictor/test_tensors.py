"""V2 requests, field by field, in JSON and in bytes; over gRPC in test_rpc.py."""

import json
import math
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve import InferInput, InferRequest, InferResponse
from unit.predictor.trained import Trained

from churn_operator.api.contract import MISSING, Contract, Feature
from churn_operator.collector.rows import answers
from churn_operator.predictor.constant import constant
from churn_operator.predictor.request import Refused, Rows, TooMuch
from churn_operator.predictor.tensors import DATATYPES, TensorReader, decoded, from_body, most_lists

CONTRACT = Contract(
    features=(
        Feature(name="plan", kind="Categorical", categories=("gold", "silver")),
        Feature(name="tenure", kind="Numerical"),
    ),
    id_column="customer_id",
)
READER = TensorReader(CONTRACT)
LISTS = most_lists(CONTRACT)
PLAN = {"name": "plan", "datatype": "BYTES", "shape": [2], "data": ["gold", "silver"]}
TENURE = {"name": "tenure", "datatype": "FP64", "shape": [2], "data": [1.5, 2]}


def read(*inputs: object, complete: bool = True, **more: object) -> Rows:
    body = json.dumps({"inputs": inputs, **more}).encode()
    return READER.read(from_body(body, {}, LISTS).tensors, complete=complete)


def test_a_tensor_is_a_column_whatever_their_order() -> None:
    assert read(TENURE, PLAN) == ([[1.5], [2.0]], [["gold"], ["silver"]])


@pytest.mark.parametrize(
    ("tensor", "numbers"),
    [
        pytest.param({"datatype": "INT64", "data": [1, 2]}, [1, 2], id="integers"),
        pytest.param({"datatype": "BOOL", "data": [True, False]}, [1, 0], id="booleans"),
        pytest.param({"datatype": "BYTES", "data": ["1", " 2.5 "]}, [1, 2.5], id="numbers as text"),
        pytest.param({"shape": [2, 1], "data": [1, 2]}, [1, 2], id="a column, flat"),
        pytest.param({"shape": [2, 1], "data": [[1], [2]]}, [1, 2], id="a column, nested"),
    ],
)
def test_numbers_come_in_many_ways(tensor: dict[str, Any], numbers: list[float]) -> None:
    assert [row[0] for row in read(PLAN, TENURE | tensor).numbers] == numbers


def test_null_and_empty_text_are_missing_values() -> None:
    rows = read(PLAN | {"data": [None, ""]}, TENURE | {"data": [None, 1]})
    assert rows.categories == [[MISSING], [MISSING]]
    assert math.isnan(rows.numbers[0][0])


def test_the_customer_may_be_named_and_is_not_scored() -> None:
    name = {"name": "customer_id", "datatype": "INT64", "shape": [2], "data": [1, 2]}
    assert read(name, PLAN, TENURE) == read(PLAN, TENURE)


def test_a_probe_may_leave_tensors_out() -> None:
    assert read(TENURE, complete=False).categories == [[MISSING], [MISSING]]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        pytest.param([], "inputs: required", id="no tensor"),
        pytest.param([PLAN], "inputs.tenure: required", id="a tensor is not there"),
        pytest.param([PLAN, TENURE, PLAN], "inputs.plan: given twice", id="a tensor twice"),
        pytest.param([PLAN, TENURE | {"name": "tenur"}], "inputs.tenur: unknown column", id="a typing error"),
        pytest.param([3], "inputs[0]: must be an object, got 3", id="a number for a tensor"),
        pytest.param([TENURE | {"name": 3}], "inputs[0].name: must be text, got 3", id="a number for a name"),
        pytest.param([TENURE | {"shape": "2"}], 'inputs[0].shape: must be a list, got "2"', id="text for a shape"),
        pytest.param([TENURE | {"data": 7}], "inputs.tenure.data: must be a list, got 7", id="a number for data"),
        pytest.param(
            [PLAN, {**TENURE, "parameters": 1}], "inputs.tenure.parameters: must be an object, got 1", id="parameters"
        ),
        pytest.param(
            [PLAN, TENURE | {"datatype": "FP65"}],
            f'inputs.tenure.datatype: must be one of {", ".join(DATATYPES)}, got "FP65"',
            id="no such datatype",
        ),
        pytest.param(
            [PLAN, TENURE | {"shape": [3], "data": [1, 2, 3]}],
            "inputs.tenure.shape: must be [2] or [2, 1], got [3]",
            id="more rows than the first tensor",
        ),
        pytest.param(
            [PLAN | {"shape": [1, 2]}, TENURE],
            "inputs.plan.shape: must be [1] or [1, 1], got [1, 2]",
            id="a row for a column",
        ),
        pytest.param([PLAN | {"shape": []}], "inputs.plan.shape: must be [n] or [n, 1], got []", id="no shape"),
        pytest.param([PLAN | {"shape": [0], "data": []}], "inputs: must hold 1 to 1000 rows, got 0", id="no row"),
        pytest.param([PLAN | {"shape": [100_000]}], "inputs: must hold 1 to 1000 rows, got 100000", id="many rows"),
        pytest.param(
            [PLAN, TENURE | {"data": [1]}], "inputs.tenure.data: must hold 2 values, got 1", id="too few values"
        ),
        pytest.param(
            [PLAN, TENURE | {"data": [1, "abc"]}],
            'inputs.tenure[1]: must be a number, got "abc"',
            id="text for a number",
        ),
        pytest.param(
            [PLAN, TENURE | {"data": [1e39, 1]}],
            "inputs.tenure[0]: must be a number between -3.4e38 and 3.4e38, got 1e+39",
            id="too large",
        ),
        pytest.param(
            [PLAN | {"data": ["gold", 3]}, TENURE], "inputs.plan[1]: must be text, got 3", id="a number for text"
        ),
    ],
)
def test_a_request_with_a_fault_is_refused_naming_the_tensor(inputs: list[Any], told: str) -> None:
    with pytest.raises(Refused) as refused:
        read(*inputs)
    assert str(refused.value) == told


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param([], 'body: must be an object {"inputs": […]}, got []', id="a list"),
        pytest.param({}, "inputs: required", id="no inputs"),
        pytest.param({"inputs": {}}, "inputs: must be a list, got {}", id="inputs is an object"),
        pytest.param(
            {"inputs": [], "outputs": [{"name": "x"}]},
            'outputs[0]: must name one of probability, churn, got {"name": "x"}',
            id="no such output",
        ),
        pytest.param({"inputs": [], "outputs": 3}, "outputs: must be a list, got 3", id="outputs is a number"),
        pytest.param({"inputs": [], "parameters": 3}, "body.parameters: must be an object, got 3", id="parameters"),
    ],
)
def test_a_body_that_is_no_request_is_refused(body: object, told: str) -> None:
    with pytest.raises(Refused) as refused:
        from_body(json.dumps(body).encode(), {}, LISTS)
    assert str(refused.value) == told


def binary(size: object, tail: bytes, datatype: str = "FP32", length: str | None = None) -> Rows:
    tensor = {"name": "tenure", "datatype": datatype, "shape": [2], "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [PLAN, tensor]}).encode()
    headers = {"inference-header-content-length": length or str(len(head))}
    return READER.read(from_body(head + tail, headers, LISTS).tensors)


def test_tensors_may_stand_behind_the_json_as_bytes() -> None:
    assert binary(8, np.array([1.5, np.nan], "<f4").tobytes()).numbers[0] == [1.5]
    assert binary(9, b"\x01\0\0\x002\0\0\0\0", "BYTES").numbers[0] == [2.0]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param((9, b"12345678"), "binary_data_size: must be a number up to 8, got 9", id="more than there is"),
        pytest.param((-1, b"12345678"), "binary_data_size: must be a number up to 8, got -1", id="less than nothing"),
        pytest.param(("8", b"12345678"), 'binary_data_size: must be a number up to 8, got "8"', id="text for a size"),
        pytest.param((7, b"1234567"), r"must be a multiple of 4 bytes for FP32, got 7", id="half a number"),
        pytest.param((4, b"1234"), r"inputs\.tenure\.data: must hold 2 values, got 1", id="too few"),
        pytest.param((0, b"1234"), "body: has 4 bytes that belong to no tensor", id="too many"),
        pytest.param((4, b"\xff\xff\xff\xff", "BYTES"), "ends in the middle of a text", id="a text without an end"),
        pytest.param((2, b"\xff\xff", "BYTES"), "ends in the middle of a text", id="half a length"),
        pytest.param((12, bytes(12), "BYTES"), r"inputs\.tenure\.data: must hold 2 values, got more", id="many texts"),
        pytest.param((3, b"123", "BOOL"), r"inputs\.tenure\.data: must hold 2 values, got 3", id="many booleans"),
        pytest.param((9, b"\1\0\0\0\xff\0\0\0\0", "BYTES"), r"tenure\[0\]: must be text in UTF-8", id="no UTF-8"),
        pytest.param((0, b"", "FP32", "x"), "must be a number up to", id="text for a length"),
        pytest.param((0, b"", "FP32", "9" * 5000), "must be a number up to", id="a length of 5000 digits"),
        pytest.param((0, b"", "FP32", "9999"), "must be a number up to", id="a length beyond the body"),
    ],
)
def test_bytes_that_are_no_tensor_are_refused(given: tuple[Any, ...], told: str) -> None:
    with pytest.raises(Refused, match=told):
        binary(*given)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
FIELDS = {
    "name": st.just("tenure"),
    "datatype": st.sampled_from(DATATYPES),
    "shape": st.lists(st.integers()),
    "data": JSON,
}


@given(
    inputs=st.lists(
        st.fixed_dictionaries({}, optional={k: v | JSON for k, v in FIELDS.items()} | {"parameters": JSON})
    ),
    more=st.dictionaries(st.sampled_from(["outputs", "parameters", "id"]), JSON),
    tail=st.binary(),
)
def test_whatever_the_request_it_is_read_or_refused(inputs: list[Any], more: dict[str, Any], tail: bytes) -> None:
    head = json.dumps({**more, "inputs": inputs}).encode()
    try:
        decoded(head, LISTS)
        headers = {"inference-header-content-length": str(len(head))}
        found = READER.read(from_body(head + tail, headers, LISTS).tensors)
    except Refused as refused:
        assert str(refused)  # noqa: PT017 - either outcome is right, this is one of two
    else:
        assert len(found.numbers) == len(found.categories)


def columns(rows: list[dict[str, Any]]) -> list[InferInput]:
    """The rows as the KServe SDK's client holds them."""
    found = []
    for name in rows[0]:
        text = isinstance(rows[0][name], str)
        values = [str(row[name]) if text else float(row[name]) for row in rows]
        found.append(InferInput(name, [len(rows)], "BYTES" if text else "FP64", values))
    return found


async def test_a_v2_answer_is_the_v1_answer_by_column(client: httpx.AsyncClient, trained: Trained) -> None:
    v1 = (await client.post("/v1/models/telco:predict", json={"instances": trained.rows[:5]})).json()["predictions"]
    body, _ = InferRequest("telco", columns(trained.rows[:5]), request_id="q7").to_rest()
    answer = await client.post("/v2/models/telco/infer", json=body)
    outputs = {"probability": [p["probability"] for p in v1], "churn": [p["churn"] for p in v1]}
    assert answer.json() == {
        "id": "q7",
        "model_name": "telco",
        "model_version": "v1",
        "parameters": {"threshold": 0.4},
        "outputs": [
            {"name": "probability", "datatype": "FP64", "shape": [5], "data": outputs["probability"]},
            {"name": "churn", "datatype": "BOOL", "shape": [5], "data": outputs["churn"]},
        ],
    }


async def test_an_answer_comes_in_bytes_for_a_client_that_wants_them(
    client: httpx.AsyncClient, trained: Trained
) -> None:
    request = InferRequest("telco", columns(trained.rows[:5]), parameters={"binary_data_output": True})
    for tensor in request.inputs:
        tensor.set_data_from_numpy(tensor.as_numpy(), binary_data=True)
    body, length = request.to_rest()
    plain = await client.post(
        "/v2/models/telco/versions/v1/infer", json=InferRequest("telco", columns(trained.rows[:5])).to_rest()[0]
    )
    answer = await client.post(
        "/v2/models/telco/infer", content=body, headers={"inference-header-content-length": str(length)}
    )
    response = InferResponse.from_bytes(answer.content, int(answer.headers["inference-header-content-length"]))
    assert response.get_output_by_name("probability").data == plain.json()["outputs"][0]["data"]
    assert response.get_output_by_name("churn").data == plain.json()["outputs"][1]["data"]


async def test_a_thousand_rows_may_come_with_each_value_in_a_list(client: httpx.AsyncClient, trained: Trained) -> None:
    rows = trained.rows[:1000]
    tensors = [
        {
            "name": name,
            "datatype": "BYTES",
            "shape": [1000, 1],
            "data": [[row[name] and str(row[name])] for row in rows],
        }
        for name in rows[0]
    ]
    answer = await client.post("/v2/models/telco/infer", json={"inputs": tensors})
    assert (answer.status_code, answer.json()["outputs"][0]["shape"]) == (200, [1000])


async def test_more_lists_than_any_request_needs_are_not_even_decoded(
    client: httpx.AsyncClient, trained: Trained
) -> None:
    most = 1000 * (len(trained.rows[0]) + 100)
    body = b'{"inputs": [' + b",".join([b"[]"] * most) + b"]}"
    answer = await client.post("/v2/models/telco/infer", content=body)
    assert (answer.status_code, answer.json()) == (413, {"error": f"body: must hold at most {most} lists"})


@pytest.mark.parametrize("width", [1, 100, 600])
def test_a_thousand_rows_of_any_width_may_come_with_each_value_in_a_list(width: int) -> None:
    contract = Contract(features=tuple(Feature(name=f"c{number}", kind="Numerical") for number in range(width)))
    tensors = [{"name": f"c{n}", "datatype": "FP64", "shape": [1000, 1], "data": [[1]] * 1000} for n in range(width)]
    inference = from_body(orjson.dumps({"inputs": tensors}), {}, most_lists(contract))
    assert len(inference.tensors) == width


@pytest.mark.parametrize("number", [123, 91], ids=["{", "["])
@pytest.mark.parametrize("datatype", ["<i4", "<i8"])
def test_bytes_of_numbers_are_no_lists_or_objects(number: int, datatype: str) -> None:
    raw = np.full(1000, number, datatype).tobytes() * 40
    tensor = {"name": "tenure", "datatype": "INT8", "shape": [1], "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    (found,) = from_body(head + raw, {"inference-header-content-length": str(len(head))}, 1000).tensors
    assert found.values == raw


@pytest.mark.parametrize("length", ["0", "20"])
@pytest.mark.parametrize("path", ["/v1/models/telco:predict", "/predict"])
async def test_where_all_of_a_body_is_json_no_header_says_otherwise(
    client: httpx.AsyncClient, path: str, length: str
) -> None:
    rows = b'{"instances": [' + b",".join([b"{}"] * 100_000) + b"]}"
    answer = await client.post(path, content=rows, headers={"inference-header-content-length": length})
    assert (answer.status_code, answer.json()) == (413, {"error": "body: must hold at most 1000 rows"})


def test_a_fallback_takes_lists_of_any_columns() -> None:
    assert most_lists(constant(0.5).contract) >= 1000 * 1000


def test_a_short_body_is_decoded_whatever_it_holds() -> None:
    assert decoded(b"[[],[],[]]", 1) == [[], [], []]
    with pytest.raises(TooMuch):
        decoded(b"[" + b",".join([b"[]"] * 30_000) + b"]", 1)


async def test_only_the_wanted_outputs_are_answered(client: httpx.AsyncClient, trained: Trained) -> None:
    body, _ = InferRequest("telco", columns(trained.rows[:1])).to_rest()
    answer = await client.post("/v2/models/telco/infer", json=body | {"outputs": [{"name": "churn"}]})
    assert [output["name"] for output in answer.json()["outputs"]] == ["churn"]


@pytest.mark.parametrize("wanted", [[], ["probability"], ["probability", "churn"]])
async def test_the_inference_log_understands_an_answer_that_names_no_decision(
    client: httpx.AsyncClient, trained: Trained, wanted: list[str]
) -> None:
    v1 = (await client.post("/v1/models/telco:predict", json={"instances": trained.rows[:40]})).content
    body, _ = InferRequest("telco", columns(trained.rows[:40])).to_rest()
    answer = await client.post("/v2/models/telco/infer", json=body | {"outputs": [{"name": name} for name in wanted]})
    assert answers(answer.content) == answers(v1)


async def test_a_refusal_answers_400_and_the_field(client: httpx.AsyncClient, trained: Trained) -> None:
    body, _ = InferRequest("telco", columns(trained.rows[:1])[1:]).to_rest()
    answer = await client.post("/v2/models/telco/infer", json=body)
    assert (answer.status_code, answer.json()) == (400, {"error": f"inputs.{next(iter(trained.rows[0]))}: required"})
