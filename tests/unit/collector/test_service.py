"""The collector in this process, with a folder for an object store; the integration tests have a real one."""

import asyncio
import errno
import io
import json
import os
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pyarrow.parquet as pq
import pytest
from hack.bench.ports import free_port
from unit.collector.making import HEADERS, KEY, MODEL_URI, ROW, contract, damage, half, listed

from churn_operator.api.contract import CONTRACT_FILE, MANIFEST_FILE, Manifest
from churn_operator.api.data import PersonalData
from churn_operator.api.inference_log import Partition
from churn_operator.collector import contracts, service, tables
from churn_operator.collector.buffer import Buffer
from churn_operator.collector.clock import StoreClock
from churn_operator.collector.compaction import Compactor, Overtaken
from churn_operator.collector.contracts import Contracts, Unknown
from churn_operator.collector.halves import Half, encode
from churn_operator.collector.service import Collector
from churn_operator.collector.settings import Settings
from churn_operator.storage.bundle import sha256
from churn_operator.storage.files import Gone, LocalStore, Store

DEADLINE = 30.0
REQUEST = json.dumps({"instances": [ROW]}).encode()
RESPONSE = b'{"predictions": [{"probability": 0.7, "churn": true, "version": "v7"}]}'
RESPONSE_HEADERS = {**HEADERS, "Ce-Type": "org.kubeflow.serving.inference.response"}


