"""What a DriftMonitor's status says."""

from datetime import datetime

from churn_operator.api.driftmonitor import DriftMonitorStatus, MonitorLinks
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import ColumnDrift, DriftResult
from churn_operator.core import clock
from churn_operator.core.conditions import Judgement, conditions
from churn_operator.core.objects import Violation
from churn_operator.driftmonitor.decide import Compare, Decision, Record, Rest, Wait, settled
from churn_operator.driftmonitor.observe import DriftMonitorWorld
from churn_operator.driftmonitor.policies import within_drift_limits


def report(
    world: DriftMonitorWorld, decision: Decision, problem: Violation | None, now: datetime
) -> DriftMonitorStatus:
    found = _findings(world, decision, now)
    ready = _ready(world, decision, problem)
    within = within_drift_limits(world.spec, found.checks, found.columns, found.unjudged)
    generation = world.object["metadata"].get("generation", 0)
    return found.model_copy(
        update={
            "observed_generation": generation,
            "phase": "Pending" if ready.holds is None else str(within.reason if ready.holds else ready.reason),
            "conditions": conditions(world.status.conditions, (ready, within), generation, now),
        }
    )


def _findings(world: DriftMonitorWorld, decision: Decision, now: datetime) -> DriftMonitorStatus:
    match decision:
        case Record():
            return _recorded(world, decision, now)
        case Wait() | Compare() | Rest() if settled(world) is None:
            return DriftMonitorStatus(version=world.champion.version if world.champion else None)
        case Wait() | Compare() | Rest():
            return world.status


def _recorded(world: DriftMonitorWorld, record: Record, now: datetime) -> DriftMonitorStatus:
    before = world.status if settled(world) is not None else DriftMonitorStatus()
    columns, links, revision, unjudged = before.columns, before.links, before.last_revision, before.unjudged
    if record.result is not None and record.result.outcome == "TooFew":
        unjudged = record.result.window
    elif record.result is not None:
        unjudged, revision = None, record.result.window.revision
    if record.result is not None and record.result.outcome == "Compared":
        columns, links = record.result.columns, _links(world, record.result)
    return DriftMonitorStatus(
        version=record.job.version,
        checks=record.checks,
        unjudged=unjudged,
        columns=columns,
        share=_share(record, columns) if unjudged is None else None,
        last_revision=revision,
        last_check_at=clock.stamp(now),
        last_scheduled_at=clock.stamp(record.job.tick),
        next_check_at=clock.stamp(record.next_check),
        failures=record.failures,
        problem=record.violation.message[:1024] if record.violation else None,
        links=links,
    )


def _share(record: Record, columns: tuple[ColumnDrift, ...]) -> str | None:
    if not record.checks or not columns:
        return None
    return f"{record.checks[0].share:.2f}"


def _links(world: DriftMonitorWorld, result: DriftResult) -> MonitorLinks | None:
    if result.run_id is None or result.report is None:
        return None
    ui = world.settings.tracking_ui or world.settings.tracking_uri
    address = f"{ui}/#/experiments/{result.experiment_id}/runs/{result.run_id}/artifacts/{result.report}"
    return MonitorLinks(report=address)


def _ready(world: DriftMonitorWorld, decision: Decision, problem: Violation | None) -> Judgement:
    """Whether checks give results; what they find is another condition's business."""
    match decision:
        case Wait(violation):
            return Judgement("Ready", None, violation.reason, violation.message)
        case Compare(problem=trouble) if problem or trouble:
            said = problem or trouble or Violation(Reason.CheckFailed, "")
            return Judgement("Ready", holds=False, reason=said.reason, message=said.message)
        case Record(violation=Violation(reason, message)):
            again = f" and is repeated at {clock.stamp(decision.next_check)}" if decision.failures else ""
            what = f"The last check gave no result{again}: {message}"
            return Judgement("Ready", holds=False, reason=reason, message=what)
        case _:
            return _steady(world, decision)


def _steady(world: DriftMonitorWorld, decision: Decision) -> Judgement:
    last = next((c for c in world.status.conditions if c.type == "Ready"), None)
    if isinstance(decision, Record):
        return Judgement("Ready", holds=True, reason=Reason.Monitoring, message=f"Checked {world.spec.schedule}.")
    if last is not None and world.champion is not None and world.status.version == world.champion.version:
        return Judgement("Ready", {"True": True, "False": False}.get(last.status), last.reason, last.message)
    return Judgement("Ready", None, Reason.Waiting, "The first check against this champion is under way.")
