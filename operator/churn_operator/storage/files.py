"""Reads and writes small files by address: s3://bucket/key, file:///path or a plain path."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from churn_operator.api.reasons import Reason
from churn_operator.storage.failure import JobError, Refused, Unavailable

AT_ONCE = 1000
"""Objects that one answer of an object store lists, and that one request deletes."""
_GONE = {"404", "NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NotFound"}
_DENIED = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Forbidden"}
_BUSY = {408, 429}
_STRANGER = "what answers is not an object store"


class Gone(Exception):
    """There is no such file."""


class Changed(Exception):
    """There is such a file, in another state than the one asked for."""


class Listed(NamedTuple):
    """A file that a folder holds."""

    uri: str
    size: int
    modified: datetime


class Listing(NamedTuple):
    """What a folder holds, below its subfolders too, in the order of addresses."""

    files: tuple[Listed, ...]
    at: datetime
    """When, by the store's own clock."""


class Store(Protocol):
    """Files by address; each method raises `Gone` where the file is missing, and `JobError` where the store is."""

    def read(self, uri: str) -> bytes: ...

    def write(self, uri: str, data: bytes) -> None: ...

    def exists(self, uri: str) -> bool: ...

    def list(self, folder: str, mark: Callable[[], None] = ...) -> Listing:
        """What the folder holds; `mark` is called at each part of the answer, of which there may be many."""
        ...

    def delete(self, uris: Sequence[str]) -> None: ...


def unmarked() -> None:
    """Nobody asks how far it is."""


def open_store(uri: str) -> Store:
    """The store that holds the address."""
    return S3Store() if uri.startswith("s3://") else LocalStore()


def join(uri: str, *segments: str) -> str:
    """The address of something below a folder."""
    return "/".join((uri.rstrip("/"), *segments))


def local_path(uri: str) -> Path:
    """The path that `file:///path` or a plain path names."""
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file://") else Path(uri)


class LocalStore:
    """Files of this machine."""

    def read(self, uri: str) -> bytes:
        try:
            return local_path(uri).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Gone(uri) from error

    def write(self, uri: str, data: bytes) -> None:
        """Whole or not at all: readers never see half a file."""
        path = local_path(uri)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
                part.write(data)
            Path(part.name).rename(path)
        except OSError as error:
            raise Refused(Reason.StorageUnavailable, f"{path} cannot be written: {error}") from error

    def exists(self, uri: str) -> bool:
        return local_path(uri).is_file()

    def list(self, folder: str, mark: Callable[[], None] = unmarked) -> Listing:
        """The files of a folder; none where there is no such folder."""
        at = datetime.now(UTC)
        found = []
        for path in sorted(local_path(folder).rglob("*")):
            mark()
            with suppress(FileNotFoundError):
                if path.is_file():
                    state = path.stat()
                    uri = join(folder, path.relative_to(local_path(folder)).as_posix())
                    found.append(Listed(uri, state.st_size, datetime.fromtimestamp(state.st_mtime, UTC)))
        return Listing(tuple(found), at)

    def delete(self, uris: Sequence[str]) -> None:
        """Delete files; one that is gone already is no error."""
        for uri in uris:
            local_path(uri).unlink(missing_ok=True)


