"""The operator is killed at writes of a whole life, and nothing comes out differently."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.control_plane import ControlPlane
from support.keeper import INFERENCE_SERVICES
from support.kills import Lives, sweep
from support.mlflow_server import MlflowServer
from support.proxy import Moment

MOMENTS = list(Moment)


@pytest.fixture
def lives(control_plane: ControlPlane, mlflow: MlflowServer, tmp_path: Path) -> Iterator[Lives]:
    control_plane.kubectl("create", "-f", "-", stdin=json.dumps(INFERENCE_SERVICES))
    control_plane.kubectl("wait", "--for=condition=Established", "crd", INFERENCE_SERVICES["metadata"]["name"])
    yield Lives(control_plane, mlflow, tmp_path)
    control_plane.kubectl("delete", "crd", INFERENCE_SERVICES["metadata"]["name"])


async def test_a_kill_at_a_write_changes_nothing_in_what_comes_out(lives: Lives) -> None:
    """Every third write, at one of three moments in turn: `make bench` takes each write and all three."""
    differences = await sweep(lives, lambda number: [MOMENTS[number // 3 % len(MOMENTS)]] if number % 3 == 0 else [])
    assert not differences, f"{len(differences)} lives differ, such as the one {differences[0]}"
