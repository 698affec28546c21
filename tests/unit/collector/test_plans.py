"""Which files become which, and when they go."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.collector.making import NOW, half, listed

from churn_operator.api.inference_log import Partition, day_folder
from churn_operator.collector import plans
from churn_operator.collector.halves import Half, micros
from churn_operator.storage.files import Listed

ROOT = "s3://churn/models/inference-log"
TELCO = Partition("team-a", "telco", "v7")
SETTLE, PATIENCE = timedelta(seconds=20), timedelta(minutes=15)


HALF, LARGE = half("request", 0), half("request", 0, size=1000)


def new(key: str, age: float, one: Half = HALF) -> Listed:
    return listed(plans.new_name([one._replace(key=key)]), modified=NOW - timedelta(seconds=age))


def waiting(since_age: float, number: int = 0, shard: plans.Shard = plans.EVERYTHING) -> Listed:
    since = micros(NOW - timedelta(seconds=since_age))
    return listed(plans.waiting_name(shard, [HALF._replace(since=since)], [listed(f"{number}")]))


def chosen(*files: Listed) -> list[Listed]:
    return plans.to_join(files, NOW, SETTLE, PATIENCE).files


def test_new_halves_settle_before_they_are_joined() -> None:
    assert chosen(new("a", 19)) == []
    assert chosen(new("a", 19), new("b", 21)) == [new("b", 21)]


def test_what_waits_is_joined_with_what_is_new() -> None:
    assert chosen(new("b", 21), waiting(60)) == [waiting(60), new("b", 21)]


def test_what_waits_alone_is_left_alone() -> None:
    assert chosen(waiting(60), waiting(61)) == []


def test_what_has_waited_long_enough_is_looked_at_again() -> None:
    assert chosen(waiting(901)) == [waiting(901)]


def test_many_files_of_what_waits_become_one() -> None:
    files = [waiting(60, number) for number in range(plans.FEW)]
    assert sorted(chosen(*files)) == sorted(files)


def test_each_shard_of_what_waits_may_be_a_file() -> None:
    shards = [plans.Shard(f"{number:x}000", f"{number:x}fff") for number in range(16)]
    assert chosen(*(waiting(60, 0, shard) for shard in shards)) == []


def test_no_more_is_taken_at_once_than_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MOST", 5 * LARGE.weight // 2)
    files = [new(str(age), age, LARGE) for age in range(30, 20, -1)]
    assert chosen(*files, waiting(60)) == [waiting(60), *files[:2]]


def test_one_is_taken_however_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MOST", LARGE.weight - 1)
    files = [new(str(age), age, LARGE) for age in (30, 29, 28)]
    assert chosen(*files) == files[:1]


@pytest.mark.parametrize(
    ("ages", "latest"),
    [
        pytest.param([], 0, id="nothing new"),
        pytest.param([1200, 1100], 0, id="all of it is joined"),
        pytest.param([1200, 1100, 1000, 900], 1000, id="two are left for later"),
        pytest.param([1200, 19], 19, id="one has not settled"),
        pytest.param([1200, -5], 0, id="one from the future"),
    ],
)
def test_what_waits_expires_by_the_oldest_file_that_is_left_for_later(
    monkeypatch: pytest.MonkeyPatch, ages: list[float], latest: float
) -> None:
    monkeypatch.setattr(plans, "MOST", 5 * LARGE.weight // 2)
    files = [new(str(age), age, LARGE) for age in ages]
    due = plans.to_join([*files, waiting(60)], NOW, SETTLE, PATIENCE)
    assert due.expired == micros(NOW - PATIENCE - timedelta(seconds=latest))


def test_what_expires_only_once_the_rest_is_joined_is_left_alone() -> None:
    assert chosen(new("a", 19), waiting(910)) == []
    assert chosen(new("a", 19), waiting(920)) == [waiting(920)]


def test_a_file_of_another_name_is_taken_to_be_heavy() -> None:
    assert plans.weight(listed("new-x.parquet", 100)) == 1000
    assert plans.weight(new("a", 0, LARGE)) == LARGE.weight


@given(st.integers(0, 200), st.text("0123456789abcdef", min_size=4, max_size=32))
def test_every_half_is_in_one_shard_of_what_memory_holds(heavy: int, call: str) -> None:
    files = [listed(f"new-{plans.MOST:012d}-{number:032x}.parquet") for number in range(heavy)]
    shards, one = plans.shards(files), HALF._replace(call=call)
    assert len([shard for shard in shards if shard.holds(one)]) == 1
    assert len(shards) >= heavy
    assert len(shards) == 1 or len(shards) < 2 * heavy
    assert all(shard.meets(plans.EVERYTHING) for shard in shards)
    assert not shards[0].meets(shards[-1]) or len(shards) == 1


@pytest.mark.parametrize(
    ("shard", "parts"),
    [
        (plans.EVERYTHING, (("0000", "7fff"), ("8000", "ffff"))),
        (plans.Shard("0ff0", "0ff1"), (("0ff0", "0ff0"), ("0ff1", "0ff1"))),
        (plans.Shard("0ff1", "0ff1"), None),
    ],
)
def test_a_shard_is_split_until_it_is_a_single_value(shard: plans.Shard, parts: object) -> None:
    assert shard.split() == parts


def test_no_replica_is_first_with_every_version() -> None:
    versions = [TELCO._replace(version=f"v{number}") for number in range(50)]
    first = [min("ab", key=lambda replica: plans.turn(replica, version)) for version in versions]
    assert {"a", "b"} == set(first)
    assert all(0 <= plans.turn("a", version) <= 1 for version in versions)


def test_the_same_files_make_a_file_of_the_same_name() -> None:
    one, two = listed("a"), listed("b")
    assert plans.rows_name(0, 9, [one, two]) == plans.rows_name(0, 9, [two, one])
    assert len({plans.rows_name(0, 9, [one]), plans.rows_name(1, 9, [one]), plans.rows_name(0, 9, [two])}) == 3
    assert plans.new_name([HALF, LARGE]) == plans.new_name([LARGE, HALF])


def test_halves_are_found_by_their_version() -> None:
    mine = listed(f"pending/{TELCO.path}/new-x.parquet", folder=ROOT)
    others = [
        listed(f"pending/{name}", folder=ROOT) for name in ("x.parquet", f"{TELCO.path}/x.csv", "a/b/c/d.parquet")
    ]
    assert plans.by_partition(ROOT, [mine, *others]) == {TELCO: [mine]}


def day_file(day: date, name: str = "x.parquet", size: int = 100) -> Listed:
    return Listed(f"{day_folder(ROOT, TELCO, day)}/{name}", size, NOW)


def test_files_of_the_log_are_found_by_their_day() -> None:
    day = date(2026, 11, 21)
    files = [day_file(day), day_file(day, "y.parquet"), listed("pending/x", folder=ROOT)]
    assert plans.by_day(ROOT, files) == {(TELCO, day): files[:2]}


def rows(number: int, weight: int, source: str = "x") -> Listed:
    return listed(plans.rows_name(number, weight, [listed(source)]))


def test_many_light_files_of_about_one_weight_become_one() -> None:
    light = [rows(number, 100) for number in range(plans.FEW)]
    assert plans.to_merge(light[1:], over=False) == []
    assert plans.to_merge([*light[1:], rows(9, 10_000)], over=False) == []
    assert plans.to_merge([*light, rows(9, 10_000)], over=False) == light


def test_all_files_of_a_day_that_is_over_are_merged_however_heavy() -> None:
    files = [rows(1, 100), rows(0, plans.MOST, "y"), listed("z.parquet")]
    assert plans.to_merge(files, over=True) == files
    assert all(plans.to_merge([file], over=True) == [] for file in files)


def test_files_that_were_made_of_the_same_ones_are_merged_once_and_no_more() -> None:
    made = [rows(number, 100) for number in range(20)]
    late = rows(0, 100, "late")
    assert plans.to_merge(made, over=True) == []
    assert set(plans.to_merge([*made, late], over=True)) == {*made, late}


def test_a_heavy_file_is_left_as_it_is_while_its_day_lasts() -> None:
    heavy = [rows(number, plans.MOST // 2, f"{number}") for number in range(20)]
    assert plans.to_merge(heavy, over=False) == []


def test_no_more_is_merged_at_once_than_memory_holds() -> None:
    files = [rows(number, plans.MOST // 2 - 1) for number in range(plans.FEW)]
    assert plans.to_merge(files, over=False) == files[:2]


def test_a_file_of_rows_of_another_name_is_taken_to_be_very_heavy() -> None:
    files = [listed(f"{number}.parquet", 10_000) for number in range(plans.FEW)]
    assert plans.to_merge(files, over=False) == files[:3]
    assert plans.to_merge([listed(f"{number}.parquet", 20_000) for number in range(plans.FEW)], over=False) == []
    assert plans.to_merge([listed(f"{number}.csv", 10_000) for number in range(plans.FEW)], over=True) == []


def test_merging_comes_to_an_end() -> None:
    weights = [100] * 1000
    for _ in range(1000):
        files = [rows(number, weight) for number, weight in enumerate(weights)]
        inputs = plans.to_merge(files, over=False)
        if not inputs:
            break
        left = [weight for file, weight in zip(files, weights, strict=True) if file not in inputs]
        weights = [*left, sum(weights) - sum(left)]
    assert len(weights) < 5 * plans.FEW
    assert sum(weights) == 100_000


def test_a_day_goes_when_its_retention_is_over() -> None:
    kept, gone = day_file(NOW.date() - timedelta(days=30)), day_file(NOW.date() - timedelta(days=31))
    halves = listed(f"pending/{TELCO.path}/new-x.parquet", folder=ROOT, modified=NOW - timedelta(days=99))
    damaged = listed("damaged/x.parquet", folder=ROOT, modified=NOW - timedelta(days=99))
    strange = listed("x.parquet", folder=ROOT, modified=NOW - timedelta(days=99))
    files = [kept, gone, halves, damaged, strange]
    assert plans.to_delete(ROOT, files, NOW, timedelta(days=30)) == [gone, damaged]
