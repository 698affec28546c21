"""Whether a version that has a share of the traffic is worse than the one it is to replace.

Each metric is a test that may be looked at as often as one likes (`evidence`), of the counts of the present step alone:
an operator that is killed has nothing to remember. The chance of a false alarm is divided evenly among stages, and in
each among metrics (Bonferroni). The comparison of an A/B test counts as a stage of its own, beside the split, where any
metric may be found worse, and the guard: it has a third of the chance, for both directions together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

from churn_operator.api.analysis import (
    SCORE_BINS,
    AnalysisSpec,
    LabelsSpec,
    Sample,
    SloSpec,
    TestName,
    TestOutcome,
    TestResult,
    Verdict,
)
from churn_operator.api.rollout import ABTestSpec, Comparison, Winner
from churn_operator.api.tasks import ShadowResult
from churn_operator.churnmodel.counts import NO_SCORES, Counts, Scores
from churn_operator.churnmodel.evidence import (
    Prior,
    Share,
    band_at_any_size,
    band_at_size,
    interval_of_difference,
    interval_of_rate,
    ks_distance,
    log_evidence_above,
    log_evidence_worse,
)

METRICS = 3
"""Those that are tested by evidence, in each stage: errors, latency and scores; where labels are asked for, quality."""
MAX_LATE = 0.05
"""A promise about the 95th percentile is one about the share above it."""
_ALARMS = 99.0
"""Evidence is not told beyond this power of ten."""


@dataclass(frozen=True)
class Terms:
    """What was agreed before anything was seen."""

    analysis: AnalysisSpec
    stages: int
    """Steps of the rollout, or a split and its comparison, and the guard after them where there is one."""
    labels: LabelsSpec | None = None
    """Where labels are looked for."""
    gateway: bool = False
    """Only what came through the Gateway is counted."""

    @property
    def stage_alpha(self) -> float:
        """Chance of a false alarm that one stage has."""
        return self.analysis.false_alarm_rate / self.stages

    @property
    def alpha(self) -> float:
        """The same of one metric in it, whether or not a label will ever come."""
        return self.stage_alpha / (METRICS + (self.labels is not None))

    @property
    def needed(self) -> float:
        """Natural logarithm of the e-value that is a failure."""
        return log(1 / self.alpha)


@dataclass(frozen=True)
class Rate:
    """A metric that is a share of what is counted."""

    name: TestName
    of: Callable[[Counts], Share]
    prior: Prior
    words: str
    """What befell those that count."""
    seen: Callable[[Counts], int] = lambda counts: counts.requests
    """How much was seen: less than minRequests tells nothing for the version."""
    unit: str = "requests"
    """What that is."""
    both: bool = False
    """As much must have been seen of the champion."""


ERROR_RATE = Rate(TestName.ErrorRate, lambda counts: counts.failed, Prior(0.01), "requests failed or were given up")
LATENCY = Rate(TestName.Latency, lambda counts: counts.late, Prior(0.05), "answers were slower than promised")
QUALITY = Rate(
    TestName.Quality,
    lambda counts: counts.mistaken,
    Prior(0.2),
    "decisions were wrong",
    seen=lambda counts: counts.labelled,
    unit="labels",
    both=True,
)
RATES = (ERROR_RATE, LATENCY)
"""Those that every version is judged by."""
CHANGES = Prior(0.05)
"""Of decisions that a challenger changes."""


def judge(
    champion: Counts | None,
    challenger: Counts | None,
    offline: Scores | None,
    terms: Terms,
    unread: str | None = None,
) -> Verdict:
    """A step: the challenger beside the champion over the same time.

    `None` stands for counts that could not be read, and for held-out probabilities that no one counted: the first is
    an error, never a failure; without the second scores are not judged. `unread` is why there are no labels.
    """
    if champion is None or challenger is None:
        return _unreadable("challenger" if challenger is None else "champion")
    tests = [_beside_champion(rate, champion, challenger, terms) for rate in RATES]
    tests += _scores(challenger, champion, offline, terms)
    tests += _quality(champion, challenger, unread, terms)
    return _verdict(*tests, terms=terms, unread=unread)


def compare(declared: ABTestSpec, champion: Counts, challenger: Counts, terms: Terms) -> Comparison:
    """An A/B test: which of the two is better in the one metric that was declared, if either surely is.

    It may be asked at any time, and as often: the interval holds at all sizes at once. Every rate is of what should not
    happen, so that the lower one is the better.
    """
    rate = next(rate for rate in (*RATES, QUALITY) if rate.name == declared.metric)
    theirs, own = rate.of(champion), rate.of(challenger)
    lower, upper = map(_rounded, interval_of_difference(theirs, own, rate.prior, terms.stage_alpha))
    winner = Winner.Champion if lower > 0 else Winner.Challenger if upper < 0 else Winner.Undecided
    found = {
        Winner.Champion: f"worse by at least {lower:.2%}",
        Winner.Challenger: f"better by at least {-upper:.2%}",
        Winner.Undecided: f"neither is surely better with {rate.seen(challenger):,} of {declared.sample:,} {rate.unit}",
    }
    return Comparison(
        declared=declared,
        winner=winner,
        seen=rate.seen(challenger),
        reference=_side(theirs),
        challenger=_side(own),
        estimate=_rounded(own.estimate - theirs.estimate) if own.trials and theirs.trials else None,
        lower=lower,
        upper=upper,
        message=f"{_counted(own, rate.words)}, the champion's {_counted(theirs)}: {found[winner]}.",
    )


def breach(
    counts: Counts | None,
    before: Counts | None,
    slo: SloSpec,
    offline: Scores | None,
    terms: Terms,
    unread: str | None = None,
) -> Verdict:
    """After promotion: the new champion beside what is promised and what the old one showed.

    It fails where it is worse than both. `before` tells nothing where it has fewer requests than are needed to judge.
    Labels are those of the last step, which both have had in the same time.
    """
    if counts is None:
        return _unreadable("champion")
    known = before if before is not None and before.requests >= terms.analysis.min_requests else None
    tests = [_beside_promise(rate, counts, known, _promised(rate, slo), terms) for rate in RATES]
    tests += _scores(counts, None, offline, terms)
    tests += _quality(before or Counts(), counts, unread, terms)
    return _verdict(*tests, terms=terms, unread=unread)


def replayed(
    result: ShadowResult, min_agreement: float | None, slo: SloSpec, offline: Scores | None, terms: Terms
) -> Verdict:
    """What the champion's clients had asked, and the challenger answered: beside what is promised.

    Of decisions the share itself is held to the bound that was asked for, as gates hold a metric: where it lies for all
    clients is told by the interval.
    """
    counts = Counts(result.requests, result.errors, result.slow, result.scores or NO_SCORES)
    tests = [_beside_promise(rate, counts, None, _promised(rate, slo), terms) for rate in RATES]
    tests += _scores(counts, None, offline if result.scores else None, terms)
    tests += () if min_agreement is None else (_decisions(result, min_agreement, terms),)
    verdict = _verdict(*tests, terms=terms)
    told = [verdict.message]
    if result.agreement is not None:
        told.append(f"{result.agreement:.1%} of {result.compared:,} decisions are the champion's.")
    if result.problem:
        told.append(f"The first of {result.errors:,} errors ({result.refused:,} refusals): {result.problem}")
    return verdict.model_copy(update={"message": " ".join(told)[:1024]})


def _promised(rate: Rate, slo: SloSpec) -> float:
    return slo.max_error_rate if rate is ERROR_RATE else MAX_LATE


def _unreadable(whose: str) -> Verdict:
    return Verdict(result=TestOutcome.Error, message=f"The {whose}'s metrics could not be read.")


def _verdict(*tests: TestResult, terms: Terms, unread: str | None = None) -> Verdict:
    results, names = {test.result for test in tests}, {test.name for test in tests}
    order = (TestOutcome.Fail, TestOutcome.Error, TestOutcome.Inconclusive, TestOutcome.Pass)
    result = next(outcome for outcome in order if outcome in results)
    requests = tests[0].challenger.size
    if result is TestOutcome.Pass:
        message = (
            f"Nothing speaks against the version after {requests:,} requests ({terms.analysis.min_requests:,} needed)."
        )
        if TestName.Scores not in names:
            message += " Its scores were not judged: there is nothing to compare them with."
        if terms.labels is not None and TestName.Quality not in names:
            message += f" Whether it decided rightly was not judged: {_no_labels(unread)}."
    elif result is TestOutcome.Inconclusive and requests < terms.analysis.min_requests:
        came = "come through the Gateway" if terms.gateway else "come"
        message = f"{requests:,} of the {terms.analysis.min_requests:,} requests have {came} that are needed to judge."
    else:
        message = " ".join(test.message for test in tests if test.result is result)
    return Verdict(result=result, message=message[:1024], tests=tests)


def _beside_champion(rate: Rate, champion: Counts, challenger: Counts, terms: Terms) -> TestResult:
    theirs, own = rate.of(champion), rate.of(challenger)
    evidence = log_evidence_worse(theirs, own, rate.prior)
    lower, upper = interval_of_difference(theirs, own, rate.prior, terms.alpha)
    least = terms.analysis.min_requests
    enough = rate.seen(challenger) >= least and rate.seen(champion) >= (least if rate.both else 1) and theirs.trials > 0
    result = _outcome(failed=evidence >= terms.needed, enough=enough)
    seen = f"{_counted(own, rate.words)}, the champion's {_counted(theirs)}"
    return TestResult(
        name=rate.name,
        result=result,
        reference=_side(theirs),
        challenger=_side(own),
        estimate=_rounded(own.estimate - theirs.estimate),
        lower=_rounded(lower),
        upper=_rounded(upper),
        bound=0,
        evidence=_power(evidence),
        needed=_power(terms.needed),
        message=f"{seen}: {_in_words(rate, result, challenger, terms, f'worse by at least {max(lower, 0):.2%}')}.",
    )


def _beside_promise(rate: Rate, counts: Counts, before: Counts | None, bound: float, terms: Terms) -> TestResult:
    """An intersection-union test (Berger 1982): worse than the larger of two bounds is worse than each.

    So what the old champion showed counts with all its uncertainty, and neither test's alpha has to be halved.
    """
    own = rate.of(counts)
    evidence = log_evidence_above(own, bound, rate.prior)
    if before is not None:
        evidence = min(evidence, log_evidence_worse(rate.of(before), own, rate.prior))
    lower, upper = interval_of_rate(own, rate.prior, terms.alpha)
    enough = counts.requests >= terms.analysis.min_requests
    result = _outcome(failed=evidence >= terms.needed, enough=enough)
    beside = "" if before is None else f", the former champion's {_counted(rate.of(before))}"
    seen = f"{_counted(own, rate.words)}, where {bound:.2%} are promised{beside}"
    return TestResult(
        name=rate.name,
        result=result,
        reference=None if before is None else _side(rate.of(before)),
        challenger=_side(own),
        estimate=_rounded(own.estimate) if own.trials else None,
        lower=_rounded(lower),
        upper=_rounded(upper),
        bound=bound,
        evidence=_power(evidence),
        needed=_power(terms.needed),
        message=f"{seen}: {_in_words(rate, result, counts, terms, f'surely at least {lower:.2%}')}.",
    )


def _quality(champion: Counts, challenger: Counts, unread: str | None, terms: Terms) -> tuple[TestResult, ...]:
    """Where labels have come; too few of them matter where they are required."""
    if terms.labels is None:
        return ()
    test = _beside_champion(QUALITY, champion, challenger, terms)
    if not terms.labels.required:
        return () if test.result is TestOutcome.Inconclusive else (test,)
    if unread is not None and test.result is not TestOutcome.Fail:
        told = f"Whether it decides rightly is not known: {_no_labels(unread)}."
        return (test.model_copy(update={"result": TestOutcome.Error, "message": told[:1024]}),)
    return (test,)


def _no_labels(unread: str | None) -> str:
    return "too few labels have come" if unread is None else f"labels could not be read, {unread}"


def _decisions(result: ShadowResult, min_agreement: float, terms: Terms) -> TestResult:
    changed, bound = Share(min(result.changed, result.compared), result.compared), _rounded(1 - min_agreement)
    lower, upper = interval_of_rate(changed, CHANGES, terms.alpha)
    fields = {"name": TestName.Decisions, "challenger": _side(changed), "bound": bound}
    fields |= {"lower": _rounded(lower), "upper": _rounded(upper)}
    if not changed.trials:
        why = f"the log holds no values of {', '.join(result.hidden)}" if result.hidden else "nothing was answered"
        message = f"No decision could be compared with the champion's, where {min_agreement:.1%} must be: {why}."
        return TestResult.model_validate(fields | {"result": TestOutcome.Inconclusive, "message": message})
    is_met = (changed.trials - changed.events) / changed.trials >= min_agreement
    seen = _counted(changed, "decisions are not the champion's")
    message = f"{seen}, where {bound:.2%} may be otherwise."
    outcome = TestOutcome.Pass if is_met else TestOutcome.Fail
    estimate = _rounded(changed.estimate)
    return TestResult.model_validate(fields | {"result": outcome, "estimate": estimate, "message": message})


def _scores(
    challenger: Counts, champion: Counts | None, offline: Scores | None, terms: Terms
) -> tuple[TestResult, ...]:
    """The distribution of the version's probabilities beside its own on held-out rows, where both are known.

    The rows of one request are often alike: no more of them count as independent than there were answers. But each row
    weighs the same, whosever it is: where a few requests have most of the rows, the distribution is that of those few,
    and the band is too narrow for it.
    """
    rows, answers, held_out = sum(challenger.scores), challenger.late.trials, sum(offline or ())
    if offline is None or not held_out or (not rows and answers >= terms.analysis.min_requests):
        return ()
    bands = band_at_any_size(min(rows, answers), terms.alpha / 2) + band_at_size(held_out, terms.alpha / 2)
    distance, bound = ks_distance(offline, challenger.scores), terms.analysis.max_score_distance
    lower, upper = max(0.0, distance - bands), min(1.0, distance + bands)
    result = _outcome(failed=lower > bound, enough=challenger.requests >= terms.analysis.min_requests)
    seen = f"{rows:,} probabilities lie {distance:.2f} from those of {held_out:,} held-out rows"
    if champion is not None and any(champion.scores) and rows:
        seen += f" ({ks_distance(champion.scores, challenger.scores):.2f} from the champion's)"
    failure = f"surely more than {lower:.3f}, where {bound:g} is allowed"
    return (
        TestResult(
            name=TestName.Scores,
            result=result,
            reference=_spread(offline),
            challenger=_spread(challenger.scores),
            estimate=_rounded(distance) if rows else None,
            lower=_rounded(lower),
            upper=_rounded(upper),
            bound=bound,
            message=f"{seen}: {_in_words(ERROR_RATE, result, challenger, terms, failure)}.",
        ),
    )


def _outcome(*, failed: bool, enough: bool) -> TestOutcome:
    if failed:
        return TestOutcome.Fail
    return TestOutcome.Pass if enough else TestOutcome.Inconclusive


def _in_words(rate: Rate, result: TestOutcome, counts: Counts, terms: Terms, failure: str) -> str:
    if result is TestOutcome.Fail:
        return failure
    if result is TestOutcome.Pass:
        return "no evidence against the version"
    needed, came = terms.analysis.min_requests, rate.seen(counts)
    if came < needed:
        return f"too little to judge before {needed:,} {rate.unit} ({came:,} came)"
    return "nothing to compare with yet"


def _counted(share: Share, words: str = "") -> str:
    percent = (f"({share.estimate:.1%})",) if share.trials else ()
    return " ".join(word for word in (f"{share.events:,} of {share.trials:,}", words, *percent) if word)


def _side(share: Share) -> Sample:
    return Sample(size=share.trials, events=share.events, estimate=_rounded(share.estimate) if share.trials else None)


def _spread(scores: Scores) -> Sample:
    """With the mean probability, each taken for the middle of its bin."""
    size, half = sum(scores), SCORE_BINS[0] / 2
    total = sum(count * (bound - half) for count, bound in zip(scores, SCORE_BINS, strict=True))
    return Sample(size=size, estimate=_rounded(total / size) if size else None)


def _rounded(share: float) -> float:
    return round(share, 5)


def _power(natural: float) -> float:
    """A natural logarithm as a decimal one, for people."""
    return round(min(_ALARMS, max(-_ALARMS, natural / log(10))), 2)
