"""What becomes of halves in the object store, round by round: a folder stands for it, and its clock is played."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prometheus_client import REGISTRY
from unit.collector.making import NOW, half, listed

from churn_operator.collector import compaction, plans, tables
from churn_operator.collector.clock import StoreClock
from churn_operator.collector.compaction import Compactor
from churn_operator.collector.halves import Half, Joined, micros
from churn_operator.collector.halves import join as halves_joined
from churn_operator.collector.settings import Settings
from churn_operator.storage.files import Listed, Listing, LocalStore, join

PENDING = "inference-log/pending/namespace=team-a/model=telco/version=v7"
ROUND = timedelta(seconds=60)
MOST = 1 << 18


class Killed(Exception):
    """As SIGKILL ends what is going on."""


class Played(LocalStore):
    """A folder by a clock that stands still; all in it has settled."""

    now = NOW

    kill_at = -1
    """So many writes before the collector is killed."""

    def write(self, uri: str, data: bytes) -> None:
        self._count()
        super().write(uri, data)

    def delete(self, uris: Sequence[str]) -> None:
        self._count()
        super().delete(uris)

    def _count(self) -> None:
        if self.kill_at == 0:
            raise Killed
        self.kill_at -= 1

    def list(self, folder: str, mark: Callable[[], None] = lambda: None) -> Listing:
        files = super().list(folder, mark).files
        return Listing(tuple(file._replace(modified=NOW - ROUND) for file in files), self.now)


class Rounds:
    """Who joins what is in the store, once a minute."""

    def __init__(self, folder: Path) -> None:
        self.store = Played()
        self.folder = str(folder)
        settings = Settings(storage_uri=str(folder), buffer_dir=folder, settle_seconds=1, orphan_seconds=900)
        self._compactor = Compactor(self.store, StoreClock(), settings)

    def add(self, *halves: Half) -> None:
        """A flush of one replica."""
        here = [one._replace(since=micros(self.store.now)) for one in halves]
        uri = join(self.folder, PENDING, plans.new_name(here))
        self.store.write(uri, tables.to_parquet(tables.halves_table(here)))

    def join(self) -> None:
        """Until there is nothing to do."""
        while asyncio.run(self._compactor.join()):
            continue
        self.store.now += ROUND

    def sweep(self) -> None:
        """Two days later."""
        self.store.now = NOW + timedelta(days=2)
        asyncio.run(self._compactor.sweep())

    def log(self) -> tuple[Listed, ...]:
        return tuple(file for file in self.store.list(self.folder).files if "/rows-" in file.uri)

    def waiting(self) -> tuple[Listed, ...]:
        return self.store.list(join(self.folder, PENDING)).files

    def rows(self) -> list[str]:
        """The requests in the log."""
        paths = Path(self.folder, "inference-log").glob("namespace=*/**/*.parquet")
        return sorted(name for path in paths for name in pq.read_table(path)["event_id"].to_pylist())


@pytest.fixture
def rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rounds:
    monkeypatch.setattr(plans, "MOST", MOST)
    return Rounds(tmp_path)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the rows weighed that were merged at once, time by time."""
    weights: list[int] = []

    def counted(found: Sequence[Any]) -> Any:
        weights.append(sum(map(tables.weight, found)))
        return merged(found)

    merged = tables.merged
    monkeypatch.setattr(tables, "merged", counted)
    return weights


def requests(number: int, count: int) -> list[Half]:
    return [half("request", at, call=f"{number}-{at}") for at in range(count)]


def weighing(share: float, one: Half) -> Half:
    """The request with a text that makes it weigh about so much of what is worked on at once."""
    return one._replace(body=json.dumps([["ada", [12.0, "x" * int(share * MOST / 8)]]]))


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("churn_collector_dropped_total", {"reason": reason}) or 0.0


