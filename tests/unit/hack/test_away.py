"""What a canary may do while its Gateway is away."""

from dataclasses import replace

import pytest
from hack.bench.away import HELD, Held, bounds_of

BEFORE = "Step 1 of 2: v2 is to have 10 % of the traffic since 2026-11-29T10:00:00Z."
NAMED = "Since 2026-11-29T10:01:00Z: the Gateway has not taken up the HTTPRoute's last change."
WELL = Held(looks=[(HELD, BEFORE), (HELD, NAMED)], answered=0, stable_failures=0, ended="Complete")


@pytest.mark.parametrize(
    ("held", "past"),
    [
        pytest.param(WELL, 0, id="it is held, says why, and ends"),
        pytest.param(replace(WELL, looks=[("Champion", NAMED)]), 1, id="promoted meanwhile"),
        pytest.param(replace(WELL, looks=[("RolledBack", NAMED)]), 1, id="given up meanwhile"),
        pytest.param(replace(WELL, looks=[(HELD, NAMED), (HELD, BEFORE)]), 1, id="silent about the Gateway at last"),
        pytest.param(replace(WELL, looks=[]), 1, id="never looked at"),
        pytest.param(replace(WELL, answered=1), 1, id="a Gateway that was not away"),
        pytest.param(replace(WELL, stable_failures=1), 1, id="a client of the stable Service that failed"),
        pytest.param(replace(WELL, ended="RolledBack"), 1, id="given up when the Gateway was back"),
    ],
)
def test_a_canary_without_its_gateway_is_held_says_so_and_goes_on(held: Held, past: int) -> None:
    assert sum(not bound.holds for bound in bounds_of(held)) == past
