"""A real API server for every test, with a namespace of its own for each."""

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hack.bench.collecting import ObjectStore
from support.approvals import guarded_plane
from support.control_plane import ControlPlane
from support.keeper import Look
from support.mlflow_server import MlflowServer

from churn_operator.core.client import ApiClient
from churn_operator.core.cluster import Neighbours
from churn_operator.core.kind import Kind
from churn_operator.core.objects import Key, Object
from churn_operator.core.prober import Prober
from churn_operator.core.reconcile import reconcile
from churn_operator.core.scraper import Scraper
from churn_operator.core.tracking import Tracking

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd and kube-apiserver with our CRDs; no controllers, so that nothing happens by itself."""
    with ControlPlane(tmp_path_factory.mktemp("control-plane")).serving() as plane:
        yield plane


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One with the chart's policies and roles, and a model that asks for approval."""
    with guarded_plane(tmp_path_factory.mktemp("guarded")) as plane:
        yield plane


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A real MLflow server, shared: names in it are each test's own."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    """An object store of the test's own."""
    found = ObjectStore(tmp_path / "store")
    try:
        found.start()
        yield found
    finally:
        found.stop()


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


@pytest.fixture
async def neighbours(api: ApiClient) -> AsyncIterator[Neighbours]:
    """The API server and whatever else answers."""
    async with aiohttp.ClientSession() as session:
        yield Neighbours(api, Tracking(session), Prober(session), Scraper(session))


@pytest.fixture
async def owner(control_plane: ControlPlane, api: ApiClient, namespace: str) -> Object:
    """A ChurnModel."""
    model = {
        "apiVersion": "churnops.dev/v1alpha1",
        "kind": "ChurnModel",
        "metadata": {"name": "telco", "namespace": namespace},
        "spec": {"data": {"source": {"uri": "s3://churn/telco.csv"}, "target": "churn"}},
    }
    control_plane.kubectl("create", "-f", "-", stdin=json.dumps(model))
    live = await api.get("churnops.dev/v1alpha1", "ChurnModel", namespace, "telco")
    assert live is not None
    return live


@pytest.fixture
def look(neighbours: Neighbours) -> Look:
    """Reconcile one object, as the queue does."""

    async def once(kind: Kind[Any, Any], obj: Object) -> timedelta | None:
        key = Key(obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])
        return await reconcile(kind, key, neighbours, neighbours, datetime.now(UTC))

    return once
