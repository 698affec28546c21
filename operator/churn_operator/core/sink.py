"""What Kubernetes Events tell, once more, for a receiver of CloudEvents 1.0: https://cloudevents.io.

It is the echo of an echo: the status is the record, an Event its echo, and a message here one of an Event that was
written. So the loop never waits for the sink. What the sink does not take within PATIENCE is dropped, and so is what
waits when the process is killed: nobody repeats it.

Messages are in structured mode: each is one JSON document. No header has then to hold what only a body can, such as a
letter beyond ASCII, and a receiver that has never heard of CloudEvents reads it, too.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import aiohttp

from churn_operator.core.errors import SinkUnavailable
from churn_operator.core.metrics import SINK_EVENTS
from churn_operator.core.objects import Object
from churn_operator.core.outage import Outages

LIMIT = 1000
"""Messages that may wait, of some 2 kB each: where another one comes, the oldest goes."""
PATIENCE = 600.0
"""Seconds after which an event is no news any more."""
FAREWELL = 2.0
"""Seconds for what waits as the process ends."""
TIMEOUT = aiohttp.ClientTimeout(total=5)
BUSY = {408, 429}
HEADERS = {"Content-Type": "application/cloudevents+json; charset=utf-8"}

log = logging.getLogger(__name__)


def cloud_event(event: Object, condition: Object) -> Object:
    """The message about an Event and the condition that it tells of.

    Its id is a digest of what happened, to what, and when: the same news has the same id however often it comes.
    """
    about, time = event["involvedObject"], event["lastTimestamp"]
    said = {key: condition[key] for key in ("type", "status", "reason")}
    data = {**about, **said, "message": event["message"]}
    digest = hashlib.sha256(json.dumps([time, data], sort_keys=True).encode()).hexdigest()
    kind = about["kind"].lower()
    return {
        "specversion": "1.0",
        "id": digest[:32],
        "source": f"/apis/{about['apiVersion']}/namespaces/{about['namespace']}/{kind}s/{about['name']}",
        "type": f"dev.churnops.{kind}.{condition['reason']}",
        "subject": about["name"],
        "time": time,
        "datacontenttype": "application/json",
        "data": data,
    }


class Sink:
    """Posts messages to one address: in order, one at a time, each until it is answered for good."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._outages = Outages(SinkUnavailable)
        self._waiting: asyncio.Queue[tuple[float, Object]] = asyncio.Queue(LIMIT)
        """Each with the time at which it is no news any more."""

    def tell(self, event: Object, condition: Object) -> None:
        """Have it delivered some time."""
        if self._waiting.full():
            _, oldest = self._waiting.get_nowait()
            self._waiting.task_done()
            _end(oldest, "Dropped", "too many wait")
        self._waiting.put_nowait((asyncio.get_running_loop().time() + PATIENCE, cloud_event(event, condition)))

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """Deliver meanwhile, and for a moment more what waits at the end."""
        task = asyncio.create_task(self._deliver(), name="sink")
        try:
            yield
        finally:
            try:
                async with asyncio.timeout(FAREWELL):
                    await self._waiting.join()
            except TimeoutError:
                log.warning("the operator ends, and %d events may not reach the sink", self._waiting.qsize() + 1)
            task.cancel()
            await asyncio.wait({task})

    async def _deliver(self) -> None:
        while True:
            until, message = await self._waiting.get()
            try:
                async with asyncio.timeout_at(until):
                    status = await self._outages.outlast(self._url, partial(self._post, message))
            except TimeoutError:
                _end(message, "Dropped", f"it was not taken within {PATIENCE:g} s")
            else:
                if status < 300:
                    _end(message, "Delivered")
                else:
                    _end(message, "Refused", f"{self._url} answers {status}")
            self._waiting.task_done()

    async def _post(self, message: Object) -> int:
        """The status of an answer that is final. Its body is not read: where it is long, the connection is closed.

        Raises:
            SinkUnavailable: there is none yet.
        """
        body = json.dumps(message).encode()
        try:
            async with self._session.post(
                self._url, data=body, headers=HEADERS, timeout=TIMEOUT, allow_redirects=False
            ) as response:
                status = response.status
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise SinkUnavailable(f"the sink at {self._url} does not answer: {error!r}") from error
        if status in BUSY or status >= 500:
            raise SinkUnavailable(f"the sink at {self._url} answers {status}")
        return status


def _end(message: Object, outcome: str, why: str = "") -> None:
    SINK_EVENTS.labels(outcome).inc()
    if why:
        log.warning("%s of %s does not reach the sink: %s", message["type"], message["source"], why)
