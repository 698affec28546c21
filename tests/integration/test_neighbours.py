"""Neighbours that fail in each way there is, in the middle of a life: nothing is lost, and nothing is done twice.

The object store is the Jobs' neighbour, and the collector's: see test_store_neighbours.py. Of the gateway the operator
knows what its controller says: see tests/unit/churnmodel/test_gateway.py; in tests/e2e/test_canary.py one is away.
"""

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.control_plane import ControlPlane
from support.keeper import INFERENCE_SERVICES
from support.kills import Lives, Outcome
from support.life import Zygote, a_life
from support.mlflow_server import MlflowServer
from support.proxy import Fault, Proxy
from support.stories import BlueGreen

from churn_operator.core.objects import Object

AWAY_SECONDS = float(os.environ.get("AWAY_SECONDS", "8"))
"""For which a neighbour fails. In hack/bench/run neighbours it is ten minutes, and a slow one takes 30 s."""
SLOWNESS = float(os.environ.get("SLOWNESS", "3"))
"""Seconds, of a neighbour that is slow: three times what is waited for."""
API_BOUND = {"CHURN_API_TIMEOUT_SECONDS": f"{SLOWNESS / 3:g}"}
TRACKING_BOUND = {"CHURN_TRACKING_TIMEOUT_SECONDS": f"{SLOWNESS / 3:g}"}
FEW = 8 + (AWAY_SECONDS - 8) / 15
"""Requests to a neighbour that fails all the while: the pauses between them grow to a minute, of which a random part is
waited, and one that breaks off is asked twice."""
AS_SHIPPED = {"CHURN_CLUSTER": "", "CHURN_LEASE": "shipped/lease", "CHURN_LEASE_SECONDS": "6"}
"""Which cluster this is, is asked, and a Lease that is lost while the API server is away ends the process."""


@pytest.fixture(autouse=True)
def kserve(control_plane: ControlPlane) -> Iterator[None]:
    control_plane.kubectl("create", "-f", "-", stdin=json.dumps(INFERENCE_SERVICES))
    control_plane.kubectl("wait", "--for=condition=Established", "crd", INFERENCE_SERVICES["metadata"]["name"])
    yield
    control_plane.kubectl("delete", "crd", INFERENCE_SERVICES["metadata"]["name"])


@pytest.fixture
async def zygote() -> AsyncIterator[Zygote]:
    started = await Zygote().start()
    yield started
    await started.stop()


