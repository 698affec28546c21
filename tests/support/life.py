"""One model's life with the operator as a process: how it is lived, whatever happens in it (see stories.py).

The Job controller, KServe and the garbage collector are played, at once and for one namespace. The operator sees the
API server and MLflow through proxies, and only this namespace of the API server.
"""

import asyncio
import json
import os
import re
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from ssl import create_default_context
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import aiohttp
from hack.bench.ports import free_port
from support.control_plane import ROOT, ControlPlane
from support.kinds import make_drift_result
from support.kubelet import end_job
from support.mlflow_server import MlflowServer
from support.predictors import Predictors
from support.proxy import Ledger, Proxy, Write

from churn_operator.api.base import API_VERSION
from churn_operator.api.results import encode_result
from churn_operator.api.rollout import RolloutPhase
from churn_operator.api.tasks import ProbeResult, TrainResult
from churn_operator.churnmodel.observe import SERVING_API
from churn_operator.core.client import MERGE, ApiClient
from churn_operator.core.errors import Outdated
from churn_operator.core.objects import Object, name_of, uid_of

Picture = list[Any]
"""What there is, as JSON."""
DEADLINE = 90.0
STILL_SECONDS = 5.0
"""Nothing is written any more after so long without a write, on a machine that has much else to do, too."""
START_SECONDS = 30.0
"""Nor by an operator that has to be started anew."""
KINDS = (
    (API_VERSION, "ChurnModel"),
    (API_VERSION, "TrainingRun"),
    (API_VERSION, "DriftMonitor"),
    ("batch/v1", "Job"),
    ("v1", "Service"),
    (SERVING_API, "InferenceService"),
)
BESIDE = re.compile("/(events|leases)/")
ALIAS_PATH = "/api/2.0/mlflow/registered-models/alias"
CLUSTER = str(UUID(int=0))
"""In a picture it looks like the UID that an operator asks for which is not told it."""
CLUSTERWIDE = re.compile(
    r"^(/api/v1|/apis/(?:churnops\.dev|batch|serving\.kserve\.io|gateway\.networking\.k8s\.io)/[^/]+)/"
    r"(pods|services|jobs|churnmodels|trainingruns|driftmonitors|inferenceservices|httproutes)$"
)


