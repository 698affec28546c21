"""From the disk buffer to `pending/` in the object store."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter

from churn_operator.api.inference_log import PENDING, Partition
from churn_operator.collector import metrics, tables
from churn_operator.collector.buffer import Buffer, Segment
from churn_operator.collector.clock import StoreClock
from churn_operator.collector.halves import Half, batches, decode, micros
from churn_operator.collector.plans import MOST, new_name
from churn_operator.storage.files import Store, join

log = logging.getLogger(__name__)


class Flusher:
    """Writes sealed segments, and forgets them once they are written."""

    def __init__(self, buffer: Buffer, store: Store, root: str, clock: StoreClock, most_bytes: int) -> None:
        self._buffer = buffer
        self._store = store
        self._root = root
        self._clock = clock
        self._most_bytes = most_bytes
        self._tried: list[Segment] = []
        """Of an attempt that failed, but may have written: they go together again, under the same names."""

    async def flush(self) -> bool:
        """Write the oldest sealed segments; whether there were any.

        Raises:
            JobError: the object store refuses, or is away; nothing is forgotten then.
        """
        segments = self._tried or self._oldest()
        if not segments:
            return False
        self._tried = segments
        written = await asyncio.to_thread(self._write, segments)
        self._tried = []
        for segment in segments:
            self._buffer.release(segment)
        metrics.FLUSHED_EVENTS.inc(written)
        metrics.FLUSHES.labels("Written").inc()
        return True

    def _oldest(self) -> list[Segment]:
        """As many as make one file, at least one: many small ones pile up while the store is away."""
        chosen: list[Segment] = []
        size = 0
        for segment in self._buffer.sealed():
            if chosen and size + segment.size > self._most_bytes:
                break
            chosen.append(segment)
            size += segment.size
        return chosen

    def _write(self, segments: Sequence[Segment]) -> int:
        """In a thread. The same segments make files of the same names: twice is as good as once."""
        halves: dict[Partition, list[Half]] = defaultdict(list)
        now = micros(self._clock.now())
        for segment in segments:
            for record in segment.records():
                try:
                    partition, half = decode(record)
                except ValueError:
                    metrics.DROPPED.labels("Damaged").inc()
                    continue
                halves[partition].append(half._replace(since=now))
        for partition, found in halves.items():
            for batch in batches(found, attrgetter("weight"), MOST):
                data = tables.to_parquet(tables.halves_table(batch))
                self._store.write(join(self._root, PENDING, partition.path, new_name(batch)), data)
        return sum(map(len, halves.values()))
