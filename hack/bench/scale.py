"""How fast 1,000 ChurnModels are taken up, how much memory they take, and whether one that changes waits for them.

python -m hack.bench.scale [MODELS]

A real etcd and kube-apiserver; no cluster. MLflow is a stub that knows nothing, so that the figures are not MLflow's.
"""

import json
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from hack.bench.bounds import Bound, judged
from hack.bench.mlflow_stub import MlflowStub
from kubernetes.client import CustomObjectsApi
from kubernetes.config import new_client_from_config_dict
from support.control_plane import ControlPlane
from support.operator_process import Operator, until

GROUP_VERSION = ("churnops.dev", "v1alpha1")
SPEC = {"data": {"source": {"uri": "s3://churn/telco.csv"}, "target": "churn"}}
RIVAL = [sys.executable, "-m", "hack.bench.scale_rival"]
CHANGES = 100
CHANGE_PAUSE = 0.2
BATCH = 250
PATIENCE = 900.0
PAUSE = 0.2
GATEWAY_TIMEOUT = 504
TIMES, MEGABYTES, SECONDS = 1.6, 150, 1.0
"""What must be reached: the rival's rate so many times, memory with all settled, and p99 of a change."""


def main() -> int:
    models = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    tracking = MlflowStub()
    tracking.start()
    with tempfile.TemporaryDirectory() as folder, api_server(Path(folder)) as plane, operator(plane, tracking) as rival:
        rival.command = RIVAL
        theirs = cold(plane, rival, models)
        report("Kopf's stock handlers", plane, rival, models, theirs)
    with tempfile.TemporaryDirectory() as folder, api_server(Path(folder)) as plane, operator(plane, tracking) as ours:
        bounds = list(measure(plane, ours, models, theirs))
    tracking.stop()
    return judged(*bounds)


def measure(plane: ControlPlane, ours: Operator, models: int, theirs: float) -> Iterator[Bound]:
    seconds = cold(plane, ours, models)
    report("this operator", plane, ours, models, seconds)
    print(f"  {theirs / seconds:.2f} times the rate")
    yield Bound("times the rival's rate", theirs / seconds, least=TIMES)
    until(ours.is_idle, PATIENCE)
    first = ours.memory
    print(f"memory with {models} settled: {first:.0f} MB, of which an empty one has {empty(plane, ours):.0f}")
    yield Bound("MB of memory", first, most=MEGABYTES)
    before = len(writes(plane))
    ours.end(signal.SIGTERM)
    ours.start()
    until(lambda: ours.looks("ChurnModel") >= models, PATIENCE)
    until(ours.is_idle, PATIENCE)
    again = len(writes(plane)) - before
    print(f"restart with {models} settled: {again} writes")
    yield Bound("writes after a restart", again, most=0)
    took = changes_amid_cold(plane, ours, models)
    yield Bound("changes that were measured", len(took), least=CHANGES)
    p99 = statistics.quantiles(took, n=100)[98]
    print(f"a change while {models} are cold, {len(took)} times: ", end="")
    print(f"p50 {statistics.median(took):.2f} s, p99 {p99:.2f} s, longest {max(took):.2f} s")
    yield Bound("seconds until a change is told, p99", p99, most=SECONDS)
    ours.end(signal.SIGTERM)
    ours.start()
    until(lambda: ours.looks("ChurnModel") >= 2 * models, PATIENCE)
    until(ours.is_idle, PATIENCE)
    last = ours.memory
    print(f"memory with {2 * models} settled, after a restart: {last:.0f} MB, ", end="")
    print(f"{(last - first) / models * 1000:.0f} per further 1,000")


def report(who: str, plane: ControlPlane, process: Operator, models: int, seconds: float) -> None:
    """The rate, and what it cost: it depends less on what else the machine does."""
    reads, writes = plane.requests("operator")
    print(f"{who}: {models / seconds:.1f} models/s ({seconds:.1f} s, {process.memory:.0f} MB); for each model", end=" ")
    print(f"{process.cpu / models * 1000:.0f} ms of CPU, {reads / models:.1f} reads, {writes / models:.1f} writes")


@contextmanager
def api_server(folder: Path) -> Iterator[ControlPlane]:
    with ControlPlane(folder).serving() as plane:
        plane.kubectl("create", "namespace", "scale")
        yield plane


@contextmanager
def operator(plane: ControlPlane, tracking: MlflowStub) -> Iterator[Operator]:
    folder = plane.folder / "operator"
    process = Operator(plane.kubeconfig("operator"), folder, tracking_uri=tracking.uri, cluster="bench")
    try:
        yield process
    finally:
        process.stop()


