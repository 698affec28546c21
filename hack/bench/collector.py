"""What the collector must reach, against a real object store; needs no cluster.

    python -m hack.bench.collector [kills] [outage] [memory] [--kills 50] [--away 60] [--events 1000000]

1. SIGKILL at random moments under 500 events a second: how many acknowledged predictions are lost, how many are twice.
2. The object store away for a while under 50 events a second: how many are lost, and how soon after all are in the log.
3. Resident memory over a million events, sent as fast as they are acknowledged, and how long each waits.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hack.bench.collecting import (
    CollectorProcess,
    Log,
    ObjectStore,
    Sender,
    collectors,
    headers,
    read_log,
    response_body,
    settled,
    store_model,
    wait_for,
)

EVENTS_PER_SECOND = 500
CONNECTIONS = 256


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=["kills", "outage", "memory"])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--away", type=float, default=60, help="seconds that the object store is away")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    for part in options.parts:
        with tempfile.TemporaryDirectory() as scratch:
            store = ObjectStore(Path(scratch) / "store")
            try:
                store.start()
                match part:
                    case "kills":
                        kills(store, Path(scratch), options.kills, options.seed)
                    case "outage":
                        outage(store, Path(scratch), options.away)
                    case _:
                        memory(store, Path(scratch), options.events)
            finally:
                store.stop()


def kills(store: ObjectStore, folder: Path, count: int, seed: int) -> None:
    """Kill one of two collectors again and again; the other may be killed as well."""
    since = datetime.now(UTC) - timedelta(hours=1)
    with collectors(store, folder, 2) as both:
        sender = Sender([one.url for one in both], store_model(store), seed)
        asyncio.run(_send_and_kill(sender, both, count, random.Random(seed)))  # noqa: S311 - no secret hangs on it
        wait_for(lambda: settled(store, both), "all to be joined", 300)
        log = read_log(store, since, datetime.now(UTC) + timedelta(hours=1))
    print(f"{count} kills under {EVENTS_PER_SECOND} events a second: answers {dict(sender.sent.answers)}")
    _tell(sender, log)


def outage(store: ObjectStore, folder: Path, away: float) -> None:
    """The store goes and comes again."""
    since = datetime.now(UTC) - timedelta(hours=1)
    with collectors(store, folder, 2) as both:
        sender = Sender([one.url for one in both], store_model(store))
        asyncio.run(sender.warm_up())
        store.stop()
        asyncio.run(sender.send(50, away))
        kept = sum(path.stat().st_size for one in both for path in (one.folder / "buffer/events").iterdir())
        attempts = sum(one.log.read_text().count('"work": "flush"') for one in both)
        store.start()
        began = time.monotonic()
        wait_for(lambda: settled(store, both), "all to be joined", 300)
        seconds = time.monotonic() - began
        log = read_log(store, since, datetime.now(UTC) + timedelta(hours=1))
    print(f"The object store away for {away:.0f} s under 50 events a second: answers {dict(sender.sent.answers)}")
    print(f"  {kept / 2**20:.1f} MiB on two disks, {attempts} attempts to write; all joined {seconds:.0f} s after")
    _tell(sender, log)


def _tell(sender: Sender, log: Log) -> None:
    found = [row["feature.monthly_charges"] for row in log.rows]
    whole = {number for number, halves in sender.sent.acknowledged.items() if halves == 2}
    print(
        f"  {len(whole)} predictions acknowledged in both halves, {len(whole - set(found))} of them lost; "
        f"{len(found)} in the log, {len(found) - len(set(found))} twice"
    )
    print(f"  rows written {log.written} in {log.files} files, of which readers leave out {log.written - len(found)}")


async def _send_and_kill(sender: Sender, both: list[CollectorProcess], count: int, chance: random.Random) -> None:
    sending = asyncio.create_task(sender.send(EVENTS_PER_SECOND, 3600))
    for _ in range(count):
        one = chance.choice(both)
        await asyncio.sleep(chance.uniform(0.1, 4))
        one.kill()
        await asyncio.to_thread(one.start)
    sender.stopped = True
    await sending


def memory(store: ObjectStore, folder: Path, events: int) -> None:
    """One collector, flushing and joining all the while."""
    since = datetime.now(UTC) - timedelta(hours=1)
    settings = {"flush_seconds": 2, "settle_seconds": 5, "compact_seconds": 2, "orphan_seconds": 86400}
    with collectors(store, folder, **settings) as (one,):
        uri = store_model(store)
        waits: list[float] = []
        samples: list[tuple[int, float]] = []
        began = time.perf_counter()
        asyncio.run(Sender([one.url], uri).warm_up())
        refused = asyncio.run(_flood(one, uri, events, waits, samples))
        seconds = time.perf_counter() - began
        wait_for(lambda: settled(store, [one]), "all to be joined", 900)
        rows = len(read_log(store, since, datetime.now(UTC) + timedelta(hours=1)).rows) if events <= 100_000 else None
    quantiles = statistics.quantiles(waits, n=100)
    print(f"{events} events over {CONNECTIONS} connections, acknowledged at {events / seconds:.0f} a second")
    print(f"  {refused} times the answer was 503, and the event was sent again")
    print(f"  each waited {quantiles[49] * 1000:.1f} ms at p50, {quantiles[98] * 1000:.1f} ms at p99")
    if rows is not None:
        print(f"  {rows} rows in the log")
    print("  resident MiB: " + ", ".join(f"{size:.0f} at {sent // 1000}k" for sent, size in samples))
    late = samples[len(samples) // 4 :]
    slope = statistics.linear_regression([sent for sent, _ in late], [size for _, size in late]).slope * 1e6
    print(f"  after the first quarter: {slope:+.1f} MiB per million events")


async def _flood(
    one: CollectorProcess, uri: str, events: int, waits: list[float], samples: list[tuple[int, float]]
) -> int:
    """Each connection sends the next event when the last one was acknowledged; how often 503 was the answer."""
    numbers = iter(range(events // 2))
    step = max(1, events // 40)
    refused = [0]

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        for number in numbers:
            for message in _messages(uri, number):
                asked = time.perf_counter()
                while not await _post(reader, writer, message):
                    refused[0] += 1
                waits.append(time.perf_counter() - asked)
                if len(waits) % step == 0:
                    samples.append((len(waits), one.resident_mebibytes()))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return refused[0]


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
    main()