class Zygote:
    """A process that starts operators quickly."""

    async def start(self) -> "Zygote":
        environment = os.environ | {"PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'tests'}"}
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "support.zygote"),
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._turn = asyncio.Lock()
        return self

    async def fork(self, environment: dict[str, str]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            self._process.stdin.write(json.dumps(environment).encode() + b"\n")
            return int(await self._process.stdout.readline())

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


@dataclass
class Operator:
    """The process, which somebody starts anew when it ends, as the kubelet does."""

    zygote: Zygote
    environment: dict[str, str]
    starts: int = 0
    _pid: int | None = None
    _due: float = 0.0

    async def start(self) -> None:
        self._pid = await self.zygote.fork(self.environment)
        self.starts += 1
        self._due = time.monotonic() + (0 if self.starts == 1 else 2 ** (self.starts - 2))

    async def keep_up(self) -> None:
        """Start it anew where it ended: at once, and then after a second, two, four."""
        if not self.is_alive and time.monotonic() >= self._due:
            await self.start()

    @property
    def is_alive(self) -> bool:
        if self._pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(self._pid, 0)
            return True
        return False

    def kill(self) -> None:
        """SIGKILL: nothing more is done, not even another line of code."""
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._pid = None


@dataclass
class Life(ABC):
    """What becomes of one model in one namespace."""

    spec: ClassVar[dict[str, Any]]
    """The model's. Nothing in it comes due during a test but what the story brings about."""
    kinds: ClassVar[tuple[tuple[str, str], ...]] = KINDS
    """What there may be in the end."""
    registered: ClassVar[int]
    """How many versions of the model MLflow knows."""

    plane: ControlPlane
    mlflow: MlflowServer
    admin: ApiClient
    namespace: str
    operator: Operator
    api_proxy: Proxy
    mlflow_proxy: Proxy
    predictors: Predictors
    ledger: Ledger
    log: Path
    drifted: bool = True
    """Customers no longer resemble those whom version 1 learned from."""
    revision: int = 2
    """The state of the data that a probe finds."""
    is_over: int | None = None
    """How many writes there had been when the model was deleted."""
    held: set[str] = field(default_factory=set)
    """Jobs of these roles do not end."""
    expected: Sequence[Picture] = ()
    """What there was at each rest of an undisturbed life."""
    rests: list[Picture] = field(default_factory=list)

    @abstractmethod
    async def live(self) -> None:
        """The whole story, with a rest in it here and there."""

    @abstractmethod
    def trained(self, number: int) -> TrainResult:
        """What the training of this run comes to."""

    async def begin(self) -> None:
        """The model is applied."""
        metadata = {"name": "telco", "namespace": self.namespace}
        await self.admin.create(
            {"apiVersion": API_VERSION, "kind": "ChurnModel", "metadata": metadata, "spec": self.spec}
        )

    async def change(self, **spec: Any) -> None:
        """Somebody changes its spec."""
        path = f"/apis/{API_VERSION}/namespaces/{self.namespace}/churnmodels/telco"
        await self.call("PATCH", path, {"spec": spec})

    async def delete(self) -> None:
        """The model, and by the garbage collector everything of its."""
        path = f"/apis/{API_VERSION}/namespaces/{self.namespace}/churnmodels/telco"
        self.is_over = len(self.ledger.writes)  # before the answer, which may come later than what the operator does
        await self.call("DELETE", path, {"propagationPolicy": "Background"})
        await self.until(self._is_gone)

    async def rest(self) -> None:
        """Until there is what is expected, or else what has not changed for a while."""
        number = len(self.rests)
        expected = self.expected[number] if number < len(self.expected) else None
        still = STILL_SECONDS if expected is None else START_SECONDS
        before, since = await self.picture(), time.monotonic()
        while before != expected and time.monotonic() - since < still:
            await self.pause()
            now = await self.picture()
            if now != before:
                before, since = now, time.monotonic()
        self.rests.append(before)

    async def picture(self) -> Picture:
        """Everything in the namespace, without what differs from one life to the next."""
        found = []
        for api_version, kind in self.kinds:
            found += [_portrait(obj) for obj in await self.admin.list(api_version, kind, self.namespace)]
        text = json.dumps(found, sort_keys=True).replace(self.namespace, "NAMESPACE")
        for obj in found:  # what is approved is of this one run, whose UID is in the digest
            if digest := obj["status"].get("evidenceDigest"):
                text = text.replace(digest, f"EVIDENCE of {obj['name']}")
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID", text)
        text = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)
        champion = await self.mlflow_alias()
        return [*json.loads(text), {"champion": champion}]

    async def mlflow_alias(self) -> str | None:
        url = f"{self.mlflow.uri}{ALIAS_PATH}"
        asked = {"name": f"{self.namespace}.telco", "alias": "champion"}
        async with aiohttp.ClientSession() as session, session.get(url, params=asked) as reply:
            found = (await reply.json()).get("model_version", {})
            return str(found["version"]) if "version" in found else None

    def counts(self) -> tuple[Counter[str], Counter[str]]:
        """What was made and what was deleted how often; Events, which are echoes, and the Lease are left out.

        To move MLflow's alias is counted as making something. What goes with the model is deleted by the operator or
        by the garbage collector, whichever is faster.
        """
        made = (write.path for write in self.ledger.writes if _makes(write))
        gone = (write.path for write in self.ledger.writes[: self.is_over] if write.is_deletion)
        return Counter(map(self._named, made)), Counter(map(self._named, gone))

    def _named(self, path: str) -> str:
        return path.rpartition(f"/namespaces/{self.namespace}/")[2] or path

    async def until(self, condition: Callable[..., Awaitable[bool]], *arguments: Any) -> None:
        deadline = time.monotonic() + DEADLINE
        while not await condition(*arguments):
            if time.monotonic() > deadline:
                picture = json.dumps(await self.picture(), indent=1)
                tail = self.log.read_text()[-3000:]
                raise AssertionError(f"{condition.__name__}{arguments} did not come about: {picture}\n{tail}")
            await self.pause()

    async def pause(self) -> None:
        """Until the operator wrote something, or for a moment; then the cluster does its part."""
        self.ledger.news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await self.ledger.news.wait()
        await self.operator.keep_up()
        await self.play()

    async def play(self) -> None:
        """What the Job controller, KServe and the garbage collector do."""
        jobs = await self.admin.list("batch/v1", "Job", self.namespace)
        servers = await self.admin.list(SERVING_API, "InferenceService", self.namespace)
        await self._collect_pods({uid_of(obj) for obj in (*jobs, *servers)})
        for job in jobs:
            is_held = job["metadata"]["labels"]["churnops.dev/role"] in self.held
            if not is_held and not job.get("status", {}).get("conditions"):
                await self._end(job)
        for server in servers:
            if "status" not in server:
                path = f"/apis/{SERVING_API}/namespaces/{self.namespace}/inferenceservices/{name_of(server)}"
                await self.call("PATCH", path, {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
        if self.is_over is not None:
            await self._collect()

    async def _end(self, job: Object) -> None:
        try:
            await end_job(self.admin, job, self.result(job))
        except AssertionError:  # unless it was deleted meanwhile
            assert await self.admin.get("batch/v1", "Job", self.namespace, name_of(job)) is None

    def result(self, job: Object) -> str:
        """What the Job leaves."""
        labels = job["metadata"]["labels"]
        match labels["churnops.dev/role"]:
            case "train":
                return encode_result(self.trained(int(name_of(job).split("-")[1])))
            case "drift":
                is_first = labels["churnops.dev/version"] == "v1"
                return encode_result(make_drift_result(1, 0.6 if self.drifted and is_first else 0.0))
            case _:
                return ProbeResult(outcome="Probed", revision=f"version:{self.revision}").model_dump_json()

    async def _collect_pods(self, alive: set[str]) -> None:
        """Those of a Job or server that is gone: one of the same name gets a pod of the same name."""
        for pod in await self.admin.list("v1", "Pod", self.namespace):
            if not any(owner["uid"] in alive for owner in pod["metadata"]["ownerReferences"]):
                await self.admin.delete(pod)

    async def _collect(self) -> None:
        """Objects whose owner is gone go."""
        found = [obj for kind in self.kinds for obj in await self.admin.list(*kind, self.namespace)]
        alive = {uid_of(obj) for obj in found}
        for obj in found:
            owners = obj["metadata"].get("ownerReferences", ())
            if owners and not any(owner["uid"] in alive for owner in owners):
                with suppress(Outdated):  # it is collected at the next look
                    await self.admin.delete(obj)

    async def call(self, method: str, path: str, body: dict[str, Any]) -> None:
        kind = MERGE if method == "PATCH" else "application/json"
        reply = await self.admin.call(method, path, body=body, content_type=kind)
        assert reply.ok or reply.is_absent_object, reply.message

    async def get(self, kind: str, name: str) -> Any:
        return await self.admin.get(API_VERSION, kind, self.namespace, name)

    async def is_champion(self, version: str) -> bool:
        status = (await self.get("ChurnModel", "telco")).get("status", {})
        ready: Object = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})
        return status.get("summary", {}).get("champion") == version and ready.get("status") == "True"

    async def is_alone(self, server: str) -> bool:
        return [name_of(s) for s in await self.admin.list(SERVING_API, "InferenceService", self.namespace)] == [server]

    async def is_checked(self, version: str) -> bool:
        monitor = await self.get("DriftMonitor", "telco")
        status = (monitor or {}).get("status", {})
        return status.get("version") == version and bool(status.get("checks"))

    async def _is_gone(self) -> bool:
        return not any([await self.admin.list(*kind, self.namespace) for kind in self.kinds])


