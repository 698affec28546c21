"""What is on disk when somebody was told so; on a real one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from unit.collector.making import only

from churn_operator.collector.buffer import Buffer, NotKept


def buffer(folder: Path, limit: int = 1 << 20, segment_bytes: int = 1 << 20, seconds: float = 60) -> Buffer:
    return Buffer(folder, limit, segment_bytes, seconds)


@asynccontextmanager
async def running(one: Buffer) -> AsyncIterator[Buffer]:
    task = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def records(one: Buffer) -> list[bytes]:
    return [record for segment in one.sealed() for record in segment.records()]


async def test_a_record_that_was_taken_is_there_after_a_crash(tmp_path: Path) -> None:
    async with running(buffer(tmp_path)) as one:
        await one.append(b"first")
        await one.append(b"second")
    assert records(buffer(tmp_path)) == [b"first", b"second"]


async def test_those_who_come_together_share_a_sync(tmp_path: Path) -> None:
    async with running(buffer(tmp_path)) as one:
        await asyncio.gather(*(one.append(b"%d" % number) for number in range(100)))
        assert one.commits <= 2
    assert len(records(buffer(tmp_path))) == 100


@pytest.mark.parametrize("cut", range(1, 12))
async def test_a_torn_record_is_nobodys(tmp_path: Path, cut: int) -> None:
    async with running(buffer(tmp_path)) as one:
        await one.append(b"whole")
        await one.append(b"torn")
    path = only(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    assert records(buffer(tmp_path)) == [b"whole"]


async def test_a_damaged_record_is_nobodys(tmp_path: Path) -> None:
    async with running(buffer(tmp_path)) as one:
        await one.append(b"whole")
        await one.append(b"damaged")
    data = bytearray(only(tmp_path).read_bytes())
    data[-1] ^= 1
    only(tmp_path).write_bytes(data)
    assert records(buffer(tmp_path)) == [b"whole"]


async def test_a_segment_is_sealed_by_size_and_by_time(tmp_path: Path) -> None:
    async with running(buffer(tmp_path / "size", segment_bytes=10)) as one:
        await one.append(b"0123456789")
        assert len(one.sealed()) == 1
    async with running(buffer(tmp_path / "time", seconds=1e-9)) as one:
        await one.append(b"0")
        await one.append(b"1")
        assert len(one.sealed()) >= 1
        assert one.oldest() > 0


async def test_a_full_buffer_says_so_at_once_and_takes_more_when_it_is_empty(tmp_path: Path) -> None:
    async with running(buffer(tmp_path, limit=100, segment_bytes=1)) as one:
        await one.append(b"x" * 92)
        assert one.is_full
        with pytest.raises(NotKept) as told:
            await one.append(b"x")
        assert told.value.reason == "BufferFull"
        (segment,) = one.sealed()
        one.release(segment)
        assert (one.size, one.is_full, segment.path.exists()) == (0, False, False)
        await one.append(b"x")


async def test_after_a_restart_what_is_on_disk_counts(tmp_path: Path) -> None:
    async with running(buffer(tmp_path)) as one:
        await one.append(b"x" * 92)
    assert buffer(tmp_path, limit=100).is_full


async def test_a_disk_that_refuses_is_told_and_may_recover(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    async with running(buffer(folder, segment_bytes=1)) as one:
        await one.append(b"before")
        moved = folder.rename(tmp_path / "away")
        with pytest.raises(NotKept, match="No such file") as told:
            await one.append(b"refused")
        assert told.value.reason == "DiskFailed"
        moved.rename(folder)
        await one.append(b"after")
        assert records(one) == [b"before", b"after"]
        assert one.size == sum(path.stat().st_size for path in folder.iterdir())


async def test_closing_leaves_nothing_open(tmp_path: Path) -> None:
    before = open_files()
    one = buffer(tmp_path)
    async with running(one):
        await one.append(b"x")
    await one.close()
    assert records(one) == [b"x"]
    assert open_files() == before
