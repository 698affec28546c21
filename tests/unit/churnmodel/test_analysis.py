"""Whether a canary is worse than the champion beside it."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_operator.api.analysis import AnalysisSpec, LabelsSpec, SloSpec, TestName, TestOutcome, Verdict
from churn_operator.api.data import DataSource
from churn_operator.churnmodel.analysis import Terms, breach, judge
from churn_operator.churnmodel.counts import NO_SCORES, Counts, Scores

TERMS = Terms(AnalysisSpec(), stages=3)
SLO = SloSpec()
USUAL: Scores = (300, 150, 100, 80, 70, 60, 60, 50, 50, 50, 50, 50, 50, 50, 50, 50, 40, 40, 30, 30)
"""Like Telco's: many customers are sure to stay."""
HIGHER: Scores = USUAL[::-1]


def spread(size: int, like: Scores = USUAL) -> Scores:
    """So many probabilities, as evenly as whole numbers allow."""
    marks = [floor(size * part / sum(like)) for part in accumulate(like)]
    return tuple(after - before for before, after in zip([0, *marks], marks, strict=False))


def of(requests: int, errors: int = 0, slow: int = 0, like: Scores = USUAL) -> Counts:
    return Counts(requests, errors, slow, spread(requests - errors, like))


CHAMPION = of(9000, errors=90, slow=180)
arms = st.integers(0, 3000).flatmap(
    lambda n: st.integers(0, n).flatmap(
        lambda errors: st.builds(Counts, st.just(n), st.just(errors), st.integers(0, n - errors), st.just(spread(n)))
    )
)


def results(verdict: Verdict) -> str:
    return f"{verdict.result}: {', '.join(test.result for test in verdict.tests)}"


@pytest.mark.parametrize(
    ("challenger", "expected"),
    [
        pytest.param(of(100, errors=1, slow=2), "Pass: Pass, Pass, Pass", id="as good"),
        pytest.param(of(2000), "Pass: Pass, Pass, Pass", id="better"),
        pytest.param(of(99), "Inconclusive: Inconclusive, Inconclusive, Inconclusive", id="too few requests"),
        pytest.param(of(0), "Inconclusive: Inconclusive, Inconclusive, Inconclusive", id="none"),
        pytest.param(of(1500, errors=45, slow=30), "Fail: Fail, Pass, Pass", id="three times the errors"),
        pytest.param(of(20, errors=15), "Fail: Fail, Inconclusive, Inconclusive", id="broken, seen at once"),
        pytest.param(of(500, errors=5, slow=100), "Fail: Pass, Fail, Pass", id="a fifth is slow"),
        pytest.param(of(500, errors=5, slow=10, like=HIGHER), "Fail: Pass, Pass, Fail", id="other scores"),
        pytest.param(replace(of(500), scores=NO_SCORES), "Pass: Pass, Pass", id="an image that tells no scores"),
        pytest.param(
            replace(of(500), scores=spread(100_000, HIGHER)), "Fail: Pass, Pass, Fail", id="requests of many rows"
        ),
        pytest.param(
            replace(of(15), scores=spread(15_000, HIGHER)),
            "Inconclusive: Inconclusive, Inconclusive, Inconclusive",
            id="but the rows of a few requests are no crowd",
        ),
    ],
)
def test_a_canary_is_judged_beside_the_champion(challenger: Counts, expected: str) -> None:
    assert results(judge(CHAMPION, challenger, USUAL, TERMS)) == expected


@pytest.mark.parametrize(
    ("champion", "challenger", "message"),
    [
        pytest.param(None, of(500), "The champion's metrics could not be read.", id="the champion's"),
        pytest.param(CHAMPION, None, "The challenger's metrics could not be read.", id="the challenger's"),
        pytest.param(None, None, "The challenger's metrics could not be read.", id="both"),
    ],
)
def test_what_could_not_be_read_is_an_error_and_no_failure(
    champion: Counts | None, challenger: Counts | None, message: str
) -> None:
    verdict = judge(champion, challenger, USUAL, TERMS)
    assert (verdict.result, verdict.message, verdict.tests) == (TestOutcome.Error, message, ())


