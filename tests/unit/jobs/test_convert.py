"""The ONNX file answers as the scikit-learn pipeline does, whatever the row."""

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.jobs.making import clean_frame, customers

from churn_operator.api.contract import CATEGORIES, MISSING, NUMBERS, PROBABILITIES, Contract
from churn_operator.api.training import Estimator, EstimatorName, Search
from churn_operator.jobs.convert import Model, to_onnx
from churn_operator.jobs.pipeline import build
from churn_operator.jobs.pipeline import settings as trials
from churn_operator.jobs.search import Sample, fit
from churn_operator.storage.failure import Refused

PARITY = 1e-5
NAMES: tuple[EstimatorName, ...] = get_args(EstimatorName)
SMALL: dict[str, dict[str, Any]] = {
    "LogisticRegression": {},
    "HistGradientBoosting": {"max_iter": 30},
    "RandomForest": {"n_estimators": 20},
}


@dataclass(frozen=True, eq=False)
class Pair:
    """The same model twice."""

    pipeline: Any
    onnx: Model
    contract: Contract
    data: bytes

    def gap(self, frame: pd.DataFrame) -> float:
        return float(np.abs(self.onnx.probabilities(frame) - self.pipeline.predict_proba(frame)[:, 1]).max())


def make(table: pd.DataFrame, name: EstimatorName) -> Pair:
    frame, contract = clean_frame(table.drop(columns="left"))
    truth = (table["left"] == "Yes").to_numpy().astype(np.int64)
    pipeline = fit(Sample(frame, truth, contract), name, SMALL[name])
    data = to_onnx(pipeline, contract)
    return Pair(pipeline, Model(data, contract), contract, data)


def wide(rows: int = 500) -> pd.DataFrame:
    """Columns on very different scales: cents, years as seconds, shares, and one that is nearly constant."""
    rng = np.random.default_rng(2)
    table = customers(rows).drop(columns="id")
    return table.assign(
        cents=rng.integers(0, 10**7, rows),
        since=1.6e9 + rng.integers(0, 10**8, rows),
        share=rng.random(rows),
        mostly=(rng.random(rows) < 0.01) * 1e6,
    )


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest) -> Pair:
    return make(wide(), request.param)


def test_training_rows_get_the_same_probability(pair: Pair) -> None:
    frame, _ = clean_frame(wide().drop(columns="left"))
    assert pair.gap(frame) <= PARITY


CELL = st.none() | st.floats(-(2**40), 2**40, width=32) | st.sampled_from([0.0, 59.99, 60.0, 1.65e9])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(CELL, CELL, CELL, CELL, CELL, CELL, st.sampled_from(["fibre", "cable", "none", MISSING, "new", "ü"])),
        min_size=1,
        max_size=20,
    )
)
def test_any_row_gets_the_same_probability(pair: Pair, rows: list[tuple[Any, ...]]) -> None:
    names = [f.name for f in (*pair.contract.numerical, *pair.contract.categorical)]
    frame = pd.DataFrame(rows, columns=names).astype({f.name: np.float32 for f in pair.contract.numerical})
    assert pair.gap(frame) <= PARITY


def test_thresholds_between_two_floats_are_kept(pair: Pair) -> None:
    """Rows a float32 step to either side of those that the model was fitted on."""
    frame, _ = clean_frame(wide().drop(columns="left"))
    for direction in (np.float32(-np.inf), np.float32(np.inf)):
        moved = frame.assign(**{f.name: np.nextafter(frame[f.name], direction) for f in pair.contract.numerical})
        assert pair.gap(moved) <= PARITY


def test_inputs_and_output_are_the_contracts(pair: Pair) -> None:
    session = onnxruntime.InferenceSession(pair.data)
    assert {i.name: (i.type, i.shape[1]) for i in session.get_inputs()} == {
        NUMBERS: ("tensor(float)", 6),
        CATEGORIES: ("tensor(string)", 1),
    }
    assert [o.name for o in session.get_outputs()] == [PROBABILITIES]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("dropped", "inputs"),
    [
        pytest.param(["plan"], {NUMBERS}, id="numbers only"),
        pytest.param(["months", "charge"], {CATEGORIES}, id="categories only"),
    ],
)
def test_a_table_of_one_kind_has_one_input(name: EstimatorName, dropped: list[str], inputs: set[str]) -> None:
    table = customers(200).drop(columns=["id", *dropped])
    pair = make(table, name)
    frame, _ = clean_frame(table.drop(columns="left"))
    assert {i.name for i in onnxruntime.InferenceSession(pair.data).get_inputs()} == inputs
    assert pair.gap(frame) <= PARITY


def test_no_rows_get_no_probabilities(pair: Pair) -> None:
    frame, _ = clean_frame(wide().drop(columns="left"))
    assert pair.onnx.probabilities(frame.head(0)).shape == (0,)


def test_the_same_rows_give_the_same_file(pair: Pair) -> None:
    name = next(n for n in NAMES if type(pair.pipeline[-1]).__name__.startswith(n))
    assert make(wide(), name).data == pair.data


class TestSettings:
    def test_without_a_search_the_params_stand(self) -> None:
        assert list(trials(Estimator(name="LogisticRegression", params={"C": 2}), None)) == [{"C": 2}]

    @pytest.mark.parametrize("name", NAMES)
    def test_the_first_of_a_search_is_the_plain_one_and_the_same_seed_tries_the_same(self, name: EstimatorName) -> None:
        search = Search(trials=4, seed=3)
        first, again = (list(trials(Estimator(name=name), search)) for _ in range(2))
        assert first == again
        assert first[0] == {}
        assert len({str(params) for params in first}) == 4
        assert first != list(trials(Estimator(name=name), Search(trials=4, seed=4)))

    @pytest.mark.parametrize("name", NAMES)
    def test_every_setting_of_a_search_is_one_that_the_estimator_takes(self, name: EstimatorName) -> None:
        frame, contract = clean_frame(customers(60)[["months", "plan"]])
        for params in trials(Estimator(name=name), Search(trials=5)):
            build(contract, name, params | SMALL[name])[-1]._validate_params()  # noqa: SLF001 - what fit calls first
        assert len(frame) == 60

    def test_a_parameter_that_the_spec_sets_is_never_varied(self) -> None:
        estimator = Estimator(name="HistGradientBoosting", params={"max_iter": 7})
        assert {params["max_iter"] for params in trials(estimator, Search(trials=5))} == {7}

    def test_a_search_with_nothing_left_to_vary_is_one_trial(self) -> None:
        assert len(list(trials(Estimator(name="LogisticRegression", params={"C": 1}), Search(trials=5)))) == 1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        pytest.param({"depth": 3}, "HistGradientBoosting refuses its params.*'depth'", id="an unknown name"),
        pytest.param({"max_iter": -1}, "HistGradientBoosting refuses its params.*'max_iter'", id="a bad value"),
    ],
)
def test_params_that_the_estimator_does_not_take_are_refused(params: dict[str, Any], message: str) -> None:
    frame, contract = clean_frame(customers(60)[["months", "plan"]])
    truth = np.arange(60) % 2
    with pytest.raises(Refused, match=message) as refused:
        fit(Sample(frame, truth, contract), "HistGradientBoosting", params)
    assert refused.value.reason == "ParamsRefused"
