"""The middle of the loop, for DriftMonitor."""

from dataclasses import dataclass
from datetime import datetime

from churn_operator.api.driftmonitor import DriftMonitorStatus
from churn_operator.core.conditions import Judgement
from churn_operator.core.kind import Cluster
from churn_operator.core.objects import Desired, Key, Violation
from churn_operator.driftmonitor.build import build
from churn_operator.driftmonitor.decide import Decision, decide
from churn_operator.driftmonitor.observe import DriftMonitorWorld, observe
from churn_operator.driftmonitor.report import report
from churn_operator.settings import Settings


@dataclass(frozen=True)
class DriftMonitorKind:
    """Looks at a schedule, and only reports."""

    settings: Settings
    name: str = "DriftMonitor"

    async def observe(self, cluster: Cluster, key: Key, now: datetime) -> DriftMonitorWorld | None:
        return await observe(self.settings, cluster, key, now)

    def decide(self, world: DriftMonitorWorld, now: datetime) -> Decision:
        return decide(world, now)

    def build(self, world: DriftMonitorWorld, decision: Decision) -> tuple[Desired, ...]:
        return build(world, decision)

    def story(self, decision: Decision) -> tuple[Judgement, ...]:  # noqa: ARG002 - the conditions tell it all
        return ()

    def report(
        self, world: DriftMonitorWorld, decision: Decision, problem: Violation | None, now: datetime
    ) -> DriftMonitorStatus:
        return report(world, decision, problem, now)
