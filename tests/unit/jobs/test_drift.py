"""A window is compared with the champion's profile, which stands in for the rows it was trained on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from unit.jobs.conftest import Trained, only_run
from unit.jobs.logged import SINCE, UNTIL, asked, rows_of, write
from unit.jobs.logged import TELCO as TELCO_V1
from unit.jobs.making import TELCO, clean_frame, customers

from churn_operator.api.contract import MISSING, Contract
from churn_operator.api.data import DataSource, PersonalData
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import ColumnDrift, ColumnTests, DriftTask, Golden
from churn_operator.jobs import bundle
from churn_operator.jobs.convert import Model
from churn_operator.jobs.distance import Distances, measure
from churn_operator.jobs.drift import REPORT, comparable, drift, metric_name
from churn_operator.jobs.frame import conform
from churn_operator.jobs.mlflow import Mlflow
from churn_operator.jobs.profile import describe, rebuild
from churn_operator.storage.bundle import sha256
from churn_operator.storage.failure import Refused


def window(path: Path, **changes: Any) -> Path:
    """A thousand of Telco's customers, with some columns changed."""
    rows = pd.read_csv(TELCO, keep_default_na=False, na_values=["NA"]).drop(columns="churn")
    rows = rows.sample(1000, random_state=4).assign(**changes)
    rows.to_csv(path, index=False)
    return path


def drift_task(trained: Trained, path: Path, **overrides: Any) -> DriftTask:
    given = {
        "namespace": "ml",
        "churn_model": "telco",
        "monitor": "telco",
        "uid": f"uid-of-{path.parent.name}",
        "version": "v1",
        "model": trained.result.model,
        "source": DataSource(uri=str(path)),
        "tests": ColumnTests(),
        "tracking_uri": trained.task.tracking_uri,
        "experiment": "telco",
    }
    return DriftTask.model_validate({**given, **overrides})


