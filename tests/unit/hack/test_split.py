"""What the bench of a split counts."""

from math import isnan

import pytest
from hack.bench.split import Mark, Stretch, share, stretches
from hack.demo.load import Sample


def answers(begin: int, end: int, *versions: str) -> list[Sample]:
    """Ten a second, by these in turn."""
    return [
        Sample(str(number), begin + number / 10, 0.01, versions[number % len(versions)], None)
        for number in range(10 * (end - begin))
    ]


def test_a_stretch_is_counted_from_one_mark_to_the_next_without_its_ends() -> None:
    marks = [Mark(0, "v2", 0), Mark(20, "v2", 50), Mark(40, "v2", None), Mark(60, "v2", 0), Mark(80, "v2", None)]
    # Each change is seen here a second after it was made.
    samples = [*answers(0, 19, "v1"), *answers(19, 39, "v1", "v2"), *answers(39, 80, "v1")]
    found = stretches(samples, marks)
    assert [(s.percent, s.share) for s in found] == [(0, 0.0), (50, pytest.approx(50, abs=0.5)), (0, 0.0)]
    assert all(135 <= stretch.requests <= 145 for stretch in found)


def test_a_share_may_be_two_points_off_but_none_is_none() -> None:
    assert share(Stretch("v2", 10, 1000, 119)).holds
    assert not share(Stretch("v2", 10, 1000, 121)).holds
    assert not share(Stretch("v2", 100, 1000, 979)).holds
    assert not share(Stretch("v2", 0, 1000, 1)).holds


def test_a_stretch_without_requests_is_within_no_bound() -> None:
    empty = Stretch("v2", 10, 0, 0)
    assert isnan(empty.share)
    assert not share(empty).holds
