"""Events, contracts and files for tests of the collector."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path

from churn_operator.api.contract import Contract, Feature
from churn_operator.api.data import PersonalData
from churn_operator.collector.event import digest
from churn_operator.collector.halves import Half
from churn_operator.storage.files import Listed

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = b"only-for-tests-1234"
MODEL_URI = f"s3://churn/models/{'0' * 64}"
HEADERS = {
    "Ce-Specversion": "1.0",
    "Ce-Id": "call-1",
    "Ce-Type": "org.kubeflow.serving.inference.request",
    "Ce-Source": "http://localhost:9081/",
    "Ce-Time": "2026-11-21T11:59:59.123456789Z",
    "Ce-Inferenceservicename": "telco-v7",
    "Ce-Namespace": "team-a",
    "Ce-Component": "predictor",
    "Ce-Metadata": "{}",
    "Ce-Annotations": json.dumps(
        {"churnops.dev/model": "telco", "churnops.dev/version": "v7", "churnops.dev/model-uri": MODEL_URI}
    ),
}
ROW = {"customer": "ada", "tenure": 12, "plan": "basic", "email": "ada@example.com"}


def contract(*personal: PersonalData, id_column: str | None = "customer") -> Contract:
    return Contract(
        features=(
            Feature(name="tenure", kind="Numerical"),
            Feature(name="plan", kind="Categorical", categories=("basic",)),
        ),
        id_column=id_column,
        personal=personal,
    )


def half(role: str, second: float, key: str = "", *, call: str = "a", size: int = 1, since: int = 0) -> Half:
    """Of a prediction of one row, by the agent's clock."""
    body = [["ada", [12.0, "basic"]]] if role == "request" else [[0.7, True]]
    columns = json.dumps([["feature.tenure", "double"], ["feature.plan", "string"]]) if role == "request" else ""
    stamp = round(NOW.timestamp() * 1_000_000 + second * 1_000_000)
    return Half(
        role,
        digest(call),
        key or f"{role}-{call}-{second}",
        stamp,
        stamp,
        "Client",
        columns,
        json.dumps(body * size),
        size,
        since,
    )


def listed(name: str, size: int = 100, modified: datetime = NOW, folder: str = "s3://churn/log") -> Listed:
    return Listed(f"{folder}/{name}", size, modified)


def only(folder: Path) -> Path:
    """The one file of a folder."""
    (found,) = folder.iterdir()
    return found


def damage(data: bytes, seed: int) -> bytes:
    """The same with eight bytes replaced, and with the first and last ones by which a Parquet file is known."""
    chance = random.Random(seed)  # noqa: S311 - no secret hangs on it
    at = chance.randrange(4, len(data) - 16)
    return data[:at] + chance.randbytes(8) + data[at + 8 :]
