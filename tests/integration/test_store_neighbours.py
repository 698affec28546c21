"""An object store that fails in each way there is, under whole Jobs and the collector: nothing is lost or there twice.

What a single call comes to is in test_jobs_neighbours.py; the store of a real cluster is away in hack/bench/away.py.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from itertools import cycle, product
from pathlib import Path
from typing import Any, NamedTuple

from hack.bench.collecting import BUCKET, ObjectStore, wait_for
from hack.bench.collector import Outage, outage
from support.control_plane import ROOT
from support.mlflow_server import MlflowServer
from support.proxy import Fault, Proxy

from churn_operator.api.base import Model
from churn_operator.api.contract import MANIFEST_FILE
from churn_operator.api.reasons import Reason
from churn_operator.api.results import decode_result
from churn_operator.api.tasks import UID_TAG, DriftTask, JobFailure, ModelRef, TrainResult, TrainTask
from churn_operator.core.job import RETRIES, WORTH_ANOTHER
from churn_operator.jobs.mlflow import Mlflow
from churn_operator.storage.bundle import load_files, reference, sha256
from churn_operator.storage.files import join

AWAY_SECONDS = float(os.environ.get("AWAY_SECONDS", "8"))
"""For which the store fails. In hack/bench/run neighbours it is ten minutes, and a slow one takes 30 s."""
IN_FULL = AWAY_SECONDS >= 60
SLOWNESS = float(os.environ.get("SLOWNESS", "9"))
"""Seconds, of a store that is slow: three times what is waited for."""
IMPATIENT = {"CHURN_READ_SECONDS": f"{SLOWNESS / 3:g}"}
PAUSE = 10 * AWAY_SECONDS / 600
"""Kubernetes' first before another attempt, made shorter as the ten minutes are."""
PODS = 4 if IN_FULL else 2
"""For which there is room at a time: in short, other tests need the cores as well."""
DATA = join(BUCKET, "data", "gym.csv")
MOMENTS = {"the first request": "", "the manifest": MANIFEST_FILE}
"""With which request a fault begins, and how its path ends. A model's other files are written before its manifest."""
PLACES = tuple(product(("train", "drift"), MOMENTS))
LIVES = tuple(product(PLACES, Fault)) if IN_FULL else tuple(zip(cycle(PLACES), Fault, strict=False))
"""Each Job from each moment on in each way; in short each way once."""
LONGEST_PAUSE = 48.0
"""Seconds, of the collector's pauses, when they have grown: a minute, up to a fifth shorter."""
MORE_MEBIBYTES = 64.0
"""That a collector may take more at the end of an outage than in the middle of it: its first file takes 50."""


class Left(NamedTuple):
    """What a Job leaves, without the names that are its own."""

    result: str
    files: Mapping[str, str]
    """Digests by name, of all that it wrote into the store."""
    versions: int
    """Of its registered model."""
    runs: Sequence[str]
    """How its runs in MLflow ended."""