@pytest.mark.parametrize(
    ("verdict", "message"),
    [
        pytest.param(
            judge(CHAMPION, of(1500, errors=45, slow=30), USUAL, TERMS),
            "45 of 1,500 requests failed or were given up (3.0%), the champion's 90 of 9,000 (1.0%): worse by at least "
            "0.22%.",
            id="errors",
        ),
        pytest.param(
            judge(CHAMPION, of(500, slow=10, like=HIGHER), USUAL, TERMS),
            "500 probabilities lie 0.38 from those of 1,410 held-out rows (0.38 from the champion's): surely more than "
            "0.194, where 0.1 is allowed.",
            id="scores",
        ),
        pytest.param(
            judge(CHAMPION, of(7), USUAL, TERMS),
            "7 of the 100 requests have come that are needed to judge.",
            id="too little",
        ),
        pytest.param(
            judge(CHAMPION, of(7), USUAL, replace(TERMS, gateway=True)),
            "7 of the 100 requests have come through the Gateway that are needed to judge.",
            id="too little of what alone is counted",
        ),
        pytest.param(
            judge(CHAMPION, of(1200), None, TERMS),
            "Nothing speaks against the version after 1,200 requests (100 needed). Its scores were not judged: there "
            "is nothing to compare them with.",
            id="a version of before scores were counted",
        ),
        pytest.param(
            judge(of(0), of(500), None, TERMS),
            "0 of 500 requests failed or were given up (0.0%), the champion's 0 of 0: nothing to compare with yet. "
            "0 of 500 answers were slower than promised (0.0%), the champion's 0 of 0: nothing to compare with yet.",
            id="nobody asked the champion",
        ),
        pytest.param(
            breach(of(2000, errors=80), of(2000, errors=10), SLO, None, TERMS),
            "80 of 2,000 requests failed or were given up (4.0%), where 1.00% are promised, the former champion's "
            "10 of 2,000 (0.5%): surely at least 2.41%.",
            id="a promise is broken",
        ),
    ],
)
def test_the_message_names_what_was_seen_and_the_bound(verdict: Verdict, message: str) -> None:
    assert verdict.message == message


@pytest.mark.parametrize(
    ("counts", "before", "expected"),
    [
        pytest.param(of(2000, errors=80), None, "Fail: Fail, Pass, Pass", id="the promise is broken"),
        pytest.param(of(2000, errors=80), of(5000, errors=210), "Pass: Pass, Pass, Pass", id="it always was"),
        pytest.param(of(2000, errors=80), of(99, errors=4), "Fail: Fail, Pass, Pass", id="that is not known"),
        pytest.param(of(2000, errors=18), of(5000), "Pass: Pass, Pass, Pass", id="worse than before, as promised"),
        pytest.param(of(2000, slow=90), of(5000), "Pass: Pass, Pass, Pass", id="4.5 % slow are within a p95"),
        pytest.param(of(2000, slow=180), of(5000), "Fail: Pass, Fail, Pass", id="9 % are not"),
        pytest.param(of(2000, like=HIGHER), of(5000), "Fail: Pass, Pass, Fail", id="other scores than held out"),
        pytest.param(of(50), of(5000), "Inconclusive: Inconclusive, Inconclusive, Inconclusive", id="too few"),
        pytest.param(None, of(5000), "Error: ", id="not readable"),
    ],
)
def test_after_promotion_a_version_is_held_to_promises(
    counts: Counts | None, before: Counts | None, expected: str
) -> None:
    assert results(breach(counts, before, SLO, USUAL, TERMS)) == expected


@given(arms)
def test_identical_arms_never_fail(arm: Counts) -> None:
    assert judge(arm, arm, None, TERMS).result is not TestOutcome.Fail


