"""How soon a bad canary is given up, and how rarely a good one, beside a test of fixed size that is looked at as often.

Simulated requests, the operator's own judgement. Good: three steps of ten minutes at 10, 25 and 50 % of 20 requests a
second, looked at every ten seconds, where the new version is no worse; once at constant rates, and once where both
versions' rates rise to the threefold and fall again within each step. Bad: at 10 % until it is given up; errors at 25
and 50 %, too, where the champion's sample is smaller: told, and bound to nothing.

The rival is what is usually written: a z-test of two pooled shares and the Kolmogorov-Smirnov test, each with the same
share of the false alarms, from the canary's least requests on.

A/B tests of errors: half and half, looked at every ten seconds until the analysis fails, one version is surely better,
or the challenger had 10,000 requests; of versions that are alike, and of two of which one fails more often. The rival
is a two-sided z-test with the same share of the false alarms, looked at as often.

python -m hack.bench.canary [--canaries 1000]
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from math import log, sqrt
from statistics import NormalDist, median

import numpy as np
from hack.bench.bounds import Bound, judged

from churn_operator.api.analysis import AnalysisSpec, TestOutcome
from churn_operator.api.rollout import ABTestSpec, Winner
from churn_operator.churnmodel.analysis import Terms, compare, judge
from churn_operator.churnmodel.counts import Counts, Scores
from churn_operator.churnmodel.evidence import Share, ks_distance

STEPS = (0.10, 0.25, 0.50)
LOOK_SECONDS, STEP_SECONDS = 10, 600
REQUESTS_A_SECOND = 20
WITHIN = 3000
"""Requests of a bad canary until it must have been given up."""
ASKED = 400
"""Times that a test of fixed size is simulated at each size."""
HELD_OUT = 1409
"""Rows, as of the Telco sample."""
TERMS = Terms(AnalysisSpec(), stages=len(STEPS))
TEST, TEST_TERMS = ABTestSpec(), Terms(AnalysisSpec(), stages=3)
USUAL = np.random.default_rng(0).beta(0.6, 1.6, 100_000)
"""Probabilities: many customers are sure to stay."""


@dataclass(frozen=True)
class Rates:
    """What befalls a version's requests."""

    errors: float = 0.01
    slow: float = 0.03
    shift: float = 0.0
    """Added to the log-odds of every probability."""

    def times(self, factor: float) -> "Rates":
        return replace(self, errors=self.errors * factor, slow=self.slow * factor)

    def spread(self) -> np.ndarray:
        """Share of the probabilities in each bin."""
        moved = 1 / (1 + np.exp(-(np.log(USUAL / (1 - USUAL)) + self.shift)))
        return np.histogram(moved, bins=20, range=(0, 1))[0] / len(USUAL)


GOOD = Rates()
ERRORS = "errors 1 % -> 3 %"
BAD = {
    ERRORS: Rates(errors=0.03),
    "slow answers 3 % -> 20 %": Rates(slow=0.20),
    "scores moved by 1.5 in log-odds": Rates(shift=1.5),
}
DIFFERENT = (
    (ERRORS, GOOD, Rates(errors=0.03), Winner.Champion),
    ("errors 3 % -> 1 %", Rates(errors=0.03), GOOD, Winner.Challenger),
    ("errors 2 % -> 1 %", Rates(errors=0.02), GOOD, Winner.Challenger),
)
"""Champion and challenger, and who is better."""
Judge = Callable[[Counts, Counts, Scores], bool]


def drawn(rng: np.random.Generator, requests: int, rates: Rates, spread: np.ndarray) -> Counts:
    errors = int(rng.binomial(requests, rates.errors))
    slow = int(rng.binomial(requests - errors, rates.slow))
    return Counts(requests, errors, slow, tuple(rng.multinomial(requests - errors, spread).tolist()))


