"""Reads tables from where a `DataSource` says, in the state that a revision names."""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from churn_operator.api.contract import MISSING_WORDS
from churn_operator.api.data import DataSource
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import CLAIM_PATH, LOG_PREFIX, SOURCE_PREFIX
from churn_operator.storage.bundle import sha256
from churn_operator.storage.failure import JobError, Refused, Unavailable
from churn_operator.storage.files import Changed, Gone, LocalStore, S3Store, join, open_store

if TYPE_CHECKING:
    import pandas as pd
    import requests

HTTP_TIMEOUT = (5.0, 60.0)
"""Seconds to connect, and between two packets."""


@dataclass(frozen=True)
class Content:
    """The bytes of a table in one state."""

    uri: str
    """Where they were read: the source's address, though they may have come from its snapshot."""
    revision: str
    data: bytes
    snapshot: str | None = None
    """A copy, where the source keeps no versions."""

    @property
    def digest(self) -> str:
        return sha256(self.data)


class Reader(Protocol):
    """One kind of source."""

    def revision(self, uri: str) -> str:
        """The present state."""
        ...

    def read(self, uri: str, revision: str | None) -> tuple[str, bytes]:
        """The revision and its bytes; the present state where none is named.

        Raises:
            Gone: there is no file.
            Changed: there is one, in another state.
        """
        ...


def address(source: DataSource) -> str:
    """Where the source is, seen from this process."""
    if source.claim is not None:
        return str(PurePosixPath(os.environ.get("CHURNOPS_CLAIM_PATH", CLAIM_PATH)) / source.claim.path)
    if source.uri is None:
        raise Refused(Reason.DataNotFound, "the source names neither uri nor claim")
    return source.uri


def resolve(source: DataSource) -> str:
    """The present revision of a source."""
    uri = address(source)
    with _explained(uri):
        return _reader(uri).revision(uri)


def read(source: DataSource, revision: str | None = None, storage_uri: str | None = None) -> Content:
    """The source's bytes in the state asked for, else in the present one.

    With `storage_uri`, a source that keeps no versions is copied there once, and a state that the source has lost is
    read from that copy.
    """
    uri = address(source)
    with _explained(uri):
        try:
            found, data = _reader(uri).read(uri, revision)
        except (Gone, Changed):
            copy = revision and storage_uri and _recall(storage_uri, uri, revision)
            if not (revision and copy):
                raise
            return Content(uri, revision, open_store(copy).read(copy), copy)
    if storage_uri is None or found.startswith("version:"):
        return Content(uri, found, data)
    return Content(uri, found, data, _keep(storage_uri, uri, found, data))


def table(content: Content, text_columns: tuple[str, ...] = ()) -> "pd.DataFrame":
    """The rows; csv or parquet, told by the ending. `text_columns` are not taken for numbers."""
    import pandas as pd

    try:
        if content.uri.lower().endswith(".parquet"):
            return pd.read_parquet(io.BytesIO(content.data)).rename(columns=str)
        return pd.read_csv(
            io.BytesIO(content.data),
            keep_default_na=False,
            na_values=["", *sorted(MISSING_WORDS)],
            dtype=dict.fromkeys(text_columns, "str"),
            low_memory=False,
        )
    except pd.errors.EmptyDataError as error:
        raise Refused(Reason.DataEmpty, f"{content.uri} is empty") from error
    except (ValueError, OSError) as error:
        # pyarrow's ArrowInvalid, pandas' ParserError and UnicodeDecodeError are all ValueErrors
        kind = "parquet" if content.uri.lower().endswith(".parquet") else "csv"
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refused(Reason.DataUnreadable, f"{content.uri} cannot be read as {kind}: {first}") from error


def _snapshot_uri(storage_uri: str, uri: str, revision: str) -> str:
    """Named by source and revision, not by content: a lost revision can be found without its digest."""
    name = hashlib.sha256(f"{uri}\n{revision}".encode()).hexdigest()
    return join(storage_uri, "snapshots", name + PurePosixPath(urlsplit(uri).path).suffix.lower())


def _recall(storage_uri: str, uri: str, revision: str) -> str | None:
    copy = _snapshot_uri(storage_uri, uri, revision)
    return copy if open_store(copy).exists(copy) else None