def cold(plane: ControlPlane, process: Operator, models: int) -> float:
    """Seconds from the start of the process, which takes its own, until every run and status is written."""
    create(plane, range(models))
    written = Written(plane)
    began = time.monotonic()
    process.start(wait=False)
    until(lambda: written.taken_up() >= models, PATIENCE, PAUSE)
    seconds = time.monotonic() - began
    until(lambda: all(told(plane, plural) == models for plural in ("churnmodels", "trainingruns")), PATIENCE, PAUSE)
    return seconds


def told(plane: ControlPlane, plural: str) -> int:
    """Objects that have a status."""
    items = json.loads(plane.kubectl("-n", "scale", "get", plural, "-o", "json"))["items"]
    return sum("conditions" in item.get("status", {}) for item in items)


def create(plane: ControlPlane, numbers: range) -> None:
    for start in range(numbers.start, numbers.stop, BATCH):
        items = [model(f"m{number}") for number in numbers if start <= number < start + BATCH]
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        plane.kubectl("-n", "scale", "create", "-f", "-", stdin=listed)


def model(name: str) -> dict[str, Any]:
    return {"apiVersion": "churnops.dev/v1alpha1", "kind": "ChurnModel", "metadata": {"name": name}, "spec": SPEC}


@dataclass
class Written:
    """What the operator wrote, as the audit log has it: listing it would cost the API server as much as writing it."""

    plane: ControlPlane
    offset: int = 0
    names: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))

    def taken_up(self) -> int:
        """Models that have a status, and a run that has its Job, which is made when the run's own status is there.

        What the API server ended with 504 was in its hands: whether it did it is looked at in the end.
        """
        with self.plane.audit_log.open() as log:
            log.seek(self.offset)
            while (line := log.readline()).endswith("\n"):
                self.offset += len(line.encode())
                self._see(json.loads(line))
        return sum(f"{name}-1" in self.names["jobs", "create"] for name in self.names["churnmodels", "patch"])

    def _see(self, event: dict[str, Any]) -> None:
        ref, verb = event.get("objectRef", {}), event["verb"]
        code = event["responseStatus"]["code"]
        if (code < 300 or code == GATEWAY_TIMEOUT) and (verb == "create" or ref.get("subresource") == "status"):
            self.names[ref.get("resource", ""), verb].add(ref.get("name", "").removesuffix("-train"))


def writes(plane: ControlPlane) -> list[str]:
    return plane.writes("scale")


def empty(plane: ControlPlane, process: Operator) -> float:
    """Memory of one that has nothing to look after."""
    other = Operator(plane.kubeconfig("second"), process.log.parent / "empty", watch_namespaces="default", cluster="b")
    other.start()
    until(other.is_idle)
    memory = other.memory
    other.stop()
    return memory


def changes_amid_cold(plane: ControlPlane, process: Operator, models: int) -> list[float]:
    """Seconds from each of many changes of a settled model to its status, while as many cold ones wait."""
    process.end(signal.SIGTERM)
    create(plane, range(models, 2 * models))
    process.start(wait=False)
    until(lambda: process.looks("ChurnModel") > 0)
    api = CustomObjectsApi(new_client_from_config_dict(json.loads(plane.kubeconfig("admin").read_text())))  # type: ignore[no-untyped-call]  # it ships no types
    for number in range(CHANGES):
        if process.metric("churn_operator_queue_depth") == 0:
            break
        where = (*GROUP_VERSION, "scale", "churnmodels", f"m{number}")
        api.patch_namespaced_custom_object(*where, {"spec": {"suspend": True}})
        time.sleep(CHANGE_PAUSE)
    written = Written(plane)
    until(lambda: written.taken_up() >= 2 * models, PATIENCE, PAUSE)
    until(process.is_idle, PATIENCE)
    return list(waits(plane))


def waits(plane: ControlPlane) -> Iterator[float]:
    """From each change by a person to the status that the operator then wrote, as the audit log has them."""
    changed: dict[str, datetime] = {}
    for line in plane.audit_log.read_text().splitlines():
        event = json.loads(line)
        ref, user = event.get("objectRef", {}), event["user"]["username"]
        if ref.get("resource") != "churnmodels" or event["verb"] != "patch" or event["responseStatus"]["code"] >= 300:
            continue
        at = datetime.fromisoformat(event["stageTimestamp"])
        if user == "admin":
            changed[ref["name"]] = at
        elif ref["name"] in changed:
            yield (at - changed.pop(ref["name"])).total_seconds()


if __name__ == "__main__":
    sys.exit(main())
