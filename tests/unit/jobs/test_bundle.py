"""A model's files are believed only when every digest is right."""

from pathlib import Path

import pytest
from unit.jobs.making import clean_frame, customers

from churn_operator.api.contract import MANIFEST_FILE, MODEL_FILE, PROFILE_FILE, Manifest
from churn_operator.api.tasks import FetchTask, Golden, ModelRef
from churn_operator.jobs.bundle import Bundle, load, pack, store
from churn_operator.jobs.fetch import fetch
from churn_operator.jobs.profile import describe
from churn_operator.storage.bundle import reference, sha256
from churn_operator.storage.failure import Refused


def packed(threshold: float = 0.5) -> Bundle:
    frame, contract = clean_frame(customers(60)[["months", "plan"]])
    manifest = Manifest(
        estimator="LogisticRegression",
        threshold=threshold,
        target="left",
        positive_label="Yes",
        features=("months", "plan"),
        split_by=("id",),
        files={},
    )
    return pack(manifest, b"onnx", contract, describe(frame, contract), Golden(instance={"months": 1}, probability=0.5))


@pytest.fixture
def stored(tmp_path: Path) -> ModelRef:
    return store(packed(), str(tmp_path))


def test_what_was_stored_is_loaded(stored: ModelRef) -> None:
    assert load(stored) == packed()


def test_the_folder_is_called_by_the_digest_of_the_manifest(stored: ModelRef, tmp_path: Path) -> None:
    assert stored.uri == f"{tmp_path}/models/{stored.digest.removeprefix('sha256:')}"
    assert sha256((Path(stored.uri) / MANIFEST_FILE).read_bytes()) == stored.digest


def test_the_same_model_has_the_same_digest_and_another_has_another(stored: ModelRef) -> None:
    assert packed().digest == stored.digest != packed(0.4).digest


def test_only_the_files_asked_for_are_read(stored: ModelRef) -> None:
    (Path(stored.uri) / MODEL_FILE).unlink()
    assert set(load(stored, only=(PROFILE_FILE,)).files) == {MANIFEST_FILE, PROFILE_FILE}


@pytest.mark.parametrize("name", [*packed().files])
def test_a_file_that_was_changed_is_refused_and_nothing_is_written(name: str, stored: ModelRef, tmp_path: Path) -> None:
    path = Path(stored.uri) / name
    path.write_bytes(path.read_bytes().replace(b"o", b"0", 1))
    with pytest.raises(Refused, match=f"{name} is sha256:.* not sha256:"):
        fetch(FetchTask(model=stored, destination=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [*packed().files])
def test_a_file_that_is_missing_is_named(name: str, stored: ModelRef) -> None:
    (Path(stored.uri) / name).unlink()
    with pytest.raises(Refused, match=f"there is no file at .*/{name}"):
        load(stored)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{}", "is no manifest", id="no manifest"),
        pytest.param(
            packed().manifest.model_copy(update={"files": {"../../etc/passwd": sha256(b"")}}).model_dump_json(),
            "lists no file '../../etc/passwd'",
            id="a file outside the folder",
        ),
    ],
)
def test_a_manifest_of_the_right_digest_is_read_with_care(text: str, message: str, tmp_path: Path) -> None:
    digest = sha256(text.encode())
    folder = tmp_path / digest.removeprefix("sha256:")
    folder.mkdir()
    (folder / MANIFEST_FILE).write_text(text)
    with pytest.raises(Refused, match=message):
        load(ModelRef(uri=str(folder), digest=digest))


def test_a_file_that_the_manifest_does_not_list_is_refused(stored: ModelRef) -> None:
    with pytest.raises(Refused, match="lists no file 'other'"):
        load(stored, only=("other",))


def test_fetching_writes_every_file(stored: ModelRef, tmp_path: Path) -> None:
    fetch(FetchTask(model=stored, destination=str(tmp_path / "a" / "b")))
    written = {path.name: path.read_bytes() for path in (tmp_path / "a" / "b").iterdir()}
    assert written == packed().files


def test_an_address_names_a_model(stored: ModelRef) -> None:
    assert reference(stored.uri + "/") == stored
    assert reference(f"s3://models/churn/{'a' * 64}").digest == f"sha256:{'a' * 64}"


def test_an_address_without_a_digest_is_refused() -> None:
    with pytest.raises(Refused, match="does not end in the 64 hexadecimal digits"):
        reference("s3://models/latest")
