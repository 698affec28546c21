"""One real model, and the SDK's application around it."""

import argparse
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from kserve.logging import logger
from kserve.protocol.rest.server import RESTServer
from unit.predictor.trained import Trained, train

from churn_operator.predictor.__main__ import build_server, parser
from churn_operator.predictor.bundle import read_bundle

TELCO = Path(__file__).parents[3] / "samples" / "telco" / "telco.csv"


@pytest.fixture(scope="session")
def telco() -> pd.DataFrame:
    return pd.read_csv(TELCO, nrows=1500, keep_default_na=False, na_values=[""])


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, telco: pd.DataFrame) -> Trained:
    return train(tmp_path_factory.mktemp("models"), telco)


@pytest.fixture(scope="session")
def assembled(trained: Trained) -> tuple[Any, Any, Any]:
    """The SDK's server, the model, and the SDK's application, of which there is one in a process."""
    logger.addHandler(logging.NullHandler())  # else the SDK logs to a stream that pytest closes
    logger.propagate = False
    server, model, app = build_server(read_bundle(trained.folder), options(trained.folder))
    server.register_model(model)
    RESTServer("", server.dataplane, server.model_repository_extension, 0).create_application()
    return server, model, app


@pytest.fixture(scope="session")
def application(assembled: tuple[Any, Any, Any]) -> Any:
    return assembled[2]


def options(folder: Path) -> argparse.Namespace:
    return parser().parse_args([f"--model-dir={folder}", "--model-name=telco", "--version=v1"])


@pytest.fixture
async def client(application: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://telco") as client:
        yield client
