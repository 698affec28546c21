"""V2 over gRPC, as the KServe SDK's client and as a bare client ask."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from hack.bench.ports import free_port
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from unit.predictor.counting import scrape
from unit.predictor.test_failures import answers_with
from unit.predictor.trained import Trained

from churn_operator.predictor import rpc
from churn_operator.predictor.drain import Drain
from churn_operator.predictor.request import MAX_BODY, Rows

LIMITS = rpc.Limits(age_seconds=60, grace_seconds=5)


@pytest.fixture
async def address(assembled: tuple[Any, Any, Any]) -> AsyncIterator[str]:
    port = free_port()
    server, model, _ = assembled
    drain = Drain(0)
    servicer = rpc.Servicer(model, drain, data_plane=server.dataplane, access_log=True)
    async with rpc.serving(servicer, port, drain, LIMITS):
        yield f"127.0.0.1:{port}"


@pytest.fixture
async def stub(address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield GRPCInferenceServiceStub(channel)


def columns(rows: list[dict[str, Any]]) -> list[InferInput]:
    """The rows as tensors, numbers in bytes and texts in a message: what a client does who sets them from NumPy."""
    found = []
    for name in rows[0]:
        text = isinstance(rows[0][name], str)
        values = [str(row[name]) if text else float(row[name]) for row in rows]
        found.append(InferInput(name, [len(rows)], "BYTES" if text else "FP64", values))
    return found


def request(trained: Trained, count: int = 3) -> Any:
    return InferRequest("telco", columns(trained.rows[:count])).to_grpc()


def add(tensors: Any, count: int) -> None:
    for _ in range(count):
        tensors.add(name="churn")


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code(), error.value.details()


@pytest.mark.parametrize("raw", [False, True], ids=["in messages", "in bytes"])
async def test_the_sdks_client_gets_the_answer_of_v1(
    address: str,
    client: httpx.AsyncClient,
    trained: Trained,
    raw: bool,  # noqa: FBT001 - a row of the table
) -> None:
    v1 = (await client.post("/v1/models/telco:predict", json={"instances": trained.rows[:3]})).json()["predictions"]
    asked = InferRequest("telco", columns(trained.rows[:3]))
    for tensor in asked.inputs if raw else []:
        tensor.set_data_from_numpy(tensor.as_numpy(), binary_data=True)
    sdk = InferenceGRPCClient(address)
    answer = await sdk.infer(asked)
    await sdk.close()
    assert answer.model_version == "v1"
    assert answer.get_output_by_name("probability").as_numpy().tolist() == [p["probability"] for p in v1]
    assert answer.get_output_by_name("churn").as_numpy().tolist() == [p["churn"] for p in v1]


async def test_an_answer_carries_the_clients_ids(stub: Any, trained: Trained) -> None:
    message = request(trained)
    message.id = "q7"
    call = stub.ModelInfer(message, metadata=(("x-request-id", "order-7"),))
    assert (await call).id == "q7"
    assert dict(await call.trailing_metadata()) == {"x-request-id": "order-7"}


async def test_a_refusal_names_the_tensor_in_the_words_of_rest(stub: Any, trained: Trained) -> None:
    message = request(trained)
    tensor = next(each for each in message.inputs if each.name == "tenure")
    tensor.datatype = "BYTES"
    tensor.contents.bytes_contents.extend([b"1", b"abc", b"3"])
    told = 'inputs.tenure[1]: must be a number, got "abc"'
    assert await refused(stub.ModelInfer(message)) == (grpc.StatusCode.INVALID_ARGUMENT, told)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(lambda m: m.ClearField("inputs"), "inputs: required", id="no tensor"),
        pytest.param(
            lambda m: m.raw_input_contents.append(b""), "raw_input_contents: must hold one", id="too few bytes"
        ),
        pytest.param(lambda m: m.outputs.add(name="x"), "outputs: must name one of probability, churn", id="an output"),
        pytest.param(lambda m: add(m.inputs, 4097), "inputs: must hold at most 4096 tensors", id="many tensors"),
        pytest.param(lambda m: add(m.outputs, 4097), "outputs: must hold at most 4096 tensors", id="many outputs"),
        pytest.param(lambda m: setattr(m.inputs[0], "datatype", "X"), "datatype: must be one of", id="a datatype"),
    ],
)
async def test_a_message_with_a_fault_is_refused(stub: Any, trained: Trained, change: Any, told: str) -> None:
    message = request(trained)
    change(message)
    code, details = await refused(stub.ModelInfer(message))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert told in details


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        pytest.param("model_name", "other", "model_name: telco is served, not other", id="another model"),
        pytest.param("model_version", "v2", "model_version: v1 is served, not v2", id="another version"),
    ],
)
async def test_another_model_is_not_found(stub: Any, trained: Trained, field: str, value: str, told: str) -> None:
    message = request(trained)
    setattr(message, field, value)
    assert await refused(stub.ModelInfer(message)) == (grpc.StatusCode.NOT_FOUND, told)


async def test_the_model_cannot_be_taken_away(stub: Any, trained: Trained) -> None:
    for call in (
        stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="telco")),
        stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="telco")),
    ):
        assert (await refused(call))[0] is grpc.StatusCode.UNIMPLEMENTED
    assert len((await stub.ModelInfer(request(trained))).outputs) == 2


async def test_questions_about_the_server_are_answered(stub: Any, trained: Trained) -> None:
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert (await stub.ModelReady(pb.ModelReadyRequest(name="telco"))).ready
    assert (await stub.ServerMetadata(pb.ServerMetadataRequest())).extensions == ["binary_tensor_data"]
    metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name="telco"))
    assert list(metadata.versions) == ["v1"]
    assert [each.name for each in metadata.inputs] == [feature.name for feature in trained.contract.features]
    assert (await refused(stub.ModelReady(pb.ModelReadyRequest(name="other"))))[0] is grpc.StatusCode.NOT_FOUND


async def test_too_many_rows_and_too_many_bytes_are_refused(stub: Any) -> None:
    many = InferInput("tenure", [100_000], "FP64")
    many.set_data_from_numpy(np.zeros(100_000))
    told = "inputs: must hold 1 to 1000 rows, got 100000"
    answers = InferRequest("telco", [many]).to_grpc()
    assert await refused(stub.ModelInfer(answers, metadata=(("x-churn-probe", "true"),))) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        told,
    )
    large = pb.ModelInferRequest(model_name="telco", raw_input_contents=[bytes(MAX_BODY)])
    assert (await refused(stub.ModelInfer(large)))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "number",
    [pytest.param(np.nan, id="NaN"), pytest.param(np.inf, id="infinity"), pytest.param(None, id="none at all")],
)
async def test_a_model_that_fails_is_counted_and_its_words_are_not_the_clients(
    stub: Any,
    client: httpx.AsyncClient,
    assembled: tuple[Any, Any, Any],
    trained: Trained,
    monkeypatch: pytest.MonkeyPatch,
    number: float | None,
) -> None:
    def score(rows: Rows) -> list[float]:
        if number is None:
            raise RuntimeError("onnxruntime broke")
        return [number] * len(rows.numbers)

    answers_with(assembled[1], score, monkeypatch)
    before = await scrape(client)
    told = (grpc.StatusCode.INTERNAL, "Internal server error")
    assert await refused(stub.ModelInfer(request(trained))) == told
    label = {"model": "telco", "version": "v1", "protocol": "grpc", "outcome": "failed", "caller": "client"}
    key = ("churn_predictor_requests_total", frozenset(label.items()))
    after = await scrape(client)
    assert after[key] - before.get(key, 0) == 1


async def test_calls_at_once_get_each_their_own_answer(stub: Any, trained: Trained) -> None:
    one_by_one = [await stub.ModelInfer(request(trained, count)) for count in range(1, 20)]
    at_once = await asyncio.gather(*(stub.ModelInfer(request(trained, count)) for count in range(1, 20)))
    assert list(at_once) == one_by_one


class Service:
    """What a Kubernetes Service does: new connections go where it points, old ones stay where they are."""

    def __init__(self) -> None:
        self.target = 0
        self.connections: list[asyncio.Task[None]] = []

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(asyncio.ensure_future(self.connect(reader, writer)))

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(pump(reader, back), pump(there, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def hammer(stub: Any, message: Any, stop: asyncio.Event) -> int:
    count = 0
    while not stop.is_set():
        await stub.ModelInfer(message)
        count += 1
    return count


async def test_a_pod_that_goes_away_under_load_fails_no_call(assembled: tuple[Any, Any, Any], trained: Trained) -> None:
    _, model, _ = assembled
    ports, drain, service, stop = [free_port(), free_port()], Drain(0), Service(), asyncio.Event()
    first, second = (rpc.Servicer(model, d, data_plane=None, access_log=False) for d in (drain, Drain(0)))
    front = await asyncio.start_server(service.take, "127.0.0.1", 0)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{front.sockets[0].getsockname()[1]}")
    stub = GRPCInferenceServiceStub(channel)
    async with rpc.serving(second, ports[1], Drain(0), LIMITS), front, channel, asyncio.TaskGroup() as group:
        async with rpc.serving(first, ports[0], drain, rpc.Limits(age_seconds=1, grace_seconds=5)):
            service.target = ports[0]
            calls = [group.create_task(hammer(stub, request(trained), stop)) for _ in range(8)]
            while not first.is_asked():
                await asyncio.wait(calls, timeout=0.05)
            service.target, drain.since = ports[1], time.monotonic()
        assert not first.is_asked(), "it left while clients still asked"
        assert second.is_asked()
        stop.set()
    await asyncio.gather(*service.connections)
    assert len(service.connections) > 1
