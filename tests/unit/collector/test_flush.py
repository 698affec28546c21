"""What is written of the buffer, and when it is forgotten."""

import asyncio
from pathlib import Path

import pytest
from unit.collector.making import half

from churn_operator.api.inference_log import Partition
from churn_operator.api.reasons import Reason
from churn_operator.collector import tables
from churn_operator.collector.buffer import Buffer
from churn_operator.collector.clock import StoreClock
from churn_operator.collector.flush import Flusher
from churn_operator.collector.halves import encode
from churn_operator.storage.failure import Unavailable
from churn_operator.storage.files import LocalStore


class Mumbling(LocalStore):
    """It does as it is told, but its first answers are lost."""

    lost = 2

    def write(self, uri: str, data: bytes) -> None:
        super().write(uri, data)
        self.lost -= 1
        if self.lost >= 0:
            raise Unavailable(Reason.StorageUnavailable, uri)


async def keep(buffer: Buffer, number: int) -> None:
    """A segment of its own, for one half."""
    record = encode(Partition("team-a", "telco", "v7"), half("request", number))
    appending = asyncio.create_task(buffer.append(record))
    await asyncio.sleep(0)  # no time passes: the task gets its turn, and waits for the disk
    await buffer.close()
    await appending


async def test_what_came_meanwhile_is_not_mixed_with_what_may_have_been_written(tmp_path: Path) -> None:
    """Each half would be there again, in a file of another name, and wait for the other one in vain."""
    buffer, pending = Buffer(tmp_path / "buffer", 1 << 20, 1 << 10, 60), tmp_path / "store"
    flusher = Flusher(buffer, Mumbling(), str(pending), StoreClock(), 1 << 20)
    for number in (1, 2):
        await keep(buffer, number)
        with pytest.raises(Unavailable):
            await flusher.flush()
    while await flusher.flush():
        continue
    found = [tables.halves_of(tables.from_parquet(path.read_bytes())) for path in pending.rglob("*.parquet")]
    assert sorted(one.stamp for halves in found for one in halves) == [half("request", n).stamp for n in (1, 2)]
