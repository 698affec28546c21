"""What the collector must reach, against a real object store; needs no cluster.

    python -m hack.bench.collector [kills] [outage] [memory] [--kills 50] [--away 60] [--events 1000000]

1. SIGKILL at random moments under 500 events a second: how many acknowledged predictions are lost, how many are twice.
2. The object store away for a while under 50 events a second: how many are lost, and how soon after all are in the log.
3. Resident memory over a million events, sent as fast as they are acknowledged, and how long each waits. One request
   in twenty has no response: its prediction failed.

Ends with 1 where a prediction that was acknowledged is lost, or is twice: for a reader, or in the files once their day
is merged; and where memory goes on rising after the first quarter of the events.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hack.bench.bounds import Bound, judged
from hack.bench.collecting import (
    CollectorProcess,
    ObjectStore,
    Sender,
    Sent,
    collectors,
    count_log,
    end_day,
    headers,
    read_log,
    response_body,
    settled,
    store_model,
    wait_for,
    wait_for_rest,
)

from churn_operator.api import inference_log as layout

EVENTS_PER_SECOND = 500
CONNECTIONS = 256
SLOPE = 50
"""MiB per million events: what waits for its other half is joined in shards, and those of 64 MiB are full at last."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=["kills", "outage", "memory"])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--away", type=float, default=60, help="seconds that the object store is away")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--unanswered", type=float, default=0.05, help="share of requests without a response")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    good = True
    for part in options.parts:
        with tempfile.TemporaryDirectory() as scratch:
            store = ObjectStore(Path(scratch) / "store")
            try:
                store.start()
                match part:
                    case "kills":
                        good &= kills(store, Path(scratch), options.kills, options.seed)
                    case "outage":
                        good &= outage(store, Path(scratch), options.away, store.stop, store.start).whole
                    case _:
                        good &= memory(store, Path(scratch), options.events, options.unanswered)
            finally:
                store.stop()
    return 0 if good else 1


def kills(store: ObjectStore, folder: Path, count: int, seed: int) -> bool:
    """Kill one of two collectors again and again; the other may be killed as well."""
    since = datetime.now(UTC) - timedelta(hours=1)
    with collectors(store, folder, 2) as both:
        sender = Sender([one.url for one in both], store_model(store), seed)
        asyncio.run(_send_and_kill(sender, both, count, random.Random(seed)))  # noqa: S311 - no secret hangs on it
        wait_for_rest(store, both)
    print(f"{count} kills under {EVENTS_PER_SECOND} events a second: answers {dict(sender.sent.answers)}")
    return _tell(sender, store, folder, since)


@dataclass(frozen=True)
class Outage:
    """What two collectors came to while their object store failed, and after."""

    sent: Sent
    kept: int
    """Bytes on both disks, when the store was back."""
    grown: float
    """MiB by which memory had grown by then from the middle of the outage on, of the one that took more."""
    seconds: float
    """From then until all was joined."""
    whole: bool
    """Whether nothing was lost, and nothing is there twice."""


def outage(
    store: ObjectStore, folder: Path, away: float, fail: Callable[[], object], heal: Callable[[], object]
) -> Outage:
    """The store fails under 50 events a second, and is back."""
    since = datetime.now(UTC) - timedelta(hours=1)
    with collectors(store, folder, 2) as both:
        sender = Sender([one.url for one in both], store_model(store))
        asyncio.run(sender.warm_up())
        fail()
        asyncio.run(sender.send(50, away / 2))
        before = [one.resident_mebibytes() for one in both]
        asyncio.run(sender.send(50, away / 2))
        grown = max(one.resident_mebibytes() - size for one, size in zip(both, before, strict=True))
        attempts = sum(one.log.read_text().count('"work": "flush"') for one in both)
        kept = sum(path.stat().st_size for one in both for path in (one.folder / "buffer/events").iterdir())
        heal()
        began = time.monotonic()
        wait_for(lambda: settled(store, both), "all to be joined", 300)
        seconds = time.monotonic() - began
        wait_for_rest(store, both)
    print(f"The object store failed for {away:.0f} s under 50 events a second: answers {dict(sender.sent.answers)}")
    print(f"  {kept / 2**20:.1f} MiB on two disks, {attempts} attempts to write; all joined {seconds:.0f} s after")
    print(f"  resident memory grew by {grown:+.1f} MiB over the second half")
    return Outage(sender.sent, kept, grown, seconds, _tell(sender, store, folder, since))


def _tell(sender: Sender, store: ObjectStore, folder: Path, since: datetime) -> bool:
    """Whether nothing is lost or twice."""
    until = datetime.now(UTC) + timedelta(hours=1)
    log = read_log(store, since, until)
    for day in layout.days(since, until):
        end_day(store, folder, day)
    merged = read_log(store, since, until)
    found = [row["feature.monthly_charges"] for row in log.rows]
    whole = {number for number, halves in sender.sent.acknowledged.items() if halves == 2}
    lost, twice = len(whole - set(found)), len(found) - len(set(found))
    print(f"  {len(whole)} predictions acknowledged in both halves, {lost} of them lost")
    print(f"  {len(found)} for readers, {twice} of them twice")
    for when, state in (("at rest", log), ("once the day is merged", merged)):
        print(f"  {state.written} rows in {state.files} files {when}, {state.repeated} of them twice")
    return not lost and not twice and not merged.repeated and merged.rows == log.rows


