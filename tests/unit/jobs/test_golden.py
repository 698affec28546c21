"""Customers that nobody is, whose answers lie apart."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline
from unit.jobs.making import clean_frame

from churn_operator.api.contract import Contract
from churn_operator.api.data import PersonalData
from churn_operator.api.tasks import Golden
from churn_operator.jobs.golden import golden, typical
from churn_operator.jobs.pipeline import build

ROWS = 400


def fitted(columns: dict[str, Any], truth: Any, **contract: Any) -> tuple[Pipeline, pd.DataFrame, Contract]:
    frame, found = clean_frame(pd.DataFrame(columns))
    model = build(found, "LogisticRegression", {}).fit(frame, np.asarray(truth, dtype=np.int64))
    return model, frame, found.model_copy(update=contract)


@pytest.fixture(scope="module")
def gym() -> tuple[Pipeline, pd.DataFrame, Contract]:
    chance = np.random.default_rng(7)
    months, visits = chance.integers(0, 72, ROWS), chance.normal(8, 3, ROWS).round(2)
    plan = chance.choice(["basic", "plus", "rare"], ROWS, p=[0.6, 0.38, 0.02])
    wish = 2 - months / 18 - visits / 8 + (plan == "plus") * 1.5 + chance.normal(0, 0.5, ROWS)
    return fitted({"months": months, "visits": visits, "plan": plan}, wish > 0)


def probabilities(found: Golden) -> list[float]:
    return [probability for _, probability in found.rows]


def test_a_value_that_most_customers_lack_is_left_out() -> None:
    frame, contract = clean_frame(pd.DataFrame({"plan": ["a", None, None], "age": [1.1, 2.2, 3.3]}))
    empty = frame.assign(age=np.float32(np.nan))
    assert typical(frame, contract) == {"age": 2.2}
    assert typical(empty, contract) == {}


def test_a_wide_table_gives_what_fits() -> None:
    frame, contract = clean_frame(pd.DataFrame({f"column-{n:03}": [n, n + 1] for n in range(300)}))
    instance = typical(frame, contract)
    assert list(instance) == [f"column-{n:03}" for n in range(len(instance))]
    assert 1400 < len(json.dumps(instance)) <= 1500


def test_some_are_answered_lower_than_the_typical_one_and_some_higher(
    gym: tuple[Pipeline, pd.DataFrame, Contract],
) -> None:
    found = golden(*gym)
    assert min(probabilities(found)) < 0.01 < found.probability < 0.9 < max(probabilities(found))


def test_no_two_answers_are_nearly_the_same(gym: tuple[Pipeline, pd.DataFrame, Contract]) -> None:
    answers = sorted(probabilities(golden(*gym)))
    assert min(np.diff(answers)) >= 0.01


def test_no_value_of_theirs_is_one_that_few_customers_have(gym: tuple[Pipeline, pd.DataFrame, Contract]) -> None:
    _, frame, _ = gym
    for instance, _ in golden(*gym).rows:
        assert instance["plan"] != "rare"
        for name in ("months", "visits"):
            assert frame[name].quantile(0.05) < float(str(instance[name])) < frame[name].quantile(0.95)


def test_personal_data_is_in_none_of_them(gym: tuple[Pipeline, pd.DataFrame, Contract]) -> None:
    model, frame, contract = gym
    personal = (PersonalData(column="plan", action="Hash"),)
    found = golden(model, frame, contract.model_copy(update={"personal": personal}))
    assert all("plan" not in instance for instance, _ in found.rows)
    assert "plan" in golden(model, frame, contract).instance


def test_a_model_that_answers_everybody_alike_has_one_customer() -> None:
    alike = fitted({"months": [1.0] * 10, "plan": ["basic"] * 10}, [0, 1] * 5)
    assert golden(*alike).variants == ()


def test_names_without_end_leave_no_room_for_variants() -> None:
    """Of a result, which has to fit into a termination message."""
    chance = np.random.default_rng(7)
    columns = {f"{'column' * 40}-{n}": chance.normal(size=ROWS) for n in range(5)}
    found = golden(*fitted(columns, sum(columns.values()) > 0))
    sizes = [len(json.dumps(each.changes)) for each in found.variants]
    assert len(sizes) == 2, "those of one change"
    assert sum(sizes) <= 600


def test_a_result_of_before_there_were_variants_has_the_typical_customer_alone() -> None:
    found = Golden.model_validate({"instance": {"months": 1}, "probability": 0.5})
    assert found.rows == (({"months": 1}, 0.5),)
