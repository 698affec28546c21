"""The operator as a process of its own."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hack.bench.ports import free_port

DEADLINE = 60.0
COMMAND = [sys.executable, "-m", "churn_operator"]
NOWHERE = "http://127.0.0.1:1"


class Operator:
    """`python -m churn_operator`, by default with an MLflow that is not there."""

    def __init__(self, kubeconfig: Path, folder: Path, **settings: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.log = folder / "operator.log"
        self.health, self.metrics = free_port(), free_port()
        given = {
            "jobs_image": "jobs:1",
            "predictor_image": "predictor:1",
            "tracking_uri": NOWHERE,
            "storage_uri": "s3://models",
            "health_port": self.health,
            "metrics_port": self.metrics,
            "log_format": "json",
        } | settings
        environment = {f"CHURN_{name.upper()}": str(value) for name, value in given.items()}
        self.environment = os.environ | {"KUBECONFIG": str(kubeconfig)} | environment
        self.command = COMMAND
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=log, stderr=log)
        if wait:
            until(self.is_idle)

    def end(self, number: signal.Signals) -> int:
        self.send(number)
        return self.wait()

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code of what ends by itself."""
        assert self.process is not None
        code = self.process.wait(DEADLINE)
        self.process = None
        return code

    def ended(self) -> bool:
        """By itself."""
        return self.process is None or self.process.poll() is not None

    def stop(self) -> None:
        if self.process is not None:
            self.end(signal.SIGKILL)

    def is_idle(self) -> bool:
        return ask(self.health, "/healthz") == "0 waiting, nothing finished for 0 s\n"

    def leads(self) -> bool:
        return self.metric("churn_operator_leader") == 1

    def is_ready(self) -> bool:
        """It leads, and watches."""
        return ask(self.health, "/readyz") == "leads\n"

    def stands_by(self) -> bool:
        return ask(self.health, "/readyz").startswith("stands by")

    def looks(self, kind: str = "") -> float:
        """How often it looked at an object."""
        return self.metric(f'churn_operator_reconciles_total{{kind="{kind}')

    def metric(self, name: str) -> float:
        """The sum of the samples whose line begins like this."""
        lines = ask(self.metrics, "/metrics").splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    @property
    def memory(self) -> float:
        """Resident, in MB."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        fields: Mapping[str, str] = dict(line.split(":", 1) for line in status.splitlines())
        return int(fields["VmRSS"].split()[0]) / 1024

    @property
    def cpu(self) -> float:
        """Seconds of CPU time since its start."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(port: int, path: str) -> str:
    """What is answered there; nothing where nobody does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as reply:
            return str(reply.read().decode())
    except OSError:
        return ""


def until(condition: Callable[[], Any], seconds: float = DEADLINE, pause: float = 0.05) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited for long enough"
        time.sleep(pause)
