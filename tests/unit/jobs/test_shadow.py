"""A replay sends what clients sent, marked and no faster than allowed, and tells how the answers compare."""

import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families
from scipy.stats import spearmanr
from unit.jobs.logged import TELCO as PARTITION
from unit.jobs.logged import UNTIL, asked
from unit.jobs.making import TELCO
from unit.predictor.trained import Trained, train

from churn_operator.api.contract import CONTRACT_FILE, MANIFEST_FILE, Contract, Manifest
from churn_operator.api.data import PersonalData
from churn_operator.api.inference_log import FEATURE_PREFIX, day_folder
from churn_operator.api.reasons import Reason
from churn_operator.api.results import encode_result
from churn_operator.api.tasks import RESULT_LIMIT, ModelRef, ShadowResult, ShadowTask
from churn_operator.collector import tables
from churn_operator.collector.halves import Half
from churn_operator.collector.rows import Reader
from churn_operator.jobs import shadow as job
from churn_operator.jobs.__main__ import main
from churn_operator.jobs.shadow import shadow
from churn_operator.storage.bundle import sha256
from churn_operator.storage.failure import Refused, Unavailable

ROWS = 120
PREDICT = "/v1/models/telco:predict"
DEADLINE = 60.0
MICROS = 1_000_000


@pytest.fixture(scope="module")
def telco() -> pd.DataFrame:
    return pd.read_csv(TELCO, nrows=1500, keep_default_na=False, na_values=[""])


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory, telco: pd.DataFrame) -> Trained:
    return train(tmp_path_factory.mktemp("champion"), telco)


def log_of(root: Path, model: Trained, *, rows: int = ROWS, kind: str = "Client") -> None:
    """A request for each row and the champion's answer to it, as the collector keeps and writes them."""
    reader = Reader(model.contract, b"key")
    probabilities = model.pipeline.predict_proba(model.clean[:rows])[:, 1]
    columns, pairs = json.dumps(reader.columns), []
    at = int((UNTIL - timedelta(hours=1)).timestamp() * MICROS)
    for number, (given, probability) in enumerate(zip(model.rows[:rows], probabilities, strict=True)):
        read = json.dumps(reader.rows(json.dumps({"instances": [given]}).encode()))
        answer = json.dumps([[float(probability), bool(probability >= 0.4)]])
        name, time_ = f"e{number:04}", at + number
        request = Half("request", name, f"{name}q", time_, time_, kind, columns, read, 1)
        response = Half("response", name, f"{name}a", time_ + 1, time_ + 1, kind, "", answer, 1)
        pairs.append((request, response))
    (part,) = tables.log_parts(pairs)
    path = Path(day_folder(str(root), PARTITION, part.day)) / f"{kind}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tables.to_parquet(tables.merged([part.table])))


def reference(folder: Path) -> ModelRef:
    return ModelRef(uri=str(folder), digest=sha256((folder / MANIFEST_FILE).read_bytes()))


def task(root: Path, model: Trained, port: int, **fields: Any) -> ShadowTask:
    given = {
        "namespace": "ml",
        "churn_model": "telco",
        "champion": {"version": "v1", "model": reference(model.folder)},
        "version": "v2",
        "url": f"http://127.0.0.1:{port}{PREDICT}",
        "log": asked(root),
        "requests": 100,
        "requests_per_second": 1000,
        "p95_milliseconds": 1000,
    }
    return ShadowTask.model_validate(given | fields)


@contextmanager
def predictor(model: Trained, folder: Path) -> Iterator[int]:
    """The real process, as version 2."""
    with socket.socket() as free, socket.socket() as other:
        for one in (free, other):
            one.bind(("127.0.0.1", 0))
        port, grpc_port = free.getsockname()[1], other.getsockname()[1]
    command = [sys.executable, "-m", "churn_operator.predictor", f"--model-dir={model.folder}", "--model-name=telco"]
    command += ["--version=v2", f"--http-port={port}", f"--grpc-port={grpc_port}"]
    operator = str(Path(__file__).parents[3] / "operator")
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "PYTHONPATH": operator}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
    ):
        try:
            deadline = time.monotonic() + DEADLINE
            while time.monotonic() < deadline and not answers(port):
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
            yield port
        finally:
            process.kill()


