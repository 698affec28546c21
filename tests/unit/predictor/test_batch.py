"""Batches: who waits for whom, and who hears of what."""

import asyncio

import pytest
from support import fake_time

from churn_operator.predictor.batch import Batcher
from churn_operator.predictor.request import Rows

SOON = 0.02
NEVER = 60.0


class Model:
    """Answers each row with its own number, and keeps the sizes of its calls."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.broken = False

    def score(self, rows: Rows) -> list[float]:
        if self.broken:
            raise MemoryError
        assert len(rows.numbers) == len(rows.categories)
        return [number for (number,) in rows.numbers]

    def batcher(self, max_rows: int, seconds: float) -> Batcher:
        return Batcher(self.score, max_rows=max_rows, seconds=seconds, count=self.calls.append)


def rows(*numbers: float) -> Rows:
    return Rows([[number] for number in numbers], [["gold"] for _ in numbers])


async def test_a_full_batch_is_scored_at_once_and_each_request_gets_its_own_rows() -> None:
    model = Model()
    batcher = model.batcher(4, NEVER)
    answers = await asyncio.gather(batcher.score(rows(1)), batcher.score(rows(2, 3)), batcher.score(rows(4)))
    assert list(answers) == [[1], [2, 3], [4]]
    assert model.calls == [4]


async def test_a_batch_that_does_not_fill_is_scored_when_its_time_is_over() -> None:
    model = Model()
    batcher = model.batcher(4, SOON)
    assert list(await asyncio.gather(batcher.score(rows(1)), batcher.score(rows(2)))) == [[1], [2]]
    assert await batcher.score(rows(3)) == [3]
    assert model.calls == [2, 1]


async def test_a_request_that_does_not_fit_waits_for_the_next_batch() -> None:
    model = Model()
    batcher = model.batcher(4, SOON)
    answers = await asyncio.gather(
        batcher.score(rows(1, 2, 3)), batcher.score(rows(4, 5)), batcher.score(rows(*range(9)))
    )
    assert list(answers) == [[1, 2, 3], [4, 5], list(range(9))]
    assert model.calls == [3, 2, 9]


async def test_a_client_that_has_gone_is_left_out_and_the_others_are_answered() -> None:
    model = Model()
    batcher = model.batcher(3, NEVER)
    gone = asyncio.ensure_future(batcher.score(rows(1)))
    stays = asyncio.ensure_future(batcher.score(rows(2)))
    await asyncio.sleep(0)
    gone.cancel()
    assert await batcher.score(rows(3)) == [3]
    assert await stays == [2]
    assert model.calls == [2]


async def test_when_the_model_fails_each_request_hears_of_it_and_the_next_batch_is_scored() -> None:
    model = Model()
    model.broken = True
    batcher = model.batcher(2, NEVER)
    failed = await asyncio.gather(batcher.score(rows(1)), batcher.score(rows(2)), return_exceptions=True)
    assert [type(each) for each in failed] == [MemoryError, MemoryError]
    model.broken = False
    assert list(await asyncio.gather(batcher.score(rows(3)), batcher.score(rows(4)))) == [[3], [4]]


@pytest.mark.parametrize("seconds", [0.0, SOON])
async def test_nobody_is_forgotten_whatever_the_sizes(seconds: float) -> None:
    batcher = Model().batcher(7, seconds)
    sizes = [1 + (7 * k) % 11 for k in range(200)]
    asked = [rows(*range(k, k + size)) for k, size in enumerate(sizes)]
    answers = await asyncio.gather(*map(batcher.score, asked))
    assert answers == [list(range(k, k + size)) for k, size in enumerate(sizes)]


def test_a_batch_waits_its_own_time_and_not_the_rest_of_the_one_before() -> None:
    async def waited() -> float:
        batcher, loop = Model().batcher(2, 1.0), asyncio.get_running_loop()
        first = asyncio.ensure_future(batcher.score(rows(1)))
        await asyncio.wait([first], timeout=0.75)
        await asyncio.gather(first, batcher.score(rows(2)))
        began = loop.time()
        await batcher.score(rows(3))
        return loop.time() - began

    assert fake_time.run(waited()) == pytest.approx(1.0)
