"""What trying the collector takes: an object store, collectors as processes, KServe's events, a reader of the log."""

import asyncio
import io
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow as pa
import pyarrow.parquet as pq
from hack.bench.ports import free_port

from churn_operator.api import inference_log as layout
from churn_operator.api.contract import CONTRACT_FILE, MANIFEST_FILE, Contract, Feature, Manifest
from churn_operator.api.data import PersonalData
from churn_operator.collector import plans
from churn_operator.collector.clock import StoreClock
from churn_operator.collector.compaction import Compactor
from churn_operator.collector.settings import Settings
from churn_operator.storage.bundle import sha256
from churn_operator.storage.files import Gone, S3Store, join, s3_client

ROOT = Path(__file__).parents[2]
START_SECONDS = 180.0
REST_SECONDS = 5.0
"""Longer than halves settle, and than ten rounds of joining, as `CollectorProcess` sets them."""
BUCKET = "s3://models"
NAMESPACE, MODEL, VERSION = "team-a", "telco", "v7"
PARTITION = layout.Partition(NAMESPACE, MODEL, VERSION)


def versitygw() -> str:
    """Where the program is: the environment's word, else that of hack/cluster."""
    if "VERSITYGW" in os.environ:
        return os.environ["VERSITYGW"]
    listed = subprocess.run([ROOT / "hack/cluster/cluster", "env"], check=True, capture_output=True, text=True)
    return dict(line.split("=", 1) for line in listed.stdout.splitlines())["VERSITYGW"]


class ObjectStore:
    """versitygw over a folder, on a port that it keeps when it is stopped and started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
            "AWS_REGION": "us-east-1",
        }
        """Of who uses it: it may name a proxy, while `files` goes straight to the store."""
        prefix = f"STORE{self._port}_"
        os.environ.update({prefix + name: value for name, value in self.environment.items()})
        self.files = S3Store(prefix)
        self._prefix = prefix

    def start(self) -> None:
        (self._folder / "objects").mkdir(parents=True, exist_ok=True)
        command = [versitygw(), "--port", f"127.0.0.1:{self._port}", "--quiet", "posix", str(self._folder / "objects")]
        secrets = {"ROOT_ACCESS_KEY": "test", "ROOT_SECRET_KEY": "test-secret"}
        with (self._folder / "versitygw.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=os.environ | secrets, stdout=log, stderr=log)
        wait_for(self._answers, "the object store")
        client = s3_client(self._prefix)
        with suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=BUCKET.removeprefix("s3://"))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False


def wait_for(condition: Any, what: str, seconds: float = START_SECONDS) -> None:
    """Return when it holds.

    Raises:
        TimeoutError: it does not.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.02)


def store_model(store: ObjectStore, contract: Contract | None = None) -> str:
    """A model's folder with nothing in it but a contract; its address."""
    contract = contract or Contract(
        features=(
            Feature(name="tenure", kind="Numerical"),
            Feature(name="monthly_charges", kind="Numerical"),
            Feature(name="plan", kind="Categorical", categories=("basic", "plus")),
        ),
        id_column="customer",
        personal=(PersonalData(column="customer", action="Hash"),),
    )
    text = contract.model_dump_json(exclude_none=True).encode()
    manifest = Manifest(
        estimator="LogisticRegression",
        threshold=0.5,
        target="churn",
        positive_label="Yes",
        features=tuple(feature.name for feature in contract.features),
        split_by=("customer",),
        files={CONTRACT_FILE: sha256(text)},
    )
    data = manifest.model_dump_json(exclude_none=True).encode()
    folder = join(BUCKET, "models", sha256(data).removeprefix("sha256:"))
    store.files.write(join(folder, CONTRACT_FILE), text)
    store.files.write(join(folder, MANIFEST_FILE), data)
    return folder


