"""Which files of the object store become which: names are made of what goes in, so that no lock is needed. Pure.

Two replicas may do the same work: of the same files they make a file of the same name. What they make of different ones
may hold a row twice, which readers see through. Nothing is deleted before all that was in it lies elsewhere.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import PurePosixPath
from typing import NamedTuple

from churn_operator.api.inference_log import PENDING, SUFFIX, Partition, parse_key
from churn_operator.collector.event import digest
from churn_operator.collector.halves import Half, batches, micros, weight_of
from churn_operator.storage.files import Listed

MOST = 32 << 20
"""Bytes of memory that are worked on at once: new halves; one shard of all, or up to twice as much; rows of the log."""
FEW = 8
"""So many files of about one size are made one."""
_MOST_SHARDS = 4096
_UNKNOWN = 10
"""A file whose name does not tell its weight is taken to weigh so many times its size."""
_UNKNOWN_ROWS = 1000
"""The same for rows of the log, of which the most that was seen is three times that: they repeat themselves."""
DAMAGED = "damaged"
"""Below the log's root: files that nobody can read."""
_NEW = re.compile(r"new-(\d{12})-[0-9a-f]{32}" + re.escape(SUFFIX))
_WAITING = re.compile(r"waiting-(\d{16})-(\d{12})-([0-9a-f]{4})-([0-9a-f]{4})-[0-9a-f]{32}" + re.escape(SUFFIX))
_ROWS = re.compile(r"rows-(\d{12})-([0-9a-f]{32})-\d+" + re.escape(SUFFIX))
_PENDING_KEY = re.compile(PENDING + r"/namespace=([^/]+)/model=([^/]+)/version=([^/]+)/[^/]+" + re.escape(SUFFIX))


class Shard(NamedTuple):
    """A range of calls, by the first four hexadecimal digits: halves that belong together are in the same one."""

    first: str
    last: str

    def meets(self, other: "Shard") -> bool:
        return self.first <= other.last and other.first <= self.last

    def holds(self, half: Half) -> bool:
        return self.first <= half.call[:4] <= self.last

    def split(self) -> "tuple[Shard, Shard] | None":
        """Two that hold what it does; None where no shard is narrower."""
        first, last = int(self.first, 16), int(self.last, 16)
        middle = (first + last) // 2
        return (Shard(self.first, f"{middle:04x}"), Shard(f"{middle + 1:04x}", self.last)) if first < last else None


EVERYTHING = Shard("0000", "ffff")


class Due(NamedTuple):
    """What is to be joined now."""

    files: list[Listed]
    expired: int
    """What waits since before that is alone: the other half is in none of the files that are left for later."""


class Waiting(NamedTuple):
    """What the name of a file tells of halves that found no other one yet."""

    since: int
    """When the first of them came."""
    weight: int
    shard: Shard


def new_name(halves: Sequence[Half]) -> str:
    """Of a file of halves that come from a buffer."""
    return f"new-{weight_of(halves):012d}-{digest(*sorted(half.key for half in halves))}{SUFFIX}"


def waiting_name(shard: Shard, halves: Sequence[Half], inputs: Sequence[Listed]) -> str:
    """Of a file of halves that found no other one yet, made of these files."""
    since = min(half.since for half in halves)
    return f"waiting-{since:016d}-{weight_of(halves):012d}-{shard.first}-{shard.last}-{_inputs_digest(inputs)}{SUFFIX}"


def rows_name(number: int, weight: int, inputs: Sequence[Listed]) -> str:
    """Of the file of rows, of that weight, that is the nth made of these files."""
    return f"rows-{weight:012d}-{_inputs_digest(inputs)}-{number}{SUFFIX}"


def _inputs_digest(inputs: Sequence[Listed]) -> str:
    return digest(*sorted(PurePosixPath(file.uri).name for file in inputs))


