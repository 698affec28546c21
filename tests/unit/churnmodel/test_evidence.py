"""Evidence that may be looked at as often as one likes: against sums and integrals worked out another way."""

from itertools import product
from math import comb, exp, inf, lgamma, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_operator.churnmodel.evidence import (
    Prior,
    Share,
    _profile,
    band_at_any_size,
    band_at_size,
    interval_of_difference,
    interval_of_rate,
    ks_distance,
    log_evidence_above,
    log_evidence_worse,
    log_likelihood,
    log_mixture,
)

PRIOR = Prior(0.01)
ALPHA = 0.05 / 9
shares = st.integers(0, 5000).flatmap(lambda n: st.builds(Share, st.integers(0, n), st.just(n)))
histograms = st.lists(st.integers(0, 500), min_size=20, max_size=20).map(tuple)


def test_the_mixtures_of_all_sequences_of_one_length_sum_to_one() -> None:
    assert sum(comb(12, k) * exp(log_mixture(Share(k, 12), PRIOR)) for k in range(13)) == pytest.approx(1)


def test_the_mixture_is_the_mean_likelihood() -> None:
    """The middle rule over the root of the rate, in which neither half of the prior has a pole at 0."""
    share, steps, b = Share(3, 40), 200_000, 0.5 / 0.01
    constant = lgamma(0.5) + lgamma(b) - lgamma(0.5 + b)
    total = 0.0
    for step in range(steps):
        root = (step + 0.5) / steps
        rate = root * root
        even = log_likelihood(share, rate) - 0.5 * log(1 - rate) - (2 * lgamma(0.5) - lgamma(1))
        around = log_likelihood(share, rate) + (b - 1) * log(1 - rate) - constant
        total += (exp(even) + exp(around)) / steps  # each density has the factor 1 / (2 root), each half the weight
    assert exp(log_mixture(share, PRIOR)) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("lead", [0.0, 0.05])
def test_the_evidence_is_one_on_average_at_most_where_the_challenger_is_no_worse(rate: float, lead: float) -> None:
    """Over every outcome of 12 requests of the champion and 9 of the challenger."""
    mean = 0.0
    for theirs, own in product(range(13), range(10)):
        one, other = Share(theirs, 12), Share(own, 9)
        chance = log_likelihood(one, rate) + log_likelihood(other, rate - lead)
        mean += comb(12, theirs) * comb(9, own) * exp(chance + log_evidence_worse(one, other, PRIOR))
    assert mean <= 1


@given(shares, shares)
def test_only_one_of_two_arms_looks_worse(one: Share, other: Share) -> None:
    assert min(log_evidence_worse(one, other, PRIOR), log_evidence_worse(other, one, PRIOR)) <= 1e-9


@given(shares)
def test_nothing_speaks_against_an_arm_that_did_the_same(share: Share) -> None:
    assert log_evidence_worse(share, share, PRIOR) <= 1e-9


@given(shares, shares)
def test_a_difference_is_rejected_exactly_where_the_interval_leaves_it_out(one: Share, other: Share) -> None:
    lower, upper = interval_of_difference(one, other, PRIOR, ALPHA)
    assert lower <= other.estimate - one.estimate <= upper
    evidence = log_evidence_worse(one, other, PRIOR) - log(1 / ALPHA)
    if abs(evidence) > 1e-3:
        assert (lower > -1e-6) == (evidence > 0) or abs(lower) < 1e-6


@given(shares, st.floats(0.001, 0.5))
def test_a_bound_is_exceeded_exactly_where_the_interval_lies_above_it(share: Share, bound: float) -> None:
    lower, upper = interval_of_rate(share, PRIOR, ALPHA)
    assert 0 <= lower <= share.estimate <= upper <= 1
    if abs(lower - bound) > 1e-6:
        assert (lower > bound) == (log_evidence_above(share, bound, PRIOR) >= log(1 / ALPHA))


def test_one_event_is_proof_against_a_rate_of_zero() -> None:
    assert log_evidence_above(Share(1, 5), 0.0, PRIOR) == inf
    assert log_evidence_above(Share(0, 5), 0.0, PRIOR) <= 0


@given(shares, shares, st.floats(-0.99, 0.99))
def test_no_other_rate_explains_two_counts_better_than_the_cubic_says(
    one: Share, other: Share, difference: float
) -> None:
    low, high = max(0.0, -difference), min(1.0, 1 - difference)
    best = _profile(one, other, difference)
    for step in range(1, 200):
        rate = low + (high - low) * step / 200
        assert log_likelihood(one, rate) + log_likelihood(other, rate + difference) <= best + 1e-6 * (1 + abs(best))


@pytest.mark.parametrize(
    ("size", "alpha", "expected"),
    [
        pytest.param(1, 0.05, 1.0, id="one value says nothing"),
        pytest.param(1000, 0.05, 0.08657, id="0.85 sqrt((log log 1000e + 0.8 log 32240) / 1000)"),
        pytest.param(0, 0.05, 1.0, id="none neither"),
    ],
)
def test_the_band_at_any_size(size: int, alpha: float, expected: float) -> None:
    assert band_at_any_size(size, alpha) == pytest.approx(expected, abs=1e-5)


def test_the_band_at_one_size_is_narrower() -> None:
    assert band_at_size(0, 0.05) == 1
    assert band_at_size(1000, 0.05) == pytest.approx(0.04295, abs=1e-5)


@given(histograms, histograms, histograms)
def test_the_distance_is_a_metric(one: tuple[int, ...], other: tuple[int, ...], third: tuple[int, ...]) -> None:
    assert ks_distance(one, one) == 0
    assert ks_distance(one, other) == ks_distance(other, one) <= 1
    if sum(other):
        assert ks_distance(one, third) <= ks_distance(one, other) + ks_distance(other, third) + 1e-12


def test_distributions_that_share_no_bin_are_one_apart() -> None:
    assert ks_distance((5,) + (0,) * 19, (0,) * 19 + (2,)) == 1
