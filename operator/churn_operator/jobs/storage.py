"""Reads and writes small files by address: s3://bucket/key, file:///path or a plain path."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from churn_operator.api.reasons import Reason
from churn_operator.jobs.failure import JobError, Refused, Unavailable

_GONE = {"404", "NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NotFound"}
_DENIED = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Forbidden"}


class Gone(Exception):
    """There is no such file."""


class Changed(Exception):
    """There is such a file, in another state than the one asked for."""


class Store(Protocol):
    """Files by address; each method raises `Gone` where the file is missing, and `JobError` where the store is."""

    def read(self, uri: str) -> bytes: ...

    def write(self, uri: str, data: bytes) -> None: ...

    def exists(self, uri: str) -> bool: ...


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
            body: bytes = self._client.get_object(Bucket=bucket, Key=key, **pin)["Body"].read()
            return body

    def head(self, uri: str) -> tuple[str | None, str]:
        """The object's version id, where its bucket keeps versions, and its ETag."""
        bucket, key = _split(uri)
        with translated(uri):
            head = self._client.head_object(Bucket=bucket, Key=key)
        version = head.get("VersionId")
        return (None if version in (None, "", "null") else str(version)), str(head["ETag"]).strip('"')

    def write(self, uri: str, data: bytes) -> None:
        bucket, key = _split(uri)
        with translated(uri):
            self._client.put_object(Bucket=bucket, Key=key, Body=data)

    def exists(self, uri: str) -> bool:
        try:
            self.head(uri)
        except Gone:
            return False
        return True


def _split(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri, allow_fragments=False)
    return parts.netloc, parts.path.lstrip("/")


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
            read_timeout=60,
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

    try:
        yield
    except ClientError as error:
        raise _client_error(uri, error.response) from error
    except NoCredentialsError as error:
        raise Refused(Reason.StorageUnavailable, f"{uri}: no credentials in the environment") from error
    except BotoCoreError as error:
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
    if 400 <= status < 500:
        return Refused(Reason.StorageUnavailable, f"{uri}: the object store refuses the request ({code})")
    return Unavailable(Reason.StorageUnavailable, f"{uri}: the object store answers {status} {code}")
