"""Who works, where there are two: real processes over a real Lease."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.control_plane import ControlPlane
from support.mlflow_server import MlflowServer
from support.operator_process import until
from support.overlap import LEASE_SECONDS, MODELS, Pair, pair, verdict

OVERLAPS = 3
HARMLESS = ("patch ", "create events ")
"""Names the resourceVersion it was decided on; tells again what a status says: see core/lease.py."""


@pytest.fixture
def two(control_plane: ControlPlane, mlflow: MlflowServer, namespace: str, tmp_path: Path) -> Iterator[Pair]:
    with pair(control_plane, namespace, tmp_path, mlflow.uri) as both:
        yield both


def holder(two: Pair) -> str:
    lease = json.loads(two.plane.kubectl("-n", two.namespace, "get", "lease", "lease", "-o", "json"))
    return str(lease["spec"]["holderIdentity"])


def test_a_leader_that_was_stopped_writes_nothing_after_it_woke(two: Pair) -> None:
    for _ in range(OVERLAPS):
        two.overlap()
    said = verdict(two.plane, two.namespace)
    harmful = [write for write in said.late if not write.startswith(HARMLESS)]
    assert (said.duplicates, harmful) == ([], [])
    # An effect whose answer the stopped process did not take may be told as refused: what there is counts.
    assert said.effects <= 2 * two.models
    assert two.count("trainingruns") == two.count("jobs") == two.models
    assert two.models == 2 * MODELS * OVERLAPS


def test_a_leader_that_is_told_to_end_hands_over_at_once(two: Pair) -> None:
    first = two.leader()
    other = next(operator for user, operator in two.operators.items() if user != first)
    until(other.stands_by)
    assert holder(two)
    until(two.operators[first].is_ready)
    assert two.operators[first].end(signal.SIGTERM) == 0
    said = two.operators[first].log.read_text()
    assert "gave the Lease back" in said
    assert "Operator is stopping" not in said  # by Kopf, which takes its time
    ended = time.monotonic()
    until(other.leads)
    assert time.monotonic() - ended < LEASE_SECONDS


def test_who_stands_by_ends_in_good_order_without_having_led(two: Pair) -> None:
    first = two.leader()
    other = next(user for user in two.operators if user != first)
    until(two.operators[other].stands_by)
    assert two.operators[other].end(signal.SIGTERM) == 0
    assert two.plane.writes(two.namespace, other) == []
