"""Helm, and the operator's chart."""

import os
import subprocess
from functools import cache
from pathlib import Path

from support.control_plane import ROOT

CHART = ROOT / "charts/churn-operator"
SMALLEST = CHART / "ci/values.yaml"
FULL = CHART / "ci/full-values.yaml"
OLDEST_KUBERNETES = "1.32.0"


@cache
def program() -> str:
    """Where Helm is: the environment's word, else that of hack/cluster."""
    if "HELM" in os.environ:
        return os.environ["HELM"]
    listed = subprocess.run([ROOT / "hack/cluster/cluster", "env"], check=True, capture_output=True, text=True)
    return dict(line.split("=", 1) for line in listed.stdout.splitlines())["HELM"]


def helm(*arguments: str | Path) -> str:
    """What Helm prints.

    Raises:
        AssertionError: it failed; with what it said.
    """
    done = subprocess.run([program(), *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def render(values: Path, *arguments: str) -> str:
    """The chart's manifests, as a release `churn-operator` in the namespace `churn-system` would have them."""
    release = "template", "churn-operator", CHART, "--namespace=churn-system", f"--kube-version={OLDEST_KUBERNETES}"
    return helm(*release, "--values", values, *arguments)