def _portrait(obj: Object) -> dict[str, Any]:
    metadata = obj["metadata"]
    owners = [ref["name"] for ref in metadata.get("ownerReferences", ())]
    spec = json.loads(json.dumps(obj.get("spec", {})))
    for address in ("clusterIP", "clusterIPs"):
        spec.pop(address, None)
    labels = {key: value for key, value in metadata.get("labels", {}).items() if "uid" not in key}
    status = json.loads(json.dumps(obj.get("status", {})))
    rollout = status.get("rollout", {})
    if rollout.get("phase") == RolloutPhase.Complete:
        rollout.pop("verdict", None)  # a guard that slow answers drew out for ten seconds has one of its own
    if not rollout.get("baselines"):
        rollout.pop("baselines", None)  # an apply that empties the list takes it away, any later one brings it back
    rest = {"labels": labels, "owners": owners, "spec": spec, "status": status}
    return {"kind": obj["kind"], "name": name_of(obj)} | rest


def _makes(write: Write) -> bool:
    is_alias = write.method == "POST" and write.path == ALIAS_PATH and write.status == 200
    return is_alias or (write.is_creation and not BESIDE.search(write.path))


L = TypeVar("L", bound=Life)


@asynccontextmanager
async def a_life(
    story: type[L],
    plane: ControlPlane,
    mlflow: MlflowServer,
    zygote: Zygote,
    namespace: str,
    folder: Path,
    **settings: str,
) -> AsyncIterator[L]:
    """A new namespace, and an operator that sees it alone."""
    ledger = Ledger()
    tls = create_default_context(cafile=str(plane.folder / "certificates/apiserver.crt"))
    api_proxy = Proxy(plane.server, tls, ledger, rewrite=_only(namespace))
    mlflow_proxy = Proxy(mlflow.uri, None, ledger)
    predictors = Predictors()
    log = folder / f"{namespace}.log"
    async with AsyncExitStack() as stack:
        admin = await ApiClient.connect(str(plane.kubeconfig("admin")))
        stack.push_async_callback(admin.close)
        for server in (api_proxy, mlflow_proxy, predictors):
            await server.start()
            stack.push_async_callback(server.stop)
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        assert (await admin.call("POST", "/api/v1/namespaces", body=made)).ok
        await asyncio.to_thread(mlflow.register, f"{namespace}.telco", story.registered)
        environment = _environment(plane, folder / namespace, api_proxy.uri, mlflow_proxy.uri)
        environment |= {"LOG": str(log), "PREDICTORS": predictors.uri}
        operator = Operator(zygote, environment | settings)
        stack.callback(operator.kill)
        ledger.stop = operator.kill
        await operator.start()
        yield story(plane, mlflow, admin, namespace, operator, api_proxy, mlflow_proxy, predictors, ledger, log)


def _only(namespace: str) -> Callable[[str], str]:
    return lambda path: CLUSTERWIDE.sub(rf"\1/namespaces/{namespace}/\2", path)


def _environment(plane: ControlPlane, kubeconfig: Path, api: str, tracking: str) -> dict[str, str]:
    known = json.loads(plane.kubeconfig("operator").read_text())
    known["clusters"][0]["cluster"] = {"server": api}
    kubeconfig.with_suffix(".kubeconfig").write_text(json.dumps(known))
    return {
        "KUBECONFIG": str(kubeconfig.with_suffix(".kubeconfig")),
        "CHURN_JOBS_IMAGE": "jobs:1",
        "CHURN_PREDICTOR_IMAGE": "predictor:1",
        "CHURN_TRACKING_URI": tracking,
        "CHURN_STORAGE_URI": "s3://models",
        "CHURN_CLUSTER": CLUSTER,
        "CHURN_PROBE_SECONDS": "1",
        "CHURN_HEALTH_PORT": str(free_port()),
        "CHURN_METRICS_PORT": str(free_port()),
    }
