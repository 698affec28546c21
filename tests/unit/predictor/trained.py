"""A real model's folder, made by the functions that training uses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from churn_operator.api.contract import Contract, Manifest
from churn_operator.jobs import bundle, convert, frame, golden, profile
from churn_operator.jobs.pipeline import build

TARGET = "churn"


@dataclass(frozen=True, eq=False, repr=False)
class Trained:
    """A model, and what it was made of."""

    folder: Path
    pipeline: Any
    contract: Contract
    clean: pd.DataFrame
    """The rows as scikit-learn sees them."""
    rows: list[dict[str, Any]]
    """The same rows as a client sends them."""


def train(folder: Path, table: pd.DataFrame, threshold: float = 0.4) -> Trained:
    names = [name for name in table.columns if name != TARGET]
    columns = {name: frame.clean(table[name]) for name in names}
    numeric = [name for name in names if columns[name].dtype == np.float32]
    clean = pd.DataFrame({name: columns[name] for name in [*numeric, *(n for n in names if n not in numeric)]})
    contract = frame.infer(clean[names])
    truth = np.array(table[TARGET] == "Yes", dtype=np.int64)
    pipeline = build(contract, "LogisticRegression", {}).fit(clean, truth)
    manifest = Manifest(
        estimator="LogisticRegression",
        threshold=threshold,
        target=TARGET,
        positive_label="Yes",
        features=tuple(names),
        split_by=tuple(names),
        files={},
    )
    typical = golden.golden(pipeline, clean, contract)
    packed = bundle.pack(
        manifest, convert.to_onnx(pipeline, contract), contract, profile.describe(clean, contract), typical
    )
    bundle.unpack(packed, folder)
    rows = [{str(k): v for k, v in row.items()} for row in table[names].astype(object).to_dict("records")]
    return Trained(folder, pipeline, contract, clean, rows)