def answers(port: int) -> bool:
    try:
        return fetch(port, "/ready")[0] == 200
    except OSError:
        return False


def fetch(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def callers(port: int) -> dict[str, float]:
    families = text_string_to_metric_families(fetch(port, "/metrics")[1])
    samples = [sample for family in families for sample in family.samples]
    rows = sum(sample.value for sample in samples if sample.name == "churn_predictor_rows_total")
    found = {s.labels["caller"]: s.value for s in samples if s.name == "churn_predictor_requests_total"}
    return found | {"rows of clients": rows}


def test_a_real_challenger_is_compared_by_what_clients_asked(
    tmp_path: Path, champion: Trained, telco: pd.DataFrame
) -> None:
    """The challenger learned from other rows, and calls churner whom it gives 60 %."""
    (tmp_path / "model").mkdir()
    challenger = train(tmp_path / "model", telco.sample(400, random_state=3), threshold=0.6)
    log_of(tmp_path, champion)
    log_of(tmp_path, champion, rows=5, kind="Shadow")
    with predictor(challenger, tmp_path) as port:
        found = shadow(task(tmp_path, champion, port, requests=ROWS))
        assert callers(port) == {"shadow": ROWS + 1, "gateway": 0, "rows of clients": 0}
    frame = champion.clean[:ROWS]
    theirs, own = (model.pipeline.predict_proba(frame)[:, 1] for model in (champion, challenger))
    same = int(((theirs >= 0.4) == (own >= 0.6)).sum())
    assert (found.outcome, found.errors) == ("Replayed", 0)
    assert (found.logged, found.requests, found.compared) == (ROWS, ROWS, ROWS)
    assert 0 < found.changed == ROWS - same
    assert found.agreement == pytest.approx(same / ROWS, abs=1e-5)
    assert found.correlation == pytest.approx(spearmanr(theirs, own).statistic, abs=1e-3)
    assert found.difference == pytest.approx(abs(theirs - own).mean(), abs=1e-4)
    assert found.scores is not None
    assert sum(found.scores) == ROWS
    assert found.latency is not None
    assert 0 < found.latency.p50 <= found.latency.p95 <= found.latency.p99


@dataclass
class Stand:
    """A server that answers as it is told, and remembers what it was asked."""

    answer: Callable[[int], tuple[int, str]]
    """Status and body of the n-th request."""
    asked: list[tuple[float, dict[str, str], Any]] = field(default_factory=list)
    port: int = 0

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for _, _, body in self.asked for row in body["instances"]]


