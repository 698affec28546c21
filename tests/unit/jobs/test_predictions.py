"""A window of the inference log holds what clients asked within it, each prediction once."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit.jobs.logged import SINCE, TELCO, UNTIL, asked, row, write

from churn_operator.api.inference_log import day_folder
from churn_operator.api.reasons import Reason
from churn_operator.collector import tables
from churn_operator.collector.halves import Half
from churn_operator.jobs import predictions
from churn_operator.jobs.predictions import read
from churn_operator.storage.failure import Refused, Unavailable
from churn_operator.storage.files import Gone, LocalStore

SECOND = timedelta(seconds=1)


def events(root: Path, **fields: Any) -> list[tuple[str, int]]:
    table = read(asked(root, **fields), TELCO).table
    return list(zip(table["event_id"].to_pylist(), table["row"].to_pylist(), strict=True))


ROWS = {
    "at the window's first moment": (row("e", at=SINCE), True),
    "just before it": (row("e", at=SINCE - SECOND), False),
    "at the window's last moment": (row("e", at=UNTIL - SECOND), True),
    "at its end": (row("e", at=UNTIL), False),
    "of the operator's probe": (row("e", kind="Probe"), False),
    "of a golden request": (row("e", kind="Golden"), False),
    "of a shadow": (row("e", kind="Shadow"), False),
}


@pytest.mark.parametrize(("given", "counts"), ROWS.values(), ids=ROWS)
def test_a_prediction_counts_if_a_client_asked_within_the_window(
    tmp_path: Path, given: dict[str, Any], *, counts: bool
) -> None:
    write(tmp_path, [given])
    assert events(tmp_path) == ([("e", 0)] if counts else [])


def test_a_prediction_that_was_written_twice_counts_once(tmp_path: Path) -> None:
    write(tmp_path, [row("b"), row("a", 1), row("a", 0)], "one")
    write(tmp_path, [row("a", 1), row("b")], "two")
    assert events(tmp_path) == [("a", 0), ("a", 1), ("b", 0)]


def test_only_the_version_that_was_asked_counts(tmp_path: Path) -> None:
    write(tmp_path, [row("other")], partition=TELCO._replace(version="v2"))
    write(tmp_path, [row("other")], partition=TELCO._replace(model="telco-2"))
    write(tmp_path, [row("other")], partition=TELCO._replace(namespace="ml-2"))
    found = read(asked(tmp_path), TELCO)
    assert found.table.num_rows == 0
    assert found.uri == f"{tmp_path}/namespace=ml/model=telco/version=v1"


def test_a_window_over_midnight_is_read_whole(tmp_path: Path) -> None:
    write(tmp_path, [row("yesterday", at=UNTIL - timedelta(hours=13))])
    write(tmp_path, [row("today")])
    assert [event for event, _ in events(tmp_path)] == ["today", "yesterday"]


def test_the_revision_names_the_predictions_whatever_files_hold_them(tmp_path: Path) -> None:
    write(tmp_path / "apart", [row("a")], "one")
    write(tmp_path / "apart", [row("b")], "two")
    write(tmp_path / "merged", [row("b"), row("a"), row("a")])
    write(tmp_path / "more", [row("b"), row("a"), row("a", 1)])
    apart, merged, more = (read(asked(tmp_path / name), TELCO).revision for name in ("apart", "merged", "more"))
    assert apart == merged != more


def test_features_come_by_their_names_and_gaps_stay_gaps(tmp_path: Path) -> None:
    write(tmp_path, [row("a", f_tenure=3.0, f_plan=None, probability=0.75), row("b", f_tenure=None, f_plan="fibre")])
    found = read(asked(tmp_path), TELCO)
    frame = found.features()
    assert list(frame.columns) == ["tenure", "plan"]
    assert frame["tenure"].tolist()[0] == 3
    assert frame.isna().to_numpy().tolist() == [[False, True], [True, False]]
    assert found.probabilities().tolist() == [0.75, 0.3]


def test_what_the_collector_writes_is_what_is_read(tmp_path: Path) -> None:
    asked_at = int((UNTIL - timedelta(hours=1)).timestamp() * 1_000_000)
    columns = json.dumps([["feature.tenure", "double"], ["feature.plan", "string"]])
    rows = json.dumps([["c1", [12.0, None]], [None, [None, "fibre"]]])
    request = Half("request", "call", "event", asked_at, asked_at, "Client", columns, rows, 2)
    response = request._replace(role="response", columns="", body=json.dumps([[0.7, True], [0.2, False]]))
    (part,) = tables.log_parts([(request, response)])
    path = Path(day_folder(str(tmp_path), TELCO, part.day)) / "a.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(tables.to_parquet(tables.merged([part.table])))
    write(tmp_path, [row("another", f_tenure=1.0, f_plan="none")], "b")
    found = read(asked(tmp_path), TELCO)
    assert found.table["event_id"].to_pylist() == ["another", "event", "event"]
    assert found.features()["plan"].tolist() == ["none", None, "fibre"]
    assert found.probabilities().tolist() == [0.3, 0.7, 0.2]


def test_of_a_large_window_the_same_files_are_read_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "MAX_ROWS", 20)
    for number in range(20):
        write(tmp_path, [row(f"e{number:02}", n) for n in range(5)], f"f{number:02}")
    first, again = (events(tmp_path) for _ in range(2))
    assert first == again
    assert len(first) == 20


def test_a_file_that_is_merged_while_it_is_read_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = write(tmp_path, [row("a")], "small")
    whole = LocalStore.read
    merged: list[Path] = []

    def read_late(store: LocalStore, uri: str) -> bytes:
        if not merged:
            merged.append(write(tmp_path, [row("a"), row("b")], "merged"))
            small.unlink()
            raise Gone(uri)
        return whole(store, uri)

    monkeypatch.setattr(LocalStore, "read", read_late)
    assert events(tmp_path) == [("a", 0), ("b", 0)]


def test_a_log_whose_files_never_stay_is_tried_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: LocalStore, uri: str) -> bytes:
        raise Gone(uri)

    write(tmp_path, [row("a")])
    monkeypatch.setattr(LocalStore, "read", gone)
    with pytest.raises(Unavailable, match="went while they were read, 3 times"):
        events(tmp_path)


@pytest.mark.parametrize("content", [b"not parquet", b"PAR1PAR1", None], ids=["text", "half a file", "other columns"])
def test_what_is_no_part_of_a_log_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = write(tmp_path, [row("a")])
    if content is None:
        pq.write_table(pa.table({"event_id": ["a"]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(Refused, match=r"a\.parquet is no part of an inference log") as refused:
        events(tmp_path)
    assert refused.value.reason is Reason.DataUnreadable
