"""Checks of a DriftMonitor, and what its status says after one."""

from datetime import timedelta
from typing import Any

from support.kinds import (
    NOW,
    make_drift_result,
    make_drift_status,
)

from churn_operator.api.driftmonitor import DriftMonitorStatus
from churn_operator.api.results import encode_result
from churn_operator.core import clock
from churn_operator.core.job import Broken, Finished, JobState
from churn_operator.core.objects import Violation
from churn_operator.driftmonitor.decide import decide
from churn_operator.driftmonitor.observe import CheckJob, DriftMonitorWorld
from churn_operator.driftmonitor.report import report

TICK = NOW
BEFORE = NOW - timedelta(minutes=10)
JOB = {"kind": "Job", "metadata": {"name": "telco-drift-v1-0"}}
MISSING = Broken(Violation("DataNotFound", "no file at s3://churn/current.parquet"))
AWAY = Broken(Violation("StorageUnavailable", "s3://churn: no answer"))


def job(state: JobState, *, tick: Any = TICK, version: str = "v1") -> CheckJob:
    return CheckJob("telco-drift-v1-0", version, tick, JOB, state)


def finished(*args: Any, **fields: Any) -> Finished:
    return Finished(encode_result(make_drift_result(*args, **fields)))


def settled(tick: Any = BEFORE, **fields: Any) -> dict[str, Any]:
    return make_drift_status(last_scheduled_at=clock.stamp(tick), **fields).to_dict()


def step(world: DriftMonitorWorld) -> tuple[DriftMonitorStatus, Any]:
    decision = decide(world, NOW)
    return report(world, decision, None, NOW), decision


def ready(status: DriftMonitorStatus) -> str:
    condition = next(c for c in status.conditions if c.type == "Ready")
    return f"{condition.status} {condition.reason}"


def within(status: DriftMonitorStatus) -> str:
    condition = next(c for c in status.conditions if c.type == "WithinDriftLimits")
    return f"{condition.status} {condition.reason}"


def told(status: DriftMonitorStatus) -> str:
    return next(c.message for c in status.conditions if c.type == "Ready")