def test_what_never_pairs_takes_no_more_memory_however_much_it_is(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []

    def counted(halves: list[Half], expired: int) -> Joined:
        at_once.append(sum(one.weight for one in halves))
        return halves_joined(halves, expired)

    monkeypatch.setattr(compaction, "join", counted)
    lost = dropped("NoResponse")
    for number in range(12):
        rounds.add(*requests(number, 150))
        rounds.join()
    assert sum(map(plans.weight, rounds.waiting())) > 8 * MOST
    assert max(at_once) < 2 * MOST
    assert dropped("NoResponse") == lost
    for _ in range(16):
        rounds.join()
    assert (rounds.waiting(), dropped("NoResponse") - lost) == ((), 1800)


def test_a_late_half_finds_its_other_one_among_many_that_never_do(rounds: Rounds) -> None:
    asked = requests(0, 100)
    rounds.add(*asked)
    for number in range(1, 10):
        rounds.add(*requests(number, 150))
        rounds.join()
    rounds.add(*(half("response", at, call=f"0-{at}") for at in range(100)))
    rounds.join()
    assert rounds.rows() == sorted(one.key for one in asked)
    assert len(rounds.waiting()) > 1
    for _ in range(16):
        rounds.join()
    assert rounds.waiting() == ()


def test_joins_that_lag_behind_longer_than_a_half_waits_lose_no_pair(rounds: Rounds) -> None:
    lost = {reason: dropped(reason) for reason in ("NoRequest", "NoResponse")}
    asked = [half("request", 100 * flush + at, call=f"{flush}-{at}") for flush in range(20) for at in range(90)]
    for flush in range(20):
        rounds.add(*asked[90 * flush : 90 * flush + 90])
        rounds.add(*(half("response", 100 * flush + at + 0.5, call=f"{flush}-{at}") for at in range(90)))
        rounds.store.now += ROUND
    rounds.join()
    assert rounds.rows() == sorted(one.key for one in asked)
    assert {reason: dropped(reason) for reason in lost} == lost


def test_of_an_id_that_is_used_for_everything_the_newest_halves_wait(rounds: Rounds) -> None:
    lost = dropped("TooMany")
    for number in range(8):
        rounds.add(*(half("request", 1000 * number + at) for at in range(100)))
        rounds.join()
    (file,) = rounds.waiting()
    assert plans.weight(file) <= 2 * MOST
    assert 0 < dropped("TooMany") - lost < 800
    rounds.add(half("response", 7999))
    rounds.join()
    assert rounds.rows() == [half("request", 7099).key]


@pytest.mark.parametrize(
    ("count", "share"),
    [
        pytest.param(10, 1.05, id="each heavier than what is worked on at once"),
        pytest.param(20, 0.5, id="each half of it"),
        pytest.param(80, 0.25, id="each a quarter of it"),
    ],
)
def test_a_few_heavy_halves_of_ids_of_their_own_find_their_other_ones(rounds: Rounds, count: int, share: float) -> None:
    lost = {reason: dropped(reason) for reason in ("NoRequest", "TooMany")}
    asked = [weighing(share, half("request", at, call=f"{at}")) for at in range(count)]
    for one in asked:
        rounds.add(one)
    rounds.join()
    rounds.add(*(half("response", at + 0.5, call=f"{at}") for at in range(count)))
    rounds.join()
    assert rounds.rows() == sorted(one.key for one in asked)
    assert (rounds.waiting(), {reason: dropped(reason) for reason in lost}) == ((), lost)


def test_of_an_id_that_is_used_for_everything_only_what_is_alone_is_left_out(rounds: Rounds) -> None:
    lost = dropped("TooMany")
    asked = [weighing(0.5, half("request", 2 * at)) for at in range(8)]
    for one in asked[:3]:
        rounds.add(one)
    rounds.join()
    rounds.add(*(half("response", 2 * at + 1) for at in range(3)), *asked[3:])
    rounds.join()
    assert set(rounds.rows()) == {one.key for one in asked[:3]}
    assert dropped("TooMany") - lost == 2


def test_a_damaged_file_of_many_shards_is_put_aside_and_counted_once(rounds: Rounds) -> None:
    for number in range(8):
        rounds.add(*requests(number, 150))
        rounds.join()
    whole = plans.waiting_name(plans.EVERYTHING, [half("request", 0, since=micros(NOW))], [listed("x")])
    rounds.store.write(join(rounds.folder, PENDING, whole), b"PAR1 and no more")
    damaged, shards = dropped("Damaged"), len(rounds.waiting()) - 1
    rounds.add(*requests(8, 10))
    rounds.join()
    assert shards > 1
    assert dropped("Damaged") - damaged == 1


def test_rows_that_repeat_themselves_are_merged_by_what_memory_they_take(rounds: Rounds, at_once: list[int]) -> None:
    for number in range(30):
        call = f"{number}"
        rounds.add(half("request", number, call=call, size=100), half("response", number + 0.5, call=call, size=100))
        rounds.join()
    assert len(rounds.rows()) == 3000
    assert sum(at_once) > 2 * MOST
    assert max(at_once) <= MOST


def answered(number: int, size: int = 1) -> tuple[Half, Half]:
    """A prediction, so many seconds after the others."""
    call = f"{number}"
    asked = half("request", number, call=call, size=size)
    return asked, half("response", number + 0.5, call=call, size=size)


def repeated_day(rounds: Rounds) -> list[str]:
    """A day of several times as much as is worked on at once, and after each quarter some of before come again."""
    for quarter in range(4):
        numbers = {0, 20 * quarter, *range(25 * quarter, 25 * quarter + 25)}
        rounds.add(*(one for number in numbers for one in answered(number, size=100)))
        rounds.join()
    assert sum(map(plans.rows_weight, rounds.log())) > 3 * MOST
    return [name for name in sorted(set(rounds.rows())) for _ in range(100)]


def test_no_row_of_a_day_that_is_over_is_there_twice_however_much_it_is(rounds: Rounds, at_once: list[int]) -> None:
    each_once = repeated_day(rounds)
    assert each_once != rounds.rows()
    at_once.clear()
    rounds.sweep()
    assert rounds.rows() == each_once
    assert len(at_once) > 3
    assert max(at_once) <= MOST
    files = rounds.log()
    rounds.sweep()
    assert rounds.log() == files, "and it is let alone then"


@pytest.mark.parametrize("writes", range(1, 8))
def test_a_sweep_that_is_killed_between_any_two_writes_loses_no_row(rounds: Rounds, writes: int) -> None:
    each_once = repeated_day(rounds)
    rounds.store.kill_at = writes
    with suppress(Killed):
        rounds.sweep()
    rounds.store.kill_at = -1
    assert set(rounds.rows()) == set(each_once)
    rounds.sweep()
    assert rounds.rows() == each_once


@pytest.mark.parametrize("reads", [0, 1, 3, 5, 9])
def test_two_replicas_that_merge_a_day_at_once_lose_no_row(
    rounds: Rounds, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one begins and ends while this one has read so many files."""
    each_once = repeated_day(rounds)
    left = iter(range(reads, -1, -1))
    read = rounds.store.read

    def overtaken(uri: str) -> bytes:
        if next(left, None) == 0:
            rounds.sweep()
        return read(uri)

    monkeypatch.setattr(rounds.store, "read", overtaken)
    rounds.sweep()
    assert next(left, None) is None, "the other one was there"
    assert set(rounds.rows()) == set(each_once)
    rounds.sweep()
    assert rounds.rows() == each_once


@pytest.mark.parametrize("writes", range(12))
def test_killed_between_any_two_writes_it_loses_no_pair(rounds: Rounds, writes: int) -> None:
    asked = requests(0, 60)
    for number in range(1, 5):
        rounds.add(*requests(number, 150))
        rounds.join()
    rounds.add(*asked)
    rounds.add(*(half("response", at, call=f"0-{at}") for at in range(60)))
    rounds.store.kill_at = writes
    with suppress(Killed):
        rounds.join()
    rounds.store.kill_at = -1
    rounds.join()
    assert set(rounds.rows()) == {one.key for one in asked}
    assert len(rounds.waiting()) > 1
