"""A keyed work queue: each key is worked by one worker at a time, and never forgotten.

* A key that is added while it waits is worked once; one that is added while it is worked is worked again after.
* What waits is fresh or backlog. Fresh keys go first, so that a change is not kept waiting by a thousand cold objects;
  every few keys one of the backlog is taken, so that it does not starve. Most workers take fresh keys alone: a change
  shares the processor and the API server with a few cold objects, not with as many as there are workers.
* A worked key says when it wants to be looked at again; only its latest wish counts.
* A key that failed is worked again after a random part of a growing pause, until it succeeds; where a neighbour asked
  to be left alone for a while, that comes first.
"""

import asyncio
import contextlib
import heapq
import itertools
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta

from churn_operator.core.errors import Obstacle, Outdated
from churn_operator.core.logs import about
from churn_operator.core.objects import Key

FIRST_PAUSE = 0.2
"""Seconds: the longest pause after a first failure. It doubles with each further one…"""
LONGEST_PAUSE = 60.0
"""…up to this."""
DOUBLINGS = 10
"""As many as it takes from the first pause to the longest."""
BACKLOG_TURN = 8
"""One key in so many is taken from the backlog, however much is fresh."""
BACKLOG_WORKERS = 1 / 3
"""Share of the workers, and at least one, that take from the backlog: more would not empty it sooner."""
SPARE = 64
"""Overtaken wishes that are not worth clearing away."""
FEW = 5
"""Failures in a row that are not worth a warning where somebody was only faster."""

log = logging.getLogger(__name__)


class Queue:
    """Works keys with a number of workers. Time is the running loop's."""

    def __init__(
        self,
        work: Callable[[Key], Awaitable[timedelta | None]],
        workers: int,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._work = work
        self._workers = workers
        self._jitter = jitter
        self._any = asyncio.Semaphore(0)
        self._urgent = asyncio.Semaphore(0)
        """Keys, and fresh keys, that wait; more where a worker of the other sort took one."""
        self._fresh: deque[Key] = deque()
        self._backlog: deque[Key] = deque()
        self._waiting: dict[Key, bool] = {}
        """Whether it is backlog. A key that became fresh meanwhile is in both lines, and counts in one."""
        self._picked = 0
        self._working: set[Key] = set()
        self._dirty: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._wish = asyncio.Event()
        self._progress = 0.0

    def __len__(self) -> int:
        """Keys that wait for a worker."""
        return len(self._waiting)

    @property
    def stalled(self) -> float:
        """Seconds since something was finished, while there is something to do."""
        return _time() - self._progress if self._waiting or self._working else 0.0

    def add(self, key: Key, backlog: bool = False) -> None:  # noqa: FBT001, FBT002 - what an event says
        """Have the key worked as soon as a worker is free."""
        if key in self._working:
            self._dirty.add(key)
        elif key not in self._waiting:
            if not self._waiting and not self._working:
                self._progress = _time()
            self._enqueue(key, backlog=backlog)
            self._any.release()
        elif self._waiting[key] and not backlog:
            self._enqueue(key, backlog=False)

    def _enqueue(self, key: Key, *, backlog: bool) -> None:
        self._waiting[key] = backlog
        (self._backlog if backlog else self._fresh).append(key)
        if not backlog:
            self._urgent.release()

    def _pick(self, *, urgent: bool) -> Key | None:
        """The next one, if it was not taken meanwhile."""
        self._picked += not urgent
        while self._fresh or (self._backlog and not urgent):
            turn = self._picked % BACKLOG_TURN == 0 or not self._fresh
            line = self._backlog if self._backlog and turn and not urgent else self._fresh
            key = line.popleft()
            if self._waiting.get(key) == (line is self._backlog):
                del self._waiting[key]
                return key
        return None

    async def run(self, begin: asyncio.Event) -> None:
        """Work until cancelled. What is added before `begin` waits."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wake(), name="wakes")
            for number in range(self._workers):
                urgent = number >= max(1, self._workers * BACKLOG_WORKERS)
                tasks.create_task(self._worker(begin, urgent=urgent), name=f"worker {number}")

    async def _worker(self, begin: asyncio.Event, *, urgent: bool) -> None:
        await begin.wait()
        while True:
            await (self._urgent if urgent else self._any).acquire()
            key = self._pick(urgent=urgent)
            if key is None:
                continue
            self._working.add(key)
            self._due.pop(key, None)
            with about(key):
                await self._once(key)
            self._working.discard(key)
            self._progress = _time()
            if key in self._dirty:
                self._dirty.discard(key)
                self.add(key)

    async def _once(self, key: Key) -> None:
        try:
            wake = await self._work(key)
        except Exception as error:  # noqa: BLE001 - whatever it is, the key must not be lost
            self._retry(key, error)
        else:
            self._failures.pop(key, None)
            if wake is not None:
                self._later(key, wake.total_seconds())

    def _retry(self, key: Key, error: Exception) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        pause = self._jitter(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, DOUBLINGS)))
        is_known = isinstance(error, Obstacle)
        pause += error.pause if isinstance(error, Obstacle) else 0
        level = logging.DEBUG if isinstance(error, Outdated) and failures < FEW else logging.WARNING
        log.log(level, "%s; again in %.1f s", error, pause, exc_info=None if is_known else error)
        self._later(key, pause)

    def _later(self, key: Key, seconds: float) -> None:
        due = _time() + seconds
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        if len(self._heap) > 2 * len(self._due) + SPARE:  # most are wishes that were overtaken
            self._heap = [wish for wish in self._heap if self._due.get(wish[2]) == wish[0]]
            heapq.heapify(self._heap)
        self._wish.set()

    async def _wake(self) -> None:
        """One task for all delayed keys, by one heap. A wish that was overtaken by a later one is passed over."""
        while True:
            while self._heap and self._heap[0][0] <= _time():
                due, _, key = heapq.heappop(self._heap)
                if self._due.get(key) == due:
                    del self._due[key]
                    self.add(key, backlog=True)  # what asks from time to time waits for what happened
            self._wish.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._heap[0][0] if self._heap else None):
                    await self._wish.wait()


def _time() -> float:
    return asyncio.get_running_loop().time()
