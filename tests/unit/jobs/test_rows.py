"""Which rows left, which are held out, and which tables cannot be learned from."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from unit.jobs.making import content, customers, spec

from churn_operator.api.reasons import Reason
from churn_operator.jobs.rows import prepare
from churn_operator.storage.failure import Refused


def labelled(values: list[Any]) -> pd.DataFrame:
    return customers(len(values)).assign(left=values)


class TestTarget:
    @pytest.mark.parametrize(
        ("values", "wanted", "label"),
        [
            pytest.param(["Yes", "No"], None, "Yes", id="yes and no"),
            pytest.param([True, False], None, "True", id="booleans"),
            pytest.param([1, 0], None, "1", id="one and zero"),
            pytest.param([1.0, 0.0], None, "1", id="one and zero as floats"),
            pytest.param(["churned", "active"], None, "churned", id="churned, whatever its case"),
            pytest.param(["gone", "here"], "gone", "gone", id="the spec's label"),
            pytest.param([2, 1], "2", "2", id="the spec's label for a number"),
            pytest.param([True, False], "true", "True", id="the spec's label, whatever its case"),
            pytest.param(["a", "b", "c"], "b", "b", id="one of three"),
        ],
    )
    def test_the_label_that_means_churn_is_found(self, values: list[Any], wanted: str | None, label: str) -> None:
        table = labelled(values * 60)
        rows = prepare(content(table), spec(positive_label=wanted))
        assert rows.positive_label == label
        assert rows.truth.sum() == 60

    @pytest.mark.parametrize(
        ("values", "wanted", "message"),
        [
            pytest.param(
                ["a", "b"], None, r"cannot be told; it holds a \(60\), b \(60\): set positiveLabel", id="none"
            ),
            pytest.param(["Yes", "1"], None, "cannot be told", id="two"),
            pytest.param(["Yes", "No"], "Gone", "has no value 'Gone'; it holds", id="not there"),
            pytest.param(["yes", "YES"], "Yes", "has no value 'Yes'", id="in two cases"),
        ],
    )
    def test_a_label_that_cannot_be_told_is_asked_for(
        self, values: list[Any], wanted: str | None, message: str
    ) -> None:
        with pytest.raises(Refused, match=message) as refused:
            prepare(content(labelled(values * 60)), spec(positive_label=wanted))
        assert refused.value.reason is Reason.PositiveLabelUnknown

    def test_rows_without_a_target_are_dropped_and_counted(self) -> None:
        table = labelled(["Yes", "No", None] * 60)
        rows = prepare(content(table), spec(exclude=("id",)))
        assert (len(rows.table), len(rows.truth), len(rows.frame), rows.dropped) == (120, 120, 120, 60)


@pytest.mark.parametrize(
    ("table", "reason", "message"),
    [
        pytest.param(customers(60).head(0), Reason.DataEmpty, "customers.csv has no rows", id="no rows"),
        pytest.param(customers(49), Reason.DataEmpty, "49 rows have a 'left'; at least 50 are needed", id="few rows"),
        pytest.param(labelled([None] * 60), Reason.DataEmpty, "0 rows have a 'left'", id="no targets"),
        pytest.param(labelled(["No"] * 60), Reason.OneClass, "'left' is 'No' in all 60 rows", id="one class"),
        pytest.param(
            labelled(["Yes"] * 9 + ["No"] * 91), Reason.DataEmpty, "'left' is Yes in 9 of 100 rows", id="few churners"
        ),
        pytest.param(
            labelled(["No"] * 9 + ["Yes"] * 91), Reason.DataEmpty, "is not Yes in 9 of 100 rows", id="few that stay"
        ),
        pytest.param(customers(60).assign(charge=None), Reason.ColumnEmpty, "'charge' has no value", id="empty column"),
        pytest.param(
            labelled(["Yes", "No"] * 600).assign(id=[f"c{n}" for n in range(1200)]),
            Reason.TooManyCategories,
            "'id' has 1200 categories",
            id="an identifier as feature",
        ),
        pytest.param(
            customers(60).assign(months=1, charge=1, plan="a", id="b"),
            Reason.DataEmpty,
            "rows do not hold both classes",
            id="all rows alike, which are all held out or none",
        ),
    ],
)
def test_a_table_that_cannot_be_learned_from_is_refused(table: pd.DataFrame, reason: Reason, message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        prepare(content(table), spec())
    assert refused.value.reason is reason


def test_a_hundred_thousand_categories_are_refused_by_name_and_count() -> None:
    table = labelled(["Yes", "No"] * 50_000).assign(plan=[f"p{n}" for n in range(100_000)])
    with pytest.raises(Refused, match="column 'plan' has 100000 categories, 1000 are allowed"):
        prepare(content(table), spec(id_column="id"))


def test_all_rows_of_a_customer_are_on_one_side() -> None:
    table = pd.concat([customers(300), customers(300).assign(months=5)])
    rows = prepare(content(table), spec(id_column="id"))
    assert rows.split_by == ("id",)
    sides = pd.Series(rows.held_out).groupby(rows.table["id"]).nunique()
    assert (sides == 1).all()
    assert "id" not in rows.frame


def test_without_an_id_the_values_decide() -> None:
    rows = prepare(content(customers(300)), spec(exclude=("id",)))
    assert rows.split_by == ("months", "charge", "plan")


def test_the_contract_is_of_the_training_rows_and_the_frame_has_numbers_first() -> None:
    rows = prepare(content(customers(300)[["plan", "months", "charge", "left"]]), spec())
    assert [f.name for f in rows.contract.features] == ["plan", "months", "charge"]
    assert list(rows.frame) == ["months", "charge", "plan"]
    learning = rows.frame["charge"][~rows.held_out]
    assert rows.contract.numerical[1].maximum == np.float32(learning.max())
    assert rows.contract.numerical[1].null_share == pytest.approx(learning.isna().mean())
