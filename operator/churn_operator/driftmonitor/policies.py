"""When a share of drifted features is an alarm."""

from churn_operator.api.driftmonitor import Check, DriftMonitorSpec
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import ColumnDrift
from churn_operator.core.conditions import Judgement

CHECKS_KEPT = 10


def breaches(spec: DriftMonitorSpec, checks: tuple[Check, ...]) -> int:
    """How many of the last windows reach the bound."""
    return sum(check.share >= spec.share for check in checks[: spec.persistence.of])


def within_drift_limits(
    spec: DriftMonitorSpec, checks: tuple[Check, ...], columns: tuple[ColumnDrift, ...]
) -> Judgement:
    """Suspected before Detected: one window that reaches the bound is an alarm only if persistence says so."""
    if not checks:
        message = "No window of current rows was compared with this champion yet."
        return Judgement("WithinDriftLimits", None, Reason.NoWindow, message)
    check, count = checks[0], breaches(spec, checks)
    drifted = [f"{column.name} ({column.score:.2f})" for column in columns if column.drifted]
    what = (
        f"{check.share:.0%} of the features drifted in the window of {check.window.rows} rows at {check.window.uri} "
        f"({check.window.revision}); from {spec.share:.0%} on it is an alarm."
    )
    if drifted:
        what += f" Drifted: {', '.join(drifted)}; from {spec.tests.threshold:g} on a column counts as drifted."
    if count >= spec.persistence.breaches:
        return Judgement("WithinDriftLimits", holds=False, reason=Reason.DriftDetected, message=what)
    if count:
        what += f" {count} of the last {spec.persistence.of} windows; {spec.persistence.breaches} are asked for."
        return Judgement("WithinDriftLimits", holds=True, reason=Reason.DriftSuspected, message=what)
    return Judgement("WithinDriftLimits", holds=True, reason=Reason.WithinLimits, message=what)
