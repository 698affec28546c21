"""A real Prometheus, and what it scrapes."""

import asyncio
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TypeVar

from hack.bench.ports import free_port
from support.control_plane import ROOT

START_SECONDS = 60.0
SCRAPE_SECONDS = 0.2
CONFIGURATION = """\
global: {{scrape_interval: {interval}ms, scrape_timeout: {interval}ms}}
scrape_configs:
- job_name: pods
  honor_labels: true
  static_configs: [{{targets: ["{pods}"]}}]
- job_name: real
  static_configs: [{{targets: ["{real}"], labels: {{namespace: real, pod: real}}}}]
"""

T = TypeVar("T")


def program() -> str:
    """Where it is: the environment's word, else that of hack/cluster."""
    if "PROMETHEUS" in os.environ:
        return os.environ["PROMETHEUS"]
    listed = subprocess.run([ROOT / "hack/cluster/cluster", "env"], check=True, capture_output=True, text=True)
    return dict(line.split("=", 1) for line in listed.stdout.splitlines())["PROMETHEUS"]


def promtool() -> Path:
    """Its companion, which checks and plays rules."""
    return Path(program()).with_name("promtool")


class Pods(ThreadingHTTPServer):
    """What the pods of several namespaces tell, on one port: a target that is new is scraped seconds later."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pods)
        self.texts: dict[tuple[tuple[str, str], ...], str] = {}
        self.broken = False
        Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def tell(self, text: str, **labels: str) -> None:
        self.texts[tuple(labels.items())] = text

    def forget(self, **labels: str) -> None:
        self.texts.pop(tuple(labels.items()), None)

    def told(self) -> str:
        if self.broken:
            return "<html>"
        lines = [_labelled(line, labels) for labels, text in list(self.texts.items()) for line in text.splitlines()]
        return "".join(f"{line}\n" for line in lines if not line.startswith("#"))


class _Pods(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Pods)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(self.server.told().encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _labelled(line: str, labels: Iterable[tuple[str, str]]) -> str:
    return line.replace("{", "{" + "".join(f"{name}={json.dumps(value)}," for name, value in labels), 1)


class PrometheusServer:
    """It scrapes pods and a real predictor, five times a second."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self.pods = Pods()
        self.real = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers."""
        configuration = CONFIGURATION.format(
            interval=int(SCRAPE_SECONDS * 1000),
            pods=f"127.0.0.1:{self.pods.server_port}",
            real=f"127.0.0.1:{self.real}",
        )
        (self.folder / "prometheus.yaml").write_text(configuration)
        command = [
            program(),
            f"--config.file={self.folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        with (self.folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Prometheus is not ready:\n{(self.folder / 'prometheus.log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.pods.stop()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as reply:  # noqa: S310 - our own http
                return bool(reply.status == 200)
        except OSError:
            return False


async def until(read: Callable[[], Awaitable[T]], holds: Callable[[T], bool], seconds: float = 30.0) -> T:
    """What is read as soon as it is as it should be.

    Raises:
        AssertionError: it never was; with what was read last.
    """
    deadline = time.monotonic() + seconds
    while not holds(found := await read()):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(SCRAPE_SECONDS / 4)
    return found
