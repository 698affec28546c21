"""A sink of events, on loopback."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import REGISTRY

from churn_operator.core.objects import Object

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("churn_operator_sink_events_total", {"outcome": outcome}) or 0


class Receiver:
    """Answers what its test says, in this order, and then 202."""

    def __init__(self, port: int | None = None) -> None:
        self.answers: list[int | Answer] = []
        self.got: list[Object] = []
        self.headers: list[Any] = []
        self.paths: list[str] = []
        self.counts = {outcome: counted(outcome) for outcome in ("Delivered", "Refused", "Dropped")}
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self.server = TestServer(app, port=port)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path)
        self.headers.append(request.headers)
        self.got.append(await request.json())
        answer = self.answers.pop(0) if self.answers else 202
        if isinstance(answer, int):
            return web.Response(status=answer, headers={"Location": "/elsewhere"})
        return await answer(request)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/events"))

    @property
    def names(self) -> list[str]:
        return [message["subject"] for message in self.got]

    @property
    def outcomes(self) -> dict[str, float]:
        """Of this test."""
        since = {outcome: counted(outcome) - before for outcome, before in self.counts.items()}
        return {outcome: count for outcome, count in since.items() if count}
