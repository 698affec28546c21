"""Halves of predictions: how they are written down, and which belong together. Pure.

A half goes through the disk buffer and `pending/` as it is; only two that belong together become rows of the log.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from churn_operator.api.inference_log import Partition
from churn_operator.collector.event import Event
from churn_operator.collector.rows import Answer, Column, Row

T = TypeVar("T")


class Half(NamedTuple):
    """A request or a response, with nothing in it that must not be kept. Times are microseconds since 1970."""

    role: str
    """`request` or `response`."""
    call: str
    """What a request and its response have in common, and with them all others of the same id."""
    key: str
    """Its own: two with the same key are one that arrived twice."""
    stamp: int
    """When, by the agent's clock: what comes first."""
    time: int
    """The same, or by the store's clock where the agent's cannot be right: what is logged."""
    kind: str
    columns: str
    """A request's columns, as JSON; they are the same for all of a version."""
    body: str
    """Its rows or answers, as JSON."""
    size: int
    """How many these are."""
    since: int = 0
    """When it was first seen in the object store; 0 until then."""

    @property
    def weight(self) -> int:
        """How many bytes of memory it takes to work on it, about: Parquet of what repeats itself is far smaller."""
        return 1000 + len(self.columns) + 8 * len(self.body) + 300 * self.size


class Joined(NamedTuple):
    """What became of halves; each is in one of the lists."""

    pairs: list[tuple[Half, Half]]
    """Request and response."""
    waiting: list[Half]
    """The other half may still come."""
    orphans: list[Half]
    """It will not."""


def request_half(event: Event, body: bytes, columns: Sequence[Column], rows: Sequence[Row], time: datetime) -> Half:
    return _half(event, body, json.dumps(columns), rows, time)


def response_half(event: Event, body: bytes, answers: Sequence[Answer], time: datetime) -> Half:
    return _half(event, body, "", answers, time)


def _half(event: Event, body: bytes, columns: str, content: Sequence[Any], time: datetime) -> Half:
    return Half(
        role=event.role,
        call=event.call,
        key=event.key(body),
        stamp=micros(event.time),
        time=micros(time),
        kind=event.kind,
        columns=columns,
        body=json.dumps(content, ensure_ascii=False, separators=(",", ":")),
        size=len(content),
    )


def micros(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000)


def encode(partition: Partition, half: Half) -> bytes:
    """A record of the disk buffer."""
    return json.dumps([*partition, *half], ensure_ascii=False, separators=(",", ":")).encode()


def decode(record: bytes) -> tuple[Partition, Half]:
    """What `encode` was given.

    Raises:
        ValueError: it is no such record.
    """
    try:
        fields = json.loads(record)
        return Partition(*fields[:3]), Half(*fields[3:])
    except (TypeError, KeyError) as error:
        raise ValueError(f"no record of the buffer: {error}") from None


def batches(items: Iterable[T], weigh: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """The items in lists that weigh no more than that, if one alone does not."""
    batch: list[T] = []
    weight = 0
    for item in items:
        if batch and weight + weigh(item) > most:
            yield batch
            batch, weight = [], 0
        batch.append(item)
        weight += weigh(item)
    if batch:
        yield batch


def weight_of(halves: Iterable[Half]) -> int:
    return sum(half.weight for half in halves)


def fewer(halves: Iterable[Half], most: int) -> tuple[list[Half], int]:
    """All that belong together, and of the others the newest, which weigh no more than that; how many are left out."""
    joined = join(halves, expired=0)
    alone = sorted(joined.waiting, key=attrgetter("since"), reverse=True)
    kept = next(batches(alone, attrgetter("weight"), most), [])
    return [*(half for pair in joined.pairs for half in pair), *kept], len(alone) - len(kept)


def join(halves: Iterable[Half], expired: int) -> Joined:
    """Pairs requests with responses by the rule of `api.inference_log`; what waits since before `expired` is alone."""
    calls: dict[str, dict[str, Half]] = defaultdict(dict)
    for half in halves:
        same = calls[half.call].setdefault(half.key, half)
        if half.since < same.since:
            calls[half.call][half.key] = half
    joined = Joined([], [], [])
    for call in calls.values():
        pairs, alone = _pair(list(call.values()))
        joined.pairs.extend(pairs)
        for half in alone:
            (joined.orphans if half.since < expired else joined.waiting).append(half)
    return joined


def _pair(call: list[Half]) -> tuple[list[tuple[Half, Half]], list[Half]]:
    """The pairs among the halves of one id, and what is left."""
    if len(call) == 2:
        request, response = sorted(call, key=attrgetter("role"))
        if request.role != response.role and request.size == response.size:
            return [(request, response)], []
    unanswered: dict[int, list[Half]] = defaultdict(list)
    pairs, alone = [], []
    for half in sorted(call, key=attrgetter("stamp", "role", "key")):  # at the same time, a request comes first
        if half.role == "request":
            unanswered[half.size].append(half)
        elif before := unanswered[half.size]:
            pairs.append((before.pop(), half))
        else:
            alone.append(half)
    return pairs, [*(half for same in unanswered.values() for half in same), *alone]
