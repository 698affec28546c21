"""What a version's predictors have counted of clients' requests."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import isclose

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from churn_operator.api.analysis import SCORE_BINS
from churn_operator.churnmodel.evidence import Share

Scores = tuple[int, ...]
NO_SCORES: Scores = (0,) * len(SCORE_BINS)

_PREFIX = "churn_predictor_"
GATEWAY = frozenset({"gateway"})
CLIENTS = GATEWAY | {"client"}
"""Callers who are no one of ours: those who came through the gateway, and all."""
_LARGEST = 2**53
"""Up to which every whole number is a double."""
_ERRORS = frozenset({"failed", "abandoned"})
_JUDGED = _ERRORS | {"answered"}
"""What is refused is the client's fault, under every version."""


@dataclass(frozen=True)
class Counts:
    """Of one version: since its processes began, or between two looks."""

    requests: int = 0
    """Answered, failed or abandoned."""
    errors: int = 0
    """Failed or abandoned."""
    slow: int = 0
    """Answered, later than promised."""
    scores: Scores = NO_SCORES
    """Probabilities in each of SCORE_BINS."""
    labelled: int = 0
    """Decisions whose label has come; processes know none."""
    wrong: int = 0
    """Those of them that the label says otherwise of."""
    timed: bool = True
    """It is known which answers were slow, by the present promise."""

    def __add__(self, other: "Counts") -> "Counts":
        """Of two processes, or of two stretches of time."""
        scores = tuple(a + b for a, b in zip(self.scores, other.scores, strict=True))
        return Counts(
            self.requests + other.requests,
            self.errors + other.errors,
            self.slow + other.slow,
            scores,
            self.labelled + other.labelled,
            self.wrong + other.wrong,
        )

    def __sub__(self, earlier: "Counts") -> "Counts":
        """What one process counted since; all of it where that began anew at 0."""
        if self.began_anew(earlier):
            return self
        scores = tuple(a - b for a, b in zip(self.scores, earlier.scores, strict=True))
        return Counts(self.requests - earlier.requests, self.errors - earlier.errors, self.slow - earlier.slow, scores)

    def began_anew(self, earlier: "Counts") -> bool:
        """The process did: counts only grow while one lives."""
        return any(now < then for now, then in zip(self.all, earlier.all, strict=True))

    @property
    def all(self) -> tuple[int, ...]:
        """Each number that a process counts."""
        return (self.requests, self.errors, self.slow, *self.scores)

    @property
    def failed(self) -> Share:
        """Requests that failed or were abandoned."""
        return Share(min(self.errors, self.requests), self.requests)

    @property
    def late(self) -> Share:
        """Answers that came later than promised; none where that is not known."""
        answered = self.requests - self.failed.events if self.timed else 0
        return Share(min(self.slow, answered), answered)

    @property
    def mistaken(self) -> Share:
        """Decisions that were wrong, of those that it is known of."""
        return Share(min(self.wrong, self.labelled), self.labelled)


def parse_counts(text: str, version: str, slo_seconds: float) -> Counts:
    """One process's counts, from what its /metrics says.

    Raises:
        ValueError: it is no text of Prometheus, or knows nothing of this version.
    """
    return count(parse_metrics(text), version, slo_seconds)


def parse_metrics(text: str) -> list[Sample]:
    """What a predictor counts, from what its /metrics says.

    Raises:
        ValueError: it is no text of Prometheus.
    """
    try:
        return list(_samples(text_string_to_metric_families(text)))
    except Exception as error:  # the parser raises whatever it comes to
        raise ValueError(f"not the text format of Prometheus: {error!r}") from error


def tells_gateway(told: Iterable[Sample]) -> bool:
    """Clients who came through the gateway are counted apart; a predictor that is older counts them with the others."""
    return any(sample.labels.get("caller") in GATEWAY for sample in told)


def count(told: Iterable[Sample], version: str, slo_seconds: float, callers: frozenset[str] = CLIENTS) -> Counts:
    """One process's counts, from its samples, of what these callers asked; of probabilities, of what anybody did.

    An answer is slow above the smallest bound of the histogram that is not below the promise.

    Raises:
        ValueError: they know nothing of this version, or are no counts.
    """
    samples = [sample for sample in told if sample.labels.get("version") == version]
    if not samples:
        raise ValueError(f"nothing is told of {version}")
    asked = [sample for sample in samples if sample.labels.get("caller") in callers]
    requests = [s for s in asked if s.name == f"{_PREFIX}requests_total" and s.labels.get("outcome") in _JUDGED]
    errors = [s for s in requests if s.labels["outcome"] in _ERRORS]
    counts = Counts(_total(requests), _total(errors), _slow(asked, slo_seconds), _scores(samples))
    if counts.slow < 0 or min(counts.scores) < 0:
        raise ValueError("a histogram's counts fall where its bounds rise")
    return counts


def _samples(families: Iterable[Metric]) -> Iterator[Sample]:
    return (sample for family in families if family.name.startswith(_PREFIX) for sample in family.samples)


def _total(samples: Iterable[Sample]) -> int:
    return sum(_whole(sample) for sample in samples)


def _whole(sample: Sample) -> int:
    if not 0 <= sample.value <= _LARGEST:  # so that nan is wrong, too
        raise ValueError(f"{sample.name} is {sample.value}, which is no count")
    return int(sample.value)


def _slow(samples: list[Sample], slo_seconds: float) -> int:
    name = f"{_PREFIX}request_seconds_bucket"
    answered = [s for s in samples if s.name == name and s.labels.get("outcome") == "answered"]
    bounds = {float(sample.labels["le"]) for sample in answered}
    if not bounds:
        return 0
    promised = min(bound for bound in bounds if bound >= slo_seconds)  # one is infinite
    in_time = _total(s for s in answered if float(s.labels["le"]) == promised)
    return _total(s for s in answered if s.labels["le"] == "+Inf") - in_time


def _scores(samples: list[Sample]) -> Scores:
    """Of a histogram whose counts are cumulative; none from a predictor that is too old to have it."""
    cumulative: dict[float, int] = {}
    for sample in samples:
        if sample.name == f"{_PREFIX}probability_bucket":
            bound = float(sample.labels["le"])
            cumulative[bound] = cumulative.get(bound, 0) + _whole(sample)
    so_far = [next((n for b, n in cumulative.items() if isclose(b, bound)), None) for bound in SCORE_BINS]
    if not cumulative:
        return NO_SCORES
    known = [n for n in so_far if n is not None]
    if len(known) < len(SCORE_BINS):
        raise ValueError(f"the histogram of probabilities has other bounds than {SCORE_BINS}")
    return tuple(after - before for before, after in pairwise((0, *known)))
