"""The real process on loopback: how it starts, how it goes away."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from hack.bench.ports import free_port
from kserve import InferInput, InferRequest
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from unit.predictor.trained import Trained

PREDICT = "/v1/models/telco:predict"
DEADLINE = 90.0
OPERATOR = str(Path(__file__).parents[3] / "operator")
DRAIN = 1.5
WORKERS = 4


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[bytes]
    port: int
    grpc_port: int
    body: bytes
    log: Path
    home: Path

    def post(self, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        connection.request("POST", PREDICT, self.body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)


def command(folder: Path, port: int, *more: str) -> list[str]:
    module = [sys.executable, "-m", "churn_operator.predictor", f"--model-dir={folder}", "--model-name=telco"]
    times = [f"--drain-seconds={DRAIN}", "--grpc-age-seconds=1"]
    return [*module, "--version=v7", f"--http-port={port}", *times, "--access-log", *more]


@pytest.fixture
def server(trained: Trained, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    port, grpc_port = free_port(), free_port()
    body = json.dumps({"instances": [trained.rows[0]]}).encode()
    log, home = tmp_path / "stdout", tmp_path / "home"
    home.mkdir()
    # Nothing else from outside: onnxruntime keeps quiet by itself where it sees a test.
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": OPERATOR}
    with (
        log.open("wb") as stdout,
        subprocess.Popen(
            command(trained.folder, port, f"--grpc-port={grpc_port}", *request.param), stdout=stdout, env=environment
        ) as process,
    ):
        server = Server(process, port, grpc_port, body, log, home)
        try:
            wait_until_it_answers(server)
            yield server
        finally:
            process.kill()


def wait_until_it_answers(server: Server) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        with closing(server.connect()) as connection:
            try:
                if server.post(connection).status == 200:
                    return
            except ConnectionRefusedError:
                assert server.process.poll() is None, "the server ended before it answered"
    pytest.fail(f"no answer within {DEADLINE} s")


@dataclass
class Load:
    """Requests on a kept connection, one after the other, until the first that fails."""

    answered: list[tuple[float, bool]] = field(default_factory=list)
    """When each began, and whether its answer closed the connection."""
    ended: float = 0.0
    """When the one that failed began."""


def hammer(server: Server) -> Load:
    load = Load()
    deadline = time.monotonic() + DEADLINE
    with closing(server.connect()) as connection:
        while (began := time.monotonic()) < deadline:
            try:
                answer = server.post(connection)
            except OSError:
                load.ended = began
                return load
            assert answer.status == 200
            load.answered.append((began, answer.will_close))
    raise AssertionError("the server still accepts requests")


@pytest.mark.parametrize(
    "server",
    [
        pytest.param((), id="each request by itself"),
        pytest.param(("--batch-rows=3", "--batch-milliseconds=5"), id="in batches"),
    ],
    indirect=True,
)
def test_sigterm_under_load_fails_no_request(server: Server, trained: Trained) -> None:
    unfinished = half_a_request(server)
    with ThreadPoolExecutor(WORKERS + 1) as pool:
        loads = [pool.submit(hammer, server) for _ in range(WORKERS)]
        calls = pool.submit(call, server, trained)
        with closing(server.connect()) as connection:
            assert server.post(connection).will_close is False
            connection.request("POST", PREDICT, b"secret")
            assert connection.getresponse().status == 400
        terminated = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for load in (each.result(DEADLINE) for each in loads):
            assert load.ended > terminated + DRAIN * 0.9
            late = [closes for began, closes in load.answered if began > terminated + DRAIN * 0.5]
            assert len(late) > 0
            assert all(late), "an answer kept the connection of a client that has to move"
        assert finish(server, unfinished).startswith(b"HTTP/1.1 200")
        assert calls.result(DEADLINE) > terminated + DRAIN * 0.9
    assert server.process.wait(DEADLINE) == 0
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert {"method": "POST", "path": PREDICT, "status": 200}.items() <= lines[0].items()
    assert [line["status"] for line in lines if line["status"] not in {200, "OK", "CANCELLED"}] == [400]
    assert {(line["level"], line["model"], line["version"]) for line in lines} == {("info", "telco", "v7")}
    assert len({line["request_id"] for line in lines}) == len(lines)
    assert {line["logger"] for line in lines} == {"churn.access"}
    assert list(server.home.rglob("*")) == [], "something keeps an identity for telemetry, or a cache"


def call(server: Server, trained: Trained) -> float:
    """gRPC calls, each on a connection of its own, until the first that finds nobody there; when that was."""
    columns = [InferInput(name, [1], "BYTES", [str(value)]) for name, value in trained.rows[0].items()]
    message = InferRequest("telco", columns).to_grpc()
    deadline = time.monotonic() + DEADLINE
    while (began := time.monotonic()) < deadline:
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            try:
                assert GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=10).model_version == "v7"
            except grpc.RpcError as error:
                # Cancelled: on its way when the server ended; a pod's Service has led elsewhere by then.
                if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
                    raise
                return began
    raise AssertionError("the server still accepts calls")


def half_a_request(server: Server) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: telco\r\nContent-Length: {len(server.body)}\r\n\r\n"
    connection.sendall(head.encode() + server.body[:10])
    return connection


def finish(server: Server, connection: socket.socket) -> bytes:
    with connection:
        connection.sendall(server.body[10:])
        return connection.recv(4096)


def peak(server: Server) -> int:
    """The most memory that the process ever had, in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024


