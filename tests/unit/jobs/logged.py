"""An inference log as the collector writes it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from churn_operator.api.inference_log import FEATURE_PREFIX, Partition, day_folder
from churn_operator.api.tasks import LoggedRows
from churn_operator.jobs.predictions import schema

TELCO = Partition("ml", "telco", "v1")
UNTIL = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
SINCE = UNTIL - timedelta(days=1)


def row(event: str, position: int = 0, *, at: datetime = UNTIL - timedelta(hours=1), **fields: Any) -> dict[str, Any]:
    """One prediction; features are named by keywords with the prefix f_."""
    fixed = {"event_id": event, "row": position, "time": at, "kind": "Client", "id": None, "probability": 0.3}
    given = {(f"{FEATURE_PREFIX}{key[2:]}" if key.startswith("f_") else key): value for key, value in fields.items()}
    return fixed | {"churn": False} | given


def write(root: Path, rows: list[dict[str, Any]], name: str = "a", partition: Partition = TELCO) -> Path:
    """A file of the first row's day."""
    path = Path(day_folder(str(root), partition, rows[0]["time"].date())) / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    features = {key: [r[key] for r in rows] for key in rows[0] if key.startswith(FEATURE_PREFIX)}
    fixed = pa.table({name: [r[name] for r in rows] for name in schema().names}, schema=schema())
    for key, values in features.items():
        fixed = fixed.append_column(key, pa.array(values))
    pq.write_table(fixed, path)
    return path


def rows_of(table: pd.DataFrame, *, at: datetime = UNTIL - timedelta(hours=1), **fields: Any) -> list[dict[str, Any]]:
    """A row for each customer; one event for every hundred."""
    features = [{f"f_{name}": value for name, value in record.items()} for record in table.to_dict("records")]
    probability = fields.pop("probability", None)
    return [
        row(
            f"e{n // 100:04}",
            n % 100,
            at=at,
            **one,
            **fields,
            **({} if probability is None else {"probability": float(probability[n])}),
        )
        for n, one in enumerate(features)
    ]


def asked(root: Path, **fields: Any) -> LoggedRows:
    """The day that ends with UNTIL."""
    return LoggedRows.model_validate(
        {"uri": str(root), "since": SINCE.isoformat(), "until": UNTIL.isoformat(), "min_rows": 50} | fields
    )
