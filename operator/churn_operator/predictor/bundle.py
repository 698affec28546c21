"""A model's folder, read once and checked before anything in it is used."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from churn_operator.api.base import Model
from churn_operator.api.contract import CONTRACT_FILE, GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE, Contract, Manifest
from churn_operator.api.tasks import Golden

M = TypeVar("M", bound=Model)


class BundleBroken(Exception):
    """The folder holds no model that may be served; trying again cannot help."""


@dataclass(frozen=True)
class Bundle:
    """Files whose digests agree with the manifest's."""

    manifest: Manifest
    contract: Contract
    golden: Golden
    onnx: bytes


def read_bundle(folder: Path) -> Bundle:
    """Read and check a model's folder: each byte that is used is one that was hashed.

    Raises:
        BundleBroken: a file is missing, is not what it should be, or has another digest.
    """
    manifest = _parse(Manifest, MANIFEST_FILE, _read(folder, MANIFEST_FILE))
    contract = _parse(Contract, CONTRACT_FILE, _checked(folder, CONTRACT_FILE, manifest))
    if manifest.features != tuple(feature.name for feature in contract.features):
        raise BundleBroken(f"{CONTRACT_FILE}: has other features than {MANIFEST_FILE}")
    golden = _parse(Golden, GOLDEN_FILE, _checked(folder, GOLDEN_FILE, manifest))
    return Bundle(manifest, contract, golden, _checked(folder, MODEL_FILE, manifest))


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise BundleBroken(f"{folder / name}: cannot be read: {error.strerror}") from error


def _checked(folder: Path, name: str, manifest: Manifest) -> bytes:
    wanted = manifest.files.get(name)
    if wanted is None:
        raise BundleBroken(f"{MANIFEST_FILE}: does not list {name}")
    data = _read(folder, name)
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if found != wanted:
        raise BundleBroken(f"{name}: its digest is {found}, where {MANIFEST_FILE} says {wanted}")
    return data


def _parse(kind: type[M], name: str, data: bytes) -> M:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleBroken(f"{name}: {where + ': ' if where else ''}{first['msg']}") from error
