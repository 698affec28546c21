"""The operator's process: of all replicas one leads. There Kopf watches and the queue works.

Who stands by watches nothing: a warm one would take as much memory and as many watches as the leader, to save the one
listing with which a lead begins.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import aiohttp
import kopf
from pydantic import ValidationError

from churn_operator.churnmodel import ChurnModelKind
from churn_operator.core import logs
from churn_operator.core.client import ApiClient
from churn_operator.core.cluster import Neighbours
from churn_operator.core.errors import KindMissing, NamespaceGoing, Obstacle, Unavailable
from churn_operator.core.gauges import MODELS
from churn_operator.core.kind import Kind
from churn_operator.core.lease import Lease, LeaseLost
from churn_operator.core.metrics import (
    LEADER,
    OBJECTS,
    OLDEST,
    QUEUE_DEPTH,
    RECONCILE_SECONDS,
    RECONCILES,
    WATCH_LAG,
)
from churn_operator.core.objects import MANAGER, Key, uid_of
from churn_operator.core.outage import Outages
from churn_operator.core.prober import Prober
from churn_operator.core.queue import Queue
from churn_operator.core.reconcile import reconcile
from churn_operator.core.scraper import Scraper
from churn_operator.core.sink import Sink
from churn_operator.core.store import Store
from churn_operator.core.tally import RETRAINING, RUN, Tally
from churn_operator.core.tracking import Tracking
from churn_operator.driftmonitor import DriftMonitorKind
from churn_operator.handlers import WATCHED, kopf_settings, registry, waking
from churn_operator.health import Health, served
from churn_operator.settings import Settings
from churn_operator.trainingrun import TrainingRunKind

LOOK_SECONDS = 60.0
"""The longest that one look may take."""
GOING_WAKE = timedelta(minutes=1)
"""Between two looks at an object whose namespace is being deleted: it will be gone, unless something holds it."""
BELIEVED = 1.0
"""Seconds for which a kind that is not served is not asked for again, so that a thousand objects do not all ask."""
FILL_SOON = 10.0
FILL_AGAIN = 300.0
"""Seconds between two listings of everything."""
SHOWN_SECONDS = 30.0
"""The longest that work waits for the watches: one of them may fail for long."""
SHOWN_PAUSE = 0.05
KOPF_SECONDS = 5.0
"""For Kopf's tasks to end."""
LASTED_SECONDS = 300.0
"""Watches that end after this long are no sign that they will end again."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class Loop:
    """The generic loop over the three kinds."""

    def __init__(self, settings: Settings, neighbours: Neighbours) -> None:
        kinds = (ChurnModelKind(settings, datetime.now(UTC)), TrainingRunKind(settings), DriftMonitorKind(settings))
        self._kinds: Mapping[str, Kind[Any, Any]] = {kind.name: kind for kind in kinds}
        self._neighbours = neighbours

    async def look(self, key: Key) -> timedelta | None:
        """Reconcile one object, and count it."""
        outcome = "error"
        try:
            with RECONCILE_SECONDS.labels(key.kind).time():
                wake = await self._in_time(key)
            outcome = "done"
        except NamespaceGoing:
            outcome, wake = "going", GOING_WAKE
        except Unavailable:
            outcome = "unavailable"
            raise
        finally:
            RECONCILES.labels(key.kind, outcome).inc()
        return wake

    async def _in_time(self, key: Key) -> timedelta | None:
        bound = asyncio.timeout(LOOK_SECONDS)
        try:
            async with bound:
                now = datetime.now(UTC)
                return await reconcile(self._kinds[key.kind], key, self._neighbours, self._neighbours, now)
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise Unavailable(f"the look took longer than {LOOK_SECONDS:g} s") from error


async def run(settings: Settings) -> None:
    """Run until a signal, or until something that cannot be repaired from inside: then the kubelet starts anew.

    An API server that is away is waited for here: the kubelet's pauses grow to minutes.
    """
    stop = asyncio.Event()
    _on_signals(stop)
    async with neighbours(settings) as (api, cluster):
        identity = os.environ.get("HOSTNAME", MANAGER)
        lease = Lease(api, settings.lease, identity, settings.lease_seconds) if settings.lease else None
        health = Health(cluster.store, lease)
        async with served(health, settings):
            known = await _unless(stop, _with_cluster(settings, api))
            if known is None:
                return
            if lease is not None:
                await _unless(stop, lease.acquire())
                if lease.left() <= 0:
                    return
                api.fence = lease
            health.queue = Queue(Loop(known, cluster).look, known.workers)
            await _lead(health, lease, Watches(known, api, cluster.store, health, stop))


def _on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _unless(stop: asyncio.Event, wait: Coroutine[Any, Any, T]) -> T | None:
    """What it comes to; None where a signal comes first."""
    waiting = asyncio.create_task(wait, name="wait")
    stopped = asyncio.create_task(stop.wait(), name="signal")
    await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    await _end(waiting, stopped)
    return None if waiting.cancelled() else waiting.result()


async def _lead(health: Health, lease: Lease | None, watches: "Watches") -> None:
    """Watch and work while the Lease is held. It is given back as soon as nothing is written any more."""
    queue = health.queue
    if queue is None:
        raise ValueError("who leads needs a queue")
    LEADER.set(1)
    QUEUE_DEPTH.set_function(lambda: len(queue))
    stopped = asyncio.create_task(watches.stop.wait(), name="signal")
    worker = asyncio.create_task(watches.work(queue), name="queue")
    keeper = asyncio.create_task(lease.keep() if lease is not None else asyncio.Event().wait(), name="lease")
    filler = asyncio.create_task(watches.keep_filled(), name="store")
    watcher = asyncio.create_task(watches.run(), name="kopf")
    done, _ = await asyncio.wait({stopped, worker, keeper, filler, watcher}, return_when=asyncio.FIRST_COMPLETED)
    await _end(stopped, worker, keeper, filler)
    LEADER.set(0)
    if lease is not None:
        await lease.release()
    await _end(watcher)
    for task in done:
        task.result()


class WatchesEnded(Obstacle):
    """Kopf came upon what it does not expect of an API server."""


def _error(task: asyncio.Task[Any]) -> str:
    error = None if task.cancelled() else task.exception()
    return f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class Watches:
    """Kopf, and the listings beside it."""

    settings: Settings
    api: ApiClient
    store: Store
    health: Health
    stop: asyncio.Event
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    shown: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self, queue: Queue) -> None:
        """Work what is there, and then what is news."""
        self.store.news = (waking(queue.add), self._tally(), MODELS)
        await self._fill()
        self.filled.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._begin(), name="begin")
            await queue.run(self.shown)

    async def run(self) -> None:
        """Watch. Where Kopf cannot go on, all of it begins anew, after a pause that grows."""
        await self.filled.wait()
        outages = Outages(WatchesEnded)
        while True:
            await outages.outlast("watches", self._watch)

    async def _watch(self) -> None:
        """Until one of Kopf's tasks ends: none does but by an error. Returns where it went well for long.

        Left to itself Kopf then waits for the others, and one that was in the middle of a request may never end: the
        process would live on without watches.

        Raises:
            WatchesEnded: it did not.
            RuntimeError: the others do not end.
        """
        now = asyncio.get_running_loop().time
        began = now()
        tasks = await kopf.spawn_tasks(
            registry=registry(self.store, self._started),
            settings=kopf_settings(everywhere=not self.settings.namespaces),
            clusterwide=not self.settings.namespaces,
            namespaces=self.settings.namespaces,
        )
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.health.watches = False
            for task in tasks:
                task.cancel()
            _, alive = await asyncio.wait(tasks, timeout=KOPF_SECONDS)
        if alive:
            raise RuntimeError(f"Kopf's tasks do not end: {', '.join(task.get_name() for task in alive)}")
        ended = WatchesEnded("; ".join(f"Kopf's {task.get_name()} ended: {_error(task)}" for task in done))
        if now() - began < LASTED_SECONDS:
            raise ended
        log.warning("%s", ended)

    def _started(self) -> None:
        asyncio.get_running_loop().call_soon(_on_signals, self.stop)  # Kopf takes them in the step that is under way
        self.health.watches = True

    def _tally(self) -> Tally:
        tally = Tally(lambda: datetime.now(UTC))
        for what in (RUN, RETRAINING):
            OLDEST.labels(what).set_function(partial(tally.oldest, what))
        for _, kind, _ in WATCHED:
            OBJECTS.labels(kind).set_function(partial(self.store.count, kind))
        WATCH_LAG.set_function(self.store.lag)
        return tally

    async def _begin(self) -> None:
        """Let work begin when Kopf is through its first listing: beside it, a change would be seen seconds late."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHOWN_SECONDS):
                while self.store.lag() > 0:  # noqa: ASYNC110 - asked a few hundred times in a process' life
                    await asyncio.sleep(SHOWN_PAUSE)
        self.shown.set()

    async def keep_filled(self) -> None:
        """List everything soon after the watches began, and then from time to time: see core/store.py."""
        for pause in itertools.chain((FILL_SOON,), itertools.repeat(FILL_AGAIN)):
            await asyncio.sleep(pause)
            await self._fill()

    async def _fill(self) -> None:
        for api_version, kind, labels in WATCHED:
            try:
                await self.store.fill(kind, self.api.pages(api_version, kind, self.settings.namespaces, labels))
            except KindMissing:
                self.store.filled.discard(kind)
            except (Unavailable, ValueError) as error:
                log.warning("%s could not be listed: %s", kind, error)


