"""The operator's process: Kopf watches, the queue works, an HTTP port tells how it goes."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import kopf
from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler
from pydantic import ValidationError

from churn_operator.churnmodel import ChurnModelKind
from churn_operator.core.client import ApiClient
from churn_operator.core.cluster import Neighbours
from churn_operator.core.errors import Unavailable
from churn_operator.core.kind import Kind
from churn_operator.core.metrics import QUEUE_DEPTH, RECONCILE_SECONDS, RECONCILES
from churn_operator.core.objects import Key, uid_of
from churn_operator.core.prober import Prober
from churn_operator.core.queue import Queue
from churn_operator.core.reconcile import reconcile
from churn_operator.core.tracking import Tracking
from churn_operator.driftmonitor import DriftMonitorKind
from churn_operator.handlers import kopf_settings, registry
from churn_operator.settings import Settings
from churn_operator.trainingrun import TrainingRunKind

LOOK_SECONDS = 60.0
"""The longest that one look may take."""
STALLED_SECONDS = 180.0
"""The process counts as dead when nothing was finished for this long although there was something to do."""

log = logging.getLogger(__name__)


class Loop:
    """The generic loop over the three kinds."""

    def __init__(self, settings: Settings, neighbours: Neighbours) -> None:
        kinds = (ChurnModelKind(settings), TrainingRunKind(settings), DriftMonitorKind(settings))
        self._kinds: Mapping[str, Kind[Any, Any]] = {kind.name: kind for kind in kinds}
        self._neighbours = neighbours

    async def look(self, key: Key) -> timedelta | None:
        """Reconcile one object, and count it."""
        outcome = "error"
        try:
            with RECONCILE_SECONDS.labels(key.kind).time():
                async with asyncio.timeout(LOOK_SECONDS):
                    now = datetime.now(UTC)
                    wake = await reconcile(self._kinds[key.kind], key, self._neighbours, self._neighbours, now)
            outcome = "done"
        except Unavailable:
            outcome = "unavailable"
            raise
        finally:
            RECONCILES.labels(key.kind, outcome).inc()
        return wake


async def run(settings: Settings) -> None:
    """Run until a signal, or until something that cannot be repaired from inside: then the kubelet starts anew."""
    async with _neighbours() as (api, neighbours):
        known = await _with_cluster(settings, api)
        queue = Queue(Loop(known, neighbours).look, known.workers)
        QUEUE_DEPTH.set_function(lambda: len(queue))
        async with served(queue, known):
            worker = asyncio.create_task(queue.run(), name="queue")
            await asyncio.sleep(0)  # Kopf ends by waiting for every task that is younger than itself
            watcher = asyncio.create_task(
                kopf.operator(registry=registry(queue.add), settings=kopf_settings(), clusterwide=True), name="kopf"
            )
            done, running = await asyncio.wait({worker, watcher}, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            for task in done:
                task.result()


@asynccontextmanager
async def _neighbours() -> AsyncIterator[tuple[ApiClient, Neighbours]]:
    in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ
    api = await ApiClient.connect(None if in_cluster else os.environ.get("KUBECONFIG", "~/.kube/config"))
    try:
        async with aiohttp.ClientSession() as session:
            yield api, Neighbours(api, Tracking(session), Prober(session))
    finally:
        await api.close()


async def _with_cluster(settings: Settings, api: ApiClient) -> Settings:
    """The settings, with what tells this cluster from others filled in."""
    if settings.cluster:
        return settings
    namespace = await api.get("v1", "Namespace", "", "kube-system")
    if namespace is None:
        raise Unavailable("the cluster has no namespace kube-system: set CHURN_CLUSTER")
    return settings.model_copy(update={"cluster": uid_of(namespace)})


@asynccontextmanager
async def served(queue: Queue, settings: Settings) -> AsyncIterator[None]:
    """/healthz and /metrics. Healthy means that work gets done, not only that this port answers."""

    async def healthz(_: web.Request) -> web.Response:
        stalled = queue.stalled
        text = f"{len(queue)} waiting, nothing finished for {stalled:.0f} s\n"
        return web.Response(text=text, status=503 if stalled > STALLED_SECONDS else 200)

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/metrics", make_aiohttp_handler())])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        for port in sorted({settings.health_port, settings.metrics_port}):
            await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()


def main() -> int:
    """Read the settings, run, and say in one line why it ended."""
    try:
        settings = Settings.from_environment(os.environ)
    except ValidationError as error:
        for problem in error.errors():
            name = "CHURN_" + "_".join(str(part) for part in problem["loc"]).upper()
            sys.stderr.write(f"environment variable {name}: {problem['msg']}\n")
        return 2
    log_format = kopf.LogFormat.JSON if settings.log_format == "json" else kopf.LogFormat.FULL
    kopf.configure(log_format=log_format)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # it tells of every event
    try:
        asyncio.run(run(settings))
    except Exception:
        log.exception("The operator ends, to be started anew")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