class S3Store:
    """Objects of the store that AWS_ENDPOINT_URL names, with the credentials of the environment.

    `prefix` stands before the names of those variables: a source may have a store and credentials of its own.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix

    @property
    def _client(self) -> Any:
        return s3_client(self._prefix)

    def read(self, uri: str, **pin: str) -> bytes:
        """The object; `pin` is VersionId or IfMatch."""
        bucket, key = _split(uri)
        with translated(uri):
            answer = self._client.get_object(Bucket=bucket, Key=key, **pin)
            _etag(uri, answer)
            body: bytes = answer["Body"].read()
            return body

    def head(self, uri: str) -> tuple[str | None, str]:
        """The object's version id, where its bucket keeps versions, and its ETag."""
        bucket, key = _split(uri)
        with translated(uri):
            head = self._client.head_object(Bucket=bucket, Key=key)
        version = head.get("VersionId")
        return (None if version in (None, "", "null") else str(version)), _etag(uri, head)

    def write(self, uri: str, data: bytes) -> None:
        bucket, key = _split(uri)
        with translated(uri):
            _etag(uri, self._client.put_object(Bucket=bucket, Key=key, Body=data))

    def exists(self, uri: str) -> bool:
        try:
            self.head(uri)
        except Gone:
            return False
        return True

    def list(self, folder: str, mark: Callable[[], None] = unmarked) -> Listing:
        """The objects of a folder, by pages; none where there is no such folder."""
        bucket, prefix = _split(folder.rstrip("/") + "/")
        found: list[Listed] = []
        at = datetime.now(UTC)
        with translated(folder):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                mark()
                if "IsTruncated" not in page:
                    raise Unavailable(Reason.StorageUnavailable, f"{folder}: {_STRANGER}")
                with suppress(KeyError, ValueError):
                    at = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                found += [
                    Listed(f"s3://{bucket}/{entry['Key']}", entry["Size"], entry["LastModified"])
                    for entry in page.get("Contents", ())
                ]
        return Listing(tuple(found), at)

    def delete(self, uris: Sequence[str]) -> None:
        """Delete objects, one bucket's; one that is gone already is no error."""
        keys = [_split(uri) for uri in uris]
        for start in range(0, len(keys), AT_ONCE):
            part = keys[start : start + AT_ONCE]
            with translated(uris[start]):
                self._delete(part[0][0], [key for _, key in part])

    def _delete(self, bucket: str, keys: Sequence[str]) -> None:
        objects = [{"Key": key} for key in keys]
        answer = self._client.delete_objects(Bucket=bucket, Delete={"Objects": objects})
        errors = answer.get("Errors", ())
        failed = [error for error in errors if error.get("Code") not in _GONE]
        if failed:
            first = failed[0]
            message = f"s3://{bucket}/{first.get('Key')} cannot be deleted: {first.get('Code')} {first.get('Message')}"
            raise Unavailable(Reason.StorageUnavailable, message)
        # anybody's page says nothing of errors either: what was deleted is to be named
        if len(answer.get("Deleted", ())) + len(errors) < len(keys):
            raise Unavailable(Reason.StorageUnavailable, f"s3://{bucket}/{keys[0]}: {_STRANGER}")


def _split(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri, allow_fragments=False)
    return parts.netloc, parts.path.lstrip("/")


def _etag(uri: str, answer: Mapping[str, Any]) -> str:
    """The object's ETag, without which no object store answers."""
    if "ETag" not in answer:
        raise Unavailable(Reason.StorageUnavailable, f"{uri}: {_STRANGER}")
    return str(answer["ETag"]).strip('"')


def read_seconds() -> float:
    """How long a neighbour's next bytes are waited for."""
    return float(os.environ.get("CHURN_READ_SECONDS", "60"))


@cache
def s3_client(prefix: str) -> Any:
    """One client for each store and process: making one costs more than a request."""
    import boto3
    from botocore.config import Config

    def said(name: str) -> str | None:
        return os.environ.get(prefix + name) or None

    return boto3.client(
        "s3",
        endpoint_url=said("AWS_ENDPOINT_URL"),
        aws_access_key_id=said("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=said("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=said("AWS_SESSION_TOKEN"),
        region_name=said("AWS_REGION") or said("AWS_DEFAULT_REGION") or "us-east-1",
        config=Config(
            connect_timeout=5,
            read_timeout=read_seconds(),
            retries={"mode": "standard", "total_max_attempts": 3},
            # a store of one's own seldom has a host name for each bucket
            s3={"addressing_style": "path" if said("AWS_ENDPOINT_URL") else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turns botocore's errors into `Gone`, `Changed` and `JobError`."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise _client_error(uri, error.response) from error
    except NoCredentialsError as error:
        raise Refused(Reason.StorageUnavailable, f"{uri}: no credentials in the environment") from error
    except (BotoCoreError, ResponseParserError) as error:
        raise Unavailable(Reason.StorageUnavailable, f"{uri}: {error}") from error


def _client_error(uri: str, response: Any) -> JobError | Gone | Changed:
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _GONE:
        return Gone(uri)
    if status == 412 or code == "PreconditionFailed":
        return Changed(uri)
    if code in _DENIED:
        return Refused(Reason.StorageUnavailable, f"{uri}: the object store refuses the credentials ({code})")
    if 400 <= status < 500 and status not in _BUSY:
        return Refused(Reason.StorageUnavailable, f"{uri}: the object store refuses the request ({code})")
    return Unavailable(Reason.StorageUnavailable, f"{uri}: the object store answers {status} {code}")