@pytest.fixture
async def whole(control_plane: ControlPlane, mlflow: MlflowServer, tmp_path: Path) -> Outcome:
    """A life that nothing disturbs."""
    return await Lives(BlueGreen, control_plane, mlflow, tmp_path).undisturbed()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[bytes, SSLContext]:
    """Of a webhook on the loopback."""
    key, made = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [shutil.which("openssl") or "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", "/CN=webhook", "-keyout", str(key)]
    subprocess.run(
        [*command, "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(made)], check=True, capture_output=True
    )
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return made.read_bytes(), context


async def each_fault(live: Callable[[Fault], Awaitable[str]]) -> dict[str, str]:
    """A life for each fault, all at once; what went wrong in which."""
    found = await asyncio.gather(*(live(fault) for fault in Fault))
    return {fault: wrong for fault, wrong in zip(Fault, found, strict=True) if wrong}


async def test_an_api_server_that_fails_is_waited_for(
    control_plane: ControlPlane, mlflow: MlflowServer, zygote: Zygote, tmp_path: Path, whole: Outcome
) -> None:
    async def live(fault: Fault, name: str = "", **settings: str) -> str:
        namespace = name or f"api-{fault.name.lower()}"
        async with a_life(
            BlueGreen, control_plane, mlflow, zygote, namespace, tmp_path, **API_BOUND, **settings
        ) as life:
            await fail(life, life.api_proxy, fault)
            asked = await outlast(life, life.api_proxy)
            wrong = calm(asked, 10 * AWAY_SECONDS) or await rest(life, whole)
            lost = life.log.read_text().count("the Lease shipped/lease is lost")
            ends = life.operator.starts - 1
            return wrong or f"{lost} Leases lost, ended {ends} times" * (lost != ends or bool(lost) != bool(name))

    found, shipped = await asyncio.gather(each_fault(live), live(Fault.AWAY, "shipped", **AS_SHIPPED))
    assert not found
    assert not shipped


async def test_an_mlflow_that_fails_is_named_and_left_alone_until_it_is_back(
    control_plane: ControlPlane, mlflow: MlflowServer, zygote: Zygote, tmp_path: Path, whole: Outcome
) -> None:
    async def live(fault: Fault) -> str:
        async with a_life(
            BlueGreen, control_plane, mlflow, zygote, f"mlflow-{fault.name.lower()}", tmp_path, **TRACKING_BOUND
        ) as life:
            await fail(life, life.mlflow_proxy, fault)
            await life.until(condition_is, life, "Trained", "TrackingUnavailable")
            first = await condition(life, "Trained")
            asked = await outlast(life, life.mlflow_proxy)
            last, ready = await condition(life, "Trained"), await condition(life, "Ready")
            wrong = told(first, last, life.mlflow_proxy.uri) or calm(asked, FEW)
            return wrong or f"Ready: {ready}" * (ready["status"] != "True") or await rest(life, whole)

    assert not await each_fault(live)


async def test_a_webhook_that_fails_is_named_and_left_alone_until_it_is_back(
    control_plane: ControlPlane,
    mlflow: MlflowServer,
    zygote: Zygote,
    tmp_path: Path,
    whole: Outcome,
    certificate: tuple[bytes, SSLContext],
) -> None:
    async def live(fault: Fault) -> str:
        namespace = f"webhook-{fault.name.lower()}"
        async with (
            a_webhook(control_plane, namespace, *certificate) as proxy,
            a_life(BlueGreen, control_plane, mlflow, zygote, namespace, tmp_path) as life,
        ):
            await fail(life, proxy, fault)
            await life.until(condition_is, life, "RolloutHealthy", "WebhookUnavailable")
            first = await condition(life, "RolloutHealthy")
            asked = await outlast(life, proxy)
            last, ready = await condition(life, "RolloutHealthy"), await condition(life, "Ready")
            wrong = told(first, last, "kserve.example") or calm(asked, FEW)
            return wrong or f"Ready: {ready}" * (ready["status"] != "True") or await rest(life, whole)

    assert not await each_fault(live)


async def fail(life: BlueGreen, proxy: Proxy, fault: Fault) -> None:
    """Version 1 serves, its first check has not ended; from now on the neighbour fails, and Jobs go on."""
    proxy.slowness, proxy.retry_after = SLOWNESS, 2
    life.held = {"drift"}
    await life.serve()
    life.held = set()
    proxy.fail(fault)


async def outlast(life: BlueGreen, proxy: Proxy) -> list[str]:
    """The cluster goes on without the neighbour for a while, and then it is back; what it was asked for meanwhile."""
    until = time.monotonic() + AWAY_SECONDS
    while time.monotonic() < until:
        await life.pause()
    proxy.heal()
    return [method for _, method, _ in proxy.asked]


async def rest(life: BlueGreen, whole: Outcome) -> str:
    """The remaining life, which comes to the same."""
    life.expected = whole.rests
    await life.challenge()
    await life.reject()
    await life.rest()
    await life.delete()
    made, gone = life.counts()
    return Outcome(0, None, killed=False, writes=0, made=made, gone=gone, rests=life.rests).difference(whole)


def told(first: Object, last: Object, who: str) -> str:
    """What is wrong with a condition that is to name who is away, and since when."""
    since, _, what = last["message"].partition(": ")
    is_since = re.fullmatch(r"Since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", since) is not None
    stays = first["message"].startswith(since) and first["lastTransitionTime"] == last["lastTransitionTime"]
    return "" if is_since and stays and who in what else f"{first} then {last}"


def calm(asked: Sequence[str], most: float) -> str:
    """What is wrong with how often a neighbour was asked that was away.

    Watches are Kopf's, which opens one anew at once where it broke off in the middle.
    """
    own = [method for method in asked if method != "WATCH"]
    return (
        ""
        if asked and len(own) <= most
        else f"asked {len(own)} times in {AWAY_SECONDS} s, beside {len(asked) - len(own)} watches"
    )


async def condition(life: BlueGreen, name: str) -> Object:
    status = (await life.get("ChurnModel", "telco"))["status"]
    found: Object = next(c for c in status["conditions"] if c["type"] == name)
    return found


async def condition_is(life: BlueGreen, name: str, reason: str) -> bool:
    return bool((await condition(life, name))["reason"] == reason)


@asynccontextmanager
async def a_webhook(plane: ControlPlane, namespace: str, authority: bytes, tls: SSLContext) -> AsyncIterator[Proxy]:
    """The API server asks it before it takes an InferenceService of the namespace; it agrees."""

    async def agree(request: web.Request) -> web.Response:
        review = await request.json()
        return web.json_response(review | {"response": {"uid": review["request"]["uid"], "allowed": True}})

    app = web.Application()
    app.add_routes([web.post("/validate", agree)])
    async with TestServer(app) as server:
        proxy = await Proxy(str(server.make_url("")).rstrip("/")).start(tls)
        rule = {"apiGroups": ["serving.kserve.io"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"]}
        webhook = {
            "name": "kserve.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "timeoutSeconds": 1,
            "failurePolicy": "Fail",
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [rule | {"resources": ["inferenceservices"]}],
            "clientConfig": {
                "url": f"https://127.0.0.1:{proxy.port}/validate",
                "caBundle": base64.b64encode(authority).decode(),
            },
        }
        made = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": namespace},
            "webhooks": [webhook],
        }
        plane.kubectl("create", "-f", "-", stdin=json.dumps(made))
        try:
            yield proxy
        finally:
            plane.kubectl("delete", "validatingwebhookconfiguration", namespace)
            await proxy.stop()
