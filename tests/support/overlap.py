"""Two operators over one Lease, the leader of which is stopped in the middle of its work and wakes again.

What may never happen is read from the API server's audit log afterwards.
"""

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.control_plane import ControlPlane
from support.operator_process import Operator, until

USERS = ("operator", "second")
LEASE_SECONDS = 3
PATIENCE = 120.0
MODELS = 4
"""Made in each round."""


@dataclass
class Pair:
    """Two replicas, each with a user of its own."""

    plane: ControlPlane
    namespace: str
    operators: dict[str, Operator]
    chance: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311 - a choice of moments
    takeovers: list[float] = field(default_factory=list)
    """Seconds from the stop of one to the other's lead."""
    models: int = 0

    def leader(self) -> str:
        """Who leads; both may say so for as long as nobody may write."""
        self._until(lambda: any(operator.leads() for operator in self.operators.values()))
        return next(user for user, operator in self.operators.items() if operator.leads())

    def overlap(self) -> None:
        """Stop the leader at work, let the other take over, and wake it."""
        old = self.leader()
        new = next(user for user in USERS if user != old)
        self._until(self.operators[new].stands_by)
        self.add_models()
        time.sleep(self.chance.uniform(0, 0.5))  # the moment of the stop is drawn
        self.operators[old].send(signal.SIGSTOP)
        stopped = time.monotonic()
        self._until(self.operators[new].leads, but=old)
        self.takeovers.append(time.monotonic() - stopped)
        self.add_models()
        time.sleep(self.chance.uniform(0, 0.3))  # and that of the waking
        self.operators[old].send(signal.SIGCONT)
        assert self.operators[old].wait() == 1
        self.operators[old].start(wait=False)
        self._until(lambda: self.count("jobs") == self.models)

    def _until(self, condition: Callable[[], bool], but: str = "") -> None:
        """Wait, and start anew what ends meanwhile, as a kubelet would: on a busy machine a Lease is lost unforced."""

        def holds() -> bool:
            for user, operator in self.operators.items():
                if user != but and operator.ended():
                    operator.start(wait=False)
            return condition()

        until(holds, PATIENCE)

    def add_models(self) -> None:
        names = [f"m{number}" for number in range(self.models, self.models + MODELS)]
        self.models += MODELS
        spec = {"data": {"source": {"uri": "s3://churn/telco.csv"}, "target": "churn"}}
        items = [
            {"apiVersion": "churnops.dev/v1alpha1", "kind": "ChurnModel", "metadata": {"name": name}, "spec": spec}
            for name in names
        ]
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        self.plane.kubectl("-n", self.namespace, "create", "-f", "-", stdin=listed)

    def count(self, plural: str) -> int:
        """How many there are: each model has one run, and that one Job."""
        return len(self.plane.kubectl("-n", self.namespace, "get", plural, "-o", "name").splitlines())


@contextmanager
def pair(plane: ControlPlane, namespace: str, folder: Path, tracking_uri: str) -> Iterator[Pair]:
    lease = {"lease": f"{namespace}/lease", "lease_seconds": LEASE_SECONDS}
    settings = lease | {"tracking_uri": tracking_uri, "watch_namespaces": namespace}
    operators = {user: Operator(plane.kubeconfig(user), folder / user, **settings) for user in USERS}
    try:
        for operator in operators.values():
            operator.start(wait=False)
        yield Pair(plane, namespace, operators)
    finally:
        for operator in operators.values():
            operator.stop()


@dataclass(frozen=True)
class Verdict:
    """What the audit log says."""

    effects: int
    """Creations and deletions that were carried out."""
    duplicates: list[str]
    """Objects that were made or deleted more than once."""
    late: list[str]
    """Writes that reached the API server when the Lease was another's, and were carried out."""
    under_way: list[str]
    """Writes that reached it before that, and were answered after: core/lease.py says what they can do."""
    refused: int
    """Writes that the API server refused."""


def verdict(plane: ControlPlane, namespace: str) -> Verdict:
    effects: Counter[str] = Counter()
    late: list[str] = []
    under_way: list[str] = []
    refused, holder, passed = 0, "", ""
    for event in sorted(_writes(plane, namespace), key=lambda event: str(event["stageTimestamp"])):
        ref, user, verb = event["objectRef"], event["user"]["username"], event["verb"]
        if event["responseStatus"]["code"] >= 300:
            refused += 1
        elif ref["resource"] == "leases":
            holder, passed = user, passed if user == holder else event["stageTimestamp"]
        else:
            what = f"{verb} {ref['resource']} {ref['name']}"
            if user != holder:
                (late if event["requestReceivedTimestamp"] > passed else under_way).append(f"{what} by {user}")
            if verb in {"create", "delete"} and ref["resource"] != "events":
                effects[what] += 1
    return Verdict(
        sum(effects.values()), sorted(what for what, times in effects.items() if times > 1), late, under_way, refused
    )


def _writes(plane: ControlPlane, namespace: str) -> Iterator[dict[str, Any]]:
    for line in plane.audit_log.read_text().splitlines():
        event = json.loads(line)
        if (
            event["user"].get("username") in USERS
            and event["verb"] in {"create", "update", "patch", "delete"}
            and event.get("objectRef", {}).get("namespace") == namespace
        ):
            yield event
