"""How traffic moves to a new version, and how far it has moved."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from churn_operator.api.analysis import AnalysisSpec, Sample, ScoreCounts, Verdict, between
from churn_operator.api.base import Duration, Interval, Model, Name, Text, Time, Word, map_list, rules
from churn_operator.api.tasks import LabelsResult, ShadowResult

Hostname = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Count = Annotated[int, Field(ge=0)]

_SECONDS = (
    "int({0}.substring(0, size({0}) - 1)) * {{'s': 1, 'm': 60, 'h': 3600, 'd': 86400}}[{0}.substring(size({0}) - 1)]"
)
"""A duration in CEL, which itself knows no days."""


class ParentRef(Model):
    """A Gateway."""

    name: Name
    """Name of the Gateway."""
    namespace: Name | None = None
    """Its namespace. Defaults to the model's."""
    section_name: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """One of its listeners. Absent: every one that admits the route."""


class GatewaySpec(Model):
    """The Gateway whose clients are split between two versions."""

    parent_refs: Annotated[tuple[ParentRef, ...], Field(min_length=1, max_length=4)]
    """The Gateways that an HTTPRoute of the model's name attaches to."""
    hostnames: Annotated[tuple[Hostname, ...], Field(max_length=8)] = ()
    """Host names by which clients ask there. Absent: any that the listener has."""


class StepSpec(Model):
    """A share of the traffic, and how long it is looked at."""

    weight: Annotated[int, Field(ge=1, le=99)]
    """Percent of the gateway's requests that the challenger gets."""
    pause: Interval = "10m"
    """At least this long, until the analysis passes."""


class ShadowSpec(Model):
    """What a challenger is asked before it takes the traffic: what clients asked the champion, as it was logged.

    Its answers go nowhere. Those that fail or are slow are judged by serving.slo; there a refusal counts as a failure,
    because the champion answered the same.
    """

    requests: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Logged rows that are sent, each in a request of its own, chosen from the last seven days by chance."""
    requests_per_second: Annotated[int, Field(ge=1, le=1000)] = 20
    """No more than these in a second."""
    min_agreement: Annotated[float, Field(ge=0, le=1), between("minAgreement", 0.0, 1.0)] | None = None
    """Share of the decisions that must be the champion's. Absent: decisions are told, and not judged."""


class ABTestSpec(Model):
    """What decides between two versions that share the traffic.

    A test that is declared otherwise while it is under way begins anew: a metric is not chosen by what it has shown.
    """

    weight: Annotated[int, Field(ge=1, le=99)] = 50
    """Percent of the gateway's requests that the challenger gets. The nearer to 50, the fewer it takes."""
    metric: Literal["ErrorRate", "Latency", "Quality"] = "ErrorRate"
    """What must differ: the share of requests that fail, of answers that are later than serving.slo promises, or of
    decisions that labels show to be wrong (it needs analysis.labels)."""
    sample: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """Requests that the challenger gets at most, or for Quality labels of what it was asked. Where neither version is
    surely better by then, the champion stays: a version that was not shown to be better has not earned the traffic."""


class RolloutSpec(Model):
    """How traffic moves to a new version."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                (
                    "self.steps.map(s, s.weight).isSorted() && "
                    "self.steps.all(s, self.steps.exists_one(t, t.weight == s.weight))"
                ),
                "steps: each weight must be greater than the one before",
            ),
            (
                (
                    f"self.steps.all(s, {_SECONDS.format('s.pause')} <= {_SECONDS.format('self.guard')}) || "
                    "self.strategy != 'Canary'"
                ),
                "guard must not be shorter than a step's pause: what a step finds, the guard must have time to find",
            ),
            (
                "self.strategy != 'Shadow' || self.shadow.requests >= self.analysis.minRequests",
                "shadow.requests must not be fewer than analysis.minRequests: the replay could never be judged",
            ),
            (
                "self.strategy != 'ABTest' || self.abTest.sample >= self.analysis.minRequests",
                "abTest.sample must not be fewer than analysis.minRequests: the challenger could never win",
            ),
            (
                "self.strategy != 'ABTest' || self.abTest.metric != 'Quality' || has(self.analysis.labels)",
                "abTest.metric Quality needs analysis.labels: without them nobody knows which decisions were wrong",
            ),
        )
    )

    strategy: Literal["BlueGreen", "Canary", "Shadow", "ABTest"] = "BlueGreen"
    """BlueGreen: all at once, when the new version has answered a prediction. Canary: step by step, by a gateway.
    Shadow: all at once, when it has answered what clients asked the champion, as the inference log has it. ABTest: all
    at once, when it did surely better than the champion beside it, by a gateway that splits clients meanwhile."""
    steps: Annotated[tuple[StepSpec, ...], Field(min_length=1, max_length=10)] = (
        StepSpec(weight=10),
        StepSpec(weight=50),
    )
    """Of a Canary."""
    shadow: ShadowSpec = ShadowSpec()
    """Of a Shadow."""
    ab_test: ABTestSpec = ABTestSpec()
    """Of an ABTest."""
    guard: Duration = "1h"
    """The version before stays warm for this long, and comes back where the new one does worse than it did, or stops
    answering. The next version waits until it is over."""
    progress_deadline: Interval = "10m"
    """A version that is not ready so long after its InferenceService was made, or after the operator began to look, is
    given up; the champion serves on."""
    analysis: AnalysisSpec = AnalysisSpec()
    """How a challenger is judged while it has traffic."""
    paused: bool = False
    """Traffic stays where it is. A challenger that fails is still taken off it."""

    @property
    def weights(self) -> tuple[int, ...]:
        """Percent of the traffic that a challenger gets, step by step; an A/B test has one step, and holds it."""
        return (self.ab_test.weight,) if self.strategy == "ABTest" else tuple(step.weight for step in self.steps)


class RolloutPhase(StrEnum):
    """Where a rollout is."""

    Starting = "Starting"
    Shadowing = "Shadowing"
    Shifting = "Shifting"
    Guarding = "Guarding"
    Complete = "Complete"
    RolledBack = "RolledBack"


class Counters(Model):
    """What pods have counted of clients' requests."""

    pod: Annotated[str, Field(max_length=253)]
    """The pod; where several are summed up, the version."""
    requests: Count = 0
    """Answered, failed or given up by the client."""
    errors: Count = 0
    """Failed or given up."""
    slow: Count = 0
    """Answered later than serving.slo promises."""
    p95_milliseconds: Annotated[int, Field(ge=1)] | None = None
    """What it promised when these were counted: by another promise others are slow."""
    gateway: bool | None = None
    """Only requests through serving.gateway were counted; false: those of all clients."""
    scores: ScoreCounts = (0,) * 20
    """Predictions by probability, in twenty equal bins."""


