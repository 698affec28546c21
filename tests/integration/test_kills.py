"""The operator is killed at writes of a whole life, and nothing comes out differently."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.control_plane import ControlPlane
from support.kills import Lives, played_kinds, sweep
from support.life import Life
from support.mlflow_server import MlflowServer
from support.proxy import Moment
from support.stories import BlueGreen, Canary

MOMENTS = list(Moment)


@pytest.fixture(autouse=True)
def kinds(control_plane: ControlPlane) -> Iterator[None]:
    with played_kinds(control_plane):
        yield


@pytest.mark.parametrize(
    ("story", "stride"),
    [
        pytest.param(BlueGreen, 3, id="by BlueGreen"),
        pytest.param(Canary, 13, id="by a canary, with approval and orders"),
    ],
)
async def test_a_kill_at_a_write_changes_nothing_in_what_comes_out(
    story: type[Life], stride: int, control_plane: ControlPlane, mlflow: MlflowServer, tmp_path: Path
) -> None:
    """Every third write, or fewer, at one of three moments in turn: `make bench` takes each write and all three."""

    def moments(number: int) -> list[Moment]:
        return [MOMENTS[number // stride % len(MOMENTS)]] if number % stride == 0 else []

    differences = await sweep(Lives(story, control_plane, mlflow, tmp_path), moments)
    assert not differences, f"{len(differences)} lives differ, such as the one {differences[0]}"
