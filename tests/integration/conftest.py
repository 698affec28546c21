"""A real API server for every test, with a namespace of its own for each."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from churn_operator.core.client import ApiClient
from support.control_plane import ROOT, ControlPlane

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd and kube-apiserver with our CRDs; no controllers, so that nothing happens by itself."""
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        plane.start()
        plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield plane
    finally:
        plane.stop()


@pytest.fixture
def kubeconfig(control_plane: ControlPlane) -> Path:
    """Of the operator, whose requests the audit log tells from the test's."""
    return control_plane.kubeconfig("operator")


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    """A new one."""
    name = f"test-{next(_numbers)}"
    control_plane.kubectl("create", "namespace", name)
    return name


@pytest.fixture
async def api(kubeconfig: Path) -> AsyncIterator[ApiClient]:
    """The operator's client."""
    client = await ApiClient.connect(str(kubeconfig))
    yield client
    await client.close()
