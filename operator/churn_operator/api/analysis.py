"""What a new version must show on clients' requests while it has a share of them, and what was seen."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, WithJsonSchema

from churn_operator.api.base import Model, Text, rules
from churn_operator.api.data import DataSource

SCORE_BINS: tuple[float, ...] = tuple(number / 20 for number in range(1, 21))
"""Upper bounds of 20 equal bins of probability. A probability belongs to the first bin whose bound it does not exceed,
as in a histogram of Prometheus."""

ROUTE_HEADER = "x-churn-route"
"""`true` marks what came through the model's HTTPRoute, which sets it: a challenger has no other clients, and stands
beside what the same ones asked its champion."""

ScoreCounts = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=len(SCORE_BINS), max_length=len(SCORE_BINS))
]
"""How many probabilities each of SCORE_BINS holds."""
Share = Annotated[float, Field(ge=0, le=1)]


def between(name: str, low: float, high: float) -> WithJsonSchema:
    # A rule of its own: the API server prints a bound that is no whole number as the whole number below.
    bounds = rules((f"self >= {low} && self <= {high}", f"{name} must lie between {low} and {high}"))
    return WithJsonSchema({"type": "number"} | bounds)


class PrometheusSpec(Model):
    """A Prometheus that scrapes the predictors."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.url) || self.url.matches('^https?://[^/?#@]+(/[^?#@]*)?$')",
                "url must be http://host or https://host, with port and path where needed: no credentials, no query",
            ),
            (
                "self.labels.all(name, name.matches('^[a-zA-Z_][a-zA-Z0-9_]*$'))",
                "labels: a name has letters, digits and underscores, and begins with no digit",
            ),
        )
    )

    url: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """One of those that the chart allows, in analysis.prometheus.urls. Absent: the first of them."""
    labels: Annotated[
        dict[Annotated[str, Field(max_length=63)], Annotated[str, Field(max_length=253)]], Field(max_length=8)
    ] = {}
    """What the predictors' series must have beside their namespace, model and version, for example cluster: west."""


WholeMinutes = Annotated[str, Field(max_length=16, pattern=r"^[1-9][0-9]{0,3}(m|h|d)$")]
"""An `Interval` of no seconds."""


class LabelsSpec(Model):
    """Where it is told who left, so that it is known which decisions of two versions that share the traffic were wrong.

    Labels that take days need steps that last as long. Those that come after a promotion are still looked for in the
    guard time: of what both versions were asked in the last step.
    """

    source: DataSource
    """A table with data.idColumn and data.target, as in training: a row for each customer whose outcome is known by
    now, stayed or left, and for no other. An empty target is no label; a customer with two different ones is left out.
    Where data.pii hashes the identifier, the table has to hold the same digests."""
    interval: WholeMinutes = "10m"
    """How often labels are looked for, in minutes, hours or days."""
    required: bool = False
    """A step is only passed when minRequests of each version's decisions have labels. By default a step without them
    is judged by the rest."""


class AnalysisSpec(Model):
    """How a new version is judged while it has a share of the traffic."""

    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Requests of clients that the new version must have had in a step before it can pass it."""
    false_alarm_rate: Annotated[float, Field(ge=0.0001, le=0.5), between("falseAlarmRate", 0.0001, 0.5)] = 0.05
    """How often a version that is no worse may be given up for chance, over all metrics, steps and looks together."""
    max_score_distance: Annotated[float, Field(ge=0.01, le=1), between("maxScoreDistance", 0.01, 1.0)] = 0.1
    """How far the distribution of the probabilities that clients get may lie from the one on held-out rows:
    Kolmogorov-Smirnov distance, 0 to 1. Each row counts: where a few requests hold most of the rows, it is theirs."""
    prometheus: PrometheusSpec | None = None
    """Where to read what the predictors have counted. Absent: at their own /metrics."""
    labels: LabelsSpec | None = None
    """Where it is told who left. Absent: whether decisions were right is not judged."""


class SloSpec(Model):
    """What clients are promised."""

    p95_milliseconds: Annotated[int, Field(ge=1, le=1000)] = 100
    """95 % of the answers take no longer. Judged at the next bound of the predictor's histogram: 1, 2, 3, 5, 7.5, 10,
    25, 50, 100, 250, 500 or 1000 ms."""
    max_error_rate: Annotated[float, Field(ge=0, le=0.5), between("maxErrorRate", 0.0, 0.5)] = 0.01
    """Share of the requests that fail or that clients give up. What is refused as malformed is not counted."""


class TestName(StrEnum):
    """What is judged."""

    __test__ = False  # pytest collects what is called Test…

    ErrorRate = "ErrorRate"
    Latency = "Latency"
    Scores = "Scores"
    Quality = "Quality"
    Decisions = "Decisions"


class TestOutcome(StrEnum):
    """What came of it."""

    __test__ = False

    Pass = "Pass"  # noqa: S105 - no password
    Fail = "Fail"
    Inconclusive = "Inconclusive"
    Error = "Error"


class Sample(Model):
    """One side of a test."""

    size: Annotated[int, Field(ge=0)]
    """Requests (ErrorRate), answers (Latency, Decisions), probabilities (Scores) or labels that have come (Quality)."""
    events: Annotated[int, Field(ge=0)] | None = None
    """How many of them failed, were too slow, decided otherwise or were wrong; absent for Scores."""
    estimate: Share | None = None
    """Share of the events; for Scores the mean probability. Absent where the size is 0."""


class TestResult(Model):
    """One metric, judged."""

    __test__ = False

    name: TestName
    """ErrorRate, Latency, Scores, Quality (decisions that were wrong), or after a replay Decisions: those that are not
    the champion's."""
    result: TestOutcome
    """Pass: nothing speaks against the version. Fail: it is surely worse. Inconclusive: too little was seen. Error:
    labels that are required could not be read."""
    reference: Sample | None = None
    """What it is compared with: the champion's requests, for Scores the held-out rows. Absent where it is a promise."""
    challenger: Sample
    """The version's own requests."""
    estimate: Annotated[float, Field(ge=-1, le=1)] | None = None
    """What is judged: the difference of the two shares, or the version's own where that is held to a promise; for
    Scores the Kolmogorov-Smirnov distance."""
    lower: Annotated[float, Field(ge=-1, le=1)]
    """Where the true value surely lies, whenever one looks: at or above this."""
    upper: Annotated[float, Field(ge=-1, le=1)]
    """And at or below this."""
    bound: Annotated[float, Field(ge=0, le=1)]
    """The largest value that is no failure."""
    evidence: Annotated[float, Field(ge=-99, le=99)] | None = None
    """Decimal logarithm of the e-value against "it is no worse"; absent for Scores, where the lower end says it, and
    for Decisions, where the estimate itself is held to the bound."""
    needed: Annotated[float, Field(ge=0, le=99)] | None = None
    """Evidence from which on it is a failure."""
    message: Text
    """The same in a sentence."""


class Verdict(Model):
    """All metrics, judged."""

    result: TestOutcome
    """Fail where one failed, else Error where something could not be read, else Inconclusive, else Pass."""
    message: Text
    """The same in a sentence."""
    tests: Annotated[tuple[TestResult, ...], Field(max_length=len(TestName))] = ()
    """Each metric by itself; none where something could not be read."""