async def _send_and_kill(sender: Sender, both: list[CollectorProcess], count: int, chance: random.Random) -> None:
    sending = asyncio.create_task(sender.send(EVENTS_PER_SECOND, 3600))
    for _ in range(count):
        one = chance.choice(both)
        await asyncio.sleep(chance.uniform(0.1, 4))
        one.kill()
        await asyncio.to_thread(one.start)
    sender.stopped = True
    await sending


def memory(store: ObjectStore, folder: Path, events: int, unanswered: float) -> bool:
    """One collector, flushing and joining all the while; whether each answered request is in the log."""
    since = datetime.now(UTC) - timedelta(hours=1)
    settings = {"flush_seconds": 2, "settle_seconds": 5, "compact_seconds": 2, "orphan_seconds": 86400}
    with collectors(store, folder, **settings) as (one,):
        flood = Flood(one, store_model(store), events, unanswered)
        asyncio.run(Sender([one.url], flood.uri).warm_up())
        began = time.perf_counter()
        asyncio.run(flood.run())
        seconds = time.perf_counter() - began
        wait_for(lambda: settled(store, [one]), "all to be joined", 900)
        rows = count_log(store, since, datetime.now(UTC) + timedelta(hours=1))
    quantiles, sent = statistics.quantiles(flood.waits, n=100), len(flood.waits)
    print(f"{sent} events over {CONNECTIONS} connections, acknowledged at {sent / seconds:.0f} a second")
    print(f"  {flood.refused} times the answer was 503, and the event was sent again")
    print(f"  each waited {quantiles[49] * 1000:.1f} ms at p50, {quantiles[98] * 1000:.1f} ms at p99")
    print(f"  {flood.answered} requests had a response, {sent - 2 * flood.answered} had none")
    print(f"  {rows} rows in the log")
    print("  resident MiB: " + ", ".join(f"{size:.0f} at {at // 1000}k" for at, size in flood.samples))
    slope = slope_of(flood.samples)
    print(f"  after the first quarter: {slope:+.1f} MiB per million events")
    return not judged(
        Bound("answered requests that are in the log", rows, least=flood.answered, most=flood.answered),
        Bound("MiB per million events, after the first quarter", slope, most=SLOPE),
    )


def slope_of(samples: Sequence[tuple[int, float]]) -> float:
    """MiB per million events, after the first quarter of them: memory after so many.

    A round of joining takes and gives back 20 MiB or so: over fewer looks the line through them tells their luck.
    """
    late = samples[len(samples) // 4 :]
    return statistics.linear_regression([at for at, _ in late], [size for _, size in late]).slope * 1e6


class Flood:
    """Connections that each send the next event when the last one was acknowledged, and what came of it."""

    def __init__(self, one: CollectorProcess, uri: str, events: int, unanswered: float) -> None:
        self._one = one
        self.uri = uri
        self._unanswered = unanswered
        self._random = random.Random(7)  # noqa: S311 - no secret hangs on it
        self._numbers = iter(range(round(events / (2 - unanswered))))
        self._step = max(1, events // 40)
        self.waits: list[float] = []
        self.samples: list[tuple[int, float]] = []
        """Resident memory after so many events."""
        self.refused = 0
        self.answered = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._connection() for _ in range(CONNECTIONS)))

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._one.port)
        for number in self._numbers:
            request, response = _messages(self.uri, number)
            await self._send(reader, writer, request)
            if self._random.random() >= self._unanswered:
                await self._send(reader, writer, response)
                self.answered += 1
        writer.close()
        await writer.wait_closed()

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> None:
        asked = time.perf_counter()
        while not await _post(reader, writer, message):
            self.refused += 1
        self.waits.append(time.perf_counter() - asked)
        if len(self.waits) % self._step == 0:
            self.samples.append((len(self.waits), self._one.resident_mebibytes()))


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> bool:
    """Whether the event was acknowledged; 503 is the only other answer."""
    writer.write(message)
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    await reader.readexactly(int(head.partition("Content-Length: ")[2].partition("\r")[0]))
    status = head.split()[1]
    if status not in ("200", "503"):
        raise RuntimeError(head)
    return status == "200"


def _messages(uri: str, number: int) -> tuple[bytes, bytes]:
    """A prediction's two events, as HTTP."""
    row = {"customer": f"c{number}", "tenure": number % 72, "monthly_charges": float(number), "plan": "basic"}
    call = str(uuid.uuid4())
    return (
        _message(headers("request", call, uri), json.dumps({"instances": [row]}).encode()),
        _message(headers("response", call, uri), response_body(0.5)),
    )


def _message(said: dict[str, str], body: bytes) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())
    return f"POST / HTTP/1.1\r\nHost: collector\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


if __name__ == "__main__":
    sys.exit(main())
