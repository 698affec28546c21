"""Who works: of all replicas, the one that holds the Lease.

The client library has an election, too. It counts in wall-clock time, which jumps; it does not tell until when it may
be trusted, so that nothing can be fenced by it; a lost connection ends it; and it does not give the Lease back, so
that every successor would wait. What is needed is short.

**Holding.** A holder renews every `retry` seconds, by the resourceVersion it wrote last: of two that try, one is
refused. A candidate takes the Lease when its holder gave it back, or has not renewed it for as long as the Lease says,
counted from when the candidate saw the last renewal: no two clocks are compared.

**Fencing.** A holder may write until `deadline` after it *sent* the last renewal that was confirmed; a candidate waits
for `duration`, which is longer, after it *saw* that renewal. Between the two lies a third of the Lease's time, in which
nobody writes. Each write is checked when its bytes are ready, as the last thing before they are sent, and may take no
longer than to the end of the Lease. The clock runs on while a process is stopped or a machine sleeps.

**What remains** is a write that was on its way before that: stopped between the check and the socket, or held up in
the network or the API server's queue. It can come after a successor's, and cannot hurt:

* a creation has a name that its cause decides: it is refused as a duplicate. Where the successor made that object, saw
  it end and deleted it (checks of drift and probes of a source only) there is a second one, whose result nobody waits
  for; the next look deletes it, as what is not wanted.
* a change of a child or a status names the resourceVersion it was decided on, and is refused if the successor wrote.
  If not, it is what the successor would write, having seen the same.
* a deletion names the UID and the resourceVersion.
* an alias in MLflow has no precondition. It is set to what a status said, and put back by the next look.
* an Event is an echo of a status that was written.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from churn_operator.core.client import ApiClient
from churn_operator.core.errors import Unavailable
from churn_operator.core.objects import Object

API_VERSION = "coordination.k8s.io/v1"
DEADLINE = 2 / 3
"""Part of the Lease's time for which its holder may write after a renewal."""
RETRY = 2 / 15
"""Part of the Lease's time between two renewals, or two tries."""

log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Somebody else works now, or may: this process has to start anew."""


def uptime() -> float:
    """Seconds since the machine started, those in which it or this process slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """This process' part in the election."""

    def __init__(
        self, api: ApiClient, where: str, identity: str, seconds: float, clock: Callable[[], float] = uptime
    ) -> None:
        """`where` is namespace/name; `identity` is made unique, for a container that starts anew is another one."""
        self.namespace, _, self.name = where.partition("/")
        self.identity = f"{identity}_{uuid.uuid4().hex[:8]}"
        self.holder = ""
        """Who holds it, as far as was seen."""
        self._api = api
        self._seconds = seconds
        self._clock = clock
        self._path = f"/apis/{API_VERSION}/namespaces/{self.namespace}/leases"
        self._known: Object | None = None
        self._seen_at = 0.0
        self._sent_at = float("-inf")

    def left(self) -> float:
        """Seconds for which this process may write."""
        return self._sent_at + self._seconds * DEADLINE - self._clock()

    def rest(self) -> float:
        """Seconds until another may hold the Lease: by then, what was sent must have arrived."""
        return self._sent_at + self._seconds - self._clock()

    async def acquire(self) -> None:
        """Wait until this process holds the Lease."""
        while True:
            if await self._attempt():
                break
            await asyncio.sleep(self._seconds * RETRY)
        log.info("leads, as %s", self.identity)

    async def keep(self) -> None:
        """Renew until cancelled.

        Raises:
            LeaseLost: somebody else has it, or nothing was confirmed for too long.
        """
        while True:
            await asyncio.sleep(self._seconds * RETRY)
            if not await self._attempt() and (self.holder not in {"", self.identity} or self.left() <= 0):
                raise LeaseLost(f"the Lease {self.namespace}/{self.name} is lost to {self.holder or 'nobody yet'}")

    async def release(self) -> None:
        """Give it back, so that a successor need not wait; this process writes nothing any more."""
        if self.holder != self.identity or self._known is None:
            return
        self._sent_at = float("-inf")
        spec = self._known["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            async with asyncio.timeout(self._seconds * (1 - DEADLINE)):
                reply = await self._put(spec)
        except (Unavailable, TimeoutError) as error:
            log.warning("the Lease was not given back: %s", error)
        else:
            log.info("gave the Lease back" if reply else "the Lease was not given back: it changed")

    async def _attempt(self) -> bool:
        """One try to take or renew it; a try that gets no answer is one that failed."""
        try:
            async with asyncio.timeout(self._seconds * (1 - DEADLINE)):
                return await self._renew() if self.holder == self.identity else await self._take()
        except (Unavailable, TimeoutError) as error:
            log.warning("no answer about the Lease %s/%s: %s", self.namespace, self.name, str(error) or "too slow")
            return False

    async def _renew(self) -> bool:
        assert self._known is not None  # noqa: S101 - for mypy: a holder wrote it
        spec = self._known["spec"] | {"renewTime": _now()}
        if await self._put(spec):
            return True
        self._see(await self._get())
        return False

    async def _take(self) -> bool:
        self._see(await self._get())
        if self.holder not in {"", self.identity} and self._clock() < self._seen_at + self._term():
            return False
        before = self._known["spec"] if self._known else {}
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._seconds)),
            "acquireTime": _now(),
            "renewTime": _now(),
            "leaseTransitions": before.get("leaseTransitions", -1) + 1,
        }
        return await self._put(spec)

    def _term(self) -> float:
        """As long as the holder asked for, which may run another release than this."""
        spec: Object = self._known["spec"] if self._known else {}
        return max(self._seconds, float(spec.get("leaseDurationSeconds", 0)))

    async def _get(self) -> Object | None:
        reply = await self._api.call("GET", f"{self._path}/{self.name}")
        if reply.status == 404:
            return None
        if not reply.ok:
            raise Unavailable(reply.message)
        return reply.body

    async def _put(self, spec: dict[str, Any]) -> bool:
        """Write it if it is still what is known; what was written counts from when it was sent."""
        sent_at = self._clock()
        metadata: dict[str, Any] = {"name": self.name, "namespace": self.namespace}
        method, path = "POST", self._path
        if self._known is not None:
            metadata["resourceVersion"] = self._known["metadata"]["resourceVersion"]
            method, path = "PUT", f"{self._path}/{self.name}"
        body = {"apiVersion": API_VERSION, "kind": "Lease", "metadata": metadata, "spec": spec}
        reply = await self._api.call(method, path, body=body)
        if reply.status in {404, 409}:
            return False
        if not reply.ok:
            raise Unavailable(reply.message)
        self._see(reply.body)
        if self.holder == self.identity:
            self._sent_at = sent_at
        return True

    def _see(self, lease: Object | None) -> None:
        version = lease and lease["metadata"]["resourceVersion"]
        if version != (self._known and self._known["metadata"]["resourceVersion"]):
            self._seen_at = self._clock()
        self._known = lease
        self.holder = str(lease["spec"].get("holderIdentity") or "") if lease else ""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
