"""The Job that reads labels, as a process: log, labels and models each in an object store of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hack.bench.collecting import BUCKET, ROOT, ObjectStore
from unit.jobs.logged import SINCE, TELCO, UNTIL, row, write
from unit.jobs.test_labels import model

from churn_operator.api.inference_log import day_folder
from churn_operator.api.tasks import EXIT_REFUSED, LOG_PREFIX, SOURCE_PREFIX, LabelsTask, ModelRef

PREFIXES = {"models": "", "log": LOG_PREFIX, "labels": SOURCE_PREFIX}


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[dict[str, ObjectStore]]:
    """Each knows nothing of what the others hold."""
    found = {name: ObjectStore(tmp_path / name) for name in PREFIXES}
    try:
        for store in found.values():
            store.start()
        yield found
    finally:
        for store in found.values():
            store.stop()


def put(store: ObjectStore, uri: str, content: bytes) -> None:
    store.files.write(uri, content)


def stored(store: ObjectStore, folder: Path) -> ModelRef:
    """A model's files, brought from the folder to the store."""
    local = model(folder)
    uri = f"{BUCKET}/models/{Path(local.uri).name}"
    for file in Path(local.uri).iterdir():
        put(store, f"{uri}/{file.name}", file.read_bytes())
    return ModelRef(uri=uri, digest=local.digest)


def logged(store: ObjectStore, folder: Path, version: str, wrong: int, rows: int) -> None:
    """Customers c0, c1 … of whom none left, and the first of whom were called churners."""
    at = UNTIL - timedelta(hours=1)
    given = [row(f"e{number}", id=f"c{number}", at=at, churn=number < wrong) for number in range(rows)]
    partition = TELCO._replace(version=version)
    written = write(folder, given, partition=partition)
    put(store, f"{day_folder(f'{BUCKET}/inference-log', partition, at.date())}/a.parquet", written.read_bytes())


def ran(stores: dict[str, ObjectStore], folder: Path, task: LabelsTask) -> tuple[int, dict[str, Any]]:
    """The exit code, and what was left."""
    (folder / "task.json").write_text(json.dumps(task.to_dict()))
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT / "operator")}
    environment["TERMINATION_LOG"] = str(folder / "left")
    for name, prefix in PREFIXES.items():
        environment |= {prefix + key: value for key, value in stores[name].environment.items()}
    command = [sys.executable, "-m", "churn_operator.jobs", "labels", str(folder / "task.json")]
    ended = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert (folder / "left").exists(), ended.stderr
    return ended.returncode, json.loads((folder / "left").read_text())


def test_labels_log_and_models_come_from_where_each_is(stores: dict[str, ObjectStore], tmp_path: Path) -> None:
    ref = stored(stores["models"], tmp_path)
    logged(stores["log"], tmp_path, "v1", wrong=20, rows=200)
    logged(stores["log"], tmp_path, "v2", wrong=50, rows=100)
    window = {"uri": f"{BUCKET}/inference-log", "since": SINCE.isoformat(), "until": UNTIL.isoformat(), "min_rows": 50}
    task = LabelsTask.model_validate(
        {
            "namespace": "ml",
            "churn_model": "telco",
            "champion": {"version": "v1", "model": ref},
            "challenger": {"version": "v2", "model": ref},
            "log": window,
            "source": {"uri": f"{BUCKET}/labels.csv"},
        }
    )
    code, found = ran(stores, tmp_path, task)
    assert (code, found["reason"]) == (EXIT_REFUSED, "DataNotFound")
    stayed = "".join(f"c{number},No\n" for number in range(80))
    put(stores["labels"], f"{BUCKET}/labels.csv", f"id,left\n{stayed}".encode())
    code, found = ran(stores, tmp_path, task)
    assert (code, found["outcome"]) == (0, "Joined")
    assert found["champion"] == {"version": "v1", "predictions": 200, "customers": 200, "labelled": 80, "wrong": 20}
    assert found["challenger"] == {"version": "v2", "predictions": 100, "customers": 100, "labelled": 80, "wrong": 50}
