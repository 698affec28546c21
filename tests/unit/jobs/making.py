"""Builders for the tests of Jobs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from churn_operator.api.contract import Contract
from churn_operator.api.data import DataSource, DataSpec
from churn_operator.api.tasks import TrainTask
from churn_operator.jobs.data import Content
from churn_operator.jobs.frame import clean, infer
from churn_operator.storage.bundle import sha256

TELCO = Path(__file__).parents[3] / "samples" / "telco" / "telco.csv"


def customers(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Customers of whom the young contracts and the fibre plan leave more often."""
    rng = np.random.default_rng(seed)
    months = rng.integers(1, 73, rows)
    plan = rng.choice(["fibre", "cable", "none"], rows)
    charge = np.round(rng.normal(60, 20, rows), 2)
    charge[rng.random(rows) < 0.05] = np.nan
    leaving = 1 / (1 + np.exp(months / 12 - 2 - 1.5 * (plan == "fibre")))
    return pd.DataFrame(
        {
            "id": [f"c{n:05}" for n in range(rows)],
            "months": months,
            "charge": charge,
            "plan": plan,
            "left": np.where(rng.random(rows) < leaving, "Yes", "No"),
        }
    )


def spec(**overrides: Any) -> DataSpec:
    return DataSpec(**{"source": DataSource(uri="unused.csv"), "target": "left", **overrides})


def content(table: pd.DataFrame) -> Content:
    """The table as a csv that was read."""
    data = table.to_csv(index=False).encode()
    return Content("customers.csv", sha256(data), data)


def clean_frame(table: pd.DataFrame) -> tuple[pd.DataFrame, Contract]:
    """All columns clean, numerical ones first, and their contract."""
    columns = [(str(name), clean(table[name])) for name in table]
    frame = pd.DataFrame(dict(sorted(columns, key=lambda column: column[1].dtype != np.float32)))
    return frame, infer(frame[[name for name, _ in columns]])


def train_task(folder: Path, tracking_uri: str, **overrides: Any) -> TrainTask:
    """A task that keeps its files in the folder."""
    given = {
        "namespace": "ml",
        "model": "telco",
        "run": "telco-1",
        "uid": "uid-of-telco-1",
        "trigger": "Initial",
        "reason": "the first run",
        "owner": "ml/telco",
        "image": "jobs:test",
        "data": {"source": {"uri": str(TELCO)}, "target": "churn"},
        "training": {},
        "tracking_uri": tracking_uri,
        "experiment": "telco",
        "registered_model": "ml.telco",
        "storage_uri": str(folder),
    }
    return TrainTask.model_validate({**given, **overrides})