@given(arms, arms)
def test_two_arms_are_not_each_worse_than_the_other(one: Counts, other: Counts) -> None:
    there, back = judge(one, other, None, TERMS), judge(other, one, None, TERMS)
    for test, reverse in zip(there.tests, back.tests, strict=True):
        assert TestOutcome.Fail not in {test.result} & {reverse.result}
        assert test.estimate is not None
        assert reverse.estimate == -test.estimate


@given(arms, arms, st.integers(0, 500))
def test_errors_in_the_place_of_answers_save_no_canary(champion: Counts, challenger: Counts, more: int) -> None:
    errors = min(challenger.requests, challenger.errors + more)
    worse = replace(challenger, errors=errors)
    before, after = (judge(champion, arm, None, TERMS).tests[0] for arm in (challenger, worse))
    assert after.result is TestOutcome.Fail or before.result is not TestOutcome.Fail


@given(arms, arms)
def test_a_difference_that_holds_up_is_the_surer_the_more_was_seen(champion: Counts, challenger: Counts) -> None:
    once, twice = (
        judge(theirs, own, USUAL, TERMS)
        for theirs, own in ((champion, challenger), (champion + champion, challenger + challenger))
    )
    assert twice.result is TestOutcome.Fail or once.result is not TestOutcome.Fail


@given(st.none() | arms, st.none() | arms, st.none() | st.just(USUAL))
def test_what_goes_to_the_status_is_within_its_bounds(
    champion: Counts | None, challenger: Counts | None, offline: Scores | None
) -> None:
    for verdict in (
        judge(champion, challenger, offline, TERMS),
        breach(challenger, champion, SLO, offline, TERMS),
    ):
        assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
        for test in verdict.tests:
            assert test.lower <= test.upper
            assert test.result is not TestOutcome.Fail or test.lower >= test.bound or test.name is TestName.ErrorRate


LABELS = LabelsSpec(source=DataSource(uri="s3://crm/left.csv"))
REQUIRED = LABELS.model_copy(update={"required": True})


def decided(counts: Counts, labelled: int, wrong: int) -> Counts:
    return replace(counts, labelled=labelled, wrong=wrong)


@pytest.mark.parametrize(
    ("champion", "challenger", "unread", "expected", "required"),
    [
        pytest.param((900, 180), (100, 20), None, "Pass Pass", "Pass Pass", id="as good"),
        pytest.param((900, 180), (100, 50), None, "Fail Fail", "Fail Fail", id="worse"),
        pytest.param((900, 90), (12, 12), None, "Fail Fail", "Fail Fail", id="so much worse that few labels show it"),
        pytest.param((900, 180), (99, 20), None, "Pass", "Inconclusive Inconclusive", id="too few labels"),
        pytest.param((99, 20), (900, 180), None, "Pass", "Inconclusive Inconclusive", id="of the champion"),
        pytest.param((0, 0), (0, 0), None, "Pass", "Inconclusive Inconclusive", id="none"),
        pytest.param((0, 0), (0, 0), "away", "Pass", "Error Error", id="none that can be read"),
        pytest.param((900, 180), (100, 20), "away", "Pass Pass", "Error Error", id="none that can be read any more"),
        pytest.param((900, 180), (100, 50), "away", "Fail Fail", "Fail Fail", id="but what is known is known"),
    ],
)
def test_quality_is_judged_where_labels_have_come(
    champion: tuple[int, int], challenger: tuple[int, int], unread: str | None, expected: str, required: str
) -> None:
    theirs, own = decided(CHAMPION, *champion), decided(of(500), *challenger)
    for labels, result in ((None, "Pass"), (LABELS, expected), (REQUIRED, required)):
        terms = replace(TERMS, labels=labels)
        for verdict in (judge(theirs, own, USUAL, terms, unread), breach(own, theirs, SLO, USUAL, terms, unread)):
            quality = [test.result for test in verdict.tests if test.name is TestName.Quality]
            assert " ".join([verdict.result, *quality]) == result


def test_counts_with_labels_are_added_up_with_them() -> None:
    both = decided(of(10), 5, 1) + decided(of(20), 7, 3)
    assert (both.labelled, both.wrong, both.requests) == (12, 4, 30)


