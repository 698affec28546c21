"""A registered version is judged as it is, or refused with a reason; whatever it holds, none of it is run."""

import pickle
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from unit.jobs.making import customers, train_task

from churn_operator.api.contract import (
    CONTRACT_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PROFILE_FILE,
)
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import MODEL_DIGEST_TAG, Golden, TrainResult, TrainTask
from churn_operator.jobs.bundle import Bundle, load, pack
from churn_operator.jobs.mlflow import Mlflow
from churn_operator.jobs.tracking import Version, open_run
from churn_operator.jobs.train import train
from churn_operator.storage.bundle import sha256
from churn_operator.storage.failure import Refused

NUMBERS = count()
QUICK = {"estimators": [{"name": "LogisticRegression"}], "crossValidation": {"folds": 3}}
MODEL = "ml.registered"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("registered")
    customers(800).to_csv(found / "customers.csv", index=False)
    return found


def task(folder: Path, mlflow: str, candidate: str | None = None, **overrides: Any) -> TrainTask:
    uid = f"registered-{next(NUMBERS)}"
    given = {
        "uid": uid,
        "run": uid,
        "model": "registered",
        "data": {"source": {"uri": str(folder / "customers.csv")}, "target": "left", "idColumn": "id"},
        "training": QUICK,
        "registered_model": MODEL,
        "candidate": {"registryVersion": candidate} if candidate else None,
    }
    return train_task(folder / "storage", mlflow, **(given | overrides))


@pytest.fixture(scope="module")
def champion(folder: Path, mlflow: str) -> TrainResult:
    """What was trained and registered as usual."""
    return train(task(folder, mlflow))


def register(mlflow: str, files: dict[str, bytes], digest: str | None = None) -> str:
    """What somebody registers as a version of the model."""
    tracker = open_run(mlflow, "somebody", name="r", uid=f"theirs-{next(NUMBERS)}", tags={}, finished=True)
    for name, data in files.items():
        tracker.artifact(f"model/{name}", data)
    tags = {} if digest is None else {MODEL_DIGEST_TAG: digest}
    return tracker.register(Version(MODEL, tags, "by hand"), "model")


def registered(mlflow: str, bundle: Bundle) -> str:
    return register(mlflow, bundle.files, bundle.digest)


def against(result: TrainResult) -> dict[str, Any]:
    return {
        "champion": {"version": "v1", "model": result.model.to_dict()},
        "comparisons": [{"metric": "roc_auc", "confidence": 0.95}],
    }


def refusal(folder: Path, mlflow: str, version: str, **overrides: Any) -> Refused:
    with pytest.raises(Refused) as error:
        train(task(folder, mlflow, version, **overrides))
    return error.value


@pytest.fixture(scope="module")
def judged(folder: Path, mlflow: str, champion: TrainResult) -> TrainResult:
    """The same version, as the challenger of itself."""
    return train(task(folder, mlflow, champion.registry_version, **against(champion)))


class TestJudged:
    def test_it_is_measured_as_when_it_was_trained(self, judged: TrainResult, champion: TrainResult) -> None:
        assert judged.metrics.items() >= {k: v for k, v in champion.metrics.items() if k != "parity"}.items()
        assert judged.metrics["parity"] <= 1e-6
        assert (judged.data, judged.scores, judged.golden) == (champion.data, champion.scores, champion.golden)
        assert (judged.estimator, judged.threshold) == (champion.estimator, champion.threshold)

    def test_it_is_compared_on_the_same_rows(self, judged: TrainResult, champion: TrainResult) -> None:
        (compared,) = judged.comparisons
        assert (compared.lower_bound, compared.rows, compared.unseen) == (0, champion.data.holdout_rows, True)

    def test_it_is_what_is_stored_under_its_digest(self, judged: TrainResult, champion: TrainResult) -> None:
        assert judged.model == champion.model

    def test_it_is_not_registered_again(self, judged: TrainResult, champion: TrainResult, mlflow: str) -> None:
        assert judged.registry_version == champion.registry_version
        asked = f"name = '{MODEL}' and run_id = '{judged.run_id}'"
        assert Mlflow(mlflow).get("model-versions/search", filter=asked).get("model_versions", []) == []

    def test_its_run_tells_what_was_judged(self, judged: TrainResult, champion: TrainResult, mlflow: str) -> None:
        run = Mlflow(mlflow).get("runs/get", run_id=judged.run_id)["run"]
        params = {entry["key"]: entry["value"] for entry in run["data"]["params"]}
        assert params["registry_version"] == champion.registry_version
        assert run["info"]["status"] == "FINISHED"
        assert [t["value"] for i in run["inputs"]["dataset_inputs"] for t in i["tags"]] == ["evaluation"]

    def test_files_that_only_the_registry_has_are_stored(
        self, folder: Path, mlflow: str, champion: TrainResult, tmp_path: Path
    ) -> None:
        """It may have been trained on a laptop, whose files no server can fetch."""
        found = train(task(folder, mlflow, champion.registry_version, storage_uri=str(tmp_path)))
        assert found.model.uri.startswith(str(tmp_path))
        assert load(found.model).digest == champion.model.digest

    def test_rows_that_it_knows_are_not_counted(self, folder: Path, mlflow: str, champion: TrainResult) -> None:
        spec = {"source": {"uri": str(folder / "customers.csv")}, "target": "left", "exclude": ["id"]}
        other = train(task(folder, mlflow, data=spec))
        bundle = load(other.model)
        contract = bundle.contract.model_copy(update={"id_column": "id"})
        version = registered(mlflow, repacked(bundle, contract=contract))
        found = train(task(folder, mlflow, version))
        assert 0 < found.data.holdout_rows < champion.data.holdout_rows / 2