class Jobs:
    """A Job controller that is played, with real processes of Jobs; each Job has a folder of the store to itself."""

    def __init__(self, store: ObjectStore, mlflow: MlflowServer, folder: Path) -> None:
        self._store = store
        self._mlflow = mlflow
        self._folder = folder
        self._node = asyncio.Semaphore(PODS)
        self.champion: ModelRef | None = None

    async def run(
        self, role: str, name: str, proxy: Proxy, patience: Mapping[str, str], failures: list[JobFailure]
    ) -> str:
        """The Job's result; `failures` gets what the attempts before that came to."""
        folder = self._folder / name
        folder.mkdir()
        (folder / "task.json").write_text(json.dumps(self._task(role, name).to_dict()))
        environment = {**os.environ, **self._store.environment, **patience, "AWS_ENDPOINT_URL": proxy.uri}
        environment["PYTHONHASHSEED"] = "0"  # in whose order the distances of categories are summed up
        while True:
            code, text = await self._attempt(role, folder, environment)
            self._check_folders(name)
            if code == 0:
                return decode_result(text)
            assert code in WORTH_ANOTHER, f"{code}: {text}"
            failures.append(JobFailure.model_validate_json(decode_result(text)))
            assert len(failures) <= RETRIES, failures
            await asyncio.sleep(PAUSE * 2 ** (len(failures) - 1))  # as the Job controller does

    def left(self, name: str, text: str) -> Left:
        result, server = json.loads(text), Mlflow(self._mlflow.uri)
        asked = {"experiment_ids": [result["experimentId"]], "filter": f"tags.`{UID_TAG}` = '{name}'"}
        runs = server.post("runs/search", asked).get("runs", [])
        versions = server.get("model-versions/search", filter=f"name = 'team.{name}'").get("model_versions", [])
        files = self._store.files.list(join(BUCKET, name)).files
        return Left(
            result=text.replace(result["runId"], "").replace(name, ""),
            files={file.uri.replace(name, ""): sha256(self._store.files.read(file.uri)) for file in files},
            versions=len(versions),
            runs=[run["info"]["status"] for run in runs],
        )

    async def _attempt(self, role: str, folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
        """Its exit code and its last words."""
        last = folder / "termination-log"
        last.write_text("")
        with (folder / "log").open("ab") as log:
            command = (sys.executable, "-m", "churn_operator.jobs", role, str(folder / "task.json"))
            async with self._node:
                process = await asyncio.create_subprocess_exec(
                    *command, env={**environment, "TERMINATION_LOG": str(last)}, stdout=log, stderr=log
                )
                return await process.wait(), last.read_text()

    def _check_folders(self, name: str) -> None:
        """A model's folder that has a manifest is whole."""
        for file in self._store.files.list(join(BUCKET, name)).files:
            folder, _, last = file.uri.rpartition("/")
            if last == MANIFEST_FILE:
                load_files(reference(folder), read=self._store.files.read)

    def _task(self, role: str, name: str) -> Model:
        shared = {"namespace": "team", "uid": name, "tracking_uri": self._mlflow.uri, "experiment": "gym"}
        if role == "train":
            return TrainTask.model_validate(
                shared
                | {"model": "gym", "run": name, "trigger": "Initial", "owner": "team/gym", "training": {}}
                | {"data": {"source": {"uri": DATA}, "target": "cancelled", "id_column": "member"}}
                | {"registered_model": f"team.{name}", "storage_uri": join(BUCKET, name)}
            )
        return DriftTask.model_validate(
            shared
            | {"churn_model": "gym", "monitor": name, "version": "v1", "model": self.champion}
            | {"source": {"uri": DATA}, "tests": {}}
        )


@asynccontextmanager
async def behind_a_proxy(store: ObjectStore) -> AsyncIterator[Proxy]:
    proxy = await Proxy(store.environment["AWS_ENDPOINT_URL"], slowness=SLOWNESS).start()
    try:
        yield proxy
    finally:
        await proxy.stop()


def fail_from(proxy: Proxy, fault: Fault, end: str, failures: Sequence[JobFailure]) -> None:
    """From the first request on whose path ends so, for AWAY_SECONDS, and until an attempt has failed."""
    later, began = asyncio.get_running_loop().call_later, False

    def ails(_: str, path: str) -> bool:
        nonlocal began
        if not began and path.endswith(end):
            began = True
            later(AWAY_SECONDS, heal)
        return began

    def heal() -> None:
        if failures:
            proxy.heal()
        else:
            later(0.1, heal)

    proxy.ails = ails
    proxy.fail(fault)


async def test_a_job_whose_object_store_fails_comes_to_the_same_once_that_is_back(
    store: ObjectStore, mlflow: MlflowServer, tmp_path: Path
) -> None:
    jobs = Jobs(store, mlflow, tmp_path)
    store.files.write(DATA, (ROOT / "samples/gym/gym.csv").read_bytes())

    async def undisturbed(role: str) -> str:
        async with behind_a_proxy(store) as proxy:
            return await jobs.run(role, f"whole-{role}", proxy, {}, failures=[])

    async def live(place: tuple[str, str], fault: Fault) -> str:
        role, moment = place
        name, failures = f"{role}-{fault.name.lower()}-{PLACES.index(place)}", list[JobFailure]()
        async with behind_a_proxy(store) as proxy:
            fail_from(proxy, fault, MOMENTS[moment], failures)
            text = await jobs.run(role, name, proxy, IMPATIENT if fault is Fault.SLOW else {}, failures)
            await proxy.idle()
        left = await asyncio.to_thread(jobs.left, name, text)
        return told(failures, MOMENTS[moment]) or f"{left}, not {whole[role]}" * (left != whole[role])

    texts = {"train": await undisturbed("train")}
    jobs.champion = TrainResult.model_validate_json(texts["train"]).model
    texts["drift"] = await undisturbed("drift")
    whole = {role: await asyncio.to_thread(jobs.left, f"whole-{role}", text) for role, text in texts.items()}
    assert [(left.versions, left.runs) for left in whole.values()] == [(1, ["FINISHED"]), (0, ["FINISHED"])]
    found = await asyncio.gather(*(live(place, fault) for place, fault in LIVES))
    assert not {life: wrong for life, wrong in zip(LIVES, found, strict=True) if wrong}


def told(failures: Sequence[JobFailure], end: str) -> str:
    """What is wrong with the last words of attempts: each names the store, by what the Job first wanted of it."""
    for number, failure in enumerate(failures):
        reason, what = (Reason.StorageUnavailable, end) if end and not number else (Reason.DataUnreachable, DATA)
        if failure.reason != reason or BUCKET not in failure.message or f"{what}:" not in failure.message:
            return f"attempt {number + 1}: {failure}"
    return "" if failures else "no attempt failed"


Failures = Sequence[Mapping[str, Any]]
"""The lines of a log that tell of them."""
WAITED_FOR = "slow, and waited for"
KINDS = {fault.value: fault for fault in Fault} | {WAITED_FOR: Fault.SLOW}


async def test_collectors_keep_what_an_object_store_that_fails_does_not_take(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()

    async def live(kind: str, store: ObjectStore, folder: Path) -> list[str]:
        told = list[Failures]()
        try:
            await loop.run_in_executor(threads, store.start)
            async with behind_a_proxy(store) as proxy:
                store.environment |= {"AWS_ENDPOINT_URL": proxy.uri} | (IMPATIENT if kind == Fault.SLOW else {})

                def heal() -> None:
                    """Not before each has told of it, however busy the machine is."""
                    if kind != WAITED_FOR:
                        wait_for(lambda: all(failures(folder)), "each to say what failed")
                    told.extend(failures(folder))
                    loop.call_soon_threadsafe(proxy.heal)

                fail = partial(loop.call_soon_threadsafe, proxy.fail, KINDS[kind])
                found = await loop.run_in_executor(threads, outage, store, folder, AWAY_SECONDS, fail, heal)
                return list(wrong(found, told, fails=kind != WAITED_FOR))
        finally:
            store.stop()

    with ThreadPoolExecutor(len(KINDS)) as threads:
        folders = [tmp_path / str(number) for number in range(len(KINDS))]
        # A store changes the environment, which a program that a thread starts just then reads: first all are made.
        stores = list(map(ObjectStore, folders))
        found = await asyncio.gather(*map(live, KINDS, stores, folders))
    assert not {kind: wrong for kind, wrong in zip(KINDS, found, strict=True) if wrong}


def failures(folder: Path) -> list[Failures]:
    """What each of the collectors told of each work that failed."""
    logs = [path.read_text().splitlines() for path in folder.glob("collector-*/collector.log")]
    told = [[json.loads(line) for line in lines] for lines in logs]
    works = ("flush", "join")
    return [
        [line for line in lines if line.get("work") == work and "pause" in line] for lines in told for work in works
    ]


def wrong(found: Outage, told: Sequence[Failures], *, fails: bool) -> Iterator[str]:
    """What is wrong with two collectors whose store failed, or was slow and was waited for."""
    if not found.whole:
        yield "predictions are lost, or there twice"
    if set(found.sent.answers) != {"200"}:
        yield f"the disk was not full, and the answers were {found.sent.answers}"
    if found.grown > MORE_MEBIBYTES:
        yield f"memory grew by {found.grown:.0f} MiB"
    for lines in told:
        if bool(lines) != fails or not all(BUCKET in line["error"] for line in lines):
            yield f"it was told: {lines}"
        if not all(map(calm, lines, lines[1:])):
            yield f"attempts came without pauses that grow: {lines}"


def calm(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the pause has grown from one failure to the next, and both say since when."""
    grows = one["pause"] < other["pause"] or other["pause"] >= LONGEST_PAUSE
    return bool(grows and one["failing_for"] < other["failing_for"])
