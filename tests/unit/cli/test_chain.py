"""A report that goes on from another: what it tells once more, and what it finds changed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kinds import EARLIER, HEX
from support.shell import OTHER
from unit.cli.recorded import APPROVAL, EVIDENCE, FINISHED, LATER, MADE, filed, model, other, reported, run, said, told

from churn_operator.cli import chain
from churn_operator.cli.chain import Digests, Fact, What, begun, grown
from churn_operator.cli.checks import Outcome
from churn_operator.cli.failure import Code, Failure
from churn_operator.cli.report import Report, chain_of


def test_no_news_change_nothing() -> None:
    first = reported()
    again = reported(after=first)
    assert (again.entries, again.head, again.after) == (first.entries, first.head, first.head)
    assert "Of 7 entries told before, 7 are told the same, 0 are remembered here alone." in said(again, Outcome.Passed)


def test_what_the_cluster_forgot_stays_and_what_is_new_comes_after_it_whatever_its_time() -> None:
    first = reported()
    later = reported(other({}), after=first)
    assert later.entries[: len(first.entries)] == first.entries
    assert told(later)[len(first.entries) :] == [f"Requested telco-3 at {MADE} alice"]
    assert "Of 7 entries told before, 3 are told the same, 4 are remembered here alone." in said(later, Outcome.Passed)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(
            reported(run(status={"approval": APPROVAL | {"by": "carol"}}), after=reported()),
            f"Approved telco-2 at {EARLIER} was told otherwise before: by was 'bob' and is 'carol'.",
            id="another person",
        ),
        pytest.param(
            reported(run(status={"approval": APPROVAL | {"comment": "great"}}), after=reported()),
            "message was 'fine' and is 'great'.",
            id="other words",
        ),
        pytest.param(
            reported(after=reported(run(status={"result": None}))),
            f"Accepted telco-2 at {FINISHED} was told otherwise before: "
            f"model was 'absent' and is 'sha256:{HEX}'; data was 'absent' and is 'sha256:{HEX}'.",
            id="something where was nothing",
        ),
    ],
)
def test_what_the_cluster_tells_otherwise_than_before_is_a_failed_check(now: Report, expected: str) -> None:
    assert now.fails
    assert expected in said(now, Outcome.Failed)


def test_two_orders_of_one_second_are_two_and_one_needs_no_reason() -> None:
    orders = [{"action": action, "by": "carol", "at": LATER} for action in ("Promote", "Abort")]
    first, second = (model({"command": order}) for order in orders)
    found = reported(of=second, after=reported(of=first))
    assert not found.fails
    assert [str(entry) for entry in found.entries if entry.what is What.Ordered] == [
        f"Ordered Promote at {LATER}",
        f"Ordered Abort at {LATER}",
    ]
    assert [entry.message for entry in found.entries if entry.what is What.Ordered] == [None, None]


def changed(**fields: Any) -> bytes:
    return json.dumps(reported().to_dict() | fields).encode()


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        pytest.param(b"# Report", Code.Usage, "no report that this kubectl-churn knows: invalid JSON", id="no JSON"),
        pytest.param(b"\xff", Code.Usage, "no report that this kubectl-churn knows: ", id="no text"),
        pytest.param(b'{"ok": true}', Code.Usage, "knows: name: field required.", id="no report"),
        pytest.param(
            changed(entries=[{"what": "Forgiven"}]), Code.Usage, "knows: entries.0.at: field required.", id="no entry"
        ),
        pytest.param(
            changed(uid="uid-0"),
            Code.Usage,
            "reports on ChurnModel team/telco (uid uid-0), and not on team/telco (uid uid-1).",
            id="a model of that name that was deleted",
        ),
        pytest.param(changed(name="gym"), Code.Usage, "reports on ChurnModel team/gym (uid uid-1)", id="another model"),
        pytest.param(
            changed(entries=reported().to_dict()["entries"][1:]),
            Code.No,
            f"entry 1, AwaitingApproval telco-2 at {EARLIER}, does not follow from the one before it",
            id="the first is missing",
        ),
        pytest.param(
            changed(entries=reported().to_dict()["entries"][:-1]), Code.No, "its head is not", id="the last is missing"
        ),
    ],
)
def test_a_file_that_is_no_report_of_this_model_as_it_was_written_is_refused(
    text: bytes, code: Code, expected: str
) -> None:
    with pytest.raises(Failure) as failure:
        chain.read(text, "old.json", chain_of(model()))
    assert failure.value.code == code
    assert str(failure.value).startswith("old.json ")
    assert expected in str(failure.value)


DIGESTS = st.none() | st.sampled_from([OTHER, EVIDENCE])
FACTS = st.lists(
    st.builds(
        Fact,
        at=st.sampled_from([MADE, EARLIER, LATER]),
        what=st.sampled_from(What),
        subject=st.sampled_from(["telco-1", "v1"]),
        by=st.none() | st.text(min_size=1, max_size=5),
        message=st.none() | st.text(max_size=5),
        digests=st.builds(Digests, model=DIGESTS, data=DIGESTS, evidence=DIGESTS),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda fact: fact.identity,
)
EMPTY = begun("telco", "team", "uid-1")
Leaf = tuple[Any, Any]


def leaves(inside: Any) -> list[Leaf]:
    """Every place of a document where there is a word."""
    pairs = inside.items() if isinstance(inside, dict) else enumerate(inside)
    found: list[Leaf] = []
    for key, value in pairs:
        found += [(inside, key)] if isinstance(value, str) else leaves(value)
    return found


@pytest.mark.parametrize("how", ["change", "leave out", "delete", "swap"])
@given(facts=FACTS, data=st.data())
def test_no_entry_is_changed_removed_or_moved_unseen(how: str, facts: list[Fact], data: st.DataObject) -> None:
    document = grown(EMPTY, facts).to_dict()
    entries = document["entries"]
    place = data.draw(st.integers(0, len(entries) - 1))
    match how:
        case "change" | "leave out":
            inside, key = data.draw(st.sampled_from(leaves(document)))
            value = data.draw(st.sampled_from([OTHER, LATER, "Retired", "v1"]) | st.text(max_size=5))
            value = f"{value}." if value == inside[key] else value
            inside |= {key: value} if how == "change" else {}
            if how == "leave out":
                del inside[key]
        case "delete":
            del entries[place]
        case _:
            entries.insert(place, entries.pop())
            if place == len(entries) - 1:
                return
    with pytest.raises(Failure):
        chain.read(json.dumps(document).encode(), "old.json", EMPTY)


@given(before=FACTS, after=FACTS)
def test_a_chain_holds_each_fact_once_and_goes_on_as_it_stands(before: list[Fact], after: list[Fact]) -> None:
    once = grown(EMPTY, before)
    twice = grown(filed(once, EMPTY), [*before, *after])
    assert filed(once, EMPTY) == once
    assert grown(once, before) == once
    assert twice.entries[: len(once.entries)] == once.entries
    assert grown(filed(twice, EMPTY), after) == twice
    assert {entry.identity for entry in twice.entries} == {fact.identity for fact in (*before, *after)}
