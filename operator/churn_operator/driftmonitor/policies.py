"""When a share of drifted features is an alarm."""

from churn_operator.api.driftmonitor import Check, DriftMonitorSpec, PredictionWindow
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import ColumnDrift, Window
from churn_operator.core.conditions import Judgement

CHECKS_KEPT = 11


def overlap(earlier: Window, later: Window) -> bool:
    """Whether two windows may share rows. Those of a source are states of it, and never do."""
    return earlier.until is not None and later.since is not None and earlier.until > later.since


def independent(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    """Of windows that overlap, the newest: the same rows are no second witness."""
    kept: list[Check] = []
    for check in checks:
        if not kept or not overlap(check.window, kept[-1].window):
            kept.append(check)
    return tuple(kept)


def breaches(spec: DriftMonitorSpec, checks: tuple[Check, ...]) -> int:
    """How many of the last windows reach the bound."""
    return sum(check.share >= spec.share for check in independent(checks)[: spec.persistence.of])


def within_drift_limits(
    spec: DriftMonitorSpec, checks: tuple[Check, ...], columns: tuple[ColumnDrift, ...], unjudged: Window | None
) -> Judgement:
    """Suspected before Detected: one window that reaches the bound is an alarm only if persistence says so."""
    if unjudged is not None and spec.current.predictions is not None:
        return too_few_predictions(unjudged, spec.current.predictions)
    if not checks:
        message = "No window of current rows was compared with this champion yet."
        return Judgement("WithinDriftLimits", None, Reason.NoWindow, message)
    check, count = checks[0], breaches(spec, checks)
    what = (
        f"{check.share:.0%} of the features drifted in the window of {_rows(check.window)} at {check.window.uri} "
        f"({check.window.revision}); from {spec.share:.0%} on it is an alarm.{_columns(spec, columns)}"
    )
    if count >= spec.persistence.breaches:
        return Judgement("WithinDriftLimits", holds=False, reason=Reason.DriftDetected, message=what)
    if count:
        what += f" {count} of the last {spec.persistence.of} windows; {spec.persistence.breaches} are asked for."
        return Judgement("WithinDriftLimits", holds=True, reason=Reason.DriftSuspected, message=what)
    return Judgement("WithinDriftLimits", holds=True, reason=Reason.WithinLimits, message=what)


def too_few_predictions(window: Window, asked: PredictionWindow) -> Judgement:
    """Silence is no evidence of anything."""
    message = (
        f"Whether customers changed is not known: there are {_rows(window)} at {window.uri}, and fewer than "
        f"{asked.min_rows} are not judged."
    )
    return Judgement("WithinDriftLimits", None, Reason.TooFewPredictions, message)


def _rows(window: Window) -> str:
    if window.since is None:
        return f"{window.rows} rows"
    return f"{window.rows} predictions from {window.since} to {window.until}"


def _columns(spec: DriftMonitorSpec, columns: tuple[ColumnDrift, ...]) -> str:
    """The features that drifted, and how far the predictions are from what they were.

    These are no part of the share: other customers may well be told other things, and whether rightly only labels tell.
    """
    told = ""
    drifted = [
        f"{column.name} ({column.score:.2f})" for column in columns if column.drifted and column.kind == "Feature"
    ]
    if drifted:
        told = f" Drifted: {', '.join(drifted)}; from {spec.tests.threshold:g} on a column counts as drifted."
    for column in columns:
        if column.kind == "Prediction":
            told += f" The predictions moved by {column.score:.2f}: {_far(column, spec.tests.threshold)}."
    return told


def _far(column: ColumnDrift, threshold: float) -> str:
    if column.drifted:
        return f"at least {threshold:g}, which is reported and no alarm by itself"
    return f"less than {threshold:g}"
