"""What happens in a model's life: by BlueGreen, and by a canary, where people decide."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from support.kinds import make_comparison, make_result
from support.life import KINDS, Life
from support.traffic import GATEWAY, Traffic

from churn_operator.api.analysis import TestOutcome
from churn_operator.api.churnmodel import ChurnModel, ChurnModelStatus
from churn_operator.api.reasons import Reason
from churn_operator.api.rollout import RolloutPhase
from churn_operator.api.tasks import ModelRef, TrainResult
from churn_operator.api.trainingrun import TrainingRun
from churn_operator.churnmodel.observe import GATEWAY_API
from churn_operator.cli import evidence, orders
from churn_operator.cli.cluster import Cluster, Flags
from churn_operator.cli.failure import Conflict
from churn_operator.cli.summary import run_of
from churn_operator.core.objects import name_of

SPEC = {
    "data": {"source": {"uri": "s3://churn/telco.csv"}, "target": "churn"},
    "gates": [{"name": "quality", "metric": "roc_auc", "min": 0.8}, {"name": "champion", "champion": {}}],
    "rollout": {"guard": "1s"},
    "monitoring": {"schedule": "@every 999d", "current": {"source": {"uri": "s3://churn/current.parquet"}}},
    "retraining": {"triggers": ["Drift", "SpecChanged"], "cooldown": "0s", "probeInterval": "999d"},
}


class BlueGreen(Life):
    """Three runs: the first is served, the second takes its place, the third is rejected."""

    spec = SPEC
    registered = 2

    async def live(self) -> None:
        await self.serve()
        await self.challenge()
        await self.reject()
        await self.rest()
        await self.delete()

    async def serve(self) -> None:
        """Apply, run, serve."""
        await self.begin()
        await self.until(self.is_champion, "v1")

    async def challenge(self) -> None:
        """Drift, a second run, its promotion, the retirement of the first version."""
        await self.until(self.is_champion, "v2")
        await self.until(self.is_alone, "telco-v2")
        await self.until(self.is_checked, "v2")

    async def reject(self) -> None:
        """A third run that is rejected."""
        await self.change(training={"metric": "recall"})
        await self.until(self._is_rejected)

    def trained(self, number: int) -> TrainResult:
        if number == 3:
            bad = {"roc_auc": 0.5, "parity": 0.0, "recall": 0.5}
            return make_result(2, metrics=bad, comparisons=(make_comparison(0.0),))
        return make_result(number, comparisons=(make_comparison(0.02),) if number > 1 else ())

    async def _is_rejected(self) -> bool:
        run = await self.get("TrainingRun", "telco-3")
        model = await self.get("ChurnModel", "telco")
        trained = next(c for c in model["status"]["conditions"] if c["type"] == "Trained")
        return run is not None and run.get("status", {}).get("phase") == "Rejected" and trained["status"] == "False"


@dataclass
class Canary(Life):
    """Three versions, each approved: the first is served, the second passes its steps, the third is aborted.

    Then the second is rolled back. What people write goes to the API server itself and is none of the operator's
    writes. An operator that is killed after its last write before theirs, or before its first one after it, has not
    acted on it: it is the next that finds it. So each word of theirs comes to one that was just killed, too.
    """

    spec = SPEC | {
        "serving": {"gateway": {"parentRefs": [{"name": GATEWAY}]}},
        "rollout": {
            "strategy": "Canary",
            "steps": [{"weight": 10, "pause": "1s"}, {"weight": 50, "pause": "1s"}],
            "guard": "1s",
        },
        "approval": {"required": True},
    }
    kinds = (*KINDS, (GATEWAY_API, "HTTPRoute"))
    registered = 3

    traffic: Traffic = field(init=False)
    people: "People" = field(init=False)

    def __post_init__(self) -> None:
        self.traffic = Traffic(self.admin, self.namespace, self.predictors)
        self.people = People(str(self.plane.kubeconfig("second")), self.namespace)

    async def live(self) -> None:
        await self.traffic.open()
        await self.serve()
        await self.challenge()
        await self.rest()
        await self.abort()
        await self.rest()
        await self.roll_back()
        await self.rest()
        await self.delete()

    async def serve(self) -> None:
        """Apply, run, approve, serve."""
        self.revision = 1
        await self.begin()
        await self.approve("telco-1", held_by=Reason.NoNewData)
        self.revision = 2
        await self.until(self.is_champion, "v1")

    async def challenge(self) -> None:
        """Drift, a second run that is approved, both steps, its promotion, the retirement of the first version.

        Its training is not over before the model has heard of it: else one life would keep the probe, another make two.
        """
        self.held = {"train"}
        await self.until(self._is_in_training, "telco-2")
        self.held = set()
        await self.approve("telco-2", held_by=Reason.NoNewData)
        await self.until(self.is_champion, "v2")
        await self.until(self.is_alone, "telco-v2")
        await self.until(self.is_checked, "v2")
        self.drifted = False

    async def abort(self) -> None:
        """A third run that is approved, too; nobody asks its version anything, and in the first step it is aborted."""
        self.traffic.clients = 0
        await self.change(training={"metric": "recall"})
        await self.approve("telco-3")
        await self.until(self._is_judged, "v3", TestOutcome.Inconclusive)
        await self.people.order("Abort")
        await self.until(self._is_over, "v3")
        await self.until(self.is_alone, "telco-v2")

    async def roll_back(self) -> None:
        """Back to the first version, which has no server any more."""
        await self.people.order("Rollback", "v1")
        await self.until(self.is_champion, "v1")
        await self.until(self.is_alone, "telco-v1")
        await self.until(self.is_checked, "v1")

    def trained(self, number: int) -> TrainResult:
        digest = f"{number:064}"
        model = ModelRef(uri=f"s3://models/models/{digest}", digest=f"sha256:{digest}")
        metrics = {"roc_auc": 0.84, "recall": 0.6, "parity": 1e-7}
        better = (make_comparison(0.02),) if number > 1 else ()
        return make_result(number, metrics=metrics, model=model, comparisons=better)

    async def play(self) -> None:
        await self.traffic.play()
        await super().play()

    async def approve(self, run: str, held_by: Reason | None = None) -> None:
        """As soon as it is on offer, and another for the same cause is held by this.

        Who decided at once would decide before the data were looked up in one life, and after it in another.
        """
        await self.until(self._is_on_offer, run, held_by)
        await self.people.approve(run)

    async def _is_in_training(self, run: str) -> bool:
        """And the data are looked up no more."""
        jobs = {name_of(job) for job in await self.admin.list("batch/v1", "Job", self.namespace)}
        return f"{run}-train" in jobs and not any("-probe-" in job for job in jobs)

    async def _is_on_offer(self, name: str, held_by: Reason | None) -> bool:
        run, retraining = await self.get("TrainingRun", name), (await self._status()).retraining
        is_offered = run is not None and run.get("status", {}).get("phase") == "AwaitingApproval"
        return is_offered and (retraining and retraining.held_by) == held_by

    async def _is_judged(self, version: str, result: TestOutcome) -> bool:
        rollout = (await self._status()).rollout
        return (
            rollout is not None
            and rollout.version == version
            and (rollout.verdict and rollout.verdict.result) == result
        )

    async def _is_over(self, version: str) -> bool:
        rollout = (await self._status()).rollout
        return rollout is not None and (rollout.version, rollout.phase) == (version, RolloutPhase.RolledBack)

    async def _status(self) -> ChurnModelStatus:
        return ChurnModelStatus.model_validate((await self.get("ChurnModel", "telco")).get("status", {}))


@dataclass(frozen=True)
class People:
    """Somebody with `kubectl churn`, who asked for none of the runs: what it writes, not what it asks and prints."""

    kubeconfig: str
    namespace: str

    async def approve(self, run: str) -> None:
        async def write(cluster: Cluster, me: str) -> None:
            live = await cluster.get(TrainingRun, run)
            offer = run_of(live)
            assert evidence.obstacle(offer, me, None) is None
            approval = evidence.decision(offer, "Approved", me, "good enough", datetime.now(UTC))
            await cluster.apply_status(TrainingRun, live, {"approval": approval.to_dict()})

        await self._insist(write)

    async def order(self, action: orders.Action, version: str | None = None) -> None:
        async def write(cluster: Cluster, me: str) -> None:
            live = await cluster.get(ChurnModel, "telco")
            status = ChurnModelStatus.model_validate(live["status"])
            given = orders.order(status, action, me, "for a test", datetime.now(UTC), version)
            await cluster.apply_status(ChurnModel, live, {"command": given.to_dict()})

        await self._insist(write)

    async def _insist(self, write: Callable[[Cluster, str], Awaitable[None]]) -> None:
        """Until the object has not changed between reading and writing."""
        cluster = await Cluster.connect(Flags(kubeconfig=self.kubeconfig, namespace=self.namespace))
        try:
            me = await cluster.whoami()
            while True:
                try:
                    return await write(cluster, me)
                except Conflict:
                    continue
        finally:
            await cluster.close()


STORIES: tuple[type[Life], ...] = (BlueGreen, Canary)
