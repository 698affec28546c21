"""The work queue, under a clock that jumps."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from support.fake_time import run

from churn_operator.core.errors import Unavailable
from churn_operator.core.objects import Key
from churn_operator.core.queue import FIRST_PAUSE, LONGEST_PAUSE, Queue

A, B = Key("ChurnModel", "team", "a"), Key("ChurnModel", "team", "b")
Work = Callable[[Key], Awaitable[timedelta | None]]


def longest(_: float, high: float) -> float:
    return high


def test_a_neighbours_wish_to_be_left_alone_comes_first() -> None:
    seen: list[float] = []

    async def work(key: Key) -> None:  # noqa: ARG001 - the interface
        seen.append(now())
        raise Unavailable("busy").wanting({"Retry-After": "5"})

    run(work_until(12, work, add(A)))
    assert seen == pytest.approx([0, 5 + FIRST_PAUSE, 10 + 3 * FIRST_PAUSE])


def now() -> float:
    return asyncio.get_running_loop().time()


def begun() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def work_until(seconds: float, work: Work, *steps: Callable[[Queue], Awaitable[None]], workers: int = 2) -> Queue:
    """Run a queue for this long, with the steps beside it."""
    queue = Queue(work, workers, jitter=longest)
    running = asyncio.create_task(queue.run(begun()))
    await asyncio.gather(*(step(queue) for step in steps))
    await asyncio.sleep(seconds - now())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return queue


def add(*keys: Key, at: float = 0) -> Callable[[Queue], Awaitable[None]]:
    async def step(queue: Queue) -> None:
        await asyncio.sleep(at)
        for key in keys:
            queue.add(key)

    return step


def test_a_key_that_is_added_often_while_it_waits_is_worked_once() -> None:
    seen: list[Key] = []

    async def work(key: Key) -> None:
        seen.append(key)

    run(work_until(10, work, add(A, A, B, A)))
    assert seen == [A, B]


def cold(*keys: Key, at: float = 0) -> Callable[[Queue], Awaitable[None]]:
    async def step(queue: Queue) -> None:
        await asyncio.sleep(at)
        for key in keys:
            queue.add(key, backlog=True)

    return step


def numbered(prefix: str, number: int) -> list[Key]:
    return [Key("ChurnModel", "team", f"{prefix}{index}") for index in range(number)]


def test_a_change_goes_before_the_backlog_also_of_a_key_that_waits_in_it() -> None:
    seen: list[Key] = []

    async def work(key: Key) -> None:
        await asyncio.sleep(1)
        seen.append(key)

    backlog = numbered("cold", 20)
    run(work_until(100, work, cold(*backlog), add(A, backlog[15], at=2.5), workers=1))
    assert seen[:5] == [*backlog[:3], A, backlog[15]]
    assert sorted(seen) == sorted([*backlog, A])


def test_the_backlog_does_not_starve() -> None:
    seen: list[Key] = []

    async def work(key: Key) -> None:
        seen.append(key)

    run(work_until(100, work, cold(B), add(*numbered("fresh", 20)), workers=1))
    assert len(seen) == 21
    assert seen.index(B) < 8


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        pytest.param(1, 1, id="the only worker does both"),
        pytest.param(3, 1, id="a third of them"),
        pytest.param(32, 11, id="whatever remains counts as one"),
    ],
)
def test_a_few_workers_take_from_the_backlog_and_the_others_wait_for_changes(workers: int, expected: int) -> None:
    starts: dict[Key, float] = {}

    async def work(key: Key) -> None:
        starts[key] = now()
        await asyncio.sleep(10)

    fresh = numbered("fresh", workers - expected)
    run(work_until(100, work, cold(*numbered("cold", 40)), add(*fresh, at=1), workers=workers))
    assert sum(start == 0 for start in starts.values()) == expected
    assert [starts[key] for key in fresh] == [1] * len(fresh)


def test_wishes_that_were_overtaken_do_not_pile_up() -> None:
    async def work(_: Key) -> timedelta:
        return timedelta(hours=24)

    async def knock(queue: Queue) -> None:
        for _ in range(5000):
            queue.add(A)
            await asyncio.sleep(0.01)

    queue = run(work_until(60, work, knock))
    assert len(queue._heap) < 100  # noqa: SLF001 - what it holds is what matters here


def test_a_key_is_never_worked_twice_at_once_and_an_event_meanwhile_runs_it_again() -> None:
    spans: list[tuple[float, float]] = []

    async def work(_: Key) -> None:
        start = now()
        await asyncio.sleep(5)
        spans.append((start, now()))

    run(work_until(100, work, add(A), add(A, at=1), add(A, at=2)))
    assert spans == [(0, 5), (5, 10)]


def test_different_keys_are_worked_at_once_up_to_the_number_of_workers() -> None:
    starts: list[float] = []

    async def work(_: Key) -> None:
        starts.append(now())
        await asyncio.sleep(5)

    keys = [Key("ChurnModel", "team", str(number)) for number in range(4)]
    run(work_until(100, work, add(*keys), workers=3))
    assert starts == [0, 0, 0, 5]


def test_a_key_is_looked_at_again_when_it_asked_for_it() -> None:
    times: list[float] = []

    async def work(_: Key) -> timedelta:
        times.append(now())
        return timedelta(seconds=10)

    run(work_until(35, work, add(A)))
    assert times == [0, 10, 20, 30]


def test_only_the_latest_wish_counts() -> None:
    times: list[float] = []
    wishes = iter([timedelta(seconds=10), timedelta(seconds=30), None])

    async def work(_: Key) -> timedelta | None:
        times.append(now())
        return next(wishes)

    run(work_until(100, work, add(A), add(A, at=4)))
    assert times == [0, 4, 34]


def test_a_sooner_wish_of_another_key_overtakes() -> None:
    seen: list[tuple[Key, float]] = []

    async def work(key: Key) -> timedelta | None:
        seen.append((key, now()))
        first = sum(1 for known, _ in seen if known == key) == 1
        return timedelta(seconds=20 if key == A else 5) if first else None

    run(work_until(100, work, add(A), add(B, at=1)))
    assert seen == [(A, 0), (B, 1), (B, 6), (A, 20)]


@pytest.mark.parametrize("error", [Unavailable("away"), ValueError("a bug")], ids=["expected", "unexpected"])
def test_pauses_grow_with_failures_up_to_the_longest_and_start_anew_after_a_success(error: Exception) -> None:
    times: list[float] = []

    async def work(_: Key) -> None:
        times.append(now())
        if len(times) != 12:
            raise error

    run(work_until(700, work, add(A), add(A, at=600)))
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    grown = [min(LONGEST_PAUSE, FIRST_PAUSE * 2**failures) for failures in range(11)]
    assert pauses[:11] == pytest.approx(grown)
    assert pauses[12] == pytest.approx(FIRST_PAUSE)


def test_a_pause_is_a_random_part_of_the_longest_one() -> None:
    asked: list[tuple[float, float]] = []

    def jitter(low: float, high: float) -> float:
        asked.append((low, high))
        return low

    async def work(_: Key) -> None:
        if len(asked) < 2:
            raise Unavailable("away")

    async def main() -> None:
        queue = Queue(work, 1, jitter=jitter)
        queue.add(A)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await queue.run(begun())

    run(main())
    assert asked == [(0, FIRST_PAUSE), (0, 2 * FIRST_PAUSE)]


def test_what_is_added_before_work_begins_waits_for_it() -> None:
    seen: list[float] = []

    async def work(_: Key) -> None:
        seen.append(now())

    async def main() -> None:
        queue, begin = Queue(work, 1), asyncio.Event()
        running = asyncio.create_task(queue.run(begin))
        queue.add(A)
        await asyncio.sleep(3)
        begin.set()
        await asyncio.sleep(1)
        running.cancel()

    run(main())
    assert seen == [3]


def test_an_event_ends_a_pause() -> None:
    times: list[float] = []

    async def work(_: Key) -> timedelta | None:
        times.append(now())
        if len(times) < 9:
            raise Unavailable("away")
        return None

    run(work_until(200, work, add(A), add(A, at=26)))
    assert 26 in times


def test_depth_and_stalling_tell_of_keys_that_nobody_finishes() -> None:
    readings: list[tuple[int, float]] = []

    async def work(_: Key) -> None:
        await asyncio.sleep(100)

    def read(at: float) -> Callable[[Queue], Awaitable[None]]:
        async def step(queue: Queue) -> None:
            await asyncio.sleep(at)
            readings.append((len(queue), queue.stalled))

        return step

    run(work_until(300, work, read(9), add(A, B, at=10), read(50), read(150), read(250), workers=1))
    assert readings == [(0, 0), (1, 40), (0, 40), (0, 0)]