AGED = {"changes": {"age": 1}, "probability": 0.5}


def repacked(bundle: Bundle, **parts: Any) -> Bundle:
    """The same model with other parts, its digests in order."""
    golden = Golden.model_validate_json(bundle.files[GOLDEN_FILE])
    given: dict[str, Any] = {
        "manifest": bundle.manifest,
        "onnx": bundle.onnx,
        "contract": bundle.contract,
        "profile": bundle.profile,
        "golden": golden,
    }
    return pack(**(given | parts))


def resealed(bundle: Bundle, **files: bytes) -> Bundle:
    """The same with other bytes, their digests in order."""
    found = bundle.files | files
    listed = {name: sha256(data) for name, data in found.items() if name != MANIFEST_FILE}
    manifest = bundle.manifest.model_copy(update={"files": listed})
    return Bundle(manifest, found | {MANIFEST_FILE: manifest.model_dump_json().encode()})


def elsewhere(_: Bundle) -> bytes:
    """A graph whose numbers are in another file: onnxruntime would read it."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="proc/self/environ")
    return graph([helper.make_node("Identity", ["w"], ["probabilities"])], [tensor])


def hidden_elsewhere(_: Bundle) -> bytes:
    """The same in a branch of a branch."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 2], data_location=TensorProto.EXTERNAL)
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, [1, 2])
    branch = helper.make_graph([helper.make_node("Constant", [], ["o"], value=tensor)], "b", [], [out])
    yes = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    return graph([helper.make_node("If", ["c"], ["probabilities"], then_branch=branch, else_branch=branch)], [yes])


def foreign(_: Bundle) -> bytes:
    return graph([helper.make_node("Shell", [], ["probabilities"], domain="com.example")], [])


def more_than_certain(bundle: Bundle) -> bytes:
    """Its answers are seven times those of the model."""
    model = onnx.load_model_from_string(bundle.onnx)
    for node in model.graph.node:
        node.output[:] = ["said" if name == "probabilities" else name for name in node.output]
    model.graph.initializer.append(helper.make_tensor("seven", TensorProto.FLOAT, [], [7.0]))
    model.graph.node.append(helper.make_node("Mul", ["said", "seven"], ["probabilities"]))
    data: bytes = model.SerializeToString()
    return data


def graph(nodes: list[Any], constants: list[Any]) -> bytes:
    out = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])
    made = helper.make_graph(nodes, "g", [], [out], constants)
    domains = {"", *(node.domain for node in nodes)}
    opsets = [helper.make_opsetid(domain, 17 if domain == "" else 1) for domain in sorted(domains)]
    data: bytes = helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString()
    return data