@contextmanager
def standing(answer: Callable[[int], tuple[int, str]]) -> Iterator[Stand]:
    stand = Stand(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            stand.asked.append((time.monotonic(), {k.lower(): v for k, v in self.headers.items()}, body))
            status, text = stand.answer(len(stand.asked) - 1)
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        stand.port = server.server_address[1]
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield stand
        finally:
            server.shutdown()


def said(probability: float, *, churn: bool = False) -> tuple[int, str]:
    return 200, json.dumps({"predictions": [{"probability": probability, "churn": churn, "version": "v2"}]})


def quiet(_: int) -> tuple[int, str]:
    return said(0.25)


def test_rows_go_out_as_clients_sent_them_and_are_marked_as_nobodys(tmp_path: Path, champion: Trained) -> None:
    log_of(tmp_path, champion)
    with standing(quiet) as stand:
        shadow(task(tmp_path, champion, stand.port, requests=ROWS))
    sent = [as_read(champion, row) for row in stand.rows[1:]]
    wanted = [as_read(champion, row) for row in champion.rows[:ROWS]]
    assert sorted(map(str, sent)) == sorted(map(str, wanted))
    assert {headers["x-churn-shadow"] for _, headers, _ in stand.asked} == {"true"}
    assert all("x-churn-probe" not in headers for _, headers, _ in stand.asked)


def as_read(model: Trained, row: dict[str, Any]) -> Any:
    """What the predictor makes of a row, which must have every column of the contract."""
    from churn_operator.predictor.request import RowReader

    rows = RowReader(model.contract).read_plain({k: v for k, v in row.items() if k != model.contract.id_column})
    return rows.numbers, rows.categories


def test_no_more_rows_are_sent_than_asked_for_and_the_same_ones_each_time(tmp_path: Path, champion: Trained) -> None:
    log_of(tmp_path, champion)
    sent = []
    for _ in range(2):
        with standing(quiet) as stand:
            found = shadow(task(tmp_path, champion, stand.port, requests=30))
        assert (found.logged, found.requests) == (ROWS, 30)
        sent.append(sorted(map(str, stand.rows[1:])))
    assert sent[0] == sent[1]


def test_requests_are_no_faster_than_allowed(tmp_path: Path, champion: Trained) -> None:
    log_of(tmp_path, champion)
    with standing(quiet) as stand:
        shadow(task(tmp_path, champion, stand.port, requests=41, requests_per_second=50))
    times = [at for at, _, _ in stand.asked[1:]]
    assert len(times) == 41
    assert times[-1] - times[0] >= 40 / 50 - 0.1


FAULTS = {
    "fails": ((503, "no upstream"), 0, "503: no upstream"),
    "refuses": ((400, '{"error": "instances[0].age: required"}'), 10, '400: {"error": "instances[0].age: required"}'),
    "answers something else": ((200, "{}"), 0, "the answer is no prediction: KeyError('predictions')"),
    "answers no JSON": ((200, "<html>"), 0, "the answer is no prediction"),
    "answers no probability": (said(7.0), 0, "the answer is no probability: 7"),
}


@pytest.mark.parametrize(("fault", "refused", "problem"), FAULTS.values(), ids=FAULTS)
def test_each_request_without_a_prediction_is_an_error(
    tmp_path: Path, champion: Trained, fault: tuple[int, str], refused: int, problem: str
) -> None:
    log_of(tmp_path, champion)
    with standing(lambda number: fault if number % 10 == 5 else said(0.25)) as stand:
        found = shadow(task(tmp_path, champion, stand.port))
    assert (found.requests, found.errors, found.refused, found.compared) == (100, 10, refused, 90)
    assert found.problem.startswith(problem)
    assert found.correlation is None  # all the same: there are no ranks


def test_where_nothing_is_a_prediction_nothing_is_compared(tmp_path: Path, champion: Trained) -> None:
    log_of(tmp_path, champion)
    with standing(lambda _: (500, "x" * 5000)) as stand:
        found = shadow(task(tmp_path, champion, stand.port))
    assert (found.errors, found.compared, found.agreement, found.latency, found.scores) == (100, 0, None, None, None)
    assert len(encode_result(found)) <= RESULT_LIMIT


def test_an_answer_later_than_promised_is_slow_and_one_that_never_comes_an_error(
    tmp_path: Path, champion: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "TIMEOUT", (1.0, 1.2))

    def answer(number: int) -> tuple[int, str]:
        time.sleep({3: 0.6, 4: 1.8}.get(number, 0))
        return said(0.25)

    log_of(tmp_path, champion)
    with standing(answer) as stand:
        found = shadow(task(tmp_path, champion, stand.port, requests=20, p95_milliseconds=500))
    assert (found.slow, found.errors, found.compared) == (1, 1, 19)
    assert found.problem.startswith("no answer: ")


def test_too_few_logged_rows_are_counted_and_nothing_is_sent(tmp_path: Path, champion: Trained) -> None:
    log_of(tmp_path, champion, rows=49)
    log_of(tmp_path, champion, rows=30, kind="Shadow")
    with standing(quiet) as stand:
        found = shadow(task(tmp_path, champion, stand.port))
    assert found == ShadowResult(outcome="TooFew", logged=49)
    assert stand.asked == []


def test_a_challenger_that_this_pod_cannot_reach_is_no_challenger_that_fails(
    tmp_path: Path, champion: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "PAUSE_SECONDS", 0.01)
    log_of(tmp_path, champion)
    with pytest.raises(Unavailable, match="does not answer this Job's pod") as error:
        shadow(task(tmp_path, champion, 9))
    assert error.value.reason is Reason.ChallengerNotAnswering


def test_personal_columns_are_sent_empty_and_nothing_is_compared(tmp_path: Path, champion: Trained) -> None:
    """One is dropped from the log, another hashed in it: the champion was asked something else."""
    personal = (PersonalData(column="contract", action="Drop"), PersonalData(column="payment_method", action="Hash"))
    (tmp_path / "model").mkdir()
    for file in champion.folder.iterdir():
        (tmp_path / "model" / file.name).write_bytes(file.read_bytes())
    contract = champion.contract.model_copy(update={"personal": personal})
    rewrite(tmp_path / "model", contract)
    shy = Trained(tmp_path / "model", champion.pipeline, contract, champion.clean, champion.rows)
    log_of(tmp_path, shy)
    with standing(quiet) as stand:
        found = shadow(task(tmp_path, shy, stand.port))
    assert {(row["contract"], row["payment_method"]) for row in stand.rows} == {(None, None)}
    assert all(row["tenure"] is not None for row in stand.rows)
    assert (found.hidden, found.compared, found.agreement, found.scores) == (
        ("contract", "payment_method"),
        0,
        None,
        None,
    )
    assert (found.requests, found.errors) == (100, 0)


def rewrite(folder: Path, contract: Contract) -> None:
    text = contract.model_dump_json(exclude_none=True).encode()
    (folder / CONTRACT_FILE).write_bytes(text)
    manifest = Manifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
    listed = manifest.model_copy(update={"files": manifest.files | {CONTRACT_FILE: sha256(text)}})
    (folder / MANIFEST_FILE).write_text(listed.model_dump_json(exclude_none=True))


def test_a_champion_whose_files_are_gone_is_named(tmp_path: Path, champion: Trained) -> None:
    log_of(tmp_path, champion)
    gone = {"version": "v1", "model": ModelRef(uri=str(tmp_path / "none"), digest=f"sha256:{'ab' * 32}")}
    with pytest.raises(Refused, match="there is no file at"):
        shadow(task(tmp_path, champion, 9, champion=gone))


def test_numbers_that_json_has_no_word_for_are_missing() -> None:
    import pyarrow as pa

    contract = Contract.model_validate({"features": [{"name": "tenure", "kind": "Numerical"}]})
    table = pa.table({f"{FEATURE_PREFIX}tenure": [1.0, float("nan"), None]})
    assert [row["tenure"] for row in job.as_sent(table, contract, ())] == [1.0, None, None]


@pytest.fixture
def _leave_the_process_as_it_was() -> Iterator[None]:
    handler, level = signal.getsignal(signal.SIGTERM), logging.getLogger("churn_operator").level
    yield
    signal.signal(signal.SIGTERM, handler)
    logging.getLogger("churn_operator").setLevel(level)


@pytest.mark.usefixtures("_leave_the_process_as_it_was")
def test_the_result_is_what_the_command_leaves(
    tmp_path: Path, champion: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_of(tmp_path, champion)
    monkeypatch.setenv("TERMINATION_LOG", str(tmp_path / "termination-log"))
    with standing(quiet) as stand:
        given = task(tmp_path, champion, stand.port)
        (tmp_path / "task.json").write_text(json.dumps(given.to_dict()))
        assert main(["shadow", str(tmp_path / "task.json")]) == 0
    left = ShadowResult.model_validate_json((tmp_path / "termination-log").read_text())
    assert (left.outcome, left.requests, left.errors) == ("Replayed", 100, 0)
