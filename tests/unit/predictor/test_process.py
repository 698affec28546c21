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

import pytest
from unit.predictor.trained import Trained

PREDICT = "/v1/models/telco:predict"
DEADLINE = 90.0
DRAIN = 1.5
WORKERS = 4


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[bytes]
    port: int
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


def command(folder: Path, port: int) -> list[str]:
    module = [sys.executable, "-m", "churn_operator.predictor", f"--model-dir={folder}", "--model-name=telco"]
    return [*module, "--version=v7", f"--http-port={port}", f"--drain-seconds={DRAIN}", "--access-log"]


@pytest.fixture
def server(trained: Trained, tmp_path: Path) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    body = json.dumps({"instances": [trained.rows[0]]}).encode()
    log, home = tmp_path / "stdout", tmp_path / "home"
    home.mkdir()
    # Nothing else from outside: onnxruntime keeps quiet by itself where it sees a test.
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    with (
        log.open("wb") as stdout,
        subprocess.Popen(command(trained.folder, port), stdout=stdout, env=environment) as process,
    ):
        server = Server(process, port, body, log, home)
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


def test_sigterm_under_load_fails_no_request(server: Server) -> None:
    unfinished = half_a_request(server)
    with ThreadPoolExecutor(WORKERS) as pool:
        loads = [pool.submit(hammer, server) for _ in range(WORKERS)]
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
    assert server.process.wait(DEADLINE) == 0
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert {"method": "POST", "path": PREDICT, "status": 200}.items() <= lines[0].items()
    assert [line["status"] for line in lines if line["level"] != "info" or line["status"] != 200] == [400]
    assert {line["logger"] for line in lines} == {"churn.access"}
    assert list(server.home.rglob("*")) == [], "something keeps an identity for telemetry, or a cache"


def half_a_request(server: Server) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: telco\r\nContent-Length: {len(server.body)}\r\n\r\n"
    connection.sendall(head.encode() + server.body[:10])
    return connection


def finish(server: Server, connection: socket.socket) -> bytes:
    with connection:
        connection.sendall(server.body[10:])
        return connection.recv(4096)


def test_a_folder_without_a_model_ends_the_process_with_a_sentence(tmp_path: Path) -> None:
    ended = subprocess.run(command(tmp_path, 0), capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert ended.returncode == 10
    path = tmp_path / "manifest.json"
    assert ended.stderr == f"{tmp_path} cannot be served: {path}: cannot be read: No such file or directory\n"
