"""The middle of the loop, for TrainingRun."""

from dataclasses import dataclass
from datetime import datetime

from churn_operator.api.trainingrun import TrainingRunStatus
from churn_operator.core.conditions import Judgement
from churn_operator.core.kind import Cluster
from churn_operator.core.objects import Desired, Key, Violation
from churn_operator.settings import Settings
from churn_operator.trainingrun.build import build
from churn_operator.trainingrun.decide import Decision, decide
from churn_operator.trainingrun.observe import TrainingRunWorld, observe
from churn_operator.trainingrun.report import report


@dataclass(frozen=True)
class TrainingRunKind:
    """Trains once, judges, and never changes its mind."""

    settings: Settings
    name: str = "TrainingRun"

    async def observe(self, cluster: Cluster, key: Key, now: datetime) -> TrainingRunWorld | None:
        return await observe(self.settings, cluster, key, now)

    def decide(self, world: TrainingRunWorld, now: datetime) -> Decision:
        return decide(world, now)

    def build(self, world: TrainingRunWorld, decision: Decision) -> tuple[Desired, ...]:
        return build(world, decision)

    def story(self, decision: Decision) -> tuple[Judgement, ...]:  # noqa: ARG002 - the conditions tell it all
        return ()

    def report(
        self, world: TrainingRunWorld, decision: Decision, problem: Violation | None, now: datetime
    ) -> TrainingRunStatus:
        return report(world, decision, problem, now)
