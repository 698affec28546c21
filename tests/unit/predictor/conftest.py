"""A real bundle, made by the functions that training uses, and the SDK's application around it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from churn_operator.api.contract import Contract, Manifest
from churn_operator.jobs import bundle, convert, frame, golden, profile, search

TELCO = Path(__file__).parents[3] / "samples" / "telco" / "telco.csv"
TARGET = "churn"


@dataclass(frozen=True, eq=False)
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
    pipeline = search.fit(clean, truth, contract, "LogisticRegression", {})
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


@pytest.fixture(scope="session")
def telco() -> pd.DataFrame:
    return pd.read_csv(TELCO, nrows=1500, keep_default_na=False, na_values=[""])


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, telco: pd.DataFrame) -> Trained:
    return train(tmp_path_factory.mktemp("models"), telco)


@pytest.fixture(scope="session")
def application(trained: Trained) -> Any:
    """The SDK's application, assembled as the server assembles it; there is one in a process."""
    from kserve.protocol.rest.server import RESTServer

    from churn_operator.predictor.__main__ import build_server
    from churn_operator.predictor.bundle import read_bundle

    server, model, app = build_server(read_bundle(trained.folder), options(trained.folder))
    server.register_model(model)
    RESTServer("", server.dataplane, server.model_repository_extension, 0).create_application()
    return app


def options(folder: Path, *more: str) -> Any:
    from churn_operator.predictor.__main__ import parser

    return parser().parse_args([f"--model-dir={folder}", "--model-name=telco", "--version=v1", *more])


@pytest.fixture
async def client(application: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://telco") as client:
        yield client
