"""Which request belongs to which response."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.collector.making import half

from churn_operator.api.inference_log import Partition
from churn_operator.collector.halves import Half, batches, decode, encode, fewer, join

CALLS: dict[str, tuple[list[Half], list[tuple[str, str]], list[str]]] = {
    "two halves": ([half("request", 0, "r"), half("response", 1, "s")], [("r", "s")], []),
    "two halves that swapped": ([half("response", 1, "s"), half("request", 0, "r")], [("r", "s")], []),
    "a clock that went back between them": ([half("request", 9, "r"), half("response", 1, "s")], [("r", "s")], []),
    "a half that arrived twice": (
        [half("request", 0, "r"), half("request", 0, "r"), half("response", 1, "s")],
        [("r", "s")],
        [],
    ),
    "a request alone": ([half("request", 0, "r")], [], ["r"]),
    "a response alone": ([half("response", 0, "s")], [], ["s"]),
    "another number of rows": ([half("request", 0, "r"), half("response", 1, "s", size=2)], [], ["r", "s"]),
    "other ids": ([half("request", 0, "r"), half("response", 1, "s", call="b")], [], ["r", "s"]),
    "an id used again": (
        [half("request", 0, "r1"), half("response", 1, "s1"), half("request", 2, "r2"), half("response", 3, "s2")],
        [("r1", "s1"), ("r2", "s2")],
        [],
    ),
    "an id used again after a failure": (
        [half("request", 0, "r1"), half("request", 2, "r2"), half("response", 3, "s2")],
        [("r2", "s2")],
        ["r1"],
    ),
    "an id used for another number of rows": (
        [half("request", 0, "r1", size=2), half("request", 1, "r2"), half("response", 2, "s1", size=2)],
        [("r1", "s1")],
        ["r2"],
    ),
    "an id used again, while what lies between is at another replica": (
        [half("request", 0, "r1"), half("response", 3, "s2")],
        [("r1", "s2")],
        [],
    ),
    "an id used twice at the same time": (
        [half("request", 0, "r1"), half("request", 1, "r2"), half("response", 2, "s1"), half("response", 3, "s2")],
        [("r2", "s1"), ("r1", "s2")],
        [],
    ),
    "two halves at the same time": (
        [half("response", 1, "s"), half("request", 1, "r"), half("request", 2, "r2")],
        [("r", "s")],
        ["r2"],
    ),
}


@pytest.mark.parametrize(("halves", "pairs", "waiting"), CALLS.values(), ids=CALLS)
def test_halves_are_joined(halves: list[Half], pairs: list[tuple[str, str]], waiting: list[str]) -> None:
    joined = join(halves, expired=0)
    assert [(request.key, response.key) for request, response in joined.pairs] == pairs
    assert sorted(half.key for half in joined.waiting) == waiting
    assert joined.orphans == []


class Stamp(int):
    """A time that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        Stamp.compared += 1
        return int(self) < int(other)

    def __le__(self, other: int) -> bool:
        Stamp.compared += 1
        return int(self) <= int(other)


def test_an_id_that_is_used_for_everything_costs_no_more_than_sorting() -> None:
    halves = [half(role, at) for at in range(2000) for role in ("request", "response")]
    halves = [one._replace(stamp=Stamp(one.stamp)) for one in halves]
    Stamp.compared = 0
    assert len(join(halves, expired=0).pairs) == 2000
    assert Stamp.compared < 20 * len(halves)


def test_what_waited_for_too_long_goes() -> None:
    young, old = half("request", 0, "young", since=20), half("request", 0, "old", call="b", since=10)
    joined = join([young, old], expired=20)
    assert ([one.key for one in joined.waiting], [one.key for one in joined.orphans]) == (["young"], ["old"])


def test_a_half_that_arrived_twice_waits_since_the_first_time() -> None:
    joined = join([half("request", 0, "r", since=20), half("request", 0, "r", since=10)], expired=0)
    assert [one.since for one in joined.waiting] == [10]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["request", "response"]),
            st.integers(0, 5),
            st.sampled_from("ab"),
            st.integers(1, 2),
            st.integers(0, 9),
        )
    ),
    st.integers(0, 10),
    st.randoms(use_true_random=False),
)
def test_every_half_ends_in_one_place_whatever_the_order(
    drawn: list[tuple[str, int, str, int, int]], expired: int, order: random.Random
) -> None:
    halves = [
        half(role, at, f"{role}{at}{call}{size}", call=call, size=size, since=since)
        for role, at, call, size, since in drawn
    ]
    joined = join(halves, expired)
    ends = [one.key for pair in joined.pairs for one in pair] + [one.key for one in (*joined.waiting, *joined.orphans)]
    assert sorted(ends) == sorted({one.key for one in halves})
    assert all(request.call == response.call and request.size == response.size for request, response in joined.pairs)
    shuffled = order.sample(halves, len(halves))
    again = join(shuffled, expired)
    assert sorted(again.pairs) == sorted(joined.pairs)


def test_batches_weigh_no_more_than_that_unless_one_alone_does() -> None:
    assert list(batches([1, 2, 3, 9, 1], int, 5)) == [[1, 2], [3], [9], [1]]
    assert list(batches([], int, 5)) == []


def test_of_too_many_the_newest_stay() -> None:
    halves = [half("request", since, since=since) for since in (2, 3, 1)]
    assert fewer(halves, 3 * halves[0].weight) == ([halves[1], halves[0], halves[2]], 0)
    assert fewer(halves, 2 * halves[0].weight) == ([halves[1], halves[0]], 1)


def test_of_too_many_those_that_belong_together_stay() -> None:
    pair = [half("request", 0, since=1), half("response", 1, since=9)]
    late = [half("request", second, since=second) for second in (2, 3)]
    assert fewer([*late, *pair], late[0].weight) == ([*pair, late[1]], 1)


def test_a_record_holds_all_of_a_half() -> None:
    partition, one = Partition("team-a", "telco", "v7"), half("request", 0)
    assert decode(encode(partition, one)) == (partition, one)


@pytest.mark.parametrize("record", [b"", b"7", b"[1]", b"\xff", b"null", b"{}"])
def test_a_record_of_something_else_is_told(record: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(record)
