"""A real MLflow server, and one real training that the tests share."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hack.bench.ports import free_port
from unit.jobs.making import train_task

from churn_operator.api.tasks import UID_TAG, TrainResult, TrainTask
from churn_operator.jobs.mlflow import Mlflow

DEADLINE = 60.0


@pytest.fixture(scope="session")
def mlflow_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that is starting, on a database and a folder of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1"),
        *(f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts"),
    ]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True) as process,
    ):
        yield f"http://127.0.0.1:{port}"
        os.killpg(process.pid, signal.SIGKILL)  # it has workers, and nothing that is worth a farewell


@pytest.fixture(scope="session", autouse=True)
def _start_early(mlflow_process: str) -> None:
    """The server starts while the other tests run."""


@pytest.fixture(scope="session")
def mlflow(mlflow_process: str) -> str:
    """The server's address, once it answers."""
    deadline, pause = time.monotonic() + DEADLINE, threading.Event()
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{mlflow_process}/health", timeout=5):  # noqa: S310 - our own, on loopback
                return mlflow_process
        except OSError:
            pause.wait(0.1)
    raise TimeoutError("MLflow did not start")


@dataclass(frozen=True)
class Trained:
    """A training on Telco that came to a result."""

    task: TrainTask
    result: TrainResult
    storage: Path


@pytest.fixture(scope="session")
def trained(mlflow: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    from churn_operator.jobs.train import train

    storage = tmp_path_factory.mktemp("storage")
    task = train_task(storage, mlflow)
    return Trained(task, train(task), storage)


def only_run(uri: str, uid: str) -> dict[str, Any]:
    """The one run that carries the UID, as MLflow has it."""
    server = Mlflow(uri)
    experiment = server.get("experiments/get-by-name", experiment_name="telco")["experiment"]["experiment_id"]
    asked = {"experiment_ids": [experiment], "filter": f"tags.`{UID_TAG}` = '{uid}'"}
    (run,) = server.post("runs/search", asked)["runs"]
    found: dict[str, Any] = run
    return found


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked twice."""
    monkeypatch.setattr("churn_operator.jobs.mlflow._RETRIES", 0)
