"""A real API server over a real etcd, without controllers: nothing happens in it that a test did not do."""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from ssl import create_default_context
from typing import Any, Self

from hack.bench.ports import free_port

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
TOKENS = """\
admin-token,admin,admin,system:masters
operator-token,operator,operator,system:masters
second-token,second,second,system:masters
nobody-token,nobody,nobody
chart-token,system:serviceaccount:churn-system:churn-operator,chart
alice-token,alice,alice
anna-token,anna,anna
bob-token,bob,bob
carol-token,carol,carol
dora-token,dora,dora
eve-token,eve,eve
frank-token,frank,frank
greta-token,greta,greta
heidi-token,heidi,heidi
"""
"""The operator under test has a user of its own, so that the audit log tells its requests from the test's; a
second operator has one, too. `chart` is the operator as the chart knows it; who comes after it has the rights that a
test gives."""


def programs() -> Mapping[str, str]:
    """Where kube-apiserver, etcd and kubectl are: the environment's word, else that of hack/cluster."""
    names = ("KUBE_APISERVER", "ETCD", "KUBECTL")
    found = {name: os.environ[name] for name in names if name in os.environ}
    if len(found) < len(names):
        listed = subprocess.run([ROOT / "hack/cluster/cluster", "env"], check=True, capture_output=True, text=True)
        found = dict(line.split("=", 1) for line in listed.stdout.splitlines()) | found
    for name in names:
        if shutil.which(found[name]) is None:
            raise FileNotFoundError(f"{name}={found[name]} is not there: run `make setup`")
    return found


class ControlPlane:
    """etcd and kube-apiserver on free ports of the loopback, with their state in one folder."""

    def __init__(self, folder: Path, audit_policy: Mapping[str, Any] = AUDIT_POLICY) -> None:
        self.folder = folder
        self.audit_policy = audit_policy
        self.programs = programs()
        self.audit_log = folder / "audit.log"
        self._etcd_ports = free_port(), free_port()
        self._port = free_port()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Return when the API server is ready."""
        (self.folder / "tokens.csv").write_text(TOKENS)
        (self.folder / "audit.json").write_text(json.dumps(self.audit_policy))
        key = [shutil.which("openssl") or "openssl", "genrsa", "-out", str(self.folder / "sa.key"), "2048"]
        subprocess.run(key, check=True, capture_output=True)
        client, peer = (f"http://127.0.0.1:{port}" for port in self._etcd_ports)
        self._run(
            "etcd",
            self.programs["ETCD"],
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )
        self.start_api_server()

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """While it runs, with our kinds."""
        try:
            self.start()
            self.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
            self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
            yield self
        finally:
            self.stop()

    def start_api_server(self) -> None:
        self._run(
            "kube-apiserver",
            self.programs["KUBE_APISERVER"],
            f"--etcd-servers=http://127.0.0.1:{self._etcd_ports[0]}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={self.folder / 'certificates'}",
            "--service-cluster-ip-range=10.0.0.0/16",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--service-account-issuer=https://127.0.0.1",
            f"--service-account-key-file={self.folder / 'sa.key'}",
            f"--service-account-signing-key-file={self.folder / 'sa.key'}",
            f"--audit-policy-file={self.folder / 'audit.json'}",
            f"--audit-log-path={self.audit_log}",
        )
        self._wait_until_ready()

    def stop_api_server(self) -> None:
        self._end("kube-apiserver")

    def stop(self) -> None:
        for name in list(self._running):
            self._end(name)

    def kubeconfig(self, user: str) -> Path:
        """A kubeconfig for a user of TOKENS, or for one that the API server does not know."""
        path = self.folder / f"{user}.kubeconfig"
        authority = str(self.folder / "certificates/apiserver.crt")
        body = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.server, "certificate-authority": authority}}],
            "users": [{"name": user, "user": {"token": f"{user}-token"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }
        path.write_text(json.dumps(body))
        return path

    def kubectl(self, *arguments: str, stdin: str | None = None, user: str = "admin") -> str:
        """What kubectl prints.

        Raises:
            AssertionError: it failed; with what it said.
        """
        command = [self.programs["KUBECTL"], f"--kubeconfig={self.kubeconfig(user)}", *arguments]
        # With a copy of the environment: another thread may change it, and what is executed would read it as it moves.
        done = subprocess.run(command, check=False, capture_output=True, text=True, input=stdin, env=dict(os.environ))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def writes(self, namespace: str, user: str = "operator") -> list[str]:
        """The user's successful writes in the namespace so far, as `verb resource/name`; Events are left out."""
        found = []
        for line in self.audit_log.read_text().splitlines():
            event = json.loads(line)
            ref = event.get("objectRef", {})
            if (
                event["user"].get("username") == user
                and event["verb"] in {"create", "update", "patch", "delete"}
                and ref.get("namespace") == namespace
                and ref.get("resource") != "events"
                and event["responseStatus"]["code"] < 300
            ):
                resource = "/".join(part for part in (ref["resource"], ref.get("subresource")) if part)
                found.append(f"{event['verb']} {resource} {ref.get('name', '')}".rstrip())
        return found

    def requests(self, user: str) -> tuple[int, int]:
        """The user's reads and writes so far; writes that were refused, and Events, are among them, watches are not."""
        reads = writes = 0
        for line in self.audit_log.read_text().splitlines():
            event = json.loads(line)
            if event["user"].get("username") == user:
                reads += event["verb"] in {"get", "list"}
                writes += event["verb"] in {"create", "update", "patch", "delete"}
        return reads, writes

    def _run(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)

    def _end(self, name: str) -> None:
        """Nothing of it is needed afterwards, and the API server has no state: no reason to wait for a graceful end."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            process = self._running["kube-apiserver"]
            if process.poll() is not None or time.monotonic() > deadline:
                tail = (self.folder / "kube-apiserver.log").read_text()[-2000:]
                raise RuntimeError(f"kube-apiserver is not ready:\n{tail}")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        certificate = self.folder / "certificates/apiserver.crt"
        if not certificate.exists():
            return False
        request = urllib.request.Request(f"{self.server}/readyz", headers={"Authorization": "Bearer admin-token"})  # noqa: S310 - our own https
        try:
            context = create_default_context(cafile=str(certificate))
            with urllib.request.urlopen(request, timeout=2, context=context) as reply:  # noqa: S310 - our own https
                return bool(reply.status == 200)
        except (OSError, urllib.error.URLError):
            return False
