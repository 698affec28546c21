"""How the bench of the collector reads memory."""

from collections.abc import Callable

import pytest
from hack.bench.collector import SLOPE, slope_of

EVENTS = range(25_000, 1_000_001, 25_000)


@pytest.mark.parametrize(
    ("memory", "slope"),
    [
        pytest.param(lambda _: 275.0, 0, id="one that stays"),
        pytest.param(lambda at: min(at, 250_000) / 2500, 0, id="one that has risen, and stays"),
        pytest.param(lambda at: 200 + at / 10_000, 100, id="one that rises on"),
    ],
)
def test_what_memory_rose_by_counts_after_the_first_quarter_of_the_events(
    memory: Callable[[int], float], slope: float
) -> None:
    assert slope_of([(at, memory(at)) for at in EVENTS]) == pytest.approx(slope)


def test_a_leak_of_a_hundred_bytes_for_each_event_is_past_the_bound() -> None:
    assert slope_of([(at, 100 * at / 2**20) for at in EVENTS]) > SLOPE