class Running:
    """A collector that runs, and whoever talks to it."""

    def __init__(self, settings: Settings, http: aiohttp.ClientSession) -> None:
        self.log = Path(settings.storage_uri) / "inference-log"
        self._url = f"http://127.0.0.1:{settings.port}"
        self._http = http

    async def post(self, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        async with self._http.post(self._url, data=body, headers=headers) as answer:
            return answer.status, await answer.text()

    async def get(self, path: str) -> tuple[int, str]:
        async with self._http.get(self._url + path) as answer:
            return answer.status, await answer.text()

    async def rows(self, count: int) -> list[dict[str, Any]]:
        """The log's rows, once there are so many."""
        async with asyncio.timeout(DEADLINE):
            while len(found := read(self.log)) < count:
                await asyncio.to_thread(threading.Event().wait, 0.02)
        return found


def read(log: Path) -> list[dict[str, Any]]:
    try:
        paths = sorted(log.glob("namespace=*/**/*.parquet"))
        return [row for path in paths for row in pq.read_table(io.BytesIO(path.read_bytes())).to_pylist()]
    except FileNotFoundError:
        return read(log)  # two were merged meanwhile


def settings(folder: Path, **changed: object) -> Settings:
    """With everything fast, and with the contract at hand."""
    copy = folder / "buffer/contracts" / f"{MODEL_URI.rpartition('/')[2]}.json"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(contract(PersonalData(column="customer", action="Hash")).model_dump_json())
    fast = {"flush_seconds": 0.05, "settle_seconds": 0.1, "compact_seconds": 0.05, "drain_seconds": 0}
    here = {"storage_uri": str(folder / "store"), "buffer_dir": folder / "buffer", "port": free_port()}
    return Settings.model_validate({**here, **fast, "hash_key": KEY.decode(), **changed})


@asynccontextmanager
async def running(wanted: Settings, stop: asyncio.Event | None = None) -> AsyncIterator[Running]:
    stop = stop or asyncio.Event()
    task = asyncio.create_task(Collector(wanted).run(stop))
    try:
        async with aiohttp.ClientSession() as http:
            one = Running(wanted, http)
            async with asyncio.timeout(DEADLINE):
                while not await listens(wanted.port):
                    assert not task.done()
            yield one
    finally:
        stop.set()
        assert await task


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_both_halves_become_a_row(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as one:
        assert await one.post(HEADERS, REQUEST) == (200, "")
        assert await one.post(RESPONSE_HEADERS, RESPONSE) == (200, "")
        (row,) = await one.rows(1)
        assert (row["probability"], row["feature.tenure"], row["kind"]) == (0.7, 12.0, "Client")
        assert (await one.get("/healthz"), await one.get("/readyz")) == ((200, "ok"), (200, "ok"))
        assert 'churn_collector_events_total{outcome="Stored",type="request"}' in (await one.get("/metrics"))[1]


async def test_who_leaves_still_answers_and_closes_the_connection(tmp_path: Path) -> None:
    stop, wanted = asyncio.Event(), settings(tmp_path, drain_seconds=2)
    async with running(wanted, stop) as one:
        assert await one.post(HEADERS, REQUEST) == (200, "")
        stop.set()
        async with aiohttp.ClientSession() as http:
            said = {**HEADERS, "Ce-Id": "late"}
            async with http.post(f"http://127.0.0.1:{wanted.port}", data=REQUEST, headers=said) as answer:
                assert (answer.status, answer.headers["Connection"]) == (200, "close")


async def test_many_predictions_become_few_files_and_no_row_is_twice(tmp_path: Path) -> None:
    async with running(settings(tmp_path, settle_seconds=0.01)) as one:
        for number in range(40):
            for headers, body in ((HEADERS, REQUEST), (RESPONSE_HEADERS, RESPONSE)):
                assert await one.post({**headers, "Ce-Id": str(number)}, body) == (200, "")
        rows = await one.rows(40)
        assert len({row["event_id"] for row in rows}) == len(rows) == 40


ANSWERS = {
    "no event": ({}, REQUEST, 400, "Ce-Specversion"),
    "a large body": (HEADERS, b" " * 2000, 413, "at most 1024 bytes"),
    "a body that nobody can read": (HEADERS, b"{", 200, "must be JSON"),
}


@pytest.mark.parametrize(("headers", "body", "status", "text"), ANSWERS.values(), ids=ANSWERS)
async def test_others_get_an_answer(
    tmp_path: Path, headers: dict[str, str], body: bytes, status: int, text: str
) -> None:
    async with running(settings(tmp_path, max_event_bytes=1024)) as one:
        found, told = await one.post(headers, body)
        assert (found, text in told) == (status, True)


async def test_a_body_of_unknown_length_is_bounded_too(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    wanted = settings(tmp_path, max_event_bytes=1024)
    async with (
        running(wanted),
        aiohttp.ClientSession() as http,
        http.post(f"http://127.0.0.1:{wanted.port}", data=endless(), headers=HEADERS) as answer,
    ):
        assert answer.status == 413


async def test_without_a_contract_nothing_is_taken_and_the_store_is_not_asked_each_time(tmp_path: Path) -> None:
    known = Contracts(tmp_path, None)
    for _ in range(2):
        with pytest.raises(Unknown, match="no file at"):
            await known.get(f"{tmp_path}/models/{'1' * 64}")
    (copy,) = [tmp_path / f"{'1' * 64}.json"]
    copy.write_text(contract().model_dump_json())
    with pytest.raises(Unknown, match="no file at"):  # the pause is not over
        await known.get(f"{tmp_path}/models/{'1' * 64}")


async def test_a_damaged_copy_of_a_contract_is_read_again(tmp_path: Path) -> None:
    (tmp_path / f"{'1' * 64}.json").write_text("{")
    with pytest.raises(Unknown, match="no file at"):
        await Contracts(tmp_path, None).get(f"{tmp_path}/models/{'1' * 64}")


def store_model(folder: Path, id_column: str) -> str:
    """A model's folder with nothing in it but a contract; its address."""
    text = contract(id_column=id_column).model_dump_json().encode()
    manifest = Manifest(
        estimator="LogisticRegression",
        threshold=0.5,
        target="churn",
        positive_label="Yes",
        features=("tenure", "plan"),
        split_by=("customer",),
        files={CONTRACT_FILE: sha256(text)},
    )
    data = manifest.model_dump_json().encode()
    uri = f"{folder}/models/{sha256(data).removeprefix('sha256:')}"
    for name, content in ((CONTRACT_FILE, text), (MANIFEST_FILE, data)):
        LocalStore().write(f"{uri}/{name}", content)
    return uri


async def test_copies_of_contracts_take_no_more_than_their_share_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = [store_model(tmp_path, f"customer{number}") for number in range(6)]
    copies = [tmp_path / f"copies/{uri.rpartition('/')[2]}.json" for uri in uris]
    known = Contracts(tmp_path / "copies", None)
    await known.get(uris[0])
    monkeypatch.setattr(contracts, "_COPIES_BYTES", 3 * copies[0].stat().st_size)
    for uri in uris[1:]:
        await known.get(uri)
        await known.get(uris[0])
    assert [copy.exists() for copy in copies] == [True, False, False, False, True, True]


async def test_copies_of_contracts_that_nobody_asked_for_since_a_restart_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = [store_model(tmp_path, f"customer{number}") for number in range(4)]
    copies = [tmp_path / f"copies/{uri.rpartition('/')[2]}.json" for uri in uris]
    for uri in uris[:3]:
        await Contracts(tmp_path / "copies", None).get(uri)
    monkeypatch.setattr(contracts, "_COPIES_BYTES", 3 * copies[0].stat().st_size)
    restarted = Contracts(tmp_path / "copies", None)
    await restarted.get(uris[0])
    await restarted.get(uris[3])
    assert [copy.exists() for copy in copies] == [True, False, True, True]


async def test_a_record_is_synced_before_anybody_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill proves only that it was written: the page cache outlives the process."""
    syncing, released, sync = threading.Event(), threading.Event(), os.fdatasync

    def slow(file: int) -> None:
        syncing.set()
        assert released.wait(DEADLINE)
        sync(file)

    monkeypatch.setattr(os, "fdatasync", slow)
    one = Buffer(tmp_path, 1 << 20, 1 << 20, 60)
    task = asyncio.create_task(one.run())
    told = asyncio.create_task(one.append(b"x"))
    assert await asyncio.to_thread(syncing.wait, DEADLINE)
    assert not told.done()
    assert one.committing_since is not None
    released.set()
    await told
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Played:
    """A clock, and a store whose every answer takes its time by it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float = 30) -> None:
        self.now, self.told, self.seconds = 1000.0, list[str | None](), seconds
        monkeypatch.setattr(service, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(service, "open_store", lambda _: self)
        self.collector = Collector(settings(folder, settle_seconds=1e-6))
        self._files = LocalStore()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def answer(*arguments: Any) -> Any:
            self.now += self.seconds
            self.told.append(self.collector.healthy())
            return getattr(self._files, name)(*arguments)

        return answer

    def beat(self, *names: str) -> None:
        for name in names:
            self.collector._beat(name)  # noqa: SLF001 - what a loop does before its round


def pending_folder(folder: Path, version: str = "v7") -> Path:
    return folder / f"store/inference-log/pending/namespace=team-a/model=telco/version={version}"


def store_halves(folder: Path, name: str, *halves: Half) -> None:
    LocalStore().write(str(folder / name), tables.to_parquet(tables.halves_table(halves)))


async def test_a_slow_store_is_no_standstill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(tmp_path, monkeypatch)
    for number in range(60):
        one = half("request", 0, call=f"{number}", since=1), half("response", 1, call=f"{number}", since=1)
        store_halves(pending_folder(tmp_path), f"new-{number}.parquet", *one)
    played.beat("join")
    assert await played.collector._joiner.join()  # noqa: SLF001 - one round of it
    assert len(read(tmp_path / "store/inference-log")) == 60
    (buffer := tmp_path / "buffer/events").mkdir(exist_ok=True)
    segment = b"".join(framed(encode(Partition("team-a", "telco", f"v{n}"), half("request", 0))) for n in range(25))
    (buffer / "0.segment").write_bytes(segment)
    played.collector = Collector(settings(tmp_path))
    played.beat("flush")
    assert await played.collector._flusher.flush()  # noqa: SLF001 - one round of it
    assert len(list(pending_folder(tmp_path).parent.glob("*/*.parquet"))) == 25
    assert (len(played.told) > 85, set(played.told)) == (True, {None})


async def test_each_loop_answers_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(tmp_path, monkeypatch, seconds=601)
    played.beat("join", "sweep")
    await played.collector._sweeper.sweep()  # noqa: SLF001 - one round of it
    assert played.collector.healthy() == "no join for 601 s"
    played.beat("join")
    assert played.collector.healthy() is None


def test_a_pause_that_was_meant_is_no_standstill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(tmp_path, monkeypatch)
    played.collector._beat("sweep", 3600)  # noqa: SLF001 - what a loop does before it pauses
    played.now += 4199
    assert played.collector.healthy() is None
    played.now += 2
    assert played.collector.healthy() == "no sweep for 601 s"


def framed(record: bytes) -> bytes:
    return struct.pack(">II", len(record), zlib.crc32(record)) + record


class Bucketless:
    """An object store without the bucket."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def answer(given: Any, *_: Any) -> Any:
            raise Gone(given)

        return answer


class Unplugged:
    """An object store whose network the operating system has taken away."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def answer(*_: Any) -> Any:
            raise OSError(errno.ENETDOWN, "Network is down")

        return answer


AWAY = {
    "a bucket that is missing": (Bucketless(), "the object store does not do it", "there is no such bucket"),
    "a network that is down": (Unplugged(), "the object store does not do it", "Network is down"),
    "a disk that cannot be read": (LocalStore(), "the own disk does not do it", "Is a directory"),
}


@pytest.mark.parametrize(("store", "message", "text"), AWAY.values(), ids=AWAY)
async def test_what_is_in_the_way_is_told_by_name_and_nothing_is_given_up(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    store: Store,
    message: str,
    text: str,
) -> None:
    monkeypatch.setattr(service, "open_store", lambda _: store)
    (segment := tmp_path / "buffer/events/0.segment").parent.mkdir(parents=True)
    if isinstance(store, LocalStore):
        segment.mkdir()
    else:
        segment.write_bytes(framed(encode(Partition("team-a", "telco", "v7"), half("request", 0))))
    (stop := asyncio.Event()).set()
    assert not await Collector(settings(tmp_path, stop_seconds=0.5)).run(stop)
    told = [(one.getMessage(), fields["error"]) for one in caplog.records if "error" in (fields := vars(one)["fields"])]
    assert {said for said, _ in told} == {message}
    assert all(text in error for _, error in told)
    assert segment.exists()


async def test_a_file_that_another_replica_has_joined_is_left_to_it(tmp_path: Path) -> None:
    wanted = settings(tmp_path)
    compactor = Compactor(LocalStore(), StoreClock(), wanted)
    with pytest.raises(Overtaken):
        list(compactor._read([listed("gone", folder=str(tmp_path))], lambda table: table))  # noqa: SLF001 - where it happens


async def test_damaged_files_are_put_aside_and_hold_up_nothing(tmp_path: Path) -> None:
    wanted, store = settings(tmp_path, settle_seconds=1e-3), LocalStore()
    folder = f"{wanted.storage_uri}/inference-log/pending/namespace=team-a/model=telco/version=v7"
    whole = tables.to_parquet(tables.halves_table([half("request", 0, size=50), half("response", 1, size=50)]))
    for seed in range(100):
        store.write(f"{folder}/new-{seed}.parquet", damage(whole, seed))
    compactor = Compactor(store, StoreClock(), wanted)
    while await compactor.join():
        continue
    store.write(f"{folder}/new-whole.parquet", whole)
    while not await compactor.join():
        continue
    assert not store.list(folder).files
    aside = store.list(f"{wanted.storage_uri}/inference-log/damaged").files
    assert len(aside) > 25
    assert len({(row["event_id"], row["row"]) for row in read(Path(wanted.storage_uri) / "inference-log")}) == 50
