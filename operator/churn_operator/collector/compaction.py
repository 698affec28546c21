"""In the object store: halves become rows of the log, small files become large ones, old ones go."""

import asyncio
import itertools
import logging
import random
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from churn_operator.api.inference_log import PENDING, Partition, day_folder
from churn_operator.api.inference_log import root as log_root
from churn_operator.collector import metrics, plans, tables
from churn_operator.collector.clock import StoreClock
from churn_operator.collector.halves import Half, batches, fewer, join, weight_of
from churn_operator.collector.settings import Settings
from churn_operator.storage.files import Gone, Listed, Store
from churn_operator.storage.files import join as join_uri

log = logging.getLogger(__name__)


class Overtaken(Exception):
    """Another replica has done this work, or is about to: look again."""


class Compactor:
    """Rounds of joining, and sweeps. Every replica does both, and none knows of another."""

    def __init__(self, store: Store, clock: StoreClock, settings: Settings) -> None:
        self._store = store
        self._root = log_root(settings.storage_uri)
        self._clock = clock
        self._settle = timedelta(seconds=settings.settle_seconds)
        self._patience = timedelta(seconds=settings.orphan_seconds)
        self._retention = timedelta(days=settings.retention_days)
        self._replica = f"{socket.gethostname()}{settings.buffer_dir}"
        self._damaged: set[str] = set()
        """Of what is worked on: a file may be met once for each shard."""

    async def join(self) -> bool:
        """Join what has settled, version by version; whether there was any.

        Raises:
            JobError: the object store refuses, or is away.
        """
        listing = await asyncio.to_thread(self._store.list, join_uri(self._root, PENDING))
        self._clock.hear(listing.at)
        metrics.PENDING_FILES.set(len(listing.files))
        versions = list(plans.by_partition(self._root, listing.files).items())
        random.shuffle(versions)  # two replicas that begin together need not go on together
        worked = False
        for partition, files in versions:
            turn = listing.at - self._settle * plans.turn(self._replica, partition)
            due = plans.to_join(files, turn, self._settle, self._patience)
            if due.files:
                worked |= await self._work("join", self._join, partition, due)
        return worked

    async def sweep(self) -> bool:
        """Delete the days that are over the retention; of days that are over make few files, each row once; False.

        Raises:
            JobError: the object store refuses, or is away.
        """
        listing = await asyncio.to_thread(self._store.list, self._root)
        now = min(listing.at, datetime.now(UTC))  # a day is over when both clocks say so: deleting cannot be undone
        expired = plans.to_delete(self._root, listing.files, now, self._retention)
        await asyncio.to_thread(self._store.delete, [file.uri for file in expired])
        metrics.DELETED.inc(len(expired))
        if expired:
            log.info("deleted what is over the retention", extra={"fields": {"files": len(expired)}})
        gone = set(expired)
        days = plans.by_day(self._root, (file for file in listing.files if file not in gone))
        for (partition, day), files in days.items():
            if day < (now - timedelta(days=1)).date() and (inputs := plans.to_merge(files, over=True)):
                await self._work("merge", self.merge, day_folder(self._root, partition, day), inputs)
        return False

    def merge(self, folder: str, inputs: Sequence[Listed]) -> None:
        """In a thread: many files of a day become few, and no two of them hold the same row.

        Raises:
            Overtaken: another replica has done it, or is about to.
            JobError: the object store refuses, or is away.
        """
        for number, table in enumerate(self._merged(inputs)):
            name = plans.rows_name(number, tables.weight(table), inputs)
            self._store.write(join_uri(folder, name), tables.to_parquet(table))
        self._store.delete([file.uri for file in inputs])

    def _merged(self, inputs: Sequence[Listed]) -> Iterator[Any]:
        """Each row once, span by span of as much as memory holds: wherever else a row is, its time is the same."""
        spans, known = [tables.ALWAYS], dict[str, tables.Span]()
        while spans:
            span = spans.pop()
            found: list[Any] = []
            for file in inputs:
                if not known.get(file.uri, span).meets(span):
                    continue
                for table in filter(len, self._read([file], tables.rows_of)):
                    known[file.uri] = tables.span_of(table)
                    found.append(tables.within(table, span))
                while sum(map(tables.weight, found)) > plans.MOST and (halves := tables.halved(found, span)):
                    span, later = halves
                    spans.append(later)
                    found = [tables.within(table, span) for table in found]
            if any(table.num_rows for table in found):
                yield tables.merged(found)

    async def _work(self, name: str, work: Callable[..., None], *arguments: Any) -> bool:
        try:
            await asyncio.to_thread(work, *arguments)
        except Overtaken:
            metrics.COMPACTIONS.labels(name, "Overtaken").inc()
            return False
        finally:
            self._damaged.clear()
            tables.release()
        metrics.COMPACTIONS.labels(name, "Done").inc()
        return True

    def _join(self, partition: Partition, due: plans.Due) -> None:
        """In a thread: the rows, and then fewer files of their days."""
        for folder in self._to_log(partition, due):
            if merge := plans.to_merge(self._store.list(folder).files, over=False):
                self.merge(folder, merge)

    def _to_log(self, partition: Partition, due: plans.Due) -> list[str]:
        """The days' folders with new rows. First all that was in the inputs is written elsewhere, then they go."""
        folders, lost, number = set(), Counter[str](), itertools.count()
        pairs = self._pairs(partition, due, lost)
        for batch in batches(pairs, lambda pair: pair[0].weight + pair[1].weight, plans.MOST):
            for part in tables.log_parts(batch):
                folder = day_folder(self._root, partition, part.day)
                name = plans.rows_name(next(number), tables.weight(part.table), due.files)
                self._store.write(join_uri(folder, name), tables.to_parquet(part.table))
                metrics.ROWS.inc(part.table.num_rows)
                folders.add(folder)
        self._store.delete([file.uri for file in due.files])
        for reason, count in lost.items():
            metrics.DROPPED.labels(reason).inc(count)
        return sorted(folders)

    def _pairs(self, partition: Partition, due: plans.Due, lost: Counter[str]) -> Iterator[tuple[Half, Half]]:
        """Shard by shard; what goes on waiting is written, and what never will be a row is counted as lost."""
        new = [half for found in self._read(filter(_is_new, due.files), tables.halves_of) for half in found]
        shards = plans.shards(due.files)
        while shards:
            shard, halves = self._narrowed(shards, new, due.files, lost)
            joined = join(halves, due.expired)
            if joined.waiting:
                name = plans.waiting_name(shard, joined.waiting, due.files)
                uri = join_uri(self._root, PENDING, partition.path, name)
                self._store.write(uri, tables.to_parquet(tables.halves_table(joined.waiting)))
            lost.update("NoResponse" if half.role == "request" else "NoRequest" for half in joined.orphans)
            yield from joined.pairs

    def _narrowed(
        self, shards: list[plans.Shard], new: Iterable[Half], inputs: Iterable[Listed], lost: Counter[str]
    ) -> tuple[plans.Shard, list[Half]]:
        """The last of the shards and its halves; of one that is more than memory holds, a part: the others stay.

        Only what has few ids, used again and again, cannot be parted: of that, what finds no other half is left out.
        """
        shard = whole = shards.pop()
        files = [file for file in inputs if (found := plans.waiting_in(file)) and found.shard.meets(whole)]
        halves = [half for half in new if shard.holds(half)]
        for found in self._read(files, lambda table: tables.halves_of(table, *whole)):
            halves += (half for half in found if shard.holds(half))
            while weight_of(halves) > 2 * plans.MOST and (parts := shard.split()):
                shard, other = parts
                shards.append(other)
                halves = [half for half in halves if shard.holds(half)]
            if weight_of(halves) > 2 * plans.MOST:
                halves, count = fewer(halves, 2 * plans.MOST)
                lost["TooMany"] += count
        return shard, halves

    def _read(self, inputs: Iterable[Listed], understand: Callable[[Any], Any]) -> Iterator[Any]:
        """What the files hold, one after the other; one that nobody can read is put aside.

        Raises:
            Overtaken: one of them is gone.
        """
        for file in inputs:
            if file.uri in self._damaged:
                continue
            try:
                data = self._store.read(file.uri)
            except Gone as error:
                raise Overtaken(file.uri) from error
            try:
                found = understand(tables.from_parquet(data))
            except ValueError as error:
                aside = join_uri(self._root, plans.DAMAGED, PurePosixPath(file.uri).name)
                log.warning("damaged file", extra={"fields": {"uri": file.uri, "now": aside, "error": str(error)}})
                self._store.write(aside, data)
                self._damaged.add(file.uri)
                metrics.DROPPED.labels("Damaged").inc()
            else:
                yield found


def _is_new(file: Listed) -> bool:
    return plans.waiting_in(file) is None
