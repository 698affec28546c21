"""The doctor on a real API server."""

import os
import subprocess
from pathlib import Path

import pytest
from support.control_plane import ROOT, ControlPlane


def doctor(plane: ControlPlane, user: str) -> "subprocess.CompletedProcess[str]":
    current = {"CLUSTER": "current", "KUBECONFIG": str(plane.kubeconfig(user))}
    path = f"{Path(plane.programs['KUBECTL']).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [ROOT / "hack/doctor"], check=False, capture_output=True, text=True, env={**os.environ, **current, "PATH": path}
    )


def lines(told: str) -> dict[str, str]:
    """By the first words of a line, what follows."""
    rows = (line for line in told.splitlines() if line and not line.startswith(" "))
    return {line[:19].strip(): line[19:] for line in rows}


def test_an_administrator_reads_that_kserve_is_what_lacks(control_plane: ControlPlane) -> None:
    done = doctor(control_plane, "admin")
    told = lines(done.stdout)
    assert done.returncode == 1, done.stdout
    assert "context test, https://127.0.0.1" in done.stdout
    assert told["Kubernetes"].startswith("ok")
    assert told["rights"].startswith("ok")
    assert told["KServe"].startswith("missing")
    assert "no InferenceService v1beta1" in told["KServe"]
    assert told["gateway"].startswith("optional")
    assert told["pod metrics"].startswith("optional")


@pytest.mark.parametrize(
    ("user", "line", "says"),
    [("nobody", "rights", "not: get, create, patch"), ("stranger", "API server", "no answer")],
)
def test_who_may_not_install_reads_why(control_plane: ControlPlane, user: str, line: str, says: str) -> None:
    done = doctor(control_plane, user)
    assert done.returncode == 1, done.stdout
    assert lines(done.stdout)[line].startswith("missing")
    assert says in done.stdout
