"""A neighbour that fails is left alone for a while, under a clock that jumps."""

import asyncio

import pytest
from support.fake_time import run

from churn_operator.core.errors import Obstacle, TrackingUnavailable, Unavailable, WriteRefused
from churn_operator.core.outage import LONGEST_PAUSE, Outages


class Neighbour:
    """Notes when it is asked, and fails as it is told to."""

    def __init__(self) -> None:
        self.error: Obstacle | None = None
        self.asked: list[float] = []
        self.slowness = 0.0

    async def __call__(self) -> str:
        self.asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.slowness)
        if self.error is not None:
            raise self.error
        return "an answer"


def outages() -> Outages:
    return Outages(Unavailable, jitter=lambda _, high: high)


async def ask_each_second(known: Outages, neighbour: Neighbour, seconds: int, name: str = "a") -> list[str]:
    """What is heard by somebody who asks every second."""
    heard = []
    for _ in range(seconds):
        try:
            heard.append(await known.ask(name, neighbour))
        except Obstacle as error:
            heard.append(str(error))
        await asyncio.sleep(1)
    return heard


def test_one_that_fails_is_asked_after_growing_pauses_and_everybody_hears_the_last_failure() -> None:
    neighbour = Neighbour()
    neighbour.error = TrackingUnavailable("away")
    heard = run(ask_each_second(outages(), neighbour, 130))
    assert set(heard) == {"away"}
    assert neighbour.asked == [0, 1, 3, 7, 15, 31, 63, 63 + LONGEST_PAUSE]


def test_one_who_needs_the_answer_waits_for_it_and_a_refusal_is_one() -> None:
    async def main() -> None:
        known, neighbour = outages(), Neighbour()
        neighbour.error = Unavailable("away")
        waiting = asyncio.create_task(known.outlast("a", neighbour))
        await asyncio.sleep(20)
        assert neighbour.asked == [0, 1, 3, 7, 15]
        neighbour.error = None
        assert await waiting == "an answer"
        assert neighbour.asked[-1] == 31
        neighbour.error = WriteRefused("no such version")
        with pytest.raises(WriteRefused):
            await known.outlast("a", neighbour)

    run(main())


def test_once_it_answers_it_is_asked_as_before() -> None:
    async def main() -> None:
        known, neighbour = outages(), Neighbour()
        neighbour.error = Unavailable("away")
        await ask_each_second(known, neighbour, 3)
        neighbour.error = None
        assert await ask_each_second(known, neighbour, 4) == ["an answer"] * 4
        neighbour.error = Unavailable("away again")
        neighbour.asked.clear()
        await ask_each_second(known, neighbour, 3)
        assert [later - neighbour.asked[0] for later in neighbour.asked] == [0, 1]

    run(main())


def test_when_a_pause_is_over_one_asks_and_the_others_do_not() -> None:
    async def main() -> None:
        known, neighbour = outages(), Neighbour()
        neighbour.error = Unavailable("away")
        await ask_each_second(known, neighbour, 1)
        neighbour.asked.clear()
        neighbour.slowness = 5
        await asyncio.gather(*(ask_each_second(known, neighbour, 1) for _ in range(100)))
        assert len(neighbour.asked) == 1

    run(main())


@pytest.mark.parametrize(
    ("wish", "second"),
    [
        pytest.param("20", 20, id="in seconds"),
        pytest.param("1000000", 600, id="but not for days"),
        pytest.param("Wed, 21 Oct 2026 07:28:00 GMT", 1, id="not as a date"),
        pytest.param("-1", 1, id="not in the past"),
    ],
)
def test_it_is_left_alone_for_as_long_as_it_asks(wish: str, second: float) -> None:
    neighbour = Neighbour()
    neighbour.error = Unavailable("busy").wanting({"Retry-After": wish})
    run(ask_each_second(outages(), neighbour, 620))
    assert neighbour.asked[1] == second


def test_a_refusal_is_an_answer_and_another_neighbour_another_matter() -> None:
    async def main() -> None:
        known, neighbour, other = outages(), Neighbour(), Neighbour()
        neighbour.error = WriteRefused("no such version")
        assert await ask_each_second(known, neighbour, 2) == ["no such version"] * 2
        assert len(neighbour.asked) == 2
        neighbour.error = Unavailable("away")
        await ask_each_second(known, neighbour, 1)
        assert await ask_each_second(known, other, 1, "b") == ["an answer"]

    run(main())


def test_one_who_gives_up_asking_leaves_the_next_to_ask() -> None:
    async def main() -> None:
        known, neighbour = outages(), Neighbour()
        neighbour.error = Unavailable("away")
        await ask_each_second(known, neighbour, 1)
        neighbour.error, neighbour.slowness = None, 1e9
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await known.ask("a", neighbour)
        neighbour.slowness = 0
        assert (await ask_each_second(known, neighbour, 16))[-1] == "an answer"

    run(main())
