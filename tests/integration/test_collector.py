"""The collector as a process, with a real object store: what was acknowledged is in the log, once, whatever happens."""

import asyncio
import io
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hack.bench.collecting import (
    BUCKET,
    PARTITION,
    CollectorProcess,
    Log,
    ObjectStore,
    Sender,
    collectors,
    headers,
    pending,
    read_log,
    request_body,
    response_body,
    settled,
    store_model,
    wait_for,
)

from churn_operator.api import inference_log as layout
from churn_operator.collector.watched import WatchedStore
from churn_operator.storage.files import AT_ONCE, join

ROOT = layout.root(BUCKET)


@pytest.fixture
def model(store: ObjectStore) -> str:
    """A version's folder in the object store."""
    return store_model(store)


@pytest.fixture
def collector(store: ObjectStore, tmp_path: Path) -> Iterator[CollectorProcess]:
    with collectors(store, tmp_path) as (one,):
        yield one


def post(url: str, body: bytes, said: dict[str, str]) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers of the answer."""
    request = urllib.request.Request(url, body, said)  # noqa: S310 - our own http
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own http
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - our own http
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def predict(
    url: str, model: str, call: str, number: int = 1, more: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, int]:
    """Both halves of a prediction; the answers' status."""
    return (
        post(url, request_body(number), {**headers("request", call, model), **more})[0],
        post(url, response_body(0.25), {**headers("response", call, model), **more})[0],
    )


def today(store: ObjectStore, partition: layout.Partition = PARTITION) -> Log:
    now = datetime.now(UTC)
    return read_log(store, now - timedelta(hours=1), now + timedelta(hours=1), partition)


def wait_for_rows(store: ObjectStore, rows: int) -> Log:
    wait_for(lambda: len(today(store).rows) >= rows, f"{rows} rows")
    return today(store)


def metric(one: CollectorProcess, name: str) -> float:
    lines = get(one.url + "metrics")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def check(sender: Sender, log: Log) -> None:
    """Each prediction of which both halves were acknowledged is there, none is there twice, none is made up."""
    found = [row["feature.monthly_charges"] for row in log.rows]
    whole = {number for number, halves in sender.sent.acknowledged.items() if halves == 2}
    assert len(found) == len(set(found))
    assert whole <= set(found)
    assert all(row["probability"] == (row["feature.monthly_charges"] % 1000) / 1000 for row in log.rows)


def test_a_prediction_becomes_a_row(store: ObjectStore, model: str, collector: CollectorProcess) -> None:
    assert predict(collector.url, model, "call-1", 7, {"Ce-Metadata": '{"X-Churn-Probe": ["true"]}'}) == (200, 200)
    (row,) = wait_for_rows(store, 1).rows
    assert len(row.pop("event_id")) == 32
    assert datetime.now(UTC) - row.pop("time") < timedelta(minutes=5)
    assert row == {
        "row": 0,
        "kind": "Probe",
        "id": layout.hashed("7", b"only-for-tests-1234"),
        "probability": 0.25,
        "churn": False,
        "feature.tenure": 7.0,
        "feature.monthly_charges": 29.85,
        "feature.plan": "basic",
    }


def test_halves_that_two_replicas_took_are_joined(store: ObjectStore, model: str, tmp_path: Path) -> None:
    with collectors(store, tmp_path, 2) as both:
        sender = Sender([one.url for one in both], model)
        asyncio.run(sender.send(200, 3))
        wait_for(lambda: settled(store, both), "all to be joined")
        log = today(store)
        assert sum(halves == 2 for halves in sender.sent.acknowledged.values()) > 100
        assert all(metric(one, "churn_collector_events_total") > 0 for one in both)
        check(sender, log)


def test_what_was_acknowledged_outlives_kills_and_is_there_once(store: ObjectStore, model: str, tmp_path: Path) -> None:
    """A short version of what `make bench` does 50 times."""
    with collectors(store, tmp_path) as (one,):
        sender = Sender([one.url], model)
        chance = random.Random(11)  # noqa: S311 - no secret hangs on it

        async def kill() -> None:
            for _ in range(4):
                await asyncio.sleep(chance.uniform(0.5, 1.5))  # the moment of the kill is drawn
                await asyncio.to_thread(one.kill)
                await asyncio.to_thread(one.start)

        async def run() -> None:
            sending = asyncio.create_task(sender.send(500, 60))
            await kill()
            sender.stopped = True
            await sending

        asyncio.run(run())
        wait_for(lambda: settled(store, [one]), "all to be joined")
        assert sender.sent.answers["200"] > 50
        assert sender.sent.answers.total() > sender.sent.answers["200"]
        check(sender, today(store))