class CollectorProcess:
    """`python -m churn_operator.collector` on a port and a folder that it keeps when it is killed and started."""

    def __init__(self, store: ObjectStore, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "collector.log"
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {
            "storage_uri": BUCKET,
            "buffer_dir": folder / "buffer",
            "port": self.port,
            "flush_seconds": 0.5,
            "settle_seconds": 2,
            "compact_seconds": 0.5,
            "drain_seconds": 0,
            "hash_key": "only-for-tests-1234",
            **settings,
        }
        said = {f"CHURN_COLLECTOR_{name.upper()}": str(value) for name, value in wanted.items()}
        as_in_its_image = {"MALLOC_ARENA_MAX": "2"}
        self._environment = {**os.environ, **as_in_its_image, **store.environment, **said}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the collector does not run")
        return self._process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def launch(self) -> None:
        """Start it, and do not wait."""
        command = [sys.executable, "-m", "churn_operator.collector"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def start(self) -> None:
        """Return when it listens."""
        self.launch()
        wait_for(self.listens, f"a collector: {self.log.read_text()[-2000:]}")

    def listens(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(
                f"the collector has ended with {self.process.returncode}:\n{self.log.read_text()[-2000:]}"
            )
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def terminate(self, seconds: float = 60) -> int:
        """End it as Kubernetes does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        self._process = None
        return code

    def resident_mebibytes(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def collectors(
    store: ObjectStore, folder: Path, count: int = 1, **settings: object
) -> Iterator[list[CollectorProcess]]:
    """Running collectors, killed at the end."""
    found = [CollectorProcess(store, folder / f"collector-{number}", **settings) for number in range(count)]
    try:
        for collector in found:
            collector.launch()
        for collector in found:
            wait_for(collector.listens, "a collector")
        yield found
    finally:
        for collector in found:
            collector.kill()


def headers(role: str, call: str, model_uri: str, at: datetime | None = None, **more: str) -> dict[str, str]:
    """An event's headers, as KServe's agent writes them."""
    annotations = {
        layout.MODEL_ANNOTATION: MODEL,
        layout.VERSION_ANNOTATION: VERSION,
        layout.MODEL_URI_ANNOTATION: model_uri,
    }
    return {
        "Ce-Specversion": "1.0",
        "Ce-Id": call,
        "Ce-Type": layout.REQUEST_TYPE if role == "request" else layout.RESPONSE_TYPE,
        "Ce-Source": "http://localhost:9081/",
        "Ce-Time": (at or datetime.now(UTC)).isoformat().replace("+00:00", "Z"),
        "Ce-Inferenceservicename": f"{MODEL}-{VERSION}",
        "Ce-Namespace": NAMESPACE,
        "Ce-Component": "predictor",
        "Ce-Endpoint": "",
        "Ce-Metadata": "{}",
        "Ce-Annotations": json.dumps(annotations),
        "Content-Type": "application/json",
        **more,
    }


def request_body(number: int) -> bytes:
    row = {"customer": str(number), "tenure": number % 72, "monthly_charges": 29.85, "plan": "basic"}
    return json.dumps({"instances": [row]}).encode()


def response_body(probability: float) -> bytes:
    return json.dumps(
        {"predictions": [{"probability": probability, "churn": probability >= 0.5, "version": VERSION}]}
    ).encode()


@dataclass
class Sent:
    """What became of what a sender sent."""

    answers: Counter[str] = field(default_factory=Counter)
    """By HTTP status, and by what went wrong where there was no answer."""
    acknowledged: dict[float, int] = field(default_factory=dict)
    """By `monthly_charges`, which names a prediction here: how many of its halves were acknowledged."""


class Sender:
    """Predictions as KServe's agent tells of them: each half to any of the collectors, each tried once."""

    def __init__(self, urls: Sequence[str], model_uri: str, seed: int = 7) -> None:
        self._urls = urls
        self._uri = model_uri
        self._random = random.Random(seed)  # noqa: S311 - no secret hangs on it
        self._numbers = itertools.count(1)
        self.sent = Sent()
        self.stopped = False
        """Whoever sets it ends `send`, once what it has sent is answered."""

    async def send(self, events_per_second: float, seconds: float) -> None:
        """So many events at a steady rate, whether or not they are answered."""
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(20), connector=aiohttp.TCPConnector(limit=200)
        ) as http:
            tasks: set[asyncio.Task[None]] = set()
            began = time.perf_counter()
            for turn in range(int(events_per_second * seconds / 2)):
                if self.stopped:
                    break
                await asyncio.sleep(max(0.0, began + 2 * turn / events_per_second - time.perf_counter()))
                tasks.add(task := asyncio.create_task(self._predict(http)))
                task.add_done_callback(tasks.discard)
            await asyncio.gather(*tasks)

    async def _predict(self, http: aiohttp.ClientSession) -> None:
        number = next(self._numbers)
        call, probability = str(uuid.UUID(int=self._random.getrandbits(128))), (number % 1000) / 1000
        row = {"customer": f"c{number}", "tenure": number % 72, "monthly_charges": float(number), "plan": "basic"}
        for role, body in (
            ("request", json.dumps({"instances": [row]}).encode()),
            ("response", response_body(probability)),
        ):
            if await self._post(http, role, call, body):
                self.sent.acknowledged[float(number)] = self.sent.acknowledged.get(float(number), 0) + 1

    async def warm_up(self) -> None:
        """Until each collector knows the version's contract."""
        async with aiohttp.ClientSession() as http:
            for url in self._urls:
                said = headers("request", "warm-up", self._uri)
                async with asyncio.timeout(START_SECONDS):
                    while (await http.post(url, data=request_body(0), headers=said)).status != 200:
                        continue

    async def _post(self, http: aiohttp.ClientSession, role: str, call: str, body: bytes) -> bool:
        url = self._random.choice(self._urls)
        try:
            async with http.post(url, data=body, headers=headers(role, call, self._uri)) as answer:
                await answer.read()
                self.sent.answers[str(answer.status)] += 1
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.sent.answers[type(error).__name__] += 1
            return False


@dataclass
class Log:
    """What a reader finds."""

    rows: list[dict[str, Any]]
    """Each row once."""
    written: int
    """How many there are where none is left out."""
    repeated: int
    """How many of these are in the files a second time, by what tells rows apart."""
    files: int


def read_log(store: ObjectStore, since: datetime, until: datetime, partition: layout.Partition = PARTITION) -> Log:
    """The rows of a window, by the rules that `api.inference_log` gives readers."""
    while True:
        try:
            return _read_log(store, since, until, partition)
        except Gone:
            continue


def count_log(store: ObjectStore, since: datetime, until: datetime) -> int:
    """How many rows a reader finds on the days of a window, each once: without what is in a million of them."""
    while True:
        try:
            tables = _tables(store, since, until, PARTITION, columns=["event_id", "row"])
            return len({(row["event_id"], row["row"]) for table in tables for row in table.to_pylist()})
        except Gone:
            continue


def _read_log(store: ObjectStore, since: datetime, until: datetime, partition: layout.Partition) -> Log:
    found: dict[tuple[str, int], dict[str, Any]] = {}
    copies: Counter[tuple[str, int]] = Counter()
    files = 0
    for table in _tables(store, since, until, partition):
        rows = table.to_pylist()
        found |= {(row["event_id"], row["row"]): row for row in rows if since <= row["time"] < until}
        copies.update((row["event_id"], row["row"]) for row in rows)
        files += 1
    rows = sorted(found.values(), key=lambda row: (row["time"], row["event_id"], row["row"]))
    return Log(rows, copies.total(), copies.total() - len(copies), files)


def _tables(
    store: ObjectStore,
    since: datetime,
    until: datetime,
    partition: layout.Partition,
    columns: list[str] | None = None,
) -> Iterator[pa.Table]:
    """The files of a window's days."""
    for day in layout.days(since, until):
        for file in store.files.list(layout.day_folder(layout.root(BUCKET), partition, day)).files:
            yield pq.read_table(io.BytesIO(store.files.read(file.uri)), columns=columns)


def pending(store: ObjectStore) -> list[str]:
    """The files of halves that are not joined yet."""
    return [file.uri for file in store.files.list(join(layout.root(BUCKET), layout.PENDING)).files]


def settled(store: ObjectStore, running: Sequence[CollectorProcess]) -> bool:
    """Whether all that was sent has been flushed, and all that came of it joined."""
    buffered = [path for one in running for path in (one.folder / "buffer/events").glob("*")]
    return not buffered and not [uri for uri in pending(store) if "/new-" in uri]


def wait_for_rest(store: ObjectStore, running: Sequence[CollectorProcess], seconds: float = 300) -> None:
    """Return when all is joined, and the collectors have changed nothing in the log for many of their rounds."""
    changed, before = time.monotonic(), frozenset[str]()

    def rests() -> bool:
        nonlocal changed, before
        files = frozenset(file.uri for file in store.files.list(layout.root(BUCKET)).files)
        if files != before or not settled(store, running):
            changed, before = time.monotonic(), files
        return time.monotonic() - changed > REST_SECONDS

    wait_for(rests, "the collectors to have nothing to do", seconds)


def end_day(store: ObjectStore, folder: Path, day: date) -> None:
    """Do now what the sweep does with a day's files once it is over."""
    compactor = Compactor(store.files, StoreClock(), Settings(storage_uri=BUCKET, buffer_dir=folder))
    uri = layout.day_folder(layout.root(BUCKET), PARTITION, day)
    while files := plans.to_merge(store.files.list(uri).files, over=True):
        compactor.merge(uri, files)
