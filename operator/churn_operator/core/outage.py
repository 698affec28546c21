"""A neighbour that fails is left alone: for growing pauses, after each of which one asks again while the others wait.

Without it every object would wait for the same timeout, with every worker, and all would come back at once.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

from churn_operator.core.errors import Obstacle

FIRST_PAUSE = 1.0
"""Seconds: the longest pause after a first failure. It doubles with each further one…"""
LONGEST_PAUSE = 60.0
"""…up to this, or to what the neighbour asked for."""
DOUBLINGS = 6
TRIAL = 15.0
"""Seconds for which nobody else asks while one does."""

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass
class _Outage:
    error: Obstacle
    failures: int = 0
    until: float = 0.0


class Outages:
    """Which neighbours fail. Time is the running loop's; what is known is lost with the process."""

    def __init__(self, failure: type[Obstacle], jitter: Callable[[float, float], float] = random.uniform) -> None:
        self._failure = failure
        self._jitter = jitter
        self._known: dict[Hashable, _Outage] = {}

    async def ask(self, neighbour: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """What the call gives.

        Raises:
            Obstacle: the call failed, or the last one did and its pause is not over: then nothing was called.
        """
        outage = self._known.get(neighbour)
        if outage is not None:
            if _time() < outage.until:
                raise outage.error.again()
            outage.until = _time() + TRIAL
        try:
            answer = await call()
        except self._failure as error:
            self._failed(neighbour, error)
            raise
        self._known.pop(neighbour, None)
        return answer

    async def outlast(self, neighbour: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """What the call gives once it does: asked again after each pause."""
        while True:
            try:
                return await self.ask(neighbour, call)
            except self._failure as error:
                pause = self._known[neighbour].until - _time()
                log.warning("%s; again in %.1f s", error, pause)
                await asyncio.sleep(pause)

    def _failed(self, neighbour: Hashable, error: Obstacle) -> None:
        outage = self._known.setdefault(neighbour, _Outage(error))
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(outage.failures, DOUBLINGS))
        outage.error = error.again()
        outage.failures += 1
        outage.until = _time() + max(self._jitter(longest / 2, longest), error.pause)


def _time() -> float:
    return asyncio.get_running_loop().time()