def step(
    rng: np.random.Generator, share: float, canary: Rates, *, champion: Rates = GOOD, surge: bool = False
) -> Iterator[tuple[Counts, Counts]]:
    """The counts of champion and canary, look by look."""
    theirs, challenger = Counts(), Counts()
    usual, own = champion.spread(), canary.spread()
    looks = STEP_SECONDS // LOOK_SECONDS
    for number in count():
        factor = 1 + 2 * np.sin(np.pi * (number % looks) / looks) if surge else 1.0
        requests = int(rng.poisson(REQUESTS_A_SECOND * LOOK_SECONDS))
        to_canary = int(rng.binomial(requests, share))
        theirs += drawn(rng, requests - to_canary, champion.times(factor), usual)
        challenger += drawn(rng, to_canary, canary.times(factor), own)
        yield theirs, challenger


def ours(champion: Counts, challenger: Counts, offline: Scores) -> bool:
    return judge(champion, challenger, offline, TERMS).result is TestOutcome.Fail


def rival(champion: Counts, challenger: Counts, offline: Scores) -> bool:
    if challenger.requests < TERMS.analysis.min_requests:
        return False
    shares = ((champion.failed, challenger.failed), (champion.late, challenger.late))
    return any(z_test(*pair) for pair in shares) or ks_test(offline, challenger.scores)


def z_test(reference: Share, challenger: Share, alpha: float = TERMS.alpha) -> bool:
    pooled = (reference.events + challenger.events) / (reference.trials + challenger.trials)
    spread = sqrt(pooled * (1 - pooled) * (1 / reference.trials + 1 / challenger.trials))
    return spread > 0 and (challenger.estimate - reference.estimate) / spread > quantile(alpha)


def ks_test(offline: Scores, live: Scores) -> bool:
    """Of the distance beyond what is tolerated; the asymptotic bound of two samples."""
    critical = sqrt(-log(TERMS.alpha / 2) / 2 * (1 / sum(offline) + 1 / sum(live)))
    return ks_distance(offline, live) > critical + TERMS.analysis.max_score_distance


def quantile(alpha: float) -> float:
    return NormalDist().inv_cdf(1 - alpha)


def false_alarms(rng: np.random.Generator, canaries: int, *, surge: bool) -> dict[str, int]:
    """How many canaries that are no worse each way of judging gives up, in any step."""
    given_up = {"ours": 0, "rival": 0}
    looks = STEP_SECONDS // LOOK_SECONDS
    for _ in range(canaries):
        offline = tuple(rng.multinomial(HELD_OUT, GOOD.spread()).tolist())
        alarmed = {"ours": False, "rival": False}
        for share in STEPS:
            for counts in islice(step(rng, share, GOOD, surge=surge), looks):
                alarmed["ours"] = alarmed["ours"] or ours(*counts, offline)
                alarmed["rival"] = alarmed["rival"] or rival(*counts, offline)
        for who, alarm in alarmed.items():
            given_up[who] += alarm
    return given_up


def until_caught(
    rng: np.random.Generator, canaries: int, bad: Rates, judged: Judge, share: float = STEPS[0]
) -> list[int]:
    """Requests that each bad canary had had when it was given up; beyond WITHIN it is not looked for."""
    found = []
    for _ in range(canaries):
        offline = tuple(rng.multinomial(HELD_OUT, GOOD.spread()).tolist())
        for champion, challenger in step(rng, share, bad):
            if judged(champion, challenger, offline) or challenger.requests > WITHIN:
                found.append(challenger.requests)
                break
    return found


@dataclass(frozen=True)
class Ended:
    """What came of one A/B test."""

    winner: Winner
    failed: bool
    """The analysis, before anybody won."""
    requests: int
    fooled: bool
    """The rival named a winner by then."""


def ab_test(rng: np.random.Generator, champion: Rates, challenger: Rates, *, surge: bool = False) -> Ended:
    offline = tuple(rng.multinomial(HELD_OUT, GOOD.spread()).tolist())
    fooled, share = False, TEST.weight / 100
    for theirs, own in step(rng, share, challenger, champion=champion, surge=surge):
        found = compare(TEST, theirs, own, TEST_TERMS)
        fooled = fooled or is_apart(theirs.failed, own.failed)
        failed = judge(theirs, own, offline, TEST_TERMS).result is TestOutcome.Fail
        if failed or found.winner is not Winner.Undecided or own.requests >= TEST.sample:
            return Ended(found.winner, failed, own.requests, fooled)
    raise AssertionError("a step never ends")


