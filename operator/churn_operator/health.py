"""What the process tells of itself over HTTP: whether it lives, whether it is ready, and its metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from churn_operator.core.lease import Lease
from churn_operator.core.queue import Queue
from churn_operator.core.store import Store
from churn_operator.settings import Settings

STALLED_SECONDS = 180.0
"""The process counts as dead when nothing was finished for this long although there was something to do, or when a
watch has not shown for this long what was written or listed."""


class Health:
    """Judges by what gets done, not by whether this port answers."""

    def __init__(self, store: Store, lease: Lease | None = None) -> None:
        self._store = store
        self._lease = lease
        self.queue: Queue | None = None
        """Of the one that leads."""
        self.watches = False
        """The watches run."""

    def alive(self) -> tuple[bool, str]:
        """Whether a new start would not help."""
        if self.queue is None:
            return True, self._waiting()
        stalled, lag = self.queue.stalled, self._store.lag()
        text = f"{len(self.queue)} waiting, nothing finished for {stalled:.0f} s"
        if lag > STALLED_SECONDS:
            return False, f"{text}; a watch has shown nothing of a change for {lag:.0f} s"
        return stalled <= STALLED_SECONDS, text

    def ready(self) -> tuple[bool, str]:
        """Whether it works, or would take over at once."""
        if self.queue is None:
            return self._lease is not None and bool(self._lease.holder), self._waiting()
        return self.watches, "leads" if self.watches else "is about to watch"

    def _waiting(self) -> str:
        holder = self._lease.holder if self._lease is not None else ""
        return f"stands by; {holder} leads" if holder else "starts"


@asynccontextmanager
async def served(health: Health, settings: Settings) -> AsyncIterator[None]:
    """/healthz, /readyz and /metrics."""

    def answer(judgement: tuple[bool, str]) -> web.Response:
        good, text = judgement
        return web.Response(text=f"{text}\n", status=200 if good else 503)

    async def healthz(_: web.Request) -> web.Response:
        return answer(health.alive())

    async def readyz(_: web.Request) -> web.Response:
        return answer(health.ready())

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    app.add_routes([web.get("/metrics", make_aiohttp_handler())])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        for port in sorted({settings.health_port, settings.metrics_port}):
            await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()
