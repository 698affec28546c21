"""What a model's predictors have counted, told at their pods' /metrics. The pods themselves are played.

Pods have no addresses here that anybody listens on: an operator asks one server for all of them (see zygote.py).
"""

from collections import defaultdict
from dataclasses import dataclass, field

from aiohttp import web
from support.memory import counted_text

from churn_operator.churnmodel.counts import Counts

ADDRESSES = "10.1.0."


def address_of(version: str) -> str:
    """Of the one pod that a version has."""
    return ADDRESSES + version.removeprefix("v")


@dataclass
class Predictors:
    """Listens on a port of the loopback."""

    counts: dict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))
    """By version."""

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/{address}/metrics", self._tell)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.uri = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _tell(self, request: web.Request) -> web.Response:
        version = "v" + request.match_info["address"].removeprefix(ADDRESSES)
        return web.Response(text=counted_text(version, self.counts[version]))
