"""Parquet, in memory: halves that wait, and rows of the log. Pure."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn_operator.api.inference_log import COLUMNS
from churn_operator.collector.halves import Half

_TYPES = {
    "string": pa.string(),
    "int32": pa.int32(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
}
_LOG = [pa.field(name, _TYPES[kind], nullable=name == "id") for name, kind in COLUMNS.items()]
_HALVES = pa.schema(
    [
        pa.field(name, pa.int64() if name in ("stamp", "time", "size", "since") else pa.string(), nullable=False)
        for name in Half._fields
    ]
)
_SECOND = 1_000_000


class Span(NamedTuple):
    """From the first moment to the last, in microseconds."""

    first: int
    last: int

    def meets(self, other: "Span") -> bool:
        return self.first <= other.last and other.first <= self.last


ALWAYS = Span(-(1 << 62), 1 << 62)


class Part(NamedTuple):
    """Rows that lie together in one file."""

    day: date
    table: Any


def to_parquet(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def from_parquet(data: bytes) -> Any:
    """The table.

    Raises:
        ValueError: it is none, or is damaged: pyarrow says so by errors of many kinds.
    """
    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False, page_checksum_verification=True)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"no Parquet that can be read: {error}") from error
    return table


def halves_table(halves: Sequence[Half]) -> Any:
    columns = zip(*halves, strict=True)
    return pa.table(
        [pa.array(list(values), field.type) for values, field in zip(columns, _HALVES, strict=True)], _HALVES
    )


def halves_of(table: Any, first: str = "", last: str = "g") -> Iterable[Half]:
    """The halves of a table whose calls begin with four digits from the first to the last.

    Raises:
        ValueError: it holds something else.
    """
    if not table.schema.equals(_HALVES):
        raise ValueError("the columns are not those of halves")
    digits = pc.utf8_slice_codeunits(table["call"], 0, 4)
    found = table.filter(pc.and_(pc.greater_equal(digits, first), pc.less_equal(digits, last)))
    return (Half(*values) for values in zip(*(column.to_pylist() for column in found.columns), strict=True))


def rows_of(table: Any) -> Any:
    """The table, if it holds rows of the log.

    Raises:
        ValueError: it holds something else.
    """
    if [(field.name, field.type) for field in table.schema][: len(_LOG)] != [
        (field.name, field.type) for field in _LOG
    ]:
        raise ValueError("the columns are not those of the log")
    return table


def span_of(rows: Any) -> Span:
    """When the first and the last of at least one row were asked."""
    times = pc.min_max(_times(rows))
    return Span(times["min"].as_py(), times["max"].as_py())


def within(rows: Any, span: Span) -> Any:
    """Those of them that were asked then."""
    times = _times(rows)
    return rows.filter(pc.and_(pc.greater_equal(times, span.first), pc.less_equal(times, span.last)))


def halved(rows: Sequence[Any], span: Span) -> tuple[Span, Span] | None:
    """The earlier part of the span and the later, each with about half of the rows; None where all have one moment."""
    times = pa.chunked_array([chunk for table in rows for chunk in _times(table).chunks])
    first, last = pc.min_max(times)["min"].as_py(), pc.min_max(times)["max"].as_py()
    if first == last:
        return None
    middle = int(pc.quantile(times, 0.5, interpolation="lower")[0].as_py())
    middle -= middle == last
    return Span(span.first, middle), Span(middle + 1, span.last)


def _times(rows: Any) -> Any:
    return rows["time"].cast(pa.int64())


def log_parts(pairs: Iterable[tuple[Half, Half]]) -> list[Part]:
    """The rows that pairs of request and response make, by day and by columns."""
    parts: dict[tuple[date, str], list[tuple[Half, Half]]] = defaultdict(list)
    for request, response in pairs:
        parts[datetime.fromtimestamp(request.time // _SECOND, UTC).date(), request.columns].append((request, response))
    return [Part(day, _rows(columns, parts[day, columns])) for day, columns in sorted(parts)]


def _rows(columns: str, pairs: Iterable[tuple[Half, Half]]) -> Any:
    fields = [*_LOG, *(pa.field(name, _TYPES[kind]) for name, kind in json.loads(columns))]
    rows = [
        (request.key, position, request.time, request.kind, name, probability, churn, *values)
        for request, response in sorted(pairs)
        for position, ((name, values), (probability, churn)) in enumerate(
            zip(json.loads(request.body), json.loads(response.body), strict=True)
        )
    ]
    values = list(zip(*rows, strict=True))
    return pa.table(
        [pa.array(list(column), field.type) for column, field in zip(values, fields, strict=True)], pa.schema(fields)
    )


def weight(table: Any) -> int:
    """How many bytes of memory it takes to merge the rows, about: Parquet of what repeats itself is far smaller."""
    return 5 * int(table.nbytes)


def release() -> None:
    """Give memory back that was used for tables, which else is kept for the next ones."""
    pa.default_memory_pool().release_unused()


def merged(tables: Sequence[Any]) -> Any:
    """The rows of all tables in the order of time, each once; a column that a table lacks is null in its rows."""
    table = pa.concat_tables(tables, promote_options="default")
    numbered = table.append_column("position", pa.array(range(table.num_rows), pa.int64()))
    first = numbered.group_by(["event_id", "row"], use_threads=False).aggregate([("position", "min")])
    kept = table.take(first["position_min"])
    return kept.sort_by([("time", "ascending"), ("event_id", "ascending"), ("row", "ascending")])
