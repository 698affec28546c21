"""The object store as a loop of the collector sees it: each answer is progress, and what is missing has a name."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from churn_operator.api.reasons import Reason
from churn_operator.storage.failure import Unavailable
from churn_operator.storage.files import AT_ONCE, Gone, Listing, Store, unmarked


class WatchedStore:
    """Calls `mark` after each answer, good or bad: many slow ones are no standstill.

    A file that is missing is `Gone`, as everywhere; a missing bucket is a `JobError`, and so is whatever the operating
    system says on the way: an OSError beside it is the own disk's.
    """

    def __init__(self, store: Store, mark: Callable[[], None]) -> None:
        self._store = store
        self._mark = mark

    def read(self, uri: str) -> bytes:
        with self._watched(uri):
            return self._store.read(uri)

    def exists(self, uri: str) -> bool:
        with self._watched(uri):
            return self._store.exists(uri)

    def write(self, uri: str, data: bytes) -> None:
        with self._watched(uri), _bucket_named(uri):
            self._store.write(uri, data)

    def list(self, folder: str, mark: Callable[[], None] = unmarked) -> Listing:
        def marked() -> None:
            self._mark()
            mark()

        with self._watched(folder), _bucket_named(folder):
            return self._store.list(folder, marked)

    def delete(self, uris: Sequence[str]) -> None:
        for start in range(0, len(uris), AT_ONCE):
            part = uris[start : start + AT_ONCE]
            with self._watched(part[0]), _bucket_named(part[0]):
                self._store.delete(part)

    @contextmanager
    def _watched(self, uri: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unavailable(Reason.StorageUnavailable, f"{uri}: {error}") from error
        finally:
            self._mark()


@contextmanager
def _bucket_named(uri: str) -> Iterator[None]:
    """Listing, writing and deleting need no file that is there already: what they miss is the bucket."""
    try:
        yield
    except Gone as error:
        raise Unavailable(Reason.StorageUnavailable, f"{uri}: there is no such bucket") from error
