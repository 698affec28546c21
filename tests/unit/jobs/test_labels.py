"""Decisions are found wrong by the labels that have come, each customer's first of each version."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from unit.jobs.logged import TELCO, UNTIL, asked, row, write
from unit.jobs.making import clean_frame, customers

from churn_operator.api.contract import Manifest
from churn_operator.api.data import PersonalData
from churn_operator.api.reasons import Reason
from churn_operator.api.results import encode_result
from churn_operator.api.tasks import RESULT_LIMIT, Golden, Labelled, LabelsTask, ModelRef
from churn_operator.jobs import bundle
from churn_operator.jobs.__main__ import main
from churn_operator.jobs.labels import labels, outcomes
from churn_operator.jobs.profile import describe
from churn_operator.storage.failure import Refused, Unavailable

HOUR = timedelta(hours=1)
STAYED, LEFT = "No", "Yes"


def model(folder: Path, positive: str = LEFT, **contract: Any) -> ModelRef:
    """The files of a model that learned who left from customers by their id."""
    frame, learned = clean_frame(customers(60)[["months", "plan"]])
    learned = learned.model_copy(update={"id_column": "id"} | contract)
    manifest = Manifest(
        estimator="LogisticRegression",
        threshold=0.4,
        target="left",
        positive_label=positive,
        features=("months", "plan"),
        split_by=("id",),
        files={},
    )
    golden = Golden(instance={"months": 1}, probability=0.5)
    packed = bundle.pack(manifest, b"onnx", learned, describe(frame, learned), golden)
    return bundle.store(packed, str(folder / "store"))


def table(folder: Path, rows: dict[str, list[Any]], name: str = "labels.csv") -> Path:
    path, frame = folder / name, pd.DataFrame(rows)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


def task(folder: Path, source: Path | str, **fields: Any) -> LabelsTask:
    ref = fields.pop("model", None) or model(folder)
    given = {
        "namespace": "ml",
        "churn_model": "telco",
        "champion": {"version": "v1", "model": ref},
        "challenger": {"version": "v2", "model": fields.pop("challenger", ref)},
        "log": asked(folder),
        "source": {"uri": str(source)},
    }
    return LabelsTask.model_validate(given | fields)


def asked_v1(folder: Path, *rows: dict[str, Any]) -> None:
    write(folder, list(rows))


def asked_v2(folder: Path, *rows: dict[str, Any]) -> None:
    write(folder, list(rows), partition=TELCO._replace(version="v2"))


def known(folder: Path, *rows: dict[str, Any], of: dict[str, list[Any]], name: str = "labels.csv") -> tuple[int, ...]:
    """Predictions, customers, labels and mistakes of version 1, that was asked so."""
    asked_v1(folder, *rows)
    found = labels(task(folder, table(folder, of, name))).champion
    return found.predictions, found.customers, found.labelled, found.wrong


def test_each_version_is_judged_by_its_own_decisions(tmp_path: Path) -> None:
    asked_v1(tmp_path, row("a", id="c1", churn=True), row("b", id="c2"), row("c", id="c3"), row("d", id="c4"))
    asked_v2(tmp_path, row("e", id="c1"), row("f", id="c5", churn=True))
    source = table(tmp_path, {"id": ["c1", "c2", "c3", "c5"], "left": [LEFT, LEFT, STAYED, LEFT]})
    found = labels(task(tmp_path, source))
    assert found.champion == Labelled(version="v1", predictions=4, customers=4, labelled=3, wrong=1)
    assert found.challenger == Labelled(version="v2", predictions=2, customers=2, labelled=2, wrong=1)
    assert found.revision.startswith("sha256:")


CASES: dict[str, tuple[list[dict[str, Any]], tuple[int, int, int, int]]] = {
    "that says left and they did": ([row("a", id="c1", churn=True)], (1, 1, 1, 0)),
    "that says stays and they left": ([row("a", id="c1", churn=False)], (1, 1, 1, 1)),
    "that says left and they stayed": ([row("a", id="c2", churn=True)], (1, 1, 1, 1)),
    "of whom nothing is known yet": ([row("a", id="c9", churn=True)], (1, 1, 0, 0)),
    "whose label is empty": ([row("a", id="c3", churn=True)], (1, 1, 0, 0)),
    "whose labels contradict each other": ([row("a", id="c4", churn=True)], (1, 1, 0, 0)),
    "whose label came twice": ([row("a", id="c5", churn=False)], (1, 1, 1, 0)),
    "whom no request named": ([row("a", churn=True)], (1, 0, 0, 0)),
    "who was asked about again later": (
        [row("a", id="c1", churn=False), row("b", id="c1", churn=True, at=UNTIL - 2 * HOUR)],
        (2, 1, 1, 0),
    ),
    "who is twice in one request": ([row("a", 1, id="c1", churn=True), row("a", 0, id="c1")], (2, 1, 1, 1)),
    "of an operator's probe": ([row("a", id="c1", kind="Probe")], (0, 0, 0, 0)),
    "of a golden request": ([row("a", id="c1", kind="Golden")], (0, 0, 0, 0)),
    "of a shadow": ([row("a", id="c1", kind="Shadow")], (0, 0, 0, 0)),
    "of before the step": ([row("a", id="c1", at=UNTIL - 25 * HOUR)], (0, 0, 0, 0)),
    "of after the look": ([row("a", id="c1", at=UNTIL)], (0, 0, 0, 0)),
}


@pytest.mark.parametrize(("rows", "expected"), CASES.values(), ids=[f"one {name}" for name in CASES])
def test_a_prediction_counts(rows: list[dict[str, Any]], expected: tuple[int, ...], tmp_path: Path) -> None:
    outcome = {
        "id": ["c1", "c2", "c3", "c4", "c4", "c5", "c5"],
        "left": [LEFT, STAYED, "", LEFT, STAYED, STAYED, STAYED],
    }
    assert known(tmp_path, *rows, of=outcome) == expected


@pytest.mark.parametrize(
    ("logged", "written"),
    [
        pytest.param("12", [12], id="a whole number"),
        pytest.param("12", [12.0, None], id="one beside gaps"),
        pytest.param("9007199254740993", [9007199254740993], id="one that no float holds"),
        pytest.param("007", ["007"], id="text of digits"),
        pytest.param("c1", [" c1 "], id="text between blanks"),
    ],
)
def test_an_identifier_is_the_same_in_table_and_log(logged: str, written: list[Any], tmp_path: Path) -> None:
    of = {"id": written, "left": [LEFT] * len(written)}
    assert known(tmp_path, row("a", id=logged), of=of, name="labels.parquet") == (1, 1, 1, 1)


def test_in_a_csv_an_identifier_is_what_is_written(tmp_path: Path) -> None:
    of = {"id": ["007", "9007199254740993"], "left": [LEFT, LEFT]}
    assert known(tmp_path, row("a", id="007"), row("b", id="9007199254740993"), row("c", id="7"), of=of) == (3, 3, 2, 2)


@pytest.mark.parametrize(
    ("positive", "values"),
    [
        pytest.param("1", [1, 0], id="numbers"),
        pytest.param("1", [1.0, None], id="numbers beside gaps"),
        pytest.param("True", [True, False], id="truth values"),
        pytest.param("gone", ["gone", "here"], id="words of one's own"),
    ],
)
def test_a_label_is_read_as_in_training(positive: str, values: list[Any], tmp_path: Path) -> None:
    asked_v1(tmp_path, row("a", id="c1", churn=True), row("b", id="c2", churn=True))
    source = table(tmp_path, {"id": ["c1", "c2"], "left": values})
    found = labels(task(tmp_path, source, model=model(tmp_path, positive))).champion
    assert found.labelled - found.wrong == 1


def test_customers_with_several_labels_are_counted() -> None:
    frame = pd.DataFrame({"id": ["a", "a", "b"], "left": [LEFT, STAYED, LEFT]})
    left, contradicted = outcomes(frame, "id", "left", LEFT)
    assert (left.to_dict(), contradicted) == ({"b": True}, 1)


def test_where_nobody_asked_and_nothing_is_known_all_is_nought(tmp_path: Path) -> None:
    found = labels(task(tmp_path, table(tmp_path, {"id": [], "left": []})))
    assert found.champion == Labelled(version="v1")
    assert found.challenger == Labelled(version="v2")


def test_versions_may_call_their_columns_differently(tmp_path: Path) -> None:
    """Those of a spec that was changed in between."""
    asked_v1(tmp_path, row("a", id="c1", churn=True))
    asked_v2(tmp_path, row("b", id="7", churn=True))
    other = model(tmp_path, id_column="number")
    source = table(tmp_path, {"id": ["c1"], "number": [7], "left": [LEFT]})
    found = labels(task(tmp_path, source, challenger=other))
    assert (found.champion.labelled, found.challenger.labelled) == (1, 1)


HASHED = (PersonalData(column="id", action="Hash"),)


def test_digests_in_the_table_are_joined_with_those_in_the_log(tmp_path: Path) -> None:
    asked_v1(tmp_path, row("a", id="5f2c"))
    ref = model(tmp_path, personal=HASHED)
    found = labels(task(tmp_path, table(tmp_path, {"id": ["5f2c"], "left": [LEFT]}), model=ref))
    assert found.champion.labelled == 1


@pytest.mark.parametrize(
    ("contract", "columns", "reason", "words"),
    [
        pytest.param({"id_column": None}, {}, Reason.ColumnMissing, "v1 was trained without data.idColumn", id="no id"),
        pytest.param(
            {"personal": (PersonalData(column="id"),)},
            {},
            Reason.DataPersonal,
            "v1 holds no 'id'",
            id="no id in the log",
        ),
        pytest.param(
            {"personal": (PersonalData(column="age"),)},
            {"id": ["c1"], "lost": [LEFT]},
            Reason.TargetMissing,
            "no column 'left' among the labels' 2",
            id="no target",
        ),
        pytest.param({}, {"left": [LEFT]}, Reason.ColumnMissing, "no column 'id' among", id="no id in the table"),
        pytest.param(
            {},
            {"id": [pd.Timestamp("2026-11-21")], "left": [LEFT]},
            Reason.ColumnMixed,
            "column 'id' holds what is no identifier: it must be text or a number",
            id="dates for ids",
        ),
    ],
)
def test_what_cannot_be_joined_is_refused(
    contract: dict[str, Any], columns: dict[str, list[Any]], reason: Reason, words: str, tmp_path: Path
) -> None:
    source = table(tmp_path, columns or {"id": ["c1"], "left": [LEFT]}, "labels.parquet")
    with pytest.raises(Refused, match=words) as refused:
        labels(task(tmp_path, source, model=model(tmp_path, **contract)))
    assert refused.value.reason is reason


def test_a_table_that_is_not_there_is_refused_and_one_that_is_away_is_not(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="there is no file at"):
        labels(task(tmp_path, tmp_path / "labels.csv"))
    with pytest.raises(Unavailable, match="does not answer"):
        labels(task(tmp_path, "http://127.0.0.1:9/labels.csv"))


def test_the_verb_leaves_a_result_that_the_operator_can_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TERMINATION_LOG", raising=False)
    monkeypatch.setattr("churn_operator.jobs.__main__.TERMINATION_PATH", str(tmp_path / "none"))
    asked_v1(tmp_path, row("a", id="c1"))
    given = task(tmp_path, table(tmp_path, {"id": ["c1"], "left": [LEFT]}))
    (tmp_path / "task.json").write_text(json.dumps(given.to_dict()))
    assert main(["labels", str(tmp_path / "task.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["champion"] == {"version": "v1", "predictions": 1, "customers": 1, "labelled": 1, "wrong": 1}
    assert len(encode_result(labels(given))) < RESULT_LIMIT