def send(server: Server, body: bytes, **headers: str) -> tuple[int, str]:
    with closing(server.connect()) as connection:
        connection.request("POST", PREDICT, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())["error"]


def in_pieces(size: int) -> Iterator[bytes]:
    """A body whose length nobody knows beforehand."""
    piece = b" " * 65536
    for _ in range(size // len(piece)):
        yield piece


@pytest.mark.parametrize("server", [pytest.param(("--body-seconds=2",), id="")], indirect=True)
def test_a_request_that_is_too_large_or_too_slow_is_answered_and_costs_nobody_anything(server: Server) -> None:
    before = peak(server)
    unfinished = half_a_request(server)
    too_large = (413, f"body: must be at most {4 << 20} bytes")
    assert send(server, b" " * 50_000_000) == too_large
    with closing(server.connect()) as connection:
        connection.request("POST", PREDICT, in_pieces(50_000_000), encode_chunked=True)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["error"]) == too_large
    rows = b'{"instances": [' + b",".join([b'{"tenure":1}'] * 100_000) + b"]}"
    assert send(server, rows) == (413, "body: must hold at most 1000 rows")
    few = b'{"instances": [' + b",".join([b'{"tenure":1}'] * 1001) + b"]}"
    assert send(server, few) == (400, "instances: must hold 1 to 1000 rows, got 1001")
    assert peak(server) - before < 25
    with unfinished:
        received = b"".join(iter(lambda: unfinished.recv(4096), b""))
    assert received.startswith(b"HTTP/1.1 408")
    assert received.endswith(b'{"error":"body: did not arrive within 2 s"}')


def test_a_folder_without_a_model_ends_the_process_with_a_sentence(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": OPERATOR}
    ended = subprocess.run(
        command(tmp_path, 0), env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert ended.returncode == 10
    path = tmp_path / "manifest.json"
    assert ended.stderr == f"{tmp_path} cannot be served: {path}: cannot be read: No such file or directory\n"


def test_a_port_that_is_taken_ends_the_process(trained: Trained) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        arguments = command(trained.folder, free_port(), f"--grpc-port={taken.getsockname()[1]}")
        ended = subprocess.run(
            arguments,
            env=os.environ | {"PYTHONPATH": OPERATOR},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    assert "Failed to bind to address" in ended.stdout
