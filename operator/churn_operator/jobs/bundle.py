"""A model's folder in the object store: written once under its digest, and believed only after every file was checked.

Nothing in it is code: an ONNX graph and JSON.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from churn_operator.api.base import Model
from churn_operator.api.contract import (
    CONTRACT_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PROFILE_FILE,
    Contract,
    Manifest,
)
from churn_operator.api.tasks import Golden, ModelRef
from churn_operator.storage.bundle import load_files, sha256
from churn_operator.storage.files import join, open_store

if TYPE_CHECKING:
    from churn_operator.jobs.profile import Profile


@dataclass(frozen=True)
class Bundle:
    """The files of a model."""

    manifest: Manifest
    files: dict[str, bytes]
    """By name, the manifest's included."""

    @property
    def digest(self) -> str:
        return sha256(self.files[MANIFEST_FILE])

    @property
    def onnx(self) -> bytes:
        return self.files[MODEL_FILE]

    @property
    def contract(self) -> Contract:
        return Contract.model_validate_json(self.files[CONTRACT_FILE])

    @property
    def profile(self) -> "Profile":
        from churn_operator.jobs.profile import Profile  # pandas, which fetching a model can do without

        return Profile.model_validate_json(self.files[PROFILE_FILE])


def pack(manifest: Manifest, onnx: bytes, contract: Contract, profile: "Profile", golden: Golden) -> Bundle:
    """The bundle of a new model; the manifest's `files` are filled in."""
    files = {
        MODEL_FILE: onnx,
        CONTRACT_FILE: _json(contract),
        PROFILE_FILE: _json(profile),
        GOLDEN_FILE: _json(golden),
    }
    listed = manifest.model_copy(update={"files": {name: sha256(data) for name, data in sorted(files.items())}})
    return Bundle(listed, {**files, MANIFEST_FILE: _json(listed)})


def _json(model: Model) -> bytes:
    return (model.model_dump_json(exclude_none=True) + "\n").encode()


def store(bundle: Bundle, storage_uri: str) -> ModelRef:
    """Writes the folder, its manifest last: a folder with a manifest is whole."""
    folder = join(storage_uri, "models", bundle.digest.removeprefix("sha256:"))
    files = open_store(folder)
    for name in (*bundle.manifest.files, MANIFEST_FILE):
        files.write(join(folder, name), bundle.files[name])
    return ModelRef(uri=folder, digest=bundle.digest)


def load(ref: ModelRef, only: tuple[str, ...] | None = None) -> Bundle:
    """Reads and checks the files, or those of the names given.

    Raises:
        Refused: a file is missing or is not the one that the digest stands for.
    """
    return Bundle(*load_files(ref, only))


def unpack(bundle: Bundle, destination: Path) -> None:
    """Writes the checked files into a folder, the manifest last."""
    destination.mkdir(parents=True, exist_ok=True)
    for name in (*bundle.manifest.files, MANIFEST_FILE):
        (destination / name).write_bytes(bundle.files[name])