def _keep(storage_uri: str, uri: str, revision: str, data: bytes) -> str:
    copy = _snapshot_uri(storage_uri, uri, revision)
    store = open_store(copy)
    if not store.exists(copy):
        store.write(copy, data)
    return copy


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Says of a source what the store says of a file."""
    try:
        yield
    except Gone as error:
        raise Refused(Reason.DataNotFound, f"there is no file at {uri}") from error
    except Changed as error:
        raise Refused(
            Reason.DataChanged, f"{uri} is not in the pinned state any more, and there is no snapshot of that"
        ) from error
    except JobError as error:
        if error.reason is Reason.StorageUnavailable and error.message.startswith(uri):
            raise type(error)(Reason.DataUnreachable, error.message) from error
        raise
    except (IsADirectoryError, PermissionError) as error:
        raise Refused(Reason.DataUnreachable, f"{uri} cannot be read: {error.strerror}") from error


class LocalReader:
    """Files of this machine and of a mounted claim: the digest is the revision."""

    def revision(self, uri: str) -> str:
        return sha256(LocalStore().read(uri))

    def read(self, uri: str, revision: str | None) -> tuple[str, bytes]:
        data = LocalStore().read(uri)
        found = sha256(data)
        if revision not in (None, found):
            raise Changed(uri)
        return found, data


class S3Reader:
    """Objects: the version id where the bucket keeps versions, else the ETag."""

    def revision(self, uri: str) -> str:
        version, etag = source_store().head(uri)
        return f"version:{version}" if version else f"etag:{etag}"

    def read(self, uri: str, revision: str | None) -> tuple[str, bytes]:
        revision = revision or self.revision(uri)
        kind, _, value = revision.partition(":")
        match kind:
            case "version":
                try:
                    return revision, source_store().read(uri, VersionId=value)
                except Gone as error:
                    raise Changed(uri) from error
            case "etag":
                return revision, source_store().read(uri, IfMatch=f'"{value}"')
            case _:
                raise Changed(uri)


def source_store() -> S3Store:
    """The store of the source's own Secret, which the operator hands over under a prefix; else the models' store."""
    return _store_of(SOURCE_PREFIX)


def log_store() -> S3Store:
    """The store of the inference log, where that is another than the models'."""
    return _store_of(LOG_PREFIX)


def _store_of(prefix: str) -> S3Store:
    return S3Store(prefix if f"{prefix}AWS_ACCESS_KEY_ID" in os.environ else "")


class HttpReader:
    """Pages: the ETag where the server gives one, else the digest."""

    def revision(self, uri: str) -> str:
        with self._get(uri, method="HEAD") as head:
            if head.ok and head.headers.get("ETag"):
                return _etag(head)
        return self.read(uri, None)[0]

    def read(self, uri: str, revision: str | None) -> tuple[str, bytes]:
        with self._get(uri) as answer:
            _check(uri, answer)
            data = answer.content
        digest = sha256(data)
        found = _etag(answer) if answer.headers.get("ETag") else digest
        if revision not in (None, found, digest):
            raise Changed(uri)
        return revision or found, data

    def _get(self, uri: str, method: str = "GET") -> "requests.Response":
        import requests

        try:
            answer = requests.request(method, uri, timeout=HTTP_TIMEOUT, allow_redirects=True)
        except requests.RequestException as error:
            raise Unavailable(Reason.DataUnreachable, f"{uri} does not answer: {error}") from error
        return answer


def _etag(answer: "requests.Response") -> str:
    return "etag:" + answer.headers["ETag"].removeprefix("W/").strip('"')


def _check(uri: str, answer: "requests.Response") -> None:
    if answer.status_code in (404, 410):
        raise Gone(uri)
    if 400 <= answer.status_code < 500 and answer.status_code != 429:
        raise Refused(Reason.DataUnreachable, f"{uri} answers {answer.status_code} {answer.reason}")
    if not answer.ok:
        raise Unavailable(Reason.DataUnreachable, f"{uri} answers {answer.status_code} {answer.reason}")


def _reader(uri: str) -> Reader:
    match urlsplit(uri).scheme:
        case "s3":
            return S3Reader()
        case "http" | "https":
            return HttpReader()
        case _:
            return LocalReader()