def test_of_challengers_that_decide_as_well_few_are_given_up_however_often_labels_come() -> None:
    rng, alone = np.random.default_rng(7), Terms(AnalysisSpec(), stages=1, labels=LABELS)
    given_up = 0
    for _ in range(300):
        both = [Counts(), Counts()]
        for _ in range(20):
            for arm, size in enumerate((90, 10)):
                both[arm] += decided(Counts(size), size, int(rng.binomial(size, 0.2)))
            if judge(both[0], both[1], None, alone).result is TestOutcome.Fail:
                given_up += 1
                break
    assert given_up <= 15


def test_a_challenger_that_decides_half_as_often_wrong_again_is_caught_within_2000_labels() -> None:
    rng, terms = np.random.default_rng(7), replace(TERMS, labels=LABELS)
    caught = 0
    for _ in range(100):
        both = [Counts(), Counts()]
        for _ in range(20):
            for arm, (size, wrong) in enumerate(((900, 0.2), (100, 0.3))):
                both[arm] += decided(Counts(size), size, int(rng.binomial(size, wrong)))
            if judge(both[0], both[1], None, terms).result is TestOutcome.Fail:
                caught += 1
                break
    assert caught >= 95


Rates = tuple[float, float, Scores]
"""Shares of errors and of slow answers, and how the probabilities are spread."""
GOOD: Rates = (0.01, 0.03, USUAL)


def canary(
    rng: np.random.Generator, terms: Terms, *, looks: int, champion: Rates, challenger: Rates
) -> Iterator[Verdict]:
    """One step at a tenth of the traffic, a verdict after each 100 requests of the challenger."""
    both = [Counts(), Counts()]
    for _ in range(looks):
        both[0] += drawn(rng, 900, champion)
        both[1] += drawn(rng, 100, challenger)
        yield judge(both[0], both[1], USUAL, terms)


def drawn(rng: np.random.Generator, requests: int, rates: Rates) -> Counts:
    failing, late, like = rates
    errors = int(rng.binomial(requests, failing))
    slow = int(rng.binomial(requests - errors, late))
    bins = rng.multinomial(requests - errors, np.array(like) / sum(like))
    return Counts(requests, errors, slow, tuple(bins.tolist()))


def test_of_canaries_that_are_no_worse_few_are_given_up_however_often_one_looks() -> None:
    rng, alone = np.random.default_rng(7), Terms(AnalysisSpec(), stages=1)
    given_up = sum(
        any(v.result is TestOutcome.Fail for v in canary(rng, alone, looks=10, champion=GOOD, challenger=GOOD))
        for _ in range(300)
    )
    assert given_up <= 15


def test_a_promise_that_the_old_champion_broke_as_often_is_rarely_held_against_the_new_one() -> None:
    """Though the old one's share of errors was measured on few requests."""
    rng, alone = np.random.default_rng(7), Terms(AnalysisSpec(), stages=1)
    as_bad: Rates = (0.03, 0.03, USUAL)
    given_up = 0
    for _ in range(200):
        before, since = drawn(rng, 500, as_bad), Counts()
        for _ in range(10):
            since += drawn(rng, 500, as_bad)
            if breach(since, before, SLO, USUAL, alone).result is TestOutcome.Fail:
                given_up += 1
                break
    assert given_up <= 10


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param((0.03, 0.03, USUAL), id="errors"),
        pytest.param((0.01, 0.20, USUAL), id="latency"),
        pytest.param((0.01, 0.03, HIGHER), id="scores"),
    ],
)
def test_a_canary_that_is_worse_is_caught_within_3000_of_its_requests(bad: Rates) -> None:
    rng = np.random.default_rng(7)
    caught = sum(
        any(v.result is TestOutcome.Fail for v in canary(rng, TERMS, looks=30, champion=GOOD, challenger=bad))
        for _ in range(100)
    )
    assert caught >= 95
