"""Which of a machine's processes are a pod's."""

from pathlib import Path

import pytest
from hack.demo.processes import processes

PODS = [{"metadata": {"uid": "1b-2c"}}]


@pytest.mark.parametrize(
    ("group", "command", "found"),
    [
        pytest.param("0::/kubepods/burstable/pod1b-2c/ab", b"python\0-m\0churn_operator\0", [7], id="by cgroupfs"),
        pytest.param("0::/kubepods-pod1b_2c.slice/ab", b"python\0-m\0churn_operator\0", [7], id="by systemd"),
        pytest.param("0::/kubepods/burstable/pod1b-2c/ab", b"/pause\0", [], id="what holds the pod together"),
        pytest.param("0::/kubepods/burstable/pod1b-9f/ab", b"python\0-m\0churn_operator\0", [], id="another pod's"),
        pytest.param("0::/init.scope", b"python\0-m\0churn_operator\0", [], id="no pod's"),
    ],
)
def test_a_pods_processes_are_known_by_their_group_and_their_command(
    tmp_path: Path, group: str, command: bytes, found: list[int]
) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text(group)
    (tmp_path / "7/cmdline").write_bytes(command)
    (tmp_path / "8").mkdir()
    assert processes(PODS, "churn_operator", tmp_path) == found
