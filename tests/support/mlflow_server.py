"""A real MLflow server over SQLite."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from hack.bench.ports import free_port

START_SECONDS = 120.0


class MlflowServer:
    """`mlflow server` on a free port of the loopback, with its state in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers."""
        command = [
            *(sys.executable, "-m", "mlflow", "server"),
            *("--host", "127.0.0.1", "--port", self.uri.rpartition(":")[2], "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(self.folder / "artifacts")),
        ]
        environment = os.environ | {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        with (self.folder / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=self.folder, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"MLflow is not ready:\n{(self.folder / 'mlflow.log').read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it with its workers, which are in its session."""
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None

    def register(self, model: str, versions: int) -> None:
        """A registered model with so many versions."""
        self._post("registered-models/create", name=model)
        for _ in range(versions):
            self.version(model)

    def version(self, model: str) -> None:
        """Another version, of nothing in particular."""
        self._post("model-versions/create", name=model, source="s3://models/anything")

    def _post(self, path: str, **body: str) -> None:
        url, data = f"{self.uri}/api/2.0/mlflow/{path}", json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - our own http
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310 - our own http
            reply.read()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as reply:  # noqa: S310 - our own http
                return bool(reply.status == 200)
        except OSError:
            return False