class TestDrift:
    def test_customers_like_those_of_the_training_have_not_drifted(self, trained: Trained, tmp_path: Path) -> None:
        path = window(tmp_path / "window.csv")
        result = drift(drift_task(trained, path))
        assert (result.outcome, result.share, result.features) == ("Compared", 0, 19)
        assert result.window.rows == 1000
        assert result.window.revision == sha256(path.read_bytes())

    def test_columns_that_moved_are_named_farthest_first(self, trained: Trained, tmp_path: Path) -> None:
        path = window(
            tmp_path / "window.csv",
            contract="Month-to-month",
            monthly_charges=lambda rows: rows["monthly_charges"] * 1.3,
        )
        result = drift(drift_task(trained, path))
        assert {c.name for c in result.columns if c.drifted} == {"contract", "monthly_charges"}
        assert {c.name for c in result.columns[:2]} == {"contract", "monthly_charges"}
        assert result.share == pytest.approx(2 / 19)
        assert len(result.columns) == 16

    def test_the_run_holds_scores_lineage_and_report(self, trained: Trained, tmp_path: Path) -> None:
        result = drift(drift_task(trained, window(tmp_path / "window.csv", tenure=1)))
        server = Mlflow(trained.task.tracking_uri)
        run = server.get("runs/get", run_id=str(result.run_id))["run"]
        metrics = {m["key"]: m["value"] for m in run["data"]["metrics"]}
        tags = {t["key"]: t["value"] for t in run["data"]["tags"]}
        assert run["info"]["status"] == "FINISHED"
        assert metrics["drift_share"] == pytest.approx(result.share)
        assert metrics["drift_tenure"] == result.columns[0].score
        assert len([key for key in metrics if key.startswith("drift_")]) == 20
        assert tags["churnops.dev/uid"] == f"uid-of-{tmp_path.name}"
        assert tags["churnops.dev/data-revision"] == result.window.revision
        files = server.get("artifacts/list", run_id=str(result.run_id))["files"]
        assert {f["path"]: int(f["file_size"]) > 1_000_000 for f in files} == {REPORT: True}
        assert result.report == REPORT

    def test_a_column_that_is_not_there_has_drifted(self, trained: Trained, tmp_path: Path) -> None:
        path = tmp_path / "window.csv"
        pd.read_csv(window(path)).drop(columns=["tenure", "contract"]).to_csv(path, index=False)
        result = drift(drift_task(trained, path))
        assert {c.name: c.score for c in result.columns if c.drifted}["tenure"] == 1
        assert {c.name for c in result.columns if c.drifted} == {"tenure", "contract"}

    def test_the_window_that_was_judged_last_is_not_judged_again(self, trained: Trained, tmp_path: Path) -> None:
        path = window(tmp_path / "window.csv")
        revision = sha256(path.read_bytes())
        result = drift(drift_task(trained, path, last_revision=revision, tracking_uri="http://127.0.0.1:9"))
        assert (result.outcome, result.window.revision, result.run_id) == ("Unchanged", revision, None)

    def test_that_takes_no_heavy_import(self, trained: Trained, tmp_path: Path) -> None:
        path = window(tmp_path / "window.csv")
        task = drift_task(trained, path, last_revision=sha256(path.read_bytes()))
        script = (
            "import json, sys\n"
            "from churn_operator.api.tasks import DriftTask\n"
            "from churn_operator.jobs.drift import drift\n"
            "assert drift(DriftTask.model_validate_json(sys.argv[1])).outcome == 'Unchanged'\n"
            "print(json.dumps([m for m in ('pandas', 'numpy', 'evidently', 'sklearn', 'boto3') if m in sys.modules]))"
        )
        command = [sys.executable, "-c", script, task.model_dump_json(exclude_none=True)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == []

    def test_a_window_without_rows_closes_the_run_as_failed(self, trained: Trained, tmp_path: Path) -> None:
        path = tmp_path / "window.csv"
        path.write_text("tenure,contract\n")
        with pytest.raises(Refused, match="has no rows") as refused:
            drift(drift_task(trained, path))
        assert refused.value.reason is Reason.DataEmpty
        run = only_run(trained.task.tracking_uri, f"uid-of-{tmp_path.name}")
        assert run["info"]["status"] == "FAILED"


def logged(folder: Path, trained: Trained, rows: pd.DataFrame, **changes: Any) -> DriftTask:
    """The rows as predictions of the champion, some columns changed; the answers are the model's own."""
    table = rows.assign(**changes)
    model = bundle.load(trained.result.model)
    clean, _ = conform(table, model.contract)
    answers = Model(model.onnx, model.contract).probabilities(clean)
    write(folder, rows_of(table, probability=answers))
    return drift_task(trained, folder / "log", source=None, predictions=asked(folder), uid=f"uid-of-{folder.name}")


def sample(rows: int, seed: int = 4) -> pd.DataFrame:
    table = pd.read_csv(TELCO, keep_default_na=False, na_values=["NA"]).drop(columns="churn")
    return table.sample(rows, random_state=seed, ignore_index=True)


class TestLoggedPredictions:
    def test_customers_like_those_of_the_training_have_not_drifted(self, trained: Trained, tmp_path: Path) -> None:
        result = drift(logged(tmp_path, trained, sample(1000)))
        assert (result.outcome, result.share, result.features) == ("Compared", 0, 19)
        answers = result.columns[-1]
        assert (answers.name, answers.kind, answers.drifted) == ("probability", "Prediction", False)
        assert (result.window.rows, result.window.uri) == (1000, f"{tmp_path}/{TELCO_V1.path}")
        assert (result.window.since, result.window.until) == (SINCE.isoformat(), UNTIL.isoformat())

    def test_the_scores_are_those_of_a_table_of_the_same_rows(self, trained: Trained, tmp_path: Path) -> None:
        rows = sample(1000).assign(contract="Month-to-month")
        rows.to_csv(tmp_path / "window.csv", index=False)
        by_table = drift(drift_task(trained, tmp_path / "window.csv"))
        by_log = drift(logged(tmp_path, trained, rows))
        assert by_log.share == by_table.share
        assert by_log.columns[:-1] == by_table.columns

    def test_answers_that_moved_are_a_column_of_their_own_kind(self, trained: Trained, tmp_path: Path) -> None:
        result = drift(logged(tmp_path, trained, sample(1000), tenure=1))
        answers = result.columns[-1]
        assert (answers.kind, answers.drifted) == ("Prediction", True)
        assert result.share == pytest.approx(1 / 19)
        assert [c.name for c in result.columns if c.drifted] == ["tenure", "probability"]
        run = Mlflow(trained.task.tracking_uri).get("runs/get", run_id=str(result.run_id))["run"]
        metrics = {m["key"]: m["value"] for m in run["data"]["metrics"]}
        assert metrics["prediction_drift"] == pytest.approx(answers.score)

    @pytest.mark.parametrize(("rows", "outcome"), [(49, "TooFew"), (50, "Compared"), (0, "TooFew")])
    def test_too_few_are_not_judged(self, trained: Trained, tmp_path: Path, rows: int, outcome: str) -> None:
        task = logged(tmp_path, trained, sample(rows)) if rows else logged(tmp_path, trained, sample(1), tenure=1)
        if not rows:
            task = task.model_copy(update={"version": "v2"})
        result = drift(task)
        assert (result.outcome, result.window.rows) == (outcome, rows)

    def test_the_same_predictions_are_not_judged_again(self, trained: Trained, tmp_path: Path) -> None:
        task = logged(tmp_path, trained, sample(60))
        first = drift(task)
        again = task.model_copy(update={"last_revision": first.window.revision, "tracking_uri": "http://127.0.0.1:9"})
        assert (drift(again).outcome, drift(again).run_id) == ("Unchanged", None)

    def test_a_model_that_tells_nothing_of_its_answers_is_compared_by_its_features(
        self, trained: Trained, tmp_path: Path
    ) -> None:
        folder = tmp_path / "models"
        whole = bundle.load(trained.result.model)
        older = whole.profile.model_copy(update={"prediction": None})
        ref = bundle.store(
            bundle.pack(
                whole.manifest,
                whole.onnx,
                whole.contract,
                older,
                Golden.model_validate_json(whole.files["golden.json"]),
            ),
            str(folder),
        )
        result = drift(logged(tmp_path, trained, sample(60)).model_copy(update={"model": ref}))
        assert [c for c in result.columns if c.kind == "Prediction"] == []

    def test_a_task_that_names_no_rows_is_refused(self, trained: Trained, tmp_path: Path) -> None:
        with pytest.raises(Refused, match="neither a source nor predictions"):
            drift(drift_task(trained, tmp_path, source=None))


class TestComparable:
    def contract(self, *personal: str) -> Contract:
        _, contract = clean_frame(customers(100)[["months", "plan"]])
        return contract.model_copy(update={"personal": tuple(PersonalData(column=c, action="Hash") for c in personal)})

    def test_a_hashed_feature_cannot_be_compared(self) -> None:
        assert [f.name for f in comparable(self.contract("plan", "name")).features] == ["months"]

    def test_a_model_of_nothing_but_hashed_features_cannot_be_watched(self) -> None:
        with pytest.raises(Refused, match="every feature is personal data") as refused:
            comparable(self.contract("plan", "months"))
        assert refused.value.reason is Reason.NoFeatures


def both(tests: ColumnTests) -> tuple[dict[str, float], dict[str, float]]:
    """Distances of a changed Telco from the rows of Telco, and from their profile."""
    reference, contract = clean_frame(pd.read_csv(TELCO).drop(columns="churn"))
    current = reference.sample(2000, random_state=2).assign(
        monthly_charges=lambda rows: rows["monthly_charges"] * np.float32(1.1),
        contract=lambda rows: rows["contract"].where(rows.index % 3 > 0, "Month-to-month"),
    )
    found = [measure(f, current, contract, tests) for f in (reference, rebuild(describe(reference, contract)))]
    exact, rebuilt = ({c.name: c.score for c in distances.columns} for distances in found)
    return exact, rebuilt


@pytest.mark.parametrize(
    ("tests", "tolerance"),
    [
        pytest.param(ColumnTests(), 5e-4, id="wasserstein and jensenshannon"),
        pytest.param(ColumnTests(numerical="jensenshannon", categorical="psi"), 2e-3, id="jensenshannon and psi"),
        pytest.param(ColumnTests(numerical="psi", categorical="kl_div"), 2e-3, id="psi and kl_div"),
        pytest.param(ColumnTests(numerical="kl_div"), 2e-3, id="kl_div"),
    ],
)
def test_the_profile_gives_the_scores_of_the_rows(tests: ColumnTests, tolerance: float) -> None:
    exact, rebuilt = both(tests)
    assert len(exact) == 19
    assert rebuilt == pytest.approx(exact, abs=tolerance)
    assert max(exact.values()) > 0.1


class TestMeasure:
    def measure(self, current: pd.DataFrame, **tests: Any) -> Distances:
        reference, contract = clean_frame(customers(400)[["months", "charge", "plan"]])
        return measure(reference, current[reference.columns], contract, ColumnTests(**tests))

    def score(self, distances: Distances, name: str) -> float:
        return next(c.score for c in distances.columns if c.name == name)

    def test_more_gaps_in_a_category_are_a_drift(self) -> None:
        reference, _ = clean_frame(customers(400)[["months", "charge", "plan"]])
        found = self.measure(reference.assign(plan=reference["plan"].where(reference.index % 2 == 0, MISSING)))
        assert [c.name for c in found.columns if c.drifted] == ["plan"]

    def test_a_distance_at_the_threshold_is_a_drift(self) -> None:
        reference, _ = clean_frame(customers(400)[["months", "charge", "plan"]])
        moved = reference.assign(months=reference["months"] + 5)
        score = self.score(self.measure(moved), "months")
        at, above = (self.measure(moved, threshold=threshold).columns[0].drifted for threshold in (score, score + 1e-6))
        assert (at, above) == (True, False)

    def test_an_empty_column_has_drifted_whatever_the_threshold(self) -> None:
        reference, _ = clean_frame(customers(400)[["months", "charge", "plan"]])
        found = self.measure(reference.assign(charge=np.float32(np.nan)), threshold=3)
        assert (found.columns[0].name, found.columns[0].score, found.drifted) == ("charge", 3, 1)
        assert found.share == pytest.approx(1 / 3)


def test_a_columns_name_is_made_fit_for_a_metric() -> None:
    column = ColumnDrift(name="prix (€)/mois: " + "x" * 200, score=0, drifted=False)
    assert metric_name(column) == ("prix ___/mois_ " + "x" * 200)[:200]
