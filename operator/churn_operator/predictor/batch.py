"""Rows of several requests in one call of the model.

A request has been validated by then, each by itself: what is wrong with one is no other's business. (KServe's own
batcher joins the bodies before the model sees them, and a bad row refuses them all.)
"""

import asyncio
from collections.abc import Callable

from churn_operator.predictor.request import Rows

Score = Callable[[Rows], list[float]]


class Batcher:
    """Waits until there are `max_rows`, at most `seconds` after the first of them came.

    There is no thread and no task: nothing can be lost between a batch and its requests, and a server that stops waits
    for its requests and thereby for their batch.
    """

    def __init__(self, score: Score, *, max_rows: int, seconds: float, count: Callable[[int], None]) -> None:
        self._score = score
        self._max_rows = max_rows
        self._seconds = seconds
        self._count = count
        self._waiting: list[tuple[Rows, asyncio.Future[list[float]]]] = []
        self._rows = 0
        self._timer: asyncio.TimerHandle | None = None

    async def score(self, rows: Rows) -> list[float]:
        """The probability of each row, once its batch has been scored."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[float]] = loop.create_future()
        if self._rows and self._rows + len(rows.numbers) > self._max_rows:
            self._flush()
        self._waiting.append((rows, future))
        self._rows += len(rows.numbers)
        if self._rows >= self._max_rows:
            self._flush()
        elif self._timer is None:
            self._timer = loop.call_later(self._seconds, self._flush)
        return await future

    def _flush(self) -> None:
        waiting, self._waiting, self._rows = self._waiting, [], 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # A client that has gone leaves a cancelled future.
        wanted = [(rows, future) for rows, future in waiting if not future.done()]
        if not wanted:
            return
        batch = Rows(
            [n for rows, _ in wanted for n in rows.numbers], [c for rows, _ in wanted for c in rows.categories]
        )
        try:
            scores = iter(self._score(batch))
        except Exception as error:  # noqa: BLE001 - whatever it is, each request is to hear of it
            for _, future in wanted:
                future.set_exception(error)
            return
        self._count(len(batch.numbers))
        for rows, future in wanted:
            future.set_result([next(scores) for _ in rows.numbers])
