"""Records on disk, in the order they came, until they are in the object store.

A record is safe once `append` returns: it was written and synced. Whoever comes while a sync runs shares the next one,
so the disk's latency bounds how long a record takes and not how many there are.

A segment is a file of records, each with its length and checksum. One is being written; a sealed one is never written
again. After a crash the last record of a segment may be torn: nobody was told that it is safe.
"""

import asyncio
import logging
import os
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

_FRAME = struct.Struct(">II")
_SUFFIX = ".segment"


class NotKept(Exception):
    """The record is not safe: come again later."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class Segment:
    """A file of records."""

    path: Path
    size: int = 0
    begun: float = field(default_factory=time.monotonic)

    def records(self) -> Iterator[bytes]:
        """The records up to the first that is torn."""
        data = self.path.read_bytes()
        at = 0
        while at + _FRAME.size <= len(data):
            length, checksum = _FRAME.unpack_from(data, at)
            record = data[at + _FRAME.size : at + _FRAME.size + length]
            if len(record) < length or zlib.crc32(record) != checksum:
                break
            yield record
            at += _FRAME.size + length
        if at < len(data):
            log.warning("torn record", extra={"fields": {"segment": self.path.name, "bytes": len(data) - at}})


class Buffer:
    """A folder of segments, bounded in bytes."""

    def __init__(self, folder: Path, limit: int, segment_bytes: int, segment_seconds: float) -> None:
        self._folder = folder
        self._limit = limit
        self._segment_bytes = segment_bytes
        self._segment_seconds = segment_seconds
        folder.mkdir(parents=True, exist_ok=True)
        self._sealed = [Segment(path, path.stat().st_size) for path in sorted(folder.glob(f"*{_SUFFIX}"))]
        self._kept = sum(segment.size for segment in self._sealed)
        self._open: Segment | None = None
        self._file = -1
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._disk = ThreadPoolExecutor(1, "disk")
        self.commits = 0
        self.committing_since: float | None = None
        """When the sync that now runs began: what runs for long is a disk that hangs."""

    @property
    def size(self) -> int:
        """Bytes on disk, and on the way to it."""
        return self._kept

    @property
    def is_full(self) -> bool:
        """Whether there is no place for another large record."""
        return self._kept >= self._limit * 0.98

    def oldest(self) -> float:
        """Seconds since the oldest record came that is not in the object store; after a restart, since that."""
        segments = [*self._sealed, *([self._open] if self._open else [])]
        return time.monotonic() - segments[0].begun if segments else 0.0

    async def append(self, record: bytes) -> None:
        """Keep the record; it is safe when this returns.

        Raises:
            NotKept: it is not: the bound is reached, or the disk refuses it.
        """
        frame = _FRAME.pack(len(record), zlib.crc32(record)) + record
        if self._kept + len(frame) > self._limit:
            raise NotKept("BufferFull", "the disk buffer is full: the object store is away for too long, or too slow")
        self._kept += len(frame)
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((frame, done))
        self._wake.set()
        await done

    async def run(self) -> None:
        """Write what comes, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._segment_seconds / 4):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self._commit_waiting()
            if self._open and (
                self._open.size >= self._segment_bytes or time.monotonic() - self._open.begun >= self._segment_seconds
            ):
                self._seal()

    async def close(self) -> None:
        """Write what is still waiting, and seal it."""
        await self._commit_waiting()
        self._seal()

    def sealed(self) -> list[Segment]:
        """The segments that nothing is added to any more, the oldest first."""
        return list(self._sealed)

    def release(self, segment: Segment) -> None:
        """Forget a segment: its records are safe elsewhere."""
        segment.path.unlink(missing_ok=True)
        self._sealed.remove(segment)
        self._kept -= segment.size

    async def _commit_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        if not batch:
            return
        data = b"".join(frame for frame, _ in batch)
        self.committing_since = time.monotonic()
        try:
            await asyncio.get_running_loop().run_in_executor(self._disk, self._commit, data)
        except OSError as error:
            log.exception("the disk refuses records", extra={"fields": {"records": len(batch)}})
            self._kept -= len(data)
            self._seal()  # nobody knows how much of it was written: nothing is added after that
            refusal: NotKept | None = NotKept("DiskFailed", f"the disk refuses records: {error.strerror}")
        else:
            self.commits += 1
            refusal = None
        finally:
            self.committing_since = None
        for _, done in batch:
            if done.done():
                continue  # whoever asked has gone
            if refusal:
                done.set_exception(refusal)
            else:
                done.set_result(None)

    def _commit(self, data: bytes) -> None:
        """In the disk's thread."""
        if self._open is None:
            path = self._folder / f"{time.time_ns():020d}-{os.getpid()}{_SUFFIX}"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._open = Segment(path)
            self._sync_folder()
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        os.fdatasync(self._file)
        self._open.size += len(data)

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _seal(self) -> None:
        if self._open is None:
            return
        os.close(self._file)
        self._sealed.append(self._open)
        self._open = None
