"""Halves and rows as Parquet."""

import json
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from unit.collector.making import NOW, damage, half

from churn_operator.api.inference_log import COLUMNS
from churn_operator.collector import tables
from churn_operator.collector.halves import micros


def test_halves_come_back_as_they_were() -> None:
    halves = [half("request", 0, since=5), half("response", 1)]
    found = tables.halves_of(tables.from_parquet(tables.to_parquet(tables.halves_table(halves))))
    assert list(found) == halves


def test_another_table_holds_no_halves() -> None:
    with pytest.raises(ValueError, match="columns"):
        tables.halves_of(pa.table({"a": [1]}))


def test_another_table_holds_no_rows_of_the_log() -> None:
    (part,) = tables.log_parts([(half("request", 0), half("response", 1))])
    assert tables.rows_of(tables.from_parquet(tables.to_parquet(part.table))) == part.table
    with pytest.raises(ValueError, match="columns"):
        tables.rows_of(part.table.drop_columns(["row"]))


def test_rows_weigh_by_their_values_and_not_by_how_small_their_file_is() -> None:
    pairs = [(half("request", at, size=1000), half("response", at + 1, size=1000)) for at in range(20)]
    (part,) = tables.log_parts(pairs)
    assert len(tables.to_parquet(part.table)) < part.table.num_rows
    assert tables.weight(part.table) > 300 * part.table.num_rows


def test_what_is_no_parquet_is_told() -> None:
    with pytest.raises(ValueError, match=r".+"):
        tables.from_parquet(b"PAR1 and no more")


@pytest.mark.parametrize("seed", range(200))
def test_what_is_damaged_is_told_or_comes_back_as_it_was(seed: int) -> None:
    """Eight bytes of it are others, between its first and its last ones, by which Parquet is known."""
    halves = [half("request", number, since=number) for number in range(50)]
    assert damaged(tables.to_parquet(tables.halves_table(halves)), seed) in ("told", halves)


def damaged(data: bytes, seed: int) -> object:
    try:
        return list(tables.halves_of(tables.from_parquet(damage(data, seed))))
    except ValueError:
        return "told"


def test_a_pair_becomes_a_row_for_each_of_its_rows() -> None:
    (part,) = tables.log_parts([(half("request", 0, "r", size=2), half("response", 1, "s", size=2))])
    assert part.day == date(2026, 11, 21)
    assert [str(field.type) for field in part.table.schema][: len(COLUMNS)] == list(COLUMNS.values())
    first, second = part.table.to_pylist()
    assert first == {
        "event_id": "r",
        "row": 0,
        "time": NOW,
        "kind": "Client",
        "id": "ada",
        "probability": 0.7,
        "churn": True,
        "feature.tenure": 12.0,
        "feature.plan": "basic",
    }
    assert second == first | {"row": 1}


def test_each_day_and_each_set_of_columns_has_a_file_of_its_own() -> None:
    late = half("request", 0, "late")._replace(time=micros(datetime(2026, 11, 22, tzinfo=UTC)))
    narrow = half("request", 0, "narrow")._replace(
        columns=json.dumps([["feature.plan", "string"]]), body='[[null,["basic"]]]'
    )
    parts = tables.log_parts([(one, half("response", 1)) for one in (half("request", 0), late, narrow)])
    assert [(part.day.day, part.table.num_columns) for part in parts] == [(21, 8), (21, 9), (22, 9)]


def test_merging_keeps_each_row_once_and_every_column() -> None:
    one, two = half("request", 0, "b"), half("request", -5, "a")
    narrow = half("request", -9, "c")._replace(
        columns=json.dumps([["feature.plan", "string"]]), body='[[null,["basic"]]]'
    )
    found = [
        part.table
        for pairs in ([one], [two, one], [narrow])
        for part in tables.log_parts([(request, half("response", 1)) for request in pairs])
    ]
    rows = tables.merged(found).to_pylist()
    assert [row["event_id"] for row in rows] == ["c", "a", "b"]
    assert [row["feature.tenure"] for row in rows] == [None, 12.0, 12.0]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param([[1, 2, 3, 4]], ((0, 2), (3, 9)), id="half of them each"),
        pytest.param([[4, 1], [], [3, 2]], ((0, 2), (3, 9)), id="of several tables, in whatever order"),
        pytest.param([[1, 5, 5, 5]], ((0, 4), (5, 9)), id="most at the last moment"),
        pytest.param([[1, 1, 1, 5]], ((0, 1), (2, 9)), id="most at the first moment"),
        pytest.param([[5, 5], [5]], None, id="all at one moment, which has no halves"),
    ],
)
def test_a_span_of_time_is_halved_so_that_either_part_has_rows(
    times: list[list[int]], expected: tuple[tuple[int, int], tuple[int, int]] | None
) -> None:
    found = [pa.table({"time": pa.array(each, pa.timestamp("us", tz="UTC"))}) for each in times]
    halves = tables.halved(found, tables.Span(0, 9))
    assert halves == expected
    if halves:
        parts = [sum(tables.within(table, half).num_rows for table in found) for half in halves]
        assert min(parts) > 0
        assert sum(parts) == sum(map(len, times))
