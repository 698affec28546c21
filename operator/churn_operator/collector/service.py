"""The collector as a whole: what runs beside the server, and in which order it ends."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from churn_operator.api.inference_log import root
from churn_operator.collector import metrics
from churn_operator.collector.buffer import Buffer
from churn_operator.collector.clock import StoreClock
from churn_operator.collector.compaction import Compactor
from churn_operator.collector.contracts import Contracts
from churn_operator.collector.flush import Flusher
from churn_operator.collector.pauses import Pauses
from churn_operator.collector.server import Receiver, application
from churn_operator.collector.settings import Settings
from churn_operator.collector.watched import WatchedStore
from churn_operator.storage.failure import JobError
from churn_operator.storage.files import Store, open_store

log = logging.getLogger(__name__)

_STUCK = 600.0
"""Seconds without an answer after which a loop counts as stuck: longer than the object store's slowest refusal."""
_DISK_STUCK = 30.0


class Collector:
    """One replica."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        key = settings.hash_key.get_secret_value().encode() if settings.hash_key else None
        log_root, store, clock = root(settings.storage_uri), open_store(settings.storage_uri), StoreClock()
        self._buffer = Buffer(
            settings.buffer_dir / "events", settings.buffer_bytes, settings.flush_bytes, settings.flush_seconds
        )
        self._contracts = Contracts(settings.buffer_dir / "contracts", key)
        self._receiver = Receiver(self._buffer, self._contracts, clock, settings.max_event_bytes)
        self._beats: dict[str, float] = {}
        flushing, joining, sweeping = (self._watched(store, name) for name in ("flush", "join", "sweep"))
        self._flusher = Flusher(self._buffer, flushing, log_root, clock, settings.flush_bytes)
        self._joiner = Compactor(joining, clock, settings)
        self._sweeper = Compactor(sweeping, clock, settings)
        self._work: list[asyncio.Task[None]] = []
        metrics.BUFFER_LIMIT.set(settings.buffer_bytes)
        metrics.BUFFER_BYTES.set_function(lambda: self._buffer.size)
        metrics.OLDEST_SECONDS.set_function(self._buffer.oldest)

    async def run(self, stop: asyncio.Event) -> bool:
        """Serve until `stop`, then bring what is buffered to the object store; whether all of it is there."""
        s = self._settings
        await asyncio.to_thread(self._contracts.prepare)
        app = application(self._receiver, s.max_event_bytes, self.healthy, self.ready)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=10)
        await runner.setup()
        site = web.TCPSite(runner, None, s.port, backlog=1024)
        self._work = [
            asyncio.create_task(self._buffer.run(), name="buffer"),
            asyncio.create_task(self._repeat("flush", self._flusher.flush, min(1.0, s.flush_seconds / 4))),
            asyncio.create_task(self._repeat("join", self._joiner.join, s.compact_seconds)),
            asyncio.create_task(self._repeat("sweep", self._sweeper.sweep, s.sweep_seconds)),
        ]
        try:
            await site.start()
            log.info("ready", extra={"fields": {"addresses": runner.addresses, "buffered": self._buffer.size}})
            await stop.wait()
            log.info("stopping", extra={"fields": {"buffered": self._buffer.size}})
            self._receiver.draining = True
            await asyncio.sleep(s.drain_seconds)
        finally:
            await runner.cleanup()
            for task in self._work:
                task.cancel()
            await asyncio.gather(*self._work, return_exceptions=True)
        return await self._empty()

    def healthy(self) -> str | None:
        """What makes no progress, if anything: a server that answers proves only that it answers."""
        now = time.monotonic()
        for task in self._work:
            if task.done():
                return f"{task.get_name()} has ended"
        if (since := self._buffer.committing_since) is not None and now - since > _DISK_STUCK:
            return f"the disk has not answered for {now - since:.0f} s"
        for name, beat in self._beats.items():
            if now - beat > _STUCK:
                return f"no {name} for {now - beat:.0f} s"
        return None

    def ready(self) -> str | None:
        """Why events had better go to another replica, if there is a reason."""
        return "the disk buffer is full" if self._buffer.is_full else self.healthy()

    def _watched(self, store: Store, name: str) -> WatchedStore:
        return WatchedStore(store, lambda: self._beat(name))

    def _beat(self, name: str, pause: float = 0) -> None:
        """There is progress, and the next is due after a pause."""
        self._beats[name] = time.monotonic() + pause

    async def _repeat(self, name: str, work: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Do it again and again: at once while there is more to do, after growing pauses while it fails."""
        pauses = Pauses()
        failing_since: float | None = None
        while True:
            self._beat(name)
            try:
                pause = 0 if await work() else seconds
            except Exception as error:  # noqa: BLE001 - one bad round must not end the recording of events
                failing_since = failing_since or time.monotonic()
                pause = pauses.after_failure()
                self._tell(name, error, time.monotonic() - failing_since, pause)
            else:
                if failing_since is not None:
                    log.info("works again", extra={"fields": {"work": name, "after": time.monotonic() - failing_since}})
                failing_since = None
                pauses.after_success()
            self._beat(name, pause)
            await asyncio.sleep(pause)

    def _tell(self, name: str, error: Exception, since: float, pause: float) -> None:
        fields = {"work": name, "error": str(error), "failing_for": round(since, 1), "pause": round(pause, 1)}
        if name == "flush":
            metrics.FLUSHES.labels("Failed").inc()
        else:
            metrics.COMPACTIONS.labels(name, "Failed").inc()
        match error:
            case JobError():
                log.warning("the object store does not do it", extra={"fields": fields})
            case OSError():
                log.warning("the own disk does not do it", extra={"fields": fields})
            case _:
                log.warning("it failed", exc_info=error, extra={"fields": fields})

    async def _empty(self) -> bool:
        """Flush everything, within `stop_seconds`."""
        pauses = Pauses()
        try:
            async with asyncio.timeout(self._settings.stop_seconds):
                await self._buffer.close()
                while self._buffer.sealed():
                    try:
                        await self._flusher.flush()
                    except (JobError, OSError) as error:
                        self._tell("flush", error, 0, pause := pauses.after_failure())
                        await asyncio.sleep(pause)
        except TimeoutError:
            log.exception("stopped with events on disk only", extra={"fields": {"buffered": self._buffer.size}})
            return False
        log.info("stopped", extra={"fields": {"buffered": self._buffer.size}})
        return True
