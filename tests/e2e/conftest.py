"""One stack for all: the real cluster, an object store, MLflow, KServe, and the operator from its chart.

The cluster is brought up by `make cluster images`; everything else is installed here, and left for a person to look at.
"""

import fcntl
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hack.demo.kube import Kubectl
from hack.demo.stage import REPOSITORY, Mlflow, Stage

STORY = "tests/e2e/test_story.py"
failed_chapters: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and report.nodeid.startswith(STORY):
        failed_chapters.append(report.nodeid.rpartition("::")[2])


@pytest.fixture
def told_so_far() -> None:
    """A chapter that follows a failed one would only wait for what cannot come."""
    if failed_chapters:
        pytest.fail(f"the story broke off at {failed_chapters[0]}", pytrace=False)


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}", pytrace=False)
    return done.stdout


@contextmanager
def alone(factory: pytest.TempPathFactory) -> Iterator[None]:
    """While what all tests use is installed, or missing on purpose, no other process of this run installs it.

    Not twice in one process: it would wait for itself.
    """
    with (factory.getbasetemp().parent / "installing").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The environment of `hack/cluster/cluster`, and the neighbours and the operator on it; MLflow is on PostgreSQL."""
    for line in run("hack/cluster/cluster", "env").splitlines():
        name, _, value = line.partition("=")
        os.environ[name] = value
    os.environ["TRACKING_STORE"] = "postgres"  # as teams run MLflow; the demonstration has SQLite
    run("hack/cluster/cluster", "status")
    with alone(tmp_path_factory):
        run("hack/demo/install")
        run("hack/install", "--values=hack/demo/values.yaml")


@pytest.fixture
def nobody_installs(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:  # noqa: ARG001 - what it leaves
    """Who installs for another module would bring back a neighbour that is away."""
    with alone(tmp_path_factory):
        yield


@pytest.fixture
def without_jobs_image(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:  # noqa: ARG001 - what it changes
    """The operator, told to use an image that nobody has."""
    with alone(tmp_path_factory):
        run("hack/install", "--values=hack/demo/values.yaml", "--set=images.jobs.tag=nobody-has-this")
        yield
        run("hack/install", "--values=hack/demo/values.yaml")


@pytest.fixture
def uninstalled(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:  # noqa: ARG001 - what it changes
    """The cluster after `helm uninstall`."""
    with alone(tmp_path_factory):
        run("hack/uninstall")
        yield
        run("hack/install", "--values=hack/demo/values.yaml")


@pytest.fixture(scope="session")
def operator(cluster: None) -> Kubectl:  # noqa: ARG001 - what it brings up
    """The operator's own namespace."""
    return Kubectl("churn-system")


@pytest.fixture(scope="session")
def mlflow(cluster: None) -> Mlflow:  # noqa: ARG001 - what it brings up
    return Mlflow()


@pytest.fixture(scope="module")
def stage(
    cluster: None,  # noqa: ARG001 - what it brings up
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    """A namespace and a folder of this module's own; a name is never used twice, as MLflow remembers names."""
    subject = Path(request.node.path).stem.removeprefix("test_").replace("_", "-")
    namespace = f"churn-e2e-{subject}-{secrets.token_hex(2)}"
    with alone(tmp_path_factory):
        run("hack/demo/install", namespace)
    stage = Stage(namespace=namespace, scratch=tmp_path_factory.mktemp("scratch"), folder=f"{namespace}/")
    yield stage
    stage.kubectl.run("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
