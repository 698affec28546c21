"""A model's folder in the object store: each byte that is used is one that the folder's name stands for."""

import hashlib
from collections.abc import Callable
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from pydantic import ValidationError

from churn_operator.api.contract import MANIFEST_FILE, Manifest
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import ModelRef
from churn_operator.storage.failure import Refused
from churn_operator.storage.files import Gone, join, open_store


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def load_files(
    ref: ModelRef, only: tuple[str, ...] | None = None, read: Callable[[str], bytes] | None = None
) -> tuple[Manifest, dict[str, bytes]]:
    """Reads and checks the files, or those of the names given; the manifest is among them.

    `read` is for files that are not in the object store: it raises `Gone` where there is none.

    Raises:
        Refused: a file is missing or is not the one that the digest stands for.
    """
    data = _read(join(ref.uri, MANIFEST_FILE), read)
    if sha256(data) != ref.digest:
        raise Refused(Reason.ModelCorrupt, f"{ref.uri}/{MANIFEST_FILE} is {sha256(data)}, not {ref.digest}")
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise Refused(Reason.ModelCorrupt, f"{ref.uri}/{MANIFEST_FILE} is no manifest: {error}") from error
    files = {MANIFEST_FILE: data}
    for name in manifest.files if only is None else only:
        files[name] = _checked(ref.uri, name, manifest, read)
    return manifest, files


def _checked(folder: str, name: str, manifest: Manifest, read: Callable[[str], bytes] | None) -> bytes:
    if name not in manifest.files or PurePosixPath(name).name != name:
        raise Refused(Reason.ModelCorrupt, f"{folder}/{MANIFEST_FILE} lists no file {name!r} of a model")
    data = _read(join(folder, name), read)
    if sha256(data) != manifest.files[name]:
        raise Refused(Reason.ModelCorrupt, f"{folder}/{name} is {sha256(data)}, not {manifest.files[name]}")
    return data


def _read(uri: str, read: Callable[[str], bytes] | None) -> bytes:
    try:
        return (read or open_store(uri).read)(uri)
    except Gone as error:
        raise Refused(Reason.ModelCorrupt, f"there is no file at {uri}") from error


def reference(uri: str) -> ModelRef:
    """The model that a folder's address names: its last segment is the digest.

    Raises:
        Refused: it is not.
    """
    name = PurePosixPath(urlsplit(uri).path.rstrip("/")).name
    try:
        return ModelRef(uri=uri.rstrip("/"), digest=f"sha256:{name}")
    except ValidationError as error:
        raise Refused(Reason.JobFailed, f"{uri} does not end in the 64 hexadecimal digits of a digest") from error
