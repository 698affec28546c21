"""DriftMonitor: looks at a schedule whether current customers still resemble those the champion learned from."""

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from churn_operator.api.base import SHORT_NAME, Conditions, LocalRef, Model, Revision, Text, Time, Uri, Word, rules
from churn_operator.api.data import DataSource
from churn_operator.api.tasks import ColumnDrift, ColumnTests, Window


def _cron_field(value: str) -> str:
    part = rf"(\*|{value}(-{value})?)(/[1-9][0-9]?)?"
    return f"{part}(,{part})*"


_CRON = " ".join(
    _cron_field(value)
    for value in (
        "[0-5]?[0-9]",
        "([01]?[0-9]|2[0-3])",
        "(0?[1-9]|[12][0-9]|3[01]|L)",
        "(0?[1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)",
        "([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)",
    )
)
SCHEDULE = rf"^(@(hourly|daily|weekly|monthly)|@every [1-9][0-9]{{0,5}}[smhd]|{_CRON})$"
"""What a schedule looks like; a regular expression of RE2."""


WindowLength = Annotated[str, Field(max_length=8, pattern=r"^([1-9][0-9]{0,4}[sm]|[1-9][0-9]{0,3}h|[1-9][0-9]{0,2}d)$")]
"""An `Interval` of no more than 999 days."""


class PredictionWindow(Model):
    """The champion's predictions of late."""

    window: WindowLength = "7d"
    """How far it reaches back from each check."""
    min_rows: Annotated[int, Field(ge=50, le=1_000_000)] = 500
    """Fewer predictions of clients are not judged: of few, the distances are chance."""


class Current(Model):
    """Where the current rows are."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.source) != has(self.predictions)", "exactly one of source and predictions is required")
        )
    )

    source: DataSource | None = None
    """A table with the model's features; each new state of it is one window."""
    predictions: PredictionWindow | None = None
    """What clients asked the champion, by the inference log. Probes and golden requests are left out."""


class Persistence(Model):
    """How many windows must agree before the alarm."""

    model_config = ConfigDict(json_schema_extra=rules(("self.breaches <= self.of", "breaches must not exceed of")))

    breaches: Annotated[int, Field(ge=1, le=10)] = 1
    """Windows that must reach the bound before it is an alarm."""
    of: Annotated[int, Field(ge=1, le=10)] = 1
    """How many of the last windows are looked at: of windows of predictions, those that do not overlap."""


class MonitoringSpec(Model):
    """What is compared, when, and from where on it is an alarm."""

    schedule: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            # No `pattern`: its message would be the expression.
            json_schema_extra=rules(
                (
                    f"self.matches(r'{SCHEDULE}')",
                    (
                        "schedule must be five fields of cron in UTC, @hourly, @daily, @weekly, @monthly, "
                        "or @every and a length of time such as @every 10m"
                    ),
                )
            ),
        ),
    ] = "@daily"
    """Cron (five fields, UTC), @hourly, @daily, @weekly, @monthly, or @every 10m."""
    current: Current = Current(predictions=PredictionWindow())
    """The current rows."""
    tests: ColumnTests = ColumnTests()
    """How each column is judged."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Drift is when at least this share of the features has drifted. How far predictions moved is reported beside it
    and is no alarm by itself: whether they are still right, labels tell."""
    persistence: Persistence = Persistence()
    """How many windows must agree."""
    suspend: bool = False
    """Starts no check; what was found stands."""


class DriftMonitorSpec(MonitoringSpec):
    """A model, and how it is monitored."""

    model_config = ConfigDict(
        json_schema_extra=rules(("self.modelRef == oldSelf.modelRef", "modelRef cannot be changed"))
    )

    model_ref: LocalRef
    """The ChurnModel."""


class Check(Model):
    """One window, judged."""

    window: Window
    """The rows."""
    share: Annotated[float, Field(ge=0, le=1)]
    """Share of the features that drifted."""
    at: Time
    """When the result was read."""


class MonitorLinks(Model):
    """What to open for more."""

    report: Uri | None = None
    """Evidently's report on the last window."""


class DriftMonitorStatus(Model):
    """What was seen."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec this status speaks of."""
    phase: Word = "Pending"
    """Summary of the conditions."""
    conditions: Conditions = ()
    """Ready (checks run) and WithinDriftLimits."""
    version: Word | None = None
    """The champion that the windows below were compared with; a promotion starts anew."""
    checks: Annotated[tuple[Check, ...], Field(max_length=11)] = ()
    """The last windows, newest first. Of windows of predictions, none overlaps another but the first the second."""
    unjudged: Window | None = None
    """The window that was looked at last, should it hold too few predictions to be judged."""
    columns: Annotated[tuple[ColumnDrift, ...], Field(max_length=17)] = ()
    """The last window's features, farthest first, and after them its predictions."""
    share: Word | None = None
    """The last window's share of drifted features, printed."""
    last_revision: Revision | None = None
    """The window that was judged last."""
    last_check_at: Time | None = None
    """When a check last ended."""
    last_scheduled_at: Time | None = None
    """The tick that was last acted on: the schedule's, or the moment of a repetition."""
    next_check_at: Time | None = None
    """The schedule's next tick, or sooner: the moment at which a check that came to nothing is repeated."""
    failures: Annotated[int, Field(ge=0)] = 0
    """How many checks in a row gave no result because somebody was away: each doubles the pause before the next."""
    problem: Text | None = None
    """Why the last check gave no result."""
    links: MonitorLinks | None = None
    """What to open for more."""


class DriftMonitor:
    """Facts of the kind that the CRD and the client need."""

    kind: ClassVar = "DriftMonitor"
    plural: ClassVar = "driftmonitors"
    short: ClassVar = "dmon"
    spec: ClassVar = DriftMonitorSpec
    status: ClassVar = DriftMonitorStatus
    doc: ClassVar = "DriftMonitor compares current customers with those that the champion learned from, at a schedule."
    columns: ClassVar = (
        ("Model", "string", ".spec.modelRef.name"),
        ("Version", "string", ".status.version"),
        ("Drift", "string", '.status.conditions[?(@.type=="WithinDriftLimits")].reason'),
        ("Share", "string", ".status.share"),
        ("Last check", "date", ".status.lastCheckAt"),
        ("Next check", "string", ".status.nextCheckAt"),
        ("Age", "date", ".metadata.creationTimestamp"),
    )
    rules: ClassVar = (SHORT_NAME,)
    selectable: ClassVar = (".spec.modelRef.name",)