def test_an_id_that_a_client_repeats_confuses_nobody(
    store: ObjectStore, model: str, collector: CollectorProcess
) -> None:
    for number in (1, 2, 3):
        assert predict(collector.url, model, "mine", number) == (200, 200)
    rows = wait_for_rows(store, 3).rows
    assert [row["feature.tenure"] for row in rows] == [1, 2, 3]


WRONG = {
    "no event at all": ({"Content-Type": "application/json"}, b"{}", 400, "Ce-Specversion"),
    "a namespace that leads elsewhere": ({"Ce-Namespace": "../.."}, b"{}", 400, "DNS label"),
    "a body that is no JSON": ({}, b"{", 200, "must be JSON"),
    "a body without a bottom": ({}, b"[" * 1_000_000, 200, "must be JSON"),
    "a body that is too large": ({}, b" " * (9 << 20), 413, "at most 8388608 bytes"),
}


@pytest.mark.parametrize(("change", "body", "status", "text"), WRONG.values(), ids=WRONG)
def test_what_is_no_prediction_gets_an_answer(
    model: str, collector: CollectorProcess, change: dict[str, str], body: bytes, status: int, text: str
) -> None:
    said = change if "Content-Type" in change else {**headers("request", "a", model), **change}
    found, told, _ = post(collector.url, body, said)
    assert (found, text in told) == (status, True), told
    assert metric(collector, "churn_collector_dropped_total") == 1
    assert get(collector.url + "healthz")[0] == 200


def test_a_clock_that_is_wrong_fills_no_day_of_the_future(
    store: ObjectStore, model: str, collector: CollectorProcess
) -> None:
    assert predict(collector.url, model, "a", 1, {"Ce-Time": "2099-01-01T00:00:00Z"}) == (200, 200)
    wait_for_rows(store, 1)
    assert metric(collector, "churn_collector_wrong_clocks_total") == 2


def test_personal_data_is_on_no_disk(store: ObjectStore, model: str, tmp_path: Path) -> None:
    with collectors(store, tmp_path, flush_seconds=60) as (one,):
        body = json.dumps({"instances": [{"customer": "Lovelace", "email": "ada@lovelace.example"}]}).encode()
        assert post(one.url, body, headers("request", "ada@lovelace.example", model))[0] == 200
        files = [path for path in (one.folder / "buffer").rglob("*") if path.is_file()]
        assert any(b"tenure" in path.read_bytes() for path in files)
        assert not [path for path in files if b"lovelace" in path.read_bytes().lower()]


def test_an_event_whose_contract_cannot_be_had_is_not_taken(
    store: ObjectStore, model: str, collector: CollectorProcess
) -> None:
    """Nobody knows what in it is personal. Its response holds nothing personal, and is."""
    store.stop()
    status, _, said = post(collector.url, request_body(1), headers("request", "a", model))
    assert (status, said["Retry-After"]) == (503, "5")
    assert post(collector.url, response_body(0.5), headers("response", "a", model))[0] == 200
    store.start()
    wait_for(lambda: predict(collector.url, model, "b") == (200, 200), "the contract")
    assert len(wait_for_rows(store, 1).rows) == 1


def test_a_contract_that_was_read_once_is_known_after_a_restart(
    store: ObjectStore, model: str, collector: CollectorProcess
) -> None:
    assert predict(collector.url, model, "a") == (200, 200)
    store.stop()
    collector.kill()
    collector.start()
    assert predict(collector.url, model, "b") == (200, 200)
    store.start()
    wait_for_rows(store, 2)


def test_while_the_object_store_is_away_a_full_buffer_refuses_at_once_and_loses_nothing(
    store: ObjectStore, model: str, tmp_path: Path
) -> None:
    with collectors(store, tmp_path, buffer_bytes=1 << 20, flush_bytes=1 << 16) as (one,):
        sender = Sender([one.url], model)
        asyncio.run(sender.send(100, 1))
        store.stop()
        for _ in range(20):
            asyncio.run(sender.send(1000, 1))
            if get(one.url + "readyz")[0] == 503:
                break
        began = time.monotonic()
        status, _, said = post(one.url, response_body(0.5), headers("response", "x", model))
        assert (status, said["Retry-After"], time.monotonic() - began < 2) == (503, "5", True)
        assert get(one.url + "healthz")[0] == 200
        store.start()
        wait_for(lambda: settled(store, [one]), "all to be joined", 120)
        check(sender, today(store))
        wait_for(lambda: get(one.url + "readyz")[0] == 200, "readiness")


