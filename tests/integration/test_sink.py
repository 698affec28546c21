"""Events of real processes, as Kubernetes has them and as a receiver of CloudEvents gets them."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hack.bench.mlflow_stub import MlflowStub
from support.control_plane import ControlPlane
from support.events_receiver import Receiver
from support.operator_process import Operator, until

from churn_operator.api.base import API_VERSION
from churn_operator.core.objects import Object

REFERENCE = {"modelRef": {"name": "telco"}}
ROLES = [(False, True), (True, False)]
"""Of a replica that stands by, and of the one that leads."""
DATA = {"source": {"uri": "s3://churn/telco.csv"}, "target": "churn"}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.server.start_server()
    yield made
    await made.server.close()


@pytest.fixture
def mlflow_stub() -> Iterator[MlflowStub]:
    made = MlflowStub()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def two(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, receiver: Receiver, mlflow_stub: MlflowStub
) -> Iterator[list[Operator]]:
    """Of which one leads."""
    made = [
        Operator(
            control_plane.kubeconfig(user),
            tmp_path / user,
            tracking_uri=mlflow_stub.uri,
            events_sink=receiver.url,
            lease=f"{namespace}/lease",
            watch_namespaces=namespace,
        )
        for user in ("operator", "second")
    ]
    yield made
    for operator in made:
        operator.stop()


def events(control_plane: ControlPlane, namespace: str) -> list[Any]:
    """Those of the operator."""
    listed = control_plane.kubectl("-n", namespace, "get", "events", "-o", "json")
    found: list[Any] = json.loads(listed)["items"]
    return found


def told(event: Object) -> tuple[Any, ...]:
    about = event["involvedObject"]
    news = event["reason"], event["message"], event["lastTimestamp"]
    return about["kind"], about["name"], about["uid"], *news


def got(message: Object) -> tuple[Any, ...]:
    return (*(message["data"][key] for key in ("kind", "name", "uid", "reason", "message")), message["time"])


def add(control_plane: ControlPlane, namespace: str, kind: str, name: str, spec: Object) -> None:
    made = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
    control_plane.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(made))


async def test_the_sink_gets_from_the_leader_alone_the_story_that_kubernetes_has_of_all_three_kinds(
    control_plane: ControlPlane, two: list[Operator], namespace: str, receiver: Receiver
) -> None:
    add(control_plane, namespace, "DriftMonitor", "watches", REFERENCE)
    add(control_plane, namespace, "TrainingRun", "telco-7", REFERENCE | {"requestedBy": "admin"})
    for operator in two:
        operator.start(wait=False)

    def have_a_status() -> bool:
        phases = control_plane.kubectl("-n", namespace, "get", "trun,dmon", "-o=jsonpath={.items[*].status.phase}")
        return phases.split() == ["Pending"] * 2

    await asyncio.to_thread(until, have_a_status)
    add(control_plane, namespace, "ChurnModel", "telco", {"data": DATA})

    def is_whole() -> bool:
        kinds = {message["data"]["kind"] for message in receiver.got}
        return kinds == {"ChurnModel", "TrainingRun", "DriftMonitor"}

    await asyncio.to_thread(until, is_whole)
    await asyncio.to_thread(until, lambda: sorted((one.leads(), one.stands_by()) for one in two) == ROLES)
    other, leader = sorted(two, key=Operator.leads)
    assert other.metric("churn_operator_sink_events_total") == 0
    assert await asyncio.to_thread(other.end, signal.SIGTERM) == 0
    assert await asyncio.to_thread(leader.end, signal.SIGTERM) == 0
    written = events(control_plane, namespace)
    assert {told(event) for event in written} <= {got(message) for message in receiver.got}
    assert len({message["id"] for message in receiver.got}) == sum(event["count"] for event in written)
    assert len(receiver.got) == sum(event["count"] for event in written)
