"""Which files of the object store become which: names are made of what goes in, so that no lock is needed. Pure.

Two replicas may do the same work: of the same files they make a file of the same name. What they make of different ones
may hold a row twice, which readers see through. Nothing is deleted before all that was in it lies elsewhere.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import PurePosixPath

from churn_operator.api.inference_log import PENDING, SUFFIX, Partition, parse_key
from churn_operator.collector.event import digest
from churn_operator.collector.halves import micros
from churn_operator.storage.files import Listed

BATCH_BYTES = 4 << 20
"""Of Parquet, that are worked on at once: some ten times as much in memory."""
FEW = 8
"""So many files of about one size are made one."""
DAMAGED = "damaged"
"""Below the log's root: files that nobody can read."""
_WAITING = re.compile(r"waiting-(\d{16})-[0-9a-f]{32}" + re.escape(SUFFIX))
_PENDING_KEY = re.compile(PENDING + r"/namespace=([^/]+)/model=([^/]+)/version=([^/]+)/[^/]+" + re.escape(SUFFIX))


def new_name(keys: Iterable[str]) -> str:
    """Of a file of halves that come from a buffer."""
    return f"new-{digest(*sorted(keys))}{SUFFIX}"


def waiting_name(since: int, inputs: Sequence[Listed]) -> str:
    """Of a file of halves that found no other one yet; `since` is when the first of them came."""
    return f"waiting-{since:016d}-{_inputs_digest(inputs)}{SUFFIX}"


def rows_name(number: int, inputs: Sequence[Listed]) -> str:
    """Of the file of rows that is the nth made of these files."""
    return f"{_inputs_digest(inputs)}-{number}{SUFFIX}"


def _inputs_digest(inputs: Sequence[Listed]) -> str:
    return digest(*sorted(PurePosixPath(file.uri).name for file in inputs))


def by_partition(root: str, files: Iterable[Listed]) -> Mapping[Partition, list[Listed]]:
    """The files of halves by the version they belong to; others are nobody's."""
    found: dict[Partition, list[Listed]] = defaultdict(list)
    for file in files:
        if match := _PENDING_KEY.fullmatch(file.uri.removeprefix(root + "/")):
            found[Partition(match[1], match[2], match[3])].append(file)
    return found


def to_join(files: Iterable[Listed], now: datetime, settle: timedelta, patience: timedelta) -> list[Listed]:
    """The files of one version whose halves are to be joined now; none where there is nothing to do.

    New ones wait until the other replicas must have written theirs too. Files of what waits are joined again when there
    is something new, when they have become many, or when what they hold has waited long enough.
    """
    waiting, new = [], []
    for file in sorted(files, key=lambda file: (file.modified, file.uri)):
        if _since(file) is not None:
            waiting.append(file)
        elif file.modified <= now - settle:
            new.append(file)
    oldest = min((since for file in waiting if (since := _since(file)) is not None), default=None)
    if not new and len(waiting) < FEW and (oldest is None or oldest >= micros(now - patience)):
        return []
    return [*_batch(waiting, BATCH_BYTES // 2), *_batch(new, BATCH_BYTES // 2)]


def turn(replica: str, partition: Partition) -> float:
    """How much later than others a replica begins with a version, from 0 to 1: each is first with some of them.

    So the others mostly find the work done; where the first one is away, the next one does it.
    """
    return int(digest(replica, *partition)[:8], 16) / 0xFFFFFFFF


def to_merge(files: Iterable[Listed], *, over: bool) -> list[Listed]:
    """The files of one day that are to become one; all small ones when the day is over."""
    tiers: dict[int, list[Listed]] = defaultdict(list)
    for file in sorted(files, key=lambda file: file.uri):
        if file.size < BATCH_BYTES // 2 and file.uri.endswith(SUFFIX):
            tiers[0 if over else file.size.bit_length() // 3].append(file)
    for _, tier in sorted(tiers.items()):
        if len(tier) >= (2 if over else FEW):
            return _batch(tier, BATCH_BYTES)
    return []


def by_day(root: str, files: Iterable[Listed]) -> Mapping[tuple[Partition, date], list[Listed]]:
    """The log's files by version and day."""
    found: dict[tuple[Partition, date], list[Listed]] = defaultdict(list)
    for file in files:
        if parsed := parse_key(file.uri.removeprefix(root + "/")):
            found[parsed[0], parsed[1]].append(file)
    return found


def to_delete(root: str, files: Iterable[Listed], now: datetime, retention: timedelta) -> list[Listed]:
    """The files whose day is over the retention."""
    last = (now - retention).date()
    found = []
    for file in files:
        key = file.uri.removeprefix(root + "/")
        parsed = parse_key(key)
        day = parsed[1] if parsed else file.modified.date() if key.startswith(DAMAGED + "/") else None
        if day is not None and day < last:
            found.append(file)
    return found


def _since(file: Listed) -> int | None:
    match = _WAITING.fullmatch(PurePosixPath(file.uri).name)
    return int(match[1]) if match else None


def _batch(files: Sequence[Listed], most: int) -> list[Listed]:
    """The first ones that are no more than so many bytes, and at least two."""
    chosen: list[Listed] = []
    size = 0
    for file in files:
        if len(chosen) >= 2 and size + file.size > most:
            break
        chosen.append(file)
        size += file.size
    return chosen