def test_on_sigterm_what_is_buffered_goes_to_the_object_store(store: ObjectStore, model: str, tmp_path: Path) -> None:
    with collectors(store, tmp_path, flush_seconds=3600) as (one,):
        assert predict(one.url, model, "a") == (200, 200)
        assert one.terminate() == 0
        assert not list((one.folder / "buffer/events").iterdir())
        assert len(pending(store)) == 1


def test_on_sigterm_without_an_object_store_what_is_buffered_stays(
    store: ObjectStore, model: str, tmp_path: Path
) -> None:
    with collectors(store, tmp_path, stop_seconds=2) as (one,):
        assert predict(one.url, model, "a") == (200, 200)
        store.stop()
        assert one.terminate() in (0, 3)
        store.start()
        one.start()
        wait_for_rows(store, 1)


def test_days_over_the_retention_go_and_small_files_of_a_day_become_one(
    store: ObjectStore, model: str, tmp_path: Path
) -> None:
    with collectors(store, tmp_path, retention_days=30, sweep_seconds=0.5) as (one,):
        assert predict(one.url, model, "a") == (200, 200)
        wait_for_rows(store, 1)
        (file,) = store.files.list(layout.day_folder(ROOT, PARTITION, datetime.now(UTC).date())).files
        log = pq.read_table(io.BytesIO(store.files.read(file.uri)))
        (row,) = log.to_pylist()
        folders = {
            days: layout.day_folder(ROOT, PARTITION, datetime.now(UTC).date() - timedelta(days=days))
            for days in (5, 31)
        }
        for number in range(3):
            sink = io.BytesIO()
            pq.write_table(pa.Table.from_pylist([row | {"row": number}, row], log.schema), sink)
            for folder in folders.values():
                store.files.write(join(folder, f"{number}.parquet"), sink.getvalue())
        wait_for(lambda: not store.files.list(folders[31]).files, "the old day to go")
        wait_for(lambda: len(store.files.list(folders[5]).files) == 1, "one file")
        (file,) = store.files.list(folders[5]).files
        assert pq.read_table(io.BytesIO(store.files.read(file.uri))).num_rows == 3
        assert len(today(store).rows) == 1


def test_of_more_objects_than_one_answer_names_each_page_is_progress(store: ObjectStore) -> None:
    marks: list[None] = []
    watched, folder = WatchedStore(store.files, lambda: marks.append(None)), join(ROOT, "damaged")
    uris = [join(folder, f"{number}") for number in range(AT_ONCE + 1)]
    for uri in uris:
        store.files.write(uri, b"")
    assert {file.uri for file in watched.list(folder).files} == set(uris)
    assert len(marks) == 3
    watched.delete(uris)
    assert len(marks) == 5
    assert not watched.list(folder).files


def test_a_file_that_nobody_can_read_is_put_aside(store: ObjectStore, model: str, collector: CollectorProcess) -> None:
    uri = join(ROOT, layout.PENDING, PARTITION.path, "new-damaged.parquet")
    store.files.write(uri, b"no parquet")
    wait_for(lambda: not store.files.exists(uri), "it to be put aside")
    assert store.files.read(join(ROOT, "damaged", "new-damaged.parquet")) == b"no parquet"
    assert predict(collector.url, model, "a") == (200, 200)
    wait_for_rows(store, 1)


def test_a_half_alone_is_counted_and_goes(store: ObjectStore, model: str, tmp_path: Path) -> None:
    with collectors(store, tmp_path, orphan_seconds=3) as (one,):
        assert post(one.url, request_body(1), headers("request", "a", model))[0] == 200
        wait_for(lambda: metric(one, 'churn_collector_dropped_total{reason="NoResponse"}') == 1, "it to be dropped")
        wait_for(lambda: not pending(store), "nothing to wait")


def test_what_others_may_ask(collector: CollectorProcess) -> None:
    assert get(collector.url + "healthz") == (200, "ok")
    assert get(collector.url + "readyz") == (200, "ok")
    assert "churn_collector_buffer_bytes 0.0" in get(collector.url + "metrics")[1]
    lines = [json.loads(line) for line in collector.log.read_text().splitlines()]
    assert lines[0]["message"] == "ready"
