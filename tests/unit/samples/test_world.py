"""The demonstration's world does what its declaration says, by the bounds of the sample itself."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

REPOSITORY = Path(__file__).resolve().parents[3]
SAMPLES = REPOSITORY / "samples"
WORLD = REPOSITORY / "hack" / "demo" / "world.py"
COLUMN_THRESHOLD = 0.1


def make(state: str, out: Path) -> pd.DataFrame:
    subprocess.run([sys.executable, str(WORLD), state, "--out", str(out)], check=True, capture_output=True)
    return pd.read_parquet(out)


@dataclass(frozen=True)
class World:
    old: pd.DataFrame
    baseline: pd.DataFrame
    current: pd.DataFrame
    labelled: pd.DataFrame
    poisoned: pd.DataFrame


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    states = {name: make(name, folder / f"{name}.parquet") for name in ("baseline", "current", "labelled", "poisoned")}
    return World(old=pd.read_csv(SAMPLES / "telco" / "telco.csv"), **states)


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((SAMPLES / "telco" / "churnmodel.yaml").read_text())["spec"]
    return document


def distance(reference: "pd.Series[Any]", window: "pd.Series[Any]") -> float:
    if reference.dtype != object:
        reference = reference.dropna()
        return float(wasserstein_distance(reference, window.dropna()) / reference.std())
    values = sorted(set(reference) | set(window))
    shares = [rows.value_counts(normalize=True).reindex(values, fill_value=0) for rows in (reference, window)]
    return float(jensenshannon(*shares))


def drifted_share(reference: pd.DataFrame, window: pd.DataFrame) -> float:
    return float(np.mean([distance(reference[name], window[name]) >= COLUMN_THRESHOLD for name in window]))


def held_out(rows: pd.DataFrame) -> "pd.Series[bool]":
    """A fifth of the rows, told by their content, as in training."""
    return pd.util.hash_pandas_object(rows, index=False) % 5 == 0


def fit(rows: pd.DataFrame) -> Pipeline:
    learn = rows[~held_out(rows)]
    model = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include="number")),
            (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
        ),
        LogisticRegression(max_iter=500),
    )
    return model.fit(learn.drop(columns="churn"), learn["churn"] == "Yes")


def judge(model: Pipeline, rows: pd.DataFrame) -> tuple["np.ndarray[Any, np.dtype[np.bool_]]", Any]:
    test = rows[held_out(rows)]
    return (test["churn"] == "Yes").to_numpy(), model.predict_proba(test.drop(columns="churn"))[:, 1]


def test_half_of_the_old_customers_resemble_all_of_them(world: World) -> None:
    assert drifted_share(world.old, world.baseline) == 0


def test_todays_customers_have_drifted_beyond_the_samples_share(world: World, spec: dict[str, Any]) -> None:
    assert drifted_share(world.old, world.current) > spec["monitoring"]["share"] + 0.05


def test_todays_customers_resemble_the_state_that_the_challenger_learns_from(
    world: World, spec: dict[str, Any]
) -> None:
    assert drifted_share(world.labelled, world.current) < spec["monitoring"]["share"] - 0.05


def test_the_new_state_begins_with_every_old_row(world: World) -> None:
    pd.testing.assert_frame_equal(world.labelled.head(len(world.old)), world.old)


def test_the_challenger_beats_the_champion_on_rows_neither_has_seen(world: World) -> None:
    truth, challenger = judge(fit(world.labelled), world.labelled)
    _, champion = judge(fit(world.old), world.labelled)
    random = np.random.default_rng(0)
    draws = [random.integers(0, len(truth), len(truth)) for _ in range(200)]
    better = [
        roc_auc_score(truth[rows], challenger[rows]) - roc_auc_score(truth[rows], champion[rows]) for rows in draws
    ]
    assert np.quantile(better, 0.05) > 0.03


@pytest.mark.parametrize(
    ("state", "passes"),
    [
        pytest.param("old", True, id="the old rows pass the quality gate"),
        pytest.param("labelled", True, id="the changed rows pass the quality gate"),
        pytest.param("poisoned", False, id="shuffled labels do not pass the quality gate"),
    ],
)
def test_the_samples_quality_gate_tells_learning_from_poison(
    world: World, spec: dict[str, Any], state: str, *, passes: bool
) -> None:
    bound = next(gate["min"] for gate in spec["gates"] if gate["name"] == "quality")
    rows = getattr(world, state)
    assert (roc_auc_score(*judge(fit(rows), rows)) >= bound) == passes


def test_the_same_seed_makes_the_same_world(world: World, tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(make("labelled", tmp_path / "again.parquet"), world.labelled)


def test_the_gyms_members_are_what_their_generator_makes(tmp_path: Path) -> None:
    made = tmp_path / "gym.csv"
    generator = REPOSITORY / "hack" / "demo" / "gym.py"
    subprocess.run([sys.executable, str(generator), "--out", str(made)], check=True, capture_output=True)
    assert made.read_bytes() == (SAMPLES / "gym" / "gym.csv").read_bytes()


@pytest.mark.parametrize("path", ["minimal.yaml", "gym/churnmodel.yaml"])
def test_the_smallest_churnmodel_has_ten_lines(path: str) -> None:
    assert len((SAMPLES / path).read_text().splitlines()) == 10
