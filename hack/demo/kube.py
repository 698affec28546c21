"""kubectl for programs: read, apply, and wait for a state with a deadline."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Object = dict[str, Any]
T = TypeVar("T")

CHURN = "/apis/churnops.dev/v1alpha1"
APIS = {
    "churnmodels": CHURN,
    "trainingruns": CHURN,
    "driftmonitors": CHURN,
    "inferenceservices": "/apis/serving.kserve.io/v1beta1",
    "jobs": "/apis/batch/v1",
    "deployments": "/apis/apps/v1",
    "horizontalpodautoscalers": "/apis/autoscaling/v2",
    "pods": "/api/v1",
    "services": "/api/v1",
    "events": "/api/v1",
}


def program() -> str:
    """As `hack/cluster/cluster env` says it, which says KUBECONFIG as well: nobody's own context by accident."""
    return os.environ["KUBECTL"]


def kubectl_json(*arguments: str) -> Object:
    """What `kubectl … -o json` prints."""
    command = [program(), *arguments, "-o", "json"]
    found: Object = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


class Kubectl:
    """One namespace, as `kubectl` sees it."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.program = program()

    def run(self, *arguments: str, text: str | None = None) -> str:
        """What kubectl prints.

        Raises:
            KubectlRefused: with what it printed instead.
        """
        return self._run("--namespace", self.namespace, *arguments, text=text)

    def churn(self, *arguments: str) -> str:
        """What the plugin prints; it lies beside the Python that runs this.

        Raises:
            KubectlRefused: with what it printed instead.
        """
        return self._run("churn", *arguments, "--namespace", self.namespace)

    def _run(self, *arguments: str, text: str | None = None) -> str:
        done = subprocess.run(
            [self.program, *arguments],
            check=False,
            capture_output=True,
            text=True,
            input=text,
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )
        if done.returncode:
            raise KubectlRefused(done.stderr.strip(), f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, plural: str, name: str) -> Object | None:
        """The object, or None where there is none."""
        try:
            found: Object = json.loads(self.run("get", "--raw", f"{self._path(plural)}/{name}"))
        except KubectlRefused as refused:
            if "NotFound" in str(refused) or "not find the requested resource" in str(refused):
                return None
            raise
        return found

    def list(self, plural: str, selector: str = "") -> list[Object]:
        query = f"?labelSelector={selector}" if selector else ""
        found: list[Object] = json.loads(self.run("get", "--raw", f"{self._path(plural)}{query}"))["items"]
        return found

    def whoami(self) -> str:
        """As the API server knows us: whoever makes a TrainingRun by hand names themselves in it."""
        return self.run("auth", "whoami", "--output=jsonpath={.status.userInfo.username}")

    def apply(self, manifest: str) -> str:
        return self.run("apply", "-f", "-", text=manifest)

    def delete(self, plural: str, name: str, *flags: str) -> None:
        self.run("delete", plural, name, "--ignore-not-found", *flags)

    def _path(self, plural: str) -> str:
        return f"{APIS[plural]}/namespaces/{self.namespace}/{plural}"

    def diagnose(self) -> str:
        """What a person would look at first: the objects, their stories, and the tails of the logs."""
        commands = (
            ("get", "churn,inferenceservices,jobs,pods", "-o", "wide"),
            ("describe", "churn"),
            ("get", "events", "--sort-by=.lastTimestamp"),
            ("logs", "--selector=churnops.dev/role=train", "--all-containers", "--prefix", "--tail=40"),
            ("--namespace=churn-system", "logs", "deployment/churn-operator", "--tail=60"),
        )
        return "\n".join(f"--- kubectl {' '.join(command)}\n{self._try(*command)}" for command in commands)

    def _try(self, *command: str) -> str:
        try:
            return self.run(*command)
        except KubectlRefused as refused:
            return str(refused)


class KubectlRefused(Exception):
    """kubectl ended with an error."""

    def __init__(self, said: str, message: str) -> None:
        super().__init__(message)
        self.said = said
        """What it printed, alone."""


class NotReached(AssertionError):
    """A state was not reached before its deadline."""


def wait_until(
    what: str, look: Callable[[], T | None], *, seconds: float, diagnose: Callable[[], str], every: float = 0.4
) -> T:
    """What `look` found, as soon as it finds something that is true.

    Raises:
        NotReached: it did not within `seconds`; the message ends with the diagnosis.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            raise NotReached(f"after {seconds:.0f} s still not: {what}\n{diagnose()}")
        pause.wait(every)


def condition(thing: Object | None, kind: str) -> Object:
    """The condition of that type, or an empty one."""
    conditions = (thing or {}).get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})


def holds(thing: Object | None, kind: str) -> bool:
    return bool(condition(thing, kind).get("status") == "True")
