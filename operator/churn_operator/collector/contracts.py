"""The contract of each version: read from its folder once, checked against the folder's digest, kept on disk."""

import asyncio
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from churn_operator.api.contract import CONTRACT_FILE, Contract
from churn_operator.collector.rows import Reader
from churn_operator.storage.bundle import load_files, reference
from churn_operator.storage.failure import JobError
from churn_operator.storage.files import LocalStore, s3_client

log = logging.getLogger(__name__)

_KEPT = 1000
"""Versions in memory."""
_COPIES_BYTES = 16 << 20
"""Of copies on the own disk, which the chart gives 64 MiB more than the buffer may take."""
_PAUSES = (1.0, 60.0)
"""Seconds after a failure before the next attempt: the first, and what doubling ends at."""
_PATIENCE = 5.0
"""Seconds that an event waits for its contract."""


class Unknown(Exception):
    """The contract cannot be had now, so the event cannot be taken: nobody knows what in it is personal."""


class Contracts:
    """Readers by the address of a model's folder. One that fails is tried again after growing pauses."""

    def __init__(self, folder: Path, key: bytes | None) -> None:
        self._folder = folder
        self._key = key
        self._readers: OrderedDict[str, Reader] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Reader]] = {}
        self._disk = threading.Lock()
        self._failed: OrderedDict[str, tuple[float, float, str]] = OrderedDict()
        """When it may be tried again, the pause before that, and what was wrong."""

    def prepare(self) -> None:
        """Make the object store's client: importing it takes longer than the first event may wait."""
        s3_client("")

    async def get(self, uri: str) -> Reader:
        """The reader of a version's rows; those who ask at the same time share one attempt.

        Raises:
            Unknown: not now.
        """
        if reader := self._readers.get(uri):
            self._readers.move_to_end(uri)
            return reader
        after, _, message = self._failed.get(uri, (0.0, 0.0, ""))
        if time.monotonic() < after:
            raise Unknown(message)
        if uri not in self._loading:
            self._loading[uri] = asyncio.create_task(self._load(uri), name=uri)
            self._loading[uri].add_done_callback(self._loaded)
        try:
            async with asyncio.timeout(_PATIENCE):
                return await asyncio.shield(self._loading[uri])
        except TimeoutError:
            raise Unknown(f"{uri}: the object store is slow") from None

    def _loaded(self, task: asyncio.Task[Reader]) -> None:
        del self._loading[task.get_name()]
        if not task.cancelled():
            task.exception()  # whoever waited may have gone: it is in the log

    async def _load(self, uri: str) -> Reader:
        try:
            contract = await asyncio.to_thread(self._read, uri, (*self._readers, uri))
        except (JobError, ValidationError, OSError) as error:
            raise self._failure(uri, str(error)) from None
        reader = Reader(contract, self._key)
        if reader.hashes_dropped:
            log.warning("no key: columns that are to be hashed are dropped", extra={"fields": {"uri": uri}})
        self._failed.pop(uri, None)
        self._readers[uri] = reader
        if len(self._readers) > _KEPT:
            self._readers.popitem(last=False)
        return reader

    def _failure(self, uri: str, message: str) -> Unknown:
        _, pause, _ = self._failed.pop(uri, (0.0, _PAUSES[0] / 2, ""))
        pause = min(2 * pause, _PAUSES[1])
        self._failed[uri] = (time.monotonic() + pause, pause, message)
        if len(self._failed) > _KEPT:
            self._failed.popitem(last=False)
        log.warning("no contract", extra={"fields": {"uri": uri, "error": message, "pause": pause}})
        return Unknown(message)

    def _read(self, uri: str, used: Sequence[str]) -> Contract:
        """In a thread. A copy on the own disk is there also while the object store is away."""
        copy = self._copy(uri)
        with self._disk:
            if copy.is_file() and (kept := _kept(copy)):
                return kept
        _, files = load_files(reference(uri), (CONTRACT_FILE,))
        contract = Contract.model_validate_json(files[CONTRACT_FILE])
        with self._disk:
            LocalStore().write(str(copy), files[CONTRACT_FILE])
            self._forget_copies({self._copy(one): place for place, one in enumerate(used, 1)})
        return contract

    def _copy(self, uri: str) -> Path:
        return self._folder / f"{PurePosixPath(uri).name}.json"

    def _forget_copies(self, used: Mapping[Path, int]) -> None:
        """Those go that nobody has asked for, and then those not asked for the longest; each can be had again."""
        states = [(used.get(path, 0), path.stat(), path) for path in self._folder.iterdir()]
        size = 0
        for _, state, path in sorted(states, key=lambda one: (one[0], one[1].st_mtime_ns), reverse=True):
            size += state.st_size
            if size > _COPIES_BYTES:
                path.unlink()


def _kept(copy: Path) -> Contract | None:
    os.utime(copy)
    try:
        return Contract.model_validate_json(copy.read_bytes())
    except ValidationError:
        log.warning("a copy of a contract is damaged", extra={"fields": {"path": str(copy)}})
        return None
