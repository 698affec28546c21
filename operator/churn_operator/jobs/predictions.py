"""Reads a window of the inference log: what clients asked a version, and what it answered.

Of a window with more than MAX_ROWS predictions some files are read, chosen by a hash of their names: distances between
marginals gain nothing from more, and the same window always gives the same rows.
"""

import hashlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from churn_operator.api.inference_log import COLUMNS, FEATURE_PREFIX, SUFFIX, Partition, day_folder, days
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import LoggedRows
from churn_operator.jobs.data import log_store
from churn_operator.storage.failure import Refused, Unavailable
from churn_operator.storage.files import Gone, Store, open_store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

log = logging.getLogger(__name__)

MAX_ROWS = 200_000
ATTEMPTS = 3
KIND = "Client"
"""Only what clients asked tells who the customers are."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of a window, each once."""

    uri: str
    """The version's folder in the log."""
    table: "pa.Table"

    @property
    def revision(self) -> str:
        """Names exactly these predictions, whatever files they lie in."""
        ids, rows = self.table["event_id"].to_pylist(), self.table["row"].to_pylist()
        text = "".join(f"{event} {row}\n" for event, row in zip(ids, rows, strict=True))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def features(self) -> "pd.DataFrame":
        """What was asked, by the contract's names."""
        names = [name for name in self.table.column_names if name.startswith(FEATURE_PREFIX)]
        chosen = self.table.select(names).rename_columns([name.removeprefix(FEATURE_PREFIX) for name in names])
        frame: pd.DataFrame = chosen.to_pandas()
        return frame

    def probabilities(self) -> "pd.Series":
        """What was answered."""
        answers: pd.Series = self.table["probability"].to_pandas()
        return answers


def read(asked: LoggedRows, partition: Partition) -> Predictions:
    """The predictions of a version within the window.

    Raises:
        Refused: a file is no part of an inference log.
        Unavailable: the object store is away, or the files change too fast to be read.
    """
    uri = f"{asked.uri.rstrip('/')}/{partition.path}"
    for _ in range(ATTEMPTS):
        try:
            return Predictions(uri, _once(_window(asked, partition)))
        except Gone:  # merged into a larger one meanwhile, which the next listing names
            continue
    raise Unavailable(Reason.StorageUnavailable, f"{uri}: files went while they were read, {ATTEMPTS} times")


def _window(asked: LoggedRows, partition: Partition) -> "pa.Table":
    """Every row of the window, some of them twice."""
    import pyarrow as pa

    since, until = datetime.fromisoformat(asked.since), datetime.fromisoformat(asked.until)
    folders = [day_folder(asked.uri.rstrip("/"), partition, day) for day in days(since, until)]
    store = log_store() if asked.uri.startswith("s3://") else open_store(asked.uri)
    parts, count = [schema().empty_table()], 0
    for number, file in enumerate(_files(store, folders)):
        if count >= MAX_ROWS:
            log.warning("of the window's files %d are read: they hold %d predictions", number, count)
            break
        part = _rows(file, store.read(file), since, until)
        parts.append(part)
        count += part.num_rows
    return pa.concat_tables(parts, promote_options="default")


def _files(store: Store, folders: list[str]) -> Iterator[str]:
    found = [file.uri for folder in folders for file in store.list(folder).files if file.uri.endswith(SUFFIX)]
    yield from sorted(found, key=lambda uri: hashlib.sha256(uri.encode()).digest())


def _rows(uri: str, data: bytes, since: datetime, until: datetime) -> "pa.Table":
    """A file's rows that are within the window and a client's."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
        fixed = table.select(list(COLUMNS)).cast(schema())
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        first = str(error).partition("\n")[0]
        raise Refused(Reason.DataUnreadable, f"{uri} is no part of an inference log: {first}") from error
    for position, name in enumerate(table.column_names):
        if name.startswith(FEATURE_PREFIX):
            fixed = fixed.append_column(table.schema.field(position), table.column(position))
    time = fixed["time"]
    wanted = pc.and_(pc.equal(fixed["kind"], KIND), pc.and_(pc.greater_equal(time, since), pc.less(time, until)))
    return fixed.filter(wanted)


def _once(table: "pa.Table") -> "pa.Table":
    """One row for each event and position, in that order."""
    import numpy as np

    table = table.sort_by([("event_id", "ascending"), ("row", "ascending")])
    ids, rows = (table[name].to_numpy() for name in ("event_id", "row"))
    new = np.ones(len(table), dtype=bool)
    new[1:] = (ids[1:] != ids[:-1]) | (rows[1:] != rows[:-1])
    return table.filter(new)


def schema() -> "pa.Schema":
    """What every file of the log has before its features."""
    import pyarrow as pa

    types = {"timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC")}
    return pa.schema([(name, types.get(kind) or pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
