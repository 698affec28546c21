"""Evidence about shares and distributions that may be looked at as often as one likes.

A test of fixed size that is repeated every ten seconds finds a difference in the end where there is none. What is here
holds at all sizes at once (Ramdas, Grünwald, Vovk and Shafer, "Game-Theoretic Statistics and Safe Anytime-Valid
Inference", Statistical Science 2023), and is a function of the counts so far alone: nothing has to be remembered
between two looks.

The bound on false alarms is proved for trials that are independent and have one rate in each arm as long as they are
counted together. Of two arms whose rates change with the hour it is not: there it rests on who gets which version by
chance, at a share that is the same all the while, so that both arms have the same mix of hours and clients and a
difference of their counts is one of the versions. It does not hold where the share changes, where clients of one arm
are not those of the other, or where trials fail in bundles, such as one client's retries. Of one arm beside a promise
nothing makes up for a rate that changes: it is judged by its mean so far.

Shares: the likelihood of the counts, mixed over the possible rates (Robbins, "Statistical Methods Related to the Law of
the Iterated Logarithm", 1970), over its supremum under the null hypothesis (Wasserman, Ramdas and Balakrishnan,
"Universal Inference", PNAS 2020). That ratio is at most a martingale that starts at 1; by Ville's inequality it ever
reaches 1/alpha with a chance of at most alpha. The rates that are not rejected form a confidence sequence (Howard,
Ramdas, McAuliffe and Sekhon, "Time-uniform, Nonparametric, Nonasymptotic Confidence Sequences", Annals of Statistics
2021). Two arms as in Turner, Ly and Grünwald, "Generic E-variables for Exact Sequential k-Sample Tests", 2024.

Distributions: a band around the empirical distribution function (Howard and Ramdas, "Sequential Estimation of
Quantiles with Applications to A/B Testing and Best-Arm Identification", Bernoulli 2022, corollary 2), and for a sample
that grows no more that of Dvoretzky, Kiefer and Wolfowitz with Massart's constant (Annals of Probability 1990).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from math import acos, copysign, cos, exp, inf, lgamma, log, pi, sqrt

_STEPS = 24
"""Bisections: an end of an interval is found to a ten-millionth."""


@dataclass(frozen=True)
class Share:
    """So many events in so many trials."""

    events: int
    trials: int

    @property
    def estimate(self) -> float:
        """The share, 0 where there was no trial."""
        return self.events / self.trials if self.trials else 0.0


@dataclass(frozen=True)
class Prior:
    """Where rates are looked for first: half the weight on any (Jeffreys' Beta(1/2, 1/2)), half around `typical`.

    It decides how soon evidence is found, never what counts as evidence: Ville's inequality holds under any.
    """

    typical: float

    @property
    def components(self) -> tuple[tuple[float, float], ...]:
        """Parameters of the two Beta distributions, of equal weight."""
        return ((0.5, 0.5), (0.5, 0.5 / self.typical))


def log_likelihood(share: Share, rate: float) -> float:
    """Of one sequence with these counts; natural logarithm, -inf where it is impossible."""
    return _times_log(share.events, rate) + _times_log(share.trials - share.events, 1 - rate)


def log_mixture(share: Share, prior: Prior) -> float:
    """The likelihood averaged over the prior (beta-binomial); natural logarithm."""
    failures = share.trials - share.events
    parts = [_log_beta(share.events + a, failures + b) - _log_beta(a, b) for a, b in prior.components]
    highest = max(parts)
    return highest + log(sum(exp(part - highest) for part in parts) / len(parts))


def log_evidence_worse(reference: Share, challenger: Share, prior: Prior) -> float:
    """Natural logarithm of the e-value against "the challenger's rate is at most the reference's".

    Where it looks worse, the null hypothesis explains the counts best by one rate for both; where it does not, by each
    one's own.
    """
    pooled = Share(reference.events + challenger.events, reference.trials + challenger.trials)
    worse = challenger.events * reference.trials > reference.events * challenger.trials
    best = (pooled.estimate, pooled.estimate) if worse else (reference.estimate, challenger.estimate)
    null = log_likelihood(reference, best[0]) + log_likelihood(challenger, best[1])
    return log_mixture(reference, prior) + log_mixture(challenger, prior) - null


def log_evidence_above(share: Share, bound: float, prior: Prior) -> float:
    """Natural logarithm of the e-value against "the rate is at most the bound"."""
    null = log_likelihood(share, min(share.estimate, bound))
    return log_mixture(share, prior) - null if null > -inf else inf


def interval_of_rate(share: Share, prior: Prior, alpha: float) -> tuple[float, float]:
    """The rates that the counts do not reject at any time with a chance of more than alpha."""

    def rejected(rate: float) -> bool:
        return log_mixture(share, prior) - log_likelihood(share, rate) >= log(1 / alpha)

    return _edge(rejected, share.estimate, 0.0), _edge(rejected, share.estimate, 1.0)


def interval_of_difference(reference: Share, challenger: Share, prior: Prior, alpha: float) -> tuple[float, float]:
    """The differences of rates (challenger's less reference's) that the counts do not reject.

    The dual of `log_evidence_worse`: that reaches 1/alpha exactly where the lower end is above 0.
    """
    mixture = log_mixture(reference, prior) + log_mixture(challenger, prior)

    def rejected(difference: float) -> bool:
        return mixture - _profile(reference, challenger, difference) >= log(1 / alpha)

    seen = challenger.estimate - reference.estimate
    return _edge(rejected, seen, -1.0), _edge(rejected, seen, 1.0)


def ks_distance(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Largest difference of two distribution functions at the bounds of their bins; 0 where one is empty."""
    if not sum(one) or not sum(other):
        return 0.0
    pairs = zip(accumulate(one), accumulate(other), strict=True)
    return max(abs(a / sum(one) - b / sum(other)) for a, b in pairs)


def band_at_any_size(size: int, alpha: float) -> float:
    """How far an empirical distribution function ever strays from the true one, at each size so far."""
    return min(1.0, 0.85 * sqrt((log(1 + log(size)) + 0.8 * log(1612 / alpha)) / size)) if size else 1.0


def band_at_size(size: int, alpha: float) -> float:
    """The same at this one size."""
    return min(1.0, sqrt(log(2 / alpha) / (2 * size))) if size else 1.0


def _times_log(count: int, rate: float) -> float:
    if not count:
        return 0.0
    return count * log(rate) if rate > 0 else -inf


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _edge(rejected: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where between a value that holds and the end of the scale rejection begins."""
    if not rejected(outside):
        return outside
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if rejected(middle) else (middle, outside)
    return outside


def _profile(reference: Share, challenger: Share, difference: float) -> float:
    """The highest likelihood of both counts where the rates differ by this much."""
    rate = _restricted_estimate(reference, challenger, difference)
    return log_likelihood(reference, rate) + log_likelihood(challenger, rate + difference)


def _restricted_estimate(reference: Share, challenger: Share, difference: float) -> float:
    """The reference's rate that explains both counts best where the challenger's is higher by the difference.

    The middle root of a cubic (Miettinen and Nurminen, "Comparative Analysis of Two Rates", Statistics in Medicine
    1985, appendix 1).
    """
    n, m, x, d = challenger.trials, reference.trials, reference.events, difference
    total, events = max(1, n + m), challenger.events + x
    square = ((n + 2 * m) * d - total - events) / total
    linear = ((m * d - total - 2 * x) * d + events) / total
    constant = x * d * (1 - d) / total
    turn = square**3 / 27 - square * linear / 6 + constant / 2
    radius = copysign(sqrt(max(0.0, square**2 / 9 - linear / 3)), turn)
    angle = acos(min(1.0, max(-1.0, turn / radius**3))) if radius else 0.0
    root = 2 * radius * cos((pi + angle) / 3) - square / 3
    return min(1.0, 1 - d, max(0.0, -d, root))
