"""One training on Telco, seen from everything that it leaves behind; and what becomes of a second one."""

import json
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from unit.jobs.conftest import Trained, only_run
from unit.jobs.making import TELCO, customers, train_task

from churn_operator.api.contract import MODEL_FILE, as_category, as_number
from churn_operator.api.reasons import Reason
from churn_operator.api.results import decode_result, encode_result
from churn_operator.api.tasks import (
    OWNER_TAG,
    RESULT_LIMIT,
    RESULT_TAG,
    RUN_TAG,
    UID_TAG,
    ModelRef,
    TrainResult,
    TrainTask,
)
from churn_operator.jobs import data
from churn_operator.jobs.bundle import load
from churn_operator.jobs.convert import Model
from churn_operator.jobs.frame import conform
from churn_operator.jobs.metrics import METRICS
from churn_operator.jobs.mlflow import Mlflow
from churn_operator.jobs.rows import prepare
from churn_operator.jobs.train import train
from churn_operator.storage.bundle import sha256
from churn_operator.storage.failure import Refused


def entries(listed: list[dict[str, Any]]) -> dict[str, Any]:
    return {entry["key"]: entry["value"] for entry in listed}


def mlflow_run(uri: str, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = Mlflow(uri).get("runs/get", run_id=run_id)["run"]
    return found


class TestResult:
    def test_telco_is_learned_as_well_as_published(self, trained: Trained) -> None:
        assert set(trained.result.metrics) == {*METRICS, "parity"}
        assert trained.result.metrics["roc_auc"] > 0.84
        assert trained.result.metrics["expected_calibration_error"] < 0.05
        assert trained.result.metrics["f1"] > 0.6

    def test_scikit_learn_and_onnx_agree_on_every_held_out_row(self, trained: Trained) -> None:
        assert trained.result.metrics["parity"] <= 1e-5

    def test_the_data_can_be_fetched_again(self, trained: Trained) -> None:
        read = trained.result.data
        assert (read.rows, read.digest) == (7043, sha256(TELCO.read_bytes()))
        assert read.snapshot is not None
        assert Path(read.snapshot).read_bytes() == TELCO.read_bytes()
        assert 0.18 < read.holdout_rows / read.rows < 0.22

    def test_every_held_out_probability_is_counted(self, trained: Trained) -> None:
        scores = trained.result.scores
        assert scores is not None
        assert sum(scores) == trained.result.data.holdout_rows
        assert scores[0] == max(scores), "most customers are sure to stay"

    def test_it_fits_a_termination_message_without_being_packed(self, trained: Trained) -> None:
        assert encode_result(trained.result).startswith("{")
        assert len(encode_result(trained.result)) < RESULT_LIMIT * 2 / 3

    def test_the_golden_customers_are_answered_by_the_stored_model(self, trained: Trained) -> None:
        """As the predictor does it: from JSON, by the contract alone."""
        bundle, golden = load(trained.result.model), trained.result.golden
        assert set(golden.instance) == set(bundle.manifest.features)
        instances, expected = zip(*golden.rows, strict=True)
        asked = json.loads(json.dumps(instances))
        numbers = [[as_number(each.get(f.name)) for f in bundle.contract.numerical] for each in asked]
        categories = [[as_category(each.get(f.name)) for f in bundle.contract.categorical] for each in asked]
        feeds = {"numbers": np.array(numbers, dtype=np.float32), "categories": np.array(categories, dtype=object)}
        assert Model(bundle.onnx, bundle.contract).run(feeds) == pytest.approx(expected, abs=1e-6)

    def test_the_golden_customers_are_sure_to_stay_sure_to_leave_and_between(self, trained: Trained) -> None:
        expected = [probability for _, probability in trained.result.golden.rows]
        assert len(expected) >= 4
        assert min(expected) < 0.1
        assert max(expected) > 0.7

    def test_the_manifest_tells_how_the_model_decides(self, trained: Trained) -> None:
        manifest = load(trained.result.model).manifest
        assert (manifest.estimator, manifest.threshold) == (trained.result.estimator, trained.result.threshold)
        assert (manifest.target, manifest.positive_label) == ("churn", "Yes")
        assert set(manifest.split_by) == set(manifest.features)


class TestMlflow:
    def test_the_run_is_finished_and_holds_the_result(self, trained: Trained, mlflow: str) -> None:
        run = mlflow_run(mlflow, trained.result.run_id)
        tags = entries(run["data"]["tags"])
        assert run["info"]["status"] == "FINISHED"
        assert TrainResult.model_validate_json(decode_result(tags[RESULT_TAG])) == trained.result
        assert tags.items() >= {UID_TAG: trained.task.uid, RUN_TAG: "telco-1"}.items()

    def test_it_tells_data_trigger_image_and_code(self, trained: Trained, mlflow: str) -> None:
        run = mlflow_run(mlflow, trained.result.run_id)
        read, tags = trained.result.data, entries(run["data"]["tags"])
        expected = {
            "data-digest": read.digest,
            "data-revision": read.revision,
            "trigger": "Initial",
            "trigger-reason": "the first run",
        }
        assert tags.items() >= {f"churnops.dev/{key}": value for key, value in expected.items()}.items()
        assert tags["churnops.dev/image"] == "jobs:test"
        assert tags["churnops.dev/code"].startswith("sha256:")
        assert run["inputs"]["dataset_inputs"][0]["dataset"]["digest"] == read.digest[7:43]

    def test_params_and_metrics_are_logged(self, trained: Trained, mlflow: str) -> None:
        run = mlflow_run(mlflow, trained.result.run_id)["data"]
        assert entries(run["params"]).items() >= {"estimator": trained.result.estimator, "folds": "5"}.items()
        metrics = entries(run["metrics"])
        assert metrics.items() >= trained.result.metrics.items()
        assert metrics["cv_score"] == max(metrics["cv_LogisticRegression"], metrics["cv_HistGradientBoosting"])

    def test_the_registered_model_has_an_owner_and_its_version_a_lineage(self, trained: Trained, mlflow: str) -> None:
        server = Mlflow(mlflow)
        assert (
            entries(server.get("registered-models/get", name="ml.telco")["registered_model"]["tags"])[OWNER_TAG]
            == trained.task.owner
        )
        version = server.get("model-versions/get", name="ml.telco", version="1")["model_version"]
        tags = entries(version["tags"])
        assert tags[RUN_TAG] == "telco-1"
        assert tags["churnops.dev/model-digest"] == trained.result.model.digest
        assert (version["run_id"], trained.result.registry_version) == (trained.result.run_id, "1")

    def test_the_second_attempt_gives_the_first_ones_result(self, trained: Trained, mlflow: str) -> None:
        assert train(trained.task) == trained.result
        known = Mlflow(mlflow).get("model-versions/search", filter="name = 'ml.telco'")["model_versions"]
        assert len([version for version in known if version["run_id"] == trained.result.run_id]) == 1

    def test_mlflow_loads_the_model_by_its_alias(self, trained: Trained, mlflow: str, tmp_path: Path) -> None:
        Mlflow(mlflow).post("registered-models/alias", {"name": "ml.telco", "alias": "champion", "version": "1"})
        bundle = load(trained.result.model)
        rows, _ = conform(pd.read_csv(TELCO, nrows=5), bundle.contract)
        rows.to_pickle(tmp_path / "rows")
        script = f"""
import mlflow, pandas
mlflow.set_tracking_uri({mlflow!r})
rows = pandas.read_pickle({str(tmp_path / "rows")!r})
numbers, categories = rows.select_dtypes("float32").to_numpy(), rows.select_dtypes(object).to_numpy()
model = mlflow.pyfunc.load_model("models:/ml.telco@champion")
print(model.predict({{"numbers": numbers, "categories": categories}})["probabilities"][:, 1].tolist())
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        expected = Model(bundle.onnx, bundle.contract).probabilities(rows)
        assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(expected.tolist(), abs=1e-6)


NUMBERS = count()
QUICK = {"estimators": [{"name": "LogisticRegression"}], "crossValidation": {"folds": 3}}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "customers.csv"
    customers(800).to_csv(path, index=False)
    return path


def quick(table: Path, mlflow: str, uid: str, **overrides: Any) -> Any:
    given = {
        "uid": uid,
        "run": uid,
        "model": "customers",
        "data": {"source": {"uri": str(table)}, "target": "left", "idColumn": "id"},
        "training": QUICK,
        "registered_model": f"ml.{uid}",
    }
    return train_task(table.parent / "storage", mlflow, **{**given, **overrides})


def against(model: ModelRef, *metrics: str) -> dict[str, Any]:
    return {
        "champion": {"version": "v1", "model": model.to_dict()},
        "comparisons": [{"metric": metric, "confidence": 0.95} for metric in metrics],
    }


class TestChampion:
    @pytest.fixture
    def champion(self, table: Path, mlflow: str) -> TrainResult:
        return train(quick(table, mlflow, f"champion-{next(NUMBERS)}"))

    def test_the_same_model_on_the_same_rows_is_no_better(
        self, table: Path, mlflow: str, champion: TrainResult
    ) -> None:
        again = train(quick(table, mlflow, "again", **against(champion.model, "roc_auc", "brier_score")))
        assert again.model.digest == champion.model.digest
        for compared in again.comparisons:
            assert compared.challenger == compared.champion
            assert compared.lower_bound == 0
            assert (compared.rows, compared.unseen) == (again.data.holdout_rows, True)
        assert again.comparisons[0].champion == champion.metrics["roc_auc"]
        logged = entries(mlflow_run(mlflow, again.run_id)["data"]["metrics"])
        assert logged["champion_roc_auc"] == champion.metrics["roc_auc"]

    def test_the_contract_names_the_customers_identifier(self, champion: TrainResult) -> None:
        contract = load(champion.model).contract
        assert contract.id_column == "id"
        assert "id" not in {feature.name for feature in contract.features}

    def test_a_champion_of_another_world_is_beaten(self, table: Path, mlflow: str, champion: TrainResult) -> None:
        turned = customers(800, seed=1)
        turned["left"] = turned["left"].map({"Yes": "No", "No": "Yes"})
        turned.to_csv(table, index=False)
        challenger = train(quick(table, mlflow, "turned", **against(champion.model, "roc_auc")))
        (compared,) = challenger.comparisons
        assert compared.challenger > 0.6
        assert compared.champion < 0.4
        assert 0 < compared.lower_bound < compared.challenger - compared.champion

    def test_a_champion_whose_columns_are_gone_answers_as_if_they_were_missing(
        self, table: Path, mlflow: str, champion: TrainResult, caplog: pytest.LogCaptureFixture
    ) -> None:
        customers(800).drop(columns="plan").to_csv(table, index=False)
        challenger = train(quick(table, mlflow, "narrow", **against(champion.model, "roc_auc")))
        assert "for the champion, column 'plan' is missing" in caplog.text
        assert 0.5 < challenger.comparisons[0].champion < champion.metrics["roc_auc"]

    def test_a_changed_split_compares_rows_that_both_held_out(
        self, table: Path, mlflow: str, champion: TrainResult
    ) -> None:
        spec = {"source": {"uri": str(table)}, "target": "left", "exclude": ["id"]}
        challenger = train(quick(table, mlflow, "values", data=spec, **against(champion.model, "accuracy")))
        (compared,) = challenger.comparisons
        assert compared.champion != champion.metrics["accuracy"]
        assert compared.unseen
        assert 0 < compared.rows < challenger.data.holdout_rows

    def test_a_split_that_cannot_be_told_any_more_is_told(
        self, table: Path, mlflow: str, champion: TrainResult, caplog: pytest.LogCaptureFixture
    ) -> None:
        customers(800).drop(columns="id").to_csv(table, index=False)
        spec = {"source": {"uri": str(table)}, "target": "left"}
        challenger = train(quick(table, mlflow, "anonymous", data=spec, **against(champion.model, "accuracy")))
        assert "which rows the champion has seen cannot be told: no column id any more" in caplog.text
        (compared,) = challenger.comparisons
        assert (compared.rows, compared.unseen) == (challenger.data.holdout_rows, False)

    def test_too_few_rows_that_both_held_out_are_told(
        self, table: Path, mlflow: str, champion: TrainResult, caplog: pytest.LogCaptureFixture
    ) -> None:
        customers(150).to_csv(table, index=False)
        spec = {"source": {"uri": str(table)}, "target": "left", "exclude": ["id"]}
        challenger = train(quick(table, mlflow, "few", data=spec, **against(champion.model, "accuracy")))
        assert "held-out rows are ones that the champion has not seen: all are compared" in caplog.text
        (compared,) = challenger.comparisons
        assert (compared.rows, compared.unseen) == (challenger.data.holdout_rows, False)

    def test_a_champion_whose_files_are_gone_is_named(self, table: Path, mlflow: str) -> None:
        gone = ModelRef(uri="/nowhere/models/x", digest=f"sha256:{'0' * 64}")
        with pytest.raises(Refused, match=r"there is no file at /nowhere/models/x/manifest\.json"):
            train(quick(table, mlflow, "gone", **against(gone, "accuracy")))


class TestFailure:
    def test_data_that_cannot_be_learned_from_closes_the_run_with_the_reason(self, table: Path, mlflow: str) -> None:
        customers(800).assign(left="No").to_csv(table, index=False)
        with pytest.raises(Refused, match="'left' is 'No' in all 800 rows") as refused:
            train(quick(table, mlflow, "one-class"))
        assert refused.value.to_failure().revision == data.resolve(quick(table, mlflow, "one-class").data.source)
        run = only_run(mlflow, "one-class")
        assert run["info"]["status"] == "FAILED"
        assert entries(run["data"]["tags"])["churnops.dev/reason"] == Reason.OneClass

    def test_too_few_of_a_class_for_the_folds_are_counted(self, table: Path, mlflow: str) -> None:
        rows = customers(800)
        rows["left"] = np.where(np.arange(800) < 12, "Yes", "No")
        rows.to_csv(table, index=False)
        training = {**QUICK, "crossValidation": {"folds": 20}}
        with pytest.raises(Refused, match=r"the training rows hold \d+ of one class, too few for 20 folds") as refused:
            train(quick(table, mlflow, "folds", training=training))
        assert refused.value.revision is not None

    def test_a_name_that_is_taken_is_refused_before_anything_is_read(self, table: Path, mlflow: str) -> None:
        table.unlink()
        Mlflow(mlflow).post("registered-models/create", {"name": "ml.taken"})
        with pytest.raises(Refused, match=r"registered model 'ml\.taken'") as refused:
            train(quick(table, mlflow, "taken"))
        assert refused.value.reason is Reason.RegistryNameTaken


def test_a_lost_pod_registers_nothing_twice(table: Path, mlflow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempt dies between registering and leaving its result."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("churn_operator.jobs.tracking.Tracker.finish", die)
        with pytest.raises(KeyboardInterrupt):
            train(quick(table, mlflow, "lost"))
    assert train(quick(table, mlflow, "lost")).registry_version == "1"


def test_a_search_keeps_the_best_by_the_metric_that_was_asked_for(table: Path, mlflow: str) -> None:
    training = {
        "metric": "log_loss",
        "estimators": [
            {"name": "HistGradientBoosting", "params": {"max_iter": 10}},
            {"name": "LogisticRegression"},
            {"name": "RandomForest", "params": {"n_estimators": 10, "max_depth": 2}},
        ],
        "crossValidation": {"folds": 2},
        "search": {"trials": 2, "seed": 1},
    }
    result = train(quick(table, mlflow, "search", training=training))
    metrics = entries(mlflow_run(mlflow, result.run_id)["data"]["metrics"])
    scores = {name: metrics[f"cv_{name}"] for name in ("HistGradientBoosting", "LogisticRegression", "RandomForest")}
    assert result.estimator == min(scores, key=lambda name: scores[name])
    assert result.metrics["parity"] <= 1e-5


def test_a_pinned_state_that_is_gone_is_read_from_its_snapshot(table: Path, mlflow: str) -> None:
    first = train(quick(table, mlflow, "pinned-1"))
    customers(800, seed=9).to_csv(table, index=False)
    again = train(quick(table, mlflow, "pinned-2", revision=first.data.revision))
    assert again.model == first.model


def test_another_tables_hold_out_of_the_same_rows_is_the_same() -> None:
    rows = prepare(data.Content("telco.csv", "", TELCO.read_bytes()), train_task(Path(), "http://x").data)
    shuffled = pd.read_csv(TELCO, keep_default_na=False).sample(frac=1, random_state=1)
    other = prepare(
        data.Content("telco.csv", "", shuffled.to_csv(index=False).encode()), train_task(Path(), "http://x").data
    )
    assert other.held_out[np.argsort(shuffled.index)].tolist() == rows.held_out.tolist()


def test_the_model_file_is_small(trained: Trained) -> None:
    assert len(load(trained.result.model, only=(MODEL_FILE,)).onnx) < 1_000_000


def test_the_sample_task_is_one_for_the_sample_table() -> None:
    task = TrainTask.model_validate_json((TELCO.parent / "train.json").read_text())
    assert (TELCO.parents[2] / str(task.data.source.uri)) == TELCO
    assert task.data.target in pd.read_csv(TELCO, nrows=1)
