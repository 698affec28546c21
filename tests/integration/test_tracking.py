"""What the loop asks MLflow, against a real server."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.mlflow_server import MlflowServer

from churn_operator.api.tasks import UID_TAG
from churn_operator.core import tracking
from churn_operator.core.errors import TrackingUnavailable, WriteRefused
from churn_operator.core.objects import Alias
from churn_operator.core.tracking import Tracking


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def client(session: aiohttp.ClientSession) -> Tracking:
    return Tracking(session)


async def post(session: aiohttp.ClientSession, server: MlflowServer, path: str, **body: Any) -> Any:
    async with session.post(f"{server.uri}/api/2.0/mlflow/{path}", json=body) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def make_run(session: aiohttp.ClientSession, server: MlflowServer, experiment: str, uid: str, start: int) -> str:
    made = await post(session, server, "experiments/create", name=experiment)
    tags = [{"key": UID_TAG, "value": uid}, {"key": "mlflow.runName", "value": experiment}]
    run = await post(session, server, "runs/create", experiment_id=made["experiment_id"], start_time=start, tags=tags)
    return str(run["run"]["info"]["run_id"])


async def test_the_newest_run_of_a_uid_is_found_in_any_experiment(
    session: aiohttp.ClientSession, client: Tracking, mlflow: MlflowServer
) -> None:
    newest = await make_run(session, mlflow, "newer", "uid-a", 2000)
    await make_run(session, mlflow, "older", "uid-a", 1000)
    await make_run(session, mlflow, "another", "uid-b", 3000)
    found = await client.find_run(mlflow.uri, "uid-a")
    assert found is not None
    assert found.run_id == newest
    assert found.tags[UID_TAG] == "uid-a"
    assert await client.find_run(mlflow.uri, "uid-a") == found


async def test_a_run_in_a_new_experiment_is_found_as_soon_as_it_is_there(
    session: aiohttp.ClientSession, client: Tracking, mlflow: MlflowServer
) -> None:
    assert await client.find_run(mlflow.uri, "uid-new") is None
    run = await make_run(session, mlflow, "made a moment later", "uid-new", 1000)
    found = await client.find_run(mlflow.uri, "uid-new")
    assert found is not None
    assert found.run_id == run


async def test_more_experiments_than_a_page_are_searched(
    session: aiohttp.ClientSession, client: Tracking, mlflow: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "PAGE", 1)
    run = await make_run(session, mlflow, "first of many", "uid-paged", 1000)
    await make_run(session, mlflow, "second of many", "uid-other", 1000)
    found = await client.find_run(mlflow.uri, "uid-paged")
    assert found is not None
    assert found.run_id == run


async def test_a_run_in_an_experiment_that_is_new_is_found_when_the_known_ones_are_old(
    session: aiohttp.ClientSession, client: Tracking, mlflow: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "BELIEVED", 0.0)
    assert await client.find_run(mlflow.uri, "uid-late") is None
    run = await make_run(session, mlflow, "late", "uid-late", 1000)
    found = await client.find_run(mlflow.uri, "uid-late")
    assert found is not None
    assert found.run_id == run


async def test_an_alias_is_set_moved_and_read(
    session: aiohttp.ClientSession, client: Tracking, mlflow: MlflowServer
) -> None:
    model = "team.aliased"
    assert await client.alias(mlflow.uri, model, "champion") is None
    await post(session, mlflow, "registered-models/create", name=model)
    for _ in range(2):
        await post(session, mlflow, "model-versions/create", name=model, source="s3://models/abc")
    await client.set_alias(Alias(mlflow.uri, model, "champion", "1"))
    assert await client.alias(mlflow.uri, model, "champion") == "1"
    assert await client.alias(mlflow.uri, model, "challenger") is None
    await client.set_alias(Alias(mlflow.uri, model, "champion", "2"))
    assert await client.alias(mlflow.uri, model, "champion") == "2"


async def test_an_alias_that_a_person_moved_is_seen_when_the_known_one_is_old(
    session: aiohttp.ClientSession, client: Tracking, mlflow: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = "team.moved"
    await post(session, mlflow, "registered-models/create", name=model)
    for _ in range(2):
        await post(session, mlflow, "model-versions/create", name=model, source="s3://models/abc")
    await client.set_alias(Alias(mlflow.uri, model, "champion", "1"))
    assert await client.alias(mlflow.uri, model, "champion") == "1"
    await post(session, mlflow, "registered-models/alias", name=model, alias="champion", version="2")
    assert await client.alias(mlflow.uri, model, "champion") == "1"
    monkeypatch.setattr(tracking, "_time", lambda: 1e12)
    assert await client.alias(mlflow.uri, model, "champion") == "2"


async def test_an_alias_of_a_version_that_is_not_there_is_refused(client: Tracking, mlflow: MlflowServer) -> None:
    with pytest.raises(WriteRefused, match=r"no version 9 of registered model team\.none"):
        await client.set_alias(Alias(mlflow.uri, "team.none", "champion", "9"))


async def test_what_mlflow_refuses_is_told_in_its_words(client: Tracking, mlflow: MlflowServer) -> None:
    with pytest.raises(TrackingUnavailable, match="answered 400 to registered-models/alias"):
        await client.set_alias(Alias(mlflow.uri, "team.none", "v1", "9"))


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        pytest.param(None, "does not answer", id="nobody listens"),
        pytest.param(web.Response(text="<html>"), "is not MLflow", id="a web page"),
        pytest.param(web.json_response([]), "is not MLflow", id="some other JSON"),
        pytest.param(web.json_response({"experiments": [{}]}), "is not MLflow", id="some other JSON of that name"),
        pytest.param(web.json_response({}, status=502), "answers 502", id="a proxy whose server is away"),
        pytest.param(web.Response(status=429, text="later"), "answers 429", id="too busy"),
    ],
)
async def test_what_is_no_mlflow_is_unavailable(client: Tracking, reply: web.Response | None, message: str) -> None:
    async def handle(_: web.Request) -> web.Response:
        assert reply is not None
        return reply

    app = web.Application()
    app.add_routes([web.post("/api/2.0/mlflow/experiments/search", handle)])
    async with TestServer(app) as server:
        uri = "http://127.0.0.1:1" if reply is None else str(server.make_url("/"))
        with pytest.raises(TrackingUnavailable, match=message):
            await client.find_run(uri, "uid")


async def test_a_server_that_is_slow_is_unavailable(session: aiohttp.ClientSession, mlflow: MlflowServer) -> None:
    with pytest.raises(TrackingUnavailable, match="did not answer within"):
        await Tracking(session, timeout=1e-6).find_run(mlflow.uri, "uid")
