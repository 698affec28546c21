"""The Jobs' neighbours fail: a real object store and a real MLflow behind a proxy."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable

import pytest
from hack.bench.collecting import BUCKET, ObjectStore, store_model
from support.mlflow_server import MlflowServer
from support.proxy import Fault, Proxy

from churn_operator.api.reasons import Reason
from churn_operator.jobs.mlflow import Mlflow
from churn_operator.jobs.tracking import Tracker, Version, open_run
from churn_operator.storage.failure import Unavailable
from churn_operator.storage.files import S3Store, join

SLOWNESS = 2.5
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_READ_SECONDS", "1")


@pytest.fixture
async def store_proxy(store: ObjectStore) -> AsyncIterator[Proxy]:
    proxy = await Proxy(store.environment["AWS_ENDPOINT_URL"], slowness=SLOWNESS).start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def mlflow_proxy(mlflow: MlflowServer) -> AsyncIterator[Proxy]:
    proxy = await Proxy(mlflow.uri, slowness=SLOWNESS).start()
    yield proxy
    await proxy.stop()


@pytest.fixture
def files(store: ObjectStore, store_proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """The object store, through the proxy; the address is the environment's, too."""
    prefix = f"PROXIED{next(_numbers)}_"
    for name, value in (dict(store.environment) | {"AWS_ENDPOINT_URL": store_proxy.uri}).items():
        monkeypatch.setitem(os.environ, prefix + name, value)
    return S3Store(prefix)


USES: dict[str, Callable[[S3Store, str], object]] = {
    "read": S3Store.read,
    "asked for its state": S3Store.head,
    "written": lambda files, uri: files.write(uri, b"the same"),
    "listed": lambda files, uri: files.list(uri.rpartition("/")[0]),
    "asked to delete": lambda files, uri: files.delete([uri]),
}


@pytest.mark.filterwarnings("ignore:.*socket.socket")  # botocore leaves what timed out to the garbage collector
@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
async def test_an_object_store_that_fails_is_worth_another_attempt(
    store: ObjectStore, files: S3Store, store_proxy: Proxy, use: Callable[[S3Store, str], object], fault: Fault
) -> None:
    uri = join(store_model(store), "manifest.json")
    store_proxy.fail(fault)
    with pytest.raises(Unavailable) as error:
        await asyncio.to_thread(use, files, uri)
    assert error.value.reason is Reason.StorageUnavailable
    assert BUCKET in error.value.message
    assert 1 <= len(store_proxy.asked) <= 3
    store_proxy.heal()
    await asyncio.to_thread(use, files, uri)


@pytest.mark.parametrize("fault", list(Fault))
async def test_an_mlflow_that_fails_is_worth_another_attempt(mlflow_proxy: Proxy, fault: Fault) -> None:
    mlflow_proxy.fail(fault)
    server = Mlflow(mlflow_proxy.uri)
    with pytest.raises(Unavailable) as error:
        await asyncio.to_thread(server.post, "experiments/search", {"max_results": 1})
    assert error.value.reason is Reason.TrackingUnavailable
    mlflow_proxy.heal()
    assert (await asyncio.to_thread(server.post, "experiments/search", {"max_results": 1}))["experiments"]


@pytest.mark.parametrize("fault", [Fault.SLOW, Fault.HALF])
@pytest.mark.parametrize("path", ["experiments/create", "runs/create", "model-versions/create"])
async def test_an_answer_that_was_lost_makes_nothing_twice(
    mlflow: MlflowServer, mlflow_proxy: Proxy, path: str, fault: Fault
) -> None:
    """The request was served; the next attempt of the Job finds what it made."""
    name = f"team.lost-{next(_numbers)}"
    await asyncio.to_thread(mlflow.register, name, 0)
    mlflow_proxy.ails = lambda _, asked: asked.endswith(path)
    mlflow_proxy.fail(fault)
    with pytest.raises(Unavailable):
        await asyncio.to_thread(attempt, mlflow_proxy.uri, name)
    mlflow_proxy.heal()
    await mlflow_proxy.idle()
    first = await asyncio.to_thread(attempt, mlflow_proxy.uri, name)
    assert (first, await asyncio.to_thread(attempt, mlflow_proxy.uri, name)) == ("1", "1")
    server = Mlflow(mlflow.uri)
    versions = await asyncio.to_thread(server.get, "model-versions/search", filter=f"name = '{name}'")
    assert len(versions["model_versions"]) == 1


def attempt(uri: str, name: str) -> str:
    """What a training Job does, in short."""
    tracker: Tracker = open_run(uri, name, name="telco-1", uid=f"uid-{name}", tags={}, finished=True)
    return tracker.register(Version(name, {}, ""), "model")