async def _end(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@asynccontextmanager
async def neighbours(settings: Settings) -> AsyncIterator[tuple[ApiClient, Neighbours]]:
    in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ
    api = await ApiClient.connect(None if in_cluster else os.environ.get("KUBECONFIG", "~/.kube/config"))
    api.believed = BELIEVED
    api.timeout = settings.api_timeout_seconds
    try:
        async with aiohttp.ClientSession() as session:
            tracking = Tracking(session, settings.tracking_timeout_seconds)
            sink = Sink(session, settings.events_sink) if settings.events_sink else None
            async with sink.delivering() if sink else nullcontext():
                yield api, Neighbours(api, tracking, Prober(session), Scraper(session), sink=sink)
    finally:
        await api.close()


async def _with_cluster(settings: Settings, api: ApiClient) -> Settings:
    """The settings, with what tells this cluster from others filled in, as soon as the API server says it."""
    if settings.cluster:
        return settings
    uid = await Outages(Unavailable).outlast("API server", partial(_cluster, api))
    return settings.model_copy(update={"cluster": uid})


async def _cluster(api: ApiClient) -> str:
    try:
        namespace = await api.get("v1", "Namespace", "", "kube-system")
    except KindMissing as error:
        raise Unavailable(str(error)) from error
    if namespace is None:
        raise Unavailable("the cluster has no namespace kube-system: set CHURN_CLUSTER")
    return uid_of(namespace)


def main() -> int:
    """Read the settings, run, and say in one line why it ended."""
    try:
        settings = Settings.from_environment(os.environ)
    except ValidationError as error:
        for problem in error.errors():
            name = "CHURN_" + "_".join(str(part) for part in problem["loc"]).upper()
            sys.stderr.write(f"environment variable {name}: {problem['msg']}\n")
        return 2
    logs.configure(settings.log_format)
    try:
        asyncio.run(run(settings))
    except LeaseLost as error:
        log.warning("The operator ends, to be started anew: %s", error)
        return 1
    except Exception:
        log.exception("The operator ends, to be started anew")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
