"""The middle of the loop, for ChurnModel."""

from dataclasses import dataclass, replace
from datetime import datetime

from churn_operator.api.churnmodel import ChurnModelStatus
from churn_operator.churnmodel.build import build
from churn_operator.churnmodel.decide import Decision, decide
from churn_operator.churnmodel.observe import ChurnModelWorld, observe
from churn_operator.churnmodel.report import report, story
from churn_operator.core.conditions import Judgement
from churn_operator.core.kind import Cluster
from churn_operator.core.objects import Alias, Desired, Key, Violation
from churn_operator.settings import Settings


@dataclass(frozen=True)
class ChurnModelKind:
    """Decides which version serves, and when to train again."""

    settings: Settings
    looking_since: datetime | None = None
    """When this process began to look."""
    name: str = "ChurnModel"

    async def observe(self, cluster: Cluster, key: Key, now: datetime) -> ChurnModelWorld | None:
        world = await observe(self.settings, cluster, key, now)
        return None if world is None else replace(world, looking_since=self.looking_since)

    def decide(self, world: ChurnModelWorld, now: datetime) -> Decision:
        return decide(world, now)

    def build(self, world: ChurnModelWorld, decision: Decision) -> tuple[Desired | Alias, ...]:
        return build(world, decision)

    def story(self, decision: Decision) -> tuple[Judgement, ...]:
        return story(decision)

    def report(
        self, world: ChurnModelWorld, decision: Decision, problem: Violation | None, now: datetime
    ) -> ChurnModelStatus:
        return report(world, decision, problem, now)