def is_apart(one: Share, other: Share) -> bool:
    """By the z-test, in either direction."""
    alpha = TEST_TERMS.stage_alpha / 2
    return min(one.trials, other.trials) >= TEST_TERMS.analysis.min_requests and (
        z_test(one, other, alpha) or z_test(other, one, alpha)
    )


def needed(rng: np.random.Generator, bad: Rates) -> int:
    """Requests of the canary after which the tests of fixed size, asked once, see a bad one in 95 of 100."""
    usual, own = GOOD.spread(), bad.spread()

    def seen(size: int) -> bool:
        offline = tuple(rng.multinomial(HELD_OUT, usual).tolist())
        champion = drawn(rng, round(size / STEPS[0]) - size, GOOD, usual)
        return rival(champion, drawn(rng, size, bad, own), offline)

    sizes = range(TERMS.analysis.min_requests, 2 * WITHIN, 20)
    return next(size for size in sizes if sum(seen(size) for _ in range(ASKED)) >= 0.95 * ASKED)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--canaries", type=int, default=1000)
    canaries = parser.parse_args().canaries
    rng = np.random.default_rng(11)
    bounds: list[Bound] = []
    looks = len(STEPS) * STEP_SECONDS // LOOK_SECONDS
    print(f"{canaries} canaries that are no worse, {len(STEPS)} steps, {looks} looks, three metrics, given up:")
    for name, surge in (("constant rates", False), ("rates that surge", True)):
        alarms = false_alarms(rng, canaries, surge=surge)
        own, fixed = (alarms[who] / canaries for who in ("ours", "rival"))
        print(f"  {name:17} {own:6.1%} (bound 5 %)   tests of fixed size {fixed:6.1%}")
        bounds.append(Bound(f"given up though no worse, {name}", own, most=0.05))
    print(f"{canaries} bad canaries at {STEPS[0]:.0%} of the traffic, given up within {WITHIN} of their requests:")
    for name, bad in BAD.items():
        found = until_caught(rng, canaries, bad, ours)
        caught = share_caught(found)
        sizes = f"median {median(found):.0f} requests   tests of fixed size {needed(rng, bad)}, at one look"
        print(f"  {name:32} {caught:6.1%} (bound 95 %), {sizes}")
        bounds.append(Bound(f"caught, {name}", caught, least=0.95))
    for share in STEPS[1:]:
        found = until_caught(rng, canaries, BAD[ERRORS], ours, share)
        print(f"  {ERRORS}, at {share:.0%}: {share_caught(found):6.1%}, median {median(found):.0f} requests")
    return judged(*bounds, *tell_ab_tests(rng, canaries))


def share_caught(found: Sequence[int]) -> float:
    return sum(requests <= WITHIN for requests in found) / len(found)


def tell_ab_tests(rng: np.random.Generator, tests: int) -> Iterator[Bound]:
    print(f"{tests} A/B tests of errors at {TEST.weight} %, of at most {TEST.sample:,} requests of the challenger:")
    for name, surge in (("alike, constant rates", False), ("alike, rates that surge", True)):
        ended = [ab_test(rng, GOOD, GOOD, surge=surge) for _ in range(tests)]
        named, failed, fooled = (
            sum(which) / tests
            for which in zip(*((e.winner is not Winner.Undecided, e.failed, e.fooled) for e in ended), strict=True)
        )
        print(f"  {name:26} {named:6.1%} had a winner, {failed:.1%} failed (bound 5 %)   z-test {fooled:6.1%}")
        yield Bound(f"had a winner, {name}", named, most=0.05)
        yield Bound(f"failed, {name}", failed, most=0.05)
    for name, champion, challenger, right in DIFFERENT:
        ended = [ab_test(rng, champion, challenger) for _ in range(tests)]
        found = [e.requests for e in ended if e.winner is right]
        print(f"  {name:26} {len(found) / tests:6.1%} found, median {median(found):.0f} requests of the challenger")


if __name__ == "__main__":
    sys.exit(main())
