"""What /metrics says beside what the SDK says of itself. Labels are bounded: a version, its columns, outcomes."""

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from churn_operator.api.analysis import SCORE_BINS
from churn_operator.api.contract import MISSING, Contract
from churn_operator.predictor.request import Caller, Rows

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)
BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
GONE = 499
"""Status of a request that was there, and whose client went away before its answer: nginx's, which nobody hears."""
CONFIDENCE = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0)
MODEL = ("model", "version")
REQUEST = (*MODEL, "protocol", "outcome", "caller")

REQUESTS = Counter(
    "churn_predictor_requests",
    "Predictions asked for: outcome answered, refused, failed or abandoned; caller client, gateway (a client, through "
    "the model's HTTPRoute), probe or shadow",
    REQUEST,
)
REQUEST_SECONDS = Histogram(
    "churn_predictor_request_seconds", "From a request's head until its answer", REQUEST, buckets=SECONDS
)
ROWS = Counter("churn_predictor_rows", "Rows scored for clients", MODEL)
MISSING_VALUES = Counter("churn_predictor_missing_values", "Values that clients left empty", (*MODEL, "column"))
UNKNOWN_CATEGORIES = Counter(
    "churn_predictor_unknown_categories", "Categories of clients that training did not see", (*MODEL, "column")
)
BATCHES = Histogram("churn_predictor_batch_rows", "Rows of one call of the model", MODEL, buckets=BATCH_ROWS)


class Distribution:
    """A histogram's counts; the last is of what exceeds every bound."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = tuple(map(str, bounds))
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def buckets(self) -> list[tuple[str, float]]:
        return list(zip((*self._bounds, "+Inf"), map(float, accumulate(self.counts)), strict=True))


class Probabilities(Collector):
    """Histograms that take the rows of a request at once: a call for each would cost more than the model."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[Distribution, Distribution]] = {}

    def add(self, key: tuple[str, str], probabilities: Iterable[float]) -> None:
        if key not in self._seen:
            self._seen[key] = Distribution(CONFIDENCE), Distribution(SCORE_BINS)
        confidences, scores = self._seen[key]
        sure_counts, counts = confidences.counts, scores.counts
        total_sure = total = 0.0
        for probability in probabilities:
            sure = probability if probability > 0.5 else 1 - probability
            sure_counts[bisect_left(CONFIDENCE, sure)] += 1
            counts[bisect_left(SCORE_BINS, probability)] += 1
            total_sure += sure
            total += probability
        confidences.sum += total_sure
        scores.sum += total

    def collect(self) -> Iterable[Metric]:
        families = (
            HistogramMetricFamily(
                "churn_predictor_confidence", "Probability of the likelier answer, of clients' rows", labels=MODEL
            ),
            HistogramMetricFamily(
                "churn_predictor_probability", "Probability of churn, of clients' rows", labels=MODEL
            ),
        )
        for key, distributions in self._seen.items():
            for family, distribution in zip(families, distributions, strict=True):
                family.add_metric(key, distribution.buckets(), distribution.sum)
        yield from families


PROBABILITIES = Probabilities()
REGISTRY.register(PROBABILITIES)


class Meter:
    """The counters of one version."""

    def __init__(self, model: str, version: str, contract: Contract) -> None:
        self._key = (model, version)
        self._requests: dict[tuple[str, str, Caller], tuple[Counter, Histogram]] = {}
        self._rows = ROWS.labels(*self._key)
        self._batches = BATCHES.labels(*self._key)
        self._missing_numbers = [self._missing(feature.name) for feature in contract.numerical]
        self._categorical = [
            (frozenset(feature.categories), self._missing(feature.name), self._unknown(feature.name))
            for feature in contract.categorical
        ]
        PROBABILITIES.add(self._key, ())
        # Before anybody asks: one that knows no such callers tells nothing of them.
        REQUESTS.labels(*self._key, "v1", "answered", "gateway")

    def _missing(self, column: str) -> Counter:
        return MISSING_VALUES.labels(*self._key, column)

    def _unknown(self, column: str) -> Counter:
        return UNKNOWN_CATEGORIES.labels(*self._key, column)

    def asked(self, protocol: str, outcome: str, seconds: float, caller: Caller) -> None:
        """Count a request that was answered, one way or another."""
        key = (protocol, outcome, caller)
        if key not in self._requests:
            labels = (*self._key, protocol, outcome, caller)
            self._requests[key] = (REQUESTS.labels(*labels), REQUEST_SECONDS.labels(*labels))
        counter, histogram = self._requests[key]
        counter.inc()
        histogram.observe(seconds)

    def scored(self, rows: Rows, probabilities: list[float]) -> None:
        """Count a client's rows."""
        self._rows.inc(len(probabilities))
        PROBABILITIES.add(self._key, probabilities)
        for numbers in rows.numbers:
            for number, missing in zip(numbers, self._missing_numbers, strict=True):
                if number != number:  # noqa: PLR0124 - a missing number is NaN, and this is the quickest way to see it
                    missing.inc()
        for categories in rows.categories:
            for category, (known, missing, unknown) in zip(categories, self._categorical, strict=True):
                if category not in known:
                    (missing if category == MISSING else unknown).inc()

    def batched(self, rows: int) -> None:
        """Count a call of the model for several requests."""
        self._batches.observe(rows)


def outcome(status: int) -> str:
    """What became of a request, by its HTTP status."""
    if status < 400:
        return "answered"
    if status == GONE:
        return "abandoned"
    return "refused" if status < 500 else "failed"
