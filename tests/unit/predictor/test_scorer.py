"""A model's folder is believed only after every file was checked and the golden request answered."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from unit.predictor.trained import TARGET, Trained, train

from churn_operator.jobs import convert, frame
from churn_operator.jobs.frame import conform
from churn_operator.jobs.pipeline import build
from churn_operator.predictor.bundle import BundleBroken, read_bundle
from churn_operator.predictor.request import Rows
from churn_operator.predictor.scorer import TOLERANCE, Scorer, load


def test_every_row_gets_scikit_learns_probability(trained: Trained) -> None:
    backend = load(read_bundle(trained.folder))
    answers = backend.score(backend.rows.read({"instances": trained.rows[:1000]}))
    expected = trained.pipeline.predict_proba(trained.clean[:1000])[:, 1]
    assert np.abs(np.array(answers) - expected).max() <= TOLERANCE


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"contract": "Ten years"}, id="unknown category"),
        pytest.param({"contract": None}, id="missing category"),
        pytest.param({"monthly_charges": None}, id="missing number"),
        pytest.param({"tenure": -5, "monthly_charges": 1e9}, id="numbers outside the range of training"),
    ],
)
def test_a_value_that_training_did_not_see_is_scored_as_scikit_learn_does(
    trained: Trained, changes: dict[str, object]
) -> None:
    backend = load(read_bundle(trained.folder))
    row = trained.rows[0] | changes
    clean, _ = conform(pd.DataFrame([row], dtype=object), trained.contract)
    expected = trained.pipeline.predict_proba(clean[trained.clean.columns])[0, 1]
    assert backend.score(backend.rows.read({"instances": [row]})) == pytest.approx([expected], abs=TOLERANCE)


@pytest.mark.parametrize("columns", [["tenure", "monthly_charges"], ["contract", "payment_method"]])
def test_a_model_of_one_kind_of_column_scores(tmp_path: Path, telco: pd.DataFrame, columns: list[str]) -> None:
    trained = train(tmp_path, telco[[*columns, TARGET]])
    backend = load(read_bundle(tmp_path))
    (answer,) = backend.score(backend.rows.read({"instances": [trained.rows[0]]}))
    assert answer == pytest.approx(trained.pipeline.predict_proba(trained.clean[:1])[0, 1], abs=TOLERANCE)


def test_of_many_trees_that_agree_none_makes_a_probability_beyond_1() -> None:
    numbers = np.random.default_rng(1).normal(size=400).astype(np.float32)
    clean = pd.DataFrame({"balance": numbers, "visits": 2 * numbers})
    contract = frame.infer(clean)
    pipeline = build(contract, "RandomForest", {"n_estimators": 77}).fit(clean, (numbers > 0).astype(np.int64))
    scorer = Scorer(convert.to_onnx(pipeline, contract), contract)
    answers = scorer.score(Rows([[float(each), float(2 * each)] for each in numbers], [[] for _ in numbers]))
    assert max(answers) == 1


@pytest.fixture
def folder(tmp_path: Path, trained: Trained) -> Path:
    return Path(shutil.copytree(trained.folder, tmp_path / "models"))


def rewrite(name: str, change: Callable[[Any], object]) -> Callable[[Path], None]:
    """Change a JSON file, and let the manifest agree with it."""

    def apply(folder: Path) -> None:
        path = folder / name
        value = json.loads(path.read_bytes())
        change(value)
        path.write_text(json.dumps(value))
        if name != "manifest.json":
            seal(folder, name)

    return apply


def seal(folder: Path, name: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][name] = "sha256:" + hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def replace_model(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\x80\x04N.")
    seal(folder, "model.onnx")


def append(folder: Path, name: str) -> None:
    with (folder / name).open("ab") as file:
        file.write(b" ")


BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), r"manifest\.json: cannot be read: No such file"),
    "a manifest that is no JSON": (lambda f: (f / "manifest.json").write_text("{"), r"^manifest\.json: Invalid JSON"),
    "a manifest of another format": (
        rewrite("manifest.json", lambda v: v.update(format=2)),
        r"^manifest\.json: format",
    ),
    "a threshold beyond 1": (rewrite("manifest.json", lambda v: v.update(threshold=2)), r"^manifest\.json: threshold"),
    "a file that is not listed": (
        rewrite("manifest.json", lambda v: v["files"].pop("golden.json")),
        r"^manifest\.json: does not list golden\.json$",
    ),
    "no model": (lambda f: (f / "model.onnx").unlink(), r"model\.onnx: cannot be read: No such file"),
    "a changed model": (lambda f: append(f, "model.onnx"), r"^model\.onnx: its digest is sha256:\w+, where"),
    "a changed contract": (lambda f: append(f, "contract.json"), r"^contract\.json: its digest is"),
    "a changed golden request": (lambda f: append(f, "golden.json"), r"^golden\.json: its digest is"),
    "another model's contract": (
        rewrite("contract.json", lambda v: v["features"].pop()),
        r"^contract\.json: has other features than manifest\.json$",
    ),
    "a pickle for a model": (replace_model, r"^model\.onnx: onnxruntime cannot load it"),
    "another answer than in training": (
        rewrite("golden.json", lambda v: v.update(probability=0.5)),
        r"^golden\.json: the model answers 0\.\d{6} where training answered 0\.500000$",
    ),
    "another answer for one of the golden customers": (
        rewrite("golden.json", lambda v: v["variants"][-1].update(probability=0.5)),
        r"^golden\.json: the model answers 0\.\d{6} where training answered 0\.500000$",
    ),
    "a golden request for another contract": (
        rewrite("golden.json", lambda v: v["instance"].update(shoe_size=42)),
        r"^golden\.json: instances\[0\]\.shoe_size: unknown column$",
    ),
}


@pytest.mark.parametrize(("damage", "told"), BREAKAGES.values(), ids=BREAKAGES)
def test_a_folder_that_is_not_what_training_wrote_is_not_served(
    folder: Path, damage: Callable[[Path], object], told: str
) -> None:
    damage(folder)
    with pytest.raises(BundleBroken, match=told):
        load(read_bundle(folder))


def test_a_model_that_takes_other_inputs_than_the_contract_is_not_served(folder: Path) -> None:
    drop = rewrite("contract.json", lambda v: v["features"].pop())
    drop(folder)
    rewrite("manifest.json", lambda v: v["features"].pop())(folder)
    with pytest.raises(BundleBroken, match=r"^model\.onnx: takes \{.*\}, where the contract asks for \{"):
        load(read_bundle(folder))


def test_a_golden_request_that_leaves_columns_out_is_answered(folder: Path) -> None:
    bundle = read_bundle(folder)
    backend = load(bundle)
    instance = dict(list(bundle.golden.instance.items())[:3])
    (answer,) = backend.score(backend.rows.read({"instances": [instance]}, complete=False))
    rewrite("golden.json", lambda v: v.update(instance=instance, probability=answer, variants=[]))(folder)
    load(read_bundle(folder))
