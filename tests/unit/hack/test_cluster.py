"""Which cluster the scripts act on."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "hack/cluster/cluster"
MINE = "/home/me/.kube/production"


def environment(cache: Path, **said: str) -> dict[str, str]:
    """What `hack/cluster/cluster env` prints to somebody with a kubeconfig of their own."""
    done = subprocess.run(
        [CLUSTER, "env"],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cache), "CHURN_CACHE": str(cache), "KUBECONFIG": MINE, **said},
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def docker(folder: Path, answer: int) -> str:
    """A PATH with a docker that answers so."""
    folder.mkdir()
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\nexit {answer}\n")
    program.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_the_current_context_is_used_only_on_request(tmp_path: Path) -> None:
    assert environment(tmp_path, CLUSTER="current")["KUBECONFIG"] == MINE
    for cluster in ("own", "kind"):
        assert environment(tmp_path, CLUSTER=cluster)["KUBECONFIG"].startswith(str(tmp_path))
    assert environment(tmp_path)["KUBECONFIG"].startswith(str(tmp_path))


@pytest.mark.parametrize(("answer", "cluster"), [(0, "kind"), (1, "own")])
def test_kind_is_used_where_docker_runs(tmp_path: Path, answer: int, cluster: str) -> None:
    assert environment(tmp_path, PATH=docker(tmp_path / "bin", answer))["CLUSTER"] == cluster


def test_a_cluster_that_is_up_goes_before_what_a_fresh_start_would_choose(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    assert environment(tmp_path, PATH=docker(tmp_path / "bin", 0))["CLUSTER"] == "own"


def test_a_cluster_that_is_not_ours_is_not_taken_down(tmp_path: Path) -> None:
    done = subprocess.run(
        [CLUSTER, "down"],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CHURN_CACHE": str(tmp_path), "CLUSTER": "current"},
    )
    assert done.returncode == 1
    assert "not taken down" in done.stderr


def test_a_daemon_holds_no_lock_of_who_started_it(tmp_path: Path) -> None:
    script = f"""
      source {ROOT}/hack/cluster/processes.sh
      STATE={tmp_path}
      (flock 7; start sleeper sleep 60) 7>{tmp_path}/lock
      flock --wait 5 {tmp_path}/lock echo free
      kill "$(cat {tmp_path}/sleeper.pid)"
    """
    done = subprocess.run(["/bin/bash", "-euc", script], check=True, capture_output=True, text=True)
    assert done.stdout == "free\n"


def definitions(script: Path) -> list[str]:
    """The functions of a script and of all that it sources, but for what is chosen while it runs."""
    text = script.read_text()
    folders = {"$here": script.parent, "$REPO": ROOT}
    found = re.findall(r"^([a-z_]+)\(\)", text, flags=re.MULTILINE)
    for folder, name in re.findall(r'^source "(\$\w+)/([\w./-]+\.sh)"', text, flags=re.MULTILINE):
        found += definitions(folders[folder] / name)
    return found


@pytest.mark.parametrize("kind", ["own", "kind", "current"])
def test_no_function_of_the_scripts_takes_the_place_of_another(kind: str) -> None:
    found = Counter(definitions(CLUSTER) + definitions(CLUSTER.parent / f"{kind}.sh"))
    assert found["need_unpacked"] == found["load"] == 1, "both are reached by following `source`"
    assert [name for name, times in found.items() if times > 1] == []