class Code:
    """Unpickled, it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._trace,)


class TestRefused:
    @pytest.fixture
    def bundle(self, champion: TrainResult) -> Bundle:
        return load(champion.model)

    def test_a_version_that_is_not_there(self, folder: Path, mlflow: str, champion: TrainResult) -> None:  # noqa: ARG002 - it is registered
        error = refusal(folder, mlflow, "999")
        assert error.reason is Reason.CandidateNotFound
        assert error.message == f"MLflow has no version 999 of registered model {MODEL}"

    def test_another_ones_registered_model(self, folder: Path, mlflow: str, champion: TrainResult) -> None:
        assert refusal(folder, mlflow, champion.registry_version, owner="someone").reason is Reason.RegistryNameTaken

    def test_a_pickle_is_not_opened(self, folder: Path, mlflow: str, bundle: Bundle, tmp_path: Path) -> None:
        trace = tmp_path / "trace"
        code = pickle.dumps(Code(trace))
        version = register(mlflow, {"model.pkl": code, "MLmodel": b"flavors: {sklearn: {}}"}, sha256(code))
        assert refusal(folder, mlflow, version).reason is Reason.ModelCorrupt
        named = resealed(bundle, **{MODEL_FILE: code})
        assert refusal(folder, mlflow, registered(mlflow, named)).reason is Reason.CandidateUnfit
        assert not trace.exists()

    def test_a_version_without_a_digest(self, folder: Path, mlflow: str, bundle: Bundle) -> None:
        error = refusal(folder, mlflow, register(mlflow, bundle.files))
        assert error.reason is Reason.CandidateUnfit
        assert "has no digest in its tag churnops.dev/model-digest" in error.message

    @pytest.mark.parametrize("name", [MANIFEST_FILE, MODEL_FILE, CONTRACT_FILE, PROFILE_FILE, GOLDEN_FILE])
    def test_a_file_that_was_changed_or_is_gone(self, folder: Path, mlflow: str, bundle: Bundle, name: str) -> None:
        changed = bundle.files | {name: bundle.files[name] + b" "}
        gone = {file: data for file, data in bundle.files.items() if file != name}
        for files in (changed, gone):
            error = refusal(folder, mlflow, register(mlflow, files, bundle.digest))
            assert error.reason is Reason.ModelCorrupt
            assert name in error.message

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            pytest.param(lambda b: resealed(b, extra=b"x"), "lists other files than", id="a file too many"),
            pytest.param(lambda b: resealed(b, **{CONTRACT_FILE: b"[]"}), "cannot be read", id="no contract"),
            pytest.param(lambda b: resealed(b, **{PROFILE_FILE: b"{}"}), "cannot be read", id="no profile"),
            pytest.param(lambda b: resealed(b, **{GOLDEN_FILE: b"{}"}), "cannot be read", id="no golden request"),
            pytest.param(lambda b: resealed(b, **{MODEL_FILE: b"x = 1"}), "cannot be read", id="no graph"),
            pytest.param(
                lambda b: resealed(b, **{MODEL_FILE: elsewhere(b)}), "outside of its files", id="numbers elsewhere"
            ),
            pytest.param(
                lambda b: resealed(b, **{MODEL_FILE: hidden_elsewhere(b)}),
                "outside of its files",
                id="numbers elsewhere, hidden in a branch",
            ),
            pytest.param(
                lambda b: resealed(b, **{MODEL_FILE: foreign(b)}), "operators of com.example", id="foreign operators"
            ),
            pytest.param(
                lambda b: resealed(b, **{MODEL_FILE: graph([], [])}), "does not answer", id="a graph that does not run"
            ),
            pytest.param(
                lambda b: resealed(b, **{MODEL_FILE: more_than_certain(b)}), "no probabilities", id="no probabilities"
            ),
            pytest.param(
                lambda b: repacked(b, manifest=b.manifest.model_copy(update={"features": ("months",)})),
                "other features in contract.json than in manifest.json",
                id="two stories about its features",
            ),
            pytest.param(
                lambda b: repacked(b, golden=Golden(instance={"age": 1}, probability=0.5)),
                "columns that the model does not know",
                id="a golden request of another model",
            ),
            pytest.param(
                lambda b: repacked(b, golden=Golden(instance={}, probability=0.5, variants=(AGED,))),
                "columns that the model does not know",
                id="a golden customer of another model",
            ),
            pytest.param(
                lambda b: repacked(b, manifest=b.manifest.model_copy(update={"positive_label": "No"})),
                "foretells left = No and not left = Yes",
                id="the opposite",
            ),
            pytest.param(
                lambda b: repacked(b, manifest=b.manifest.model_copy(update={"target": "plan"})),
                "foretells plan = Yes",
                id="another target",
            ),
            pytest.param(
                lambda b: repacked(b, contract=b.contract.model_copy(update={"id_column": None})),
                "another idColumn",
                id="another identifier",
            ),
            pytest.param(
                lambda b: repacked(b, manifest=b.manifest.model_copy(update={"split_by": ("age",)})),
                "that it was not trained on them",
                id="what it was trained on cannot be told",
            ),
        ],
    )
    def test_what_is_no_model_of_this_spec(
        self, folder: Path, mlflow: str, bundle: Bundle, change: Callable[[Bundle], Bundle], message: str
    ) -> None:
        error = refusal(folder, mlflow, registered(mlflow, change(bundle)))
        assert error.reason is Reason.CandidateUnfit
        assert message in error.message

    def test_a_column_that_the_spec_excludes(self, folder: Path, mlflow: str, champion: TrainResult) -> None:
        spec = {"source": {"uri": str(folder / "customers.csv")}, "target": "left", "idColumn": "id"}
        error = refusal(folder, mlflow, champion.registry_version, data=spec | {"exclude": ["plan"]})
        assert "asks for columns that spec.data does not learn from: plan" in error.message

    def test_a_model_that_would_have_personal_data_recorded(
        self, folder: Path, mlflow: str, champion: TrainResult
    ) -> None:
        spec = {"source": {"uri": str(folder / "customers.csv")}, "target": "left", "idColumn": "id"}
        personal = [{"column": "charge", "action": "Hash"}]
        error = refusal(folder, mlflow, champion.registry_version, data=spec | {"pii": personal})
        assert "other pii than spec.data" in error.message