def by_partition(root: str, files: Iterable[Listed]) -> Mapping[Partition, list[Listed]]:
    """The files of halves by the version they belong to; others are nobody's."""
    found: dict[Partition, list[Listed]] = defaultdict(list)
    for file in files:
        if match := _PENDING_KEY.fullmatch(file.uri.removeprefix(root + "/")):
            found[Partition(match[1], match[2], match[3])].append(file)
    return found


def to_join(files: Iterable[Listed], now: datetime, settle: timedelta, patience: timedelta) -> Due:
    """The files of one version whose halves are to be joined now; none where there is nothing to do.

    New ones wait until the other replicas must have written theirs too. Whatever waits is joined again when there is
    something new, when one shard of it has become many files, or when what it holds has waited long enough: before the
    oldest file that is left for later, however long that has been there.
    """
    waiting: list[Listed] = []
    new: list[Listed] = []
    for file in sorted(files, key=lambda file: (file.modified, file.uri)):
        (waiting if waiting_in(file) else new).append(file)
    settled = [file for file in new if file.modified <= now - settle]
    batch = next(batches(settled, weight, MOST), [])
    expired = micros(min([now, *(file.modified for file in new[len(batch) :])]) - patience)
    told = [found for file in waiting if (found := waiting_in(file))]
    many = max(Counter(found.shard for found in told).values(), default=0) >= FEW
    has_expired = any(found.since < expired for found in told)
    return Due([*waiting, *batch] if batch or many or has_expired else [], expired)


def waiting_in(file: Listed) -> Waiting | None:
    """What the file's name tells; None where it is a file of new halves."""
    match = _WAITING.fullmatch(PurePosixPath(file.uri).name)
    return Waiting(int(match[1]), int(match[2]), Shard(match[3], match[4])) if match else None


def weight(file: Listed) -> int:
    """How much the halves of a file weigh."""
    if found := waiting_in(file):
        return found.weight
    match = _NEW.fullmatch(PurePosixPath(file.uri).name)
    return int(match[1]) if match else _UNKNOWN * file.size


def shards(inputs: Iterable[Listed]) -> list[Shard]:
    """What is worked on one after the other, so that each time there is about as much as memory holds."""
    total, count = sum(map(weight, inputs)), 1
    while count * MOST < total and count < _MOST_SHARDS:
        count *= 2
    step = 0x10000 // count
    return [Shard(f"{start:04x}", f"{start + step - 1:04x}") for start in range(0, 0x10000, step)]


def turn(replica: str, partition: Partition) -> float:
    """How much later than others a replica begins with a version, from 0 to 1: each is first with some of them.

    So the others mostly find the work done; where the first one is away, the next one does it.
    """
    return int(digest(replica, *partition)[:8], 16) / 0xFFFFFFFF


def to_merge(files: Iterable[Listed], *, over: bool) -> list[Listed]:
    """The files of one day that are to become few: all, when it is over, as any two may hold the same row.

    But those that were made of the same files: of them, no two do.
    """
    found = sorted((file for file in files if file.uri.endswith(SUFFIX)), key=lambda file: file.uri)
    if over:
        return found if len(set(map(_made_of, found))) > 1 else []
    tiers: dict[int, list[Listed]] = defaultdict(list)
    for file in found:
        if rows_weight(file) < MOST // 2:
            tiers[rows_weight(file).bit_length() // 3].append(file)
    for _, tier in sorted(tiers.items()):
        if len(tier) >= FEW:
            return next(batches(tier, rows_weight, MOST))
    return []


def _made_of(file: Listed) -> str:
    """Which files it was made of; another for each file whose name does not tell."""
    name = PurePosixPath(file.uri).name
    match = _ROWS.fullmatch(name)
    return match[2] if match else name


def rows_weight(file: Listed) -> int:
    """How much the rows of a file weigh."""
    match = _ROWS.fullmatch(PurePosixPath(file.uri).name)
    return int(match[1]) if match else _UNKNOWN_ROWS * file.size


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