class Baseline(Model):
    """A version's counters when the step began, or when they were first read in it by the present promise."""

    version: Word
    """The version."""
    pods: Annotated[tuple[Counters, ...], Field(max_length=100)] = ()
    """Of each of its pods."""


class ShadowStatus(Model):
    """The replay of the champion's logged requests."""

    attempt: Annotated[int, Field(ge=1)] = 1
    """How often it was begun: it is begun again where it came to no verdict."""
    since: Time
    """Since when it is under way; what was logged before is sent."""
    retry_at: Time | None = None
    """It ended without a verdict, and is begun again then."""
    reason: Word | None = None
    """Why the last one that ended came to no verdict."""
    message: Text = ""
    """The same for people."""
    result: ShadowResult | None = None
    """What it found."""


class Winner(StrEnum):
    """Which of two versions is surely better."""

    Undecided = "Undecided"
    Challenger = "Challenger"
    Champion = "Champion"


class Comparison(Model):
    """Challenger and champion beside each other, in an A/B test."""

    declared: ABTestSpec
    """What the spec said when the test began."""
    winner: Winner = Winner.Undecided
    """Challenger or Champion: it is surely better. Undecided: neither is, yet or with all of the sample."""
    seen: Count = 0
    """What the challenger had of its sample."""
    reference: Sample = Sample(size=0)
    """The champion's requests, answers or labels."""
    challenger: Sample = Sample(size=0)
    """The challenger's own."""
    estimate: Annotated[float, Field(ge=-1, le=1)] | None = None
    """The challenger's share less the champion's. Absent where one of them was not asked."""
    lower: Annotated[float, Field(ge=-1, le=1)] = -1
    """Where the true difference surely lies, whenever one looks: at or above this. Above 0 the champion is better."""
    upper: Annotated[float, Field(ge=-1, le=1)] = 1
    """And at or below this. Below 0 the challenger is better."""
    message: Text = ""
    """The same in a sentence."""


class LabelsStatus(Model):
    """What is known of the decisions of the versions that share, or shared, the traffic."""

    champion: Word
    """The version beside which the other is judged."""
    since: Time
    """Predictions since then count, until the traffic is shared no more: the last step's."""
    begun: Time | None = None
    """The last look for labels that was begun; it reads what was logged before. One begins with each interval."""
    ended: Time | None = None
    """The last one that came to an end."""
    reason: Word | None = None
    """Why that one, or the next, tells nothing; absent where it told something."""
    message: Text = ""
    """The same for people."""
    result: LabelsResult | None = None
    """What the last one that told something found."""


class RolloutStatus(Model):
    """The rollout that is under way, or the last one."""

    version: Word
    """The challenger."""
    returns: bool = False
    """It served before, and a person called it back."""
    phase: RolloutPhase
    """Starting, Shadowing, Shifting, Guarding, Complete or RolledBack."""
    step: Annotated[int, Field(ge=0, le=10)] = 0
    """Which step of spec.rollout.steps, from 1; 0 before the first. An A/B test is one step."""
    weight: Annotated[int, Field(ge=0, le=100)] = 0
    """Percent of the gateway's requests that the challenger is to get."""
    began: Time
    """When its server was asked for."""
    since: Time
    """Since when it is in this step."""
    baselines: Annotated[tuple[Baseline, ...], Field(max_length=2, json_schema_extra=map_list("version"))] = ()
    """What each version had counted when the step began."""
    before: Counters | None = None
    """What the champion before showed in the last step; what comes after it is judged by it in its guard time."""
    shadow: ShadowStatus | None = None
    """The replay of logged requests, of a Shadow."""
    comparison: Comparison | None = None
    """Which version is better, of an ABTest."""
    labels: LabelsStatus | None = None
    """What is known of the decisions, where rollout.analysis.labels is set."""
    verdict: Verdict | None = None
    """What the last analysis of this step, or of the replay, found."""
    reason: Word | None = None
    """Why the version lost its traffic, or the prospect of any: AnalysisFailed, Aborted, ABTestUndecided and so on.
    GuardNotJudged: it kept it, and was not judged to the end. GatewayUnavailable: it waits for the Gateway."""
    message: Text = ""
    """What it waits for, or why it ended."""
