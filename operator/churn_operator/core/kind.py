"""What a kind supplies to the loop: observe → decide → build and report → apply."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from prometheus_client.samples import Sample

from churn_operator.api.base import Model
from churn_operator.api.tasks import Golden
from churn_operator.core.conditions import Judgement
from churn_operator.core.errors import TrackingUnavailable
from churn_operator.core.objects import CHAMPION_ALIAS, Alias, Desired, Key, Object, Violation


@dataclass(frozen=True)
class RunView:
    """What MLflow says of a run."""

    run_id: str
    experiment_id: str
    tags: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What a server answered to a golden request."""

    ok: bool
    message: str


class Counting(Protocol):
    """Where it is read what predictors have counted."""

    async def metrics(self, url: str) -> str:
        """What a server's /metrics says.

        Raises:
            MetricsUnavailable: it does not say.
        """

    async def query(self, url: str, promql: str) -> tuple[Sample, ...]:
        """The series that a Prometheus answers to an instant query.

        Raises:
            MetricsUnavailable: it did not answer, or not all.
        """


class Cluster(Counting, Protocol):
    """Everything a kind may read. It offers no write."""

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> Object | None:
        """The object; None where there is none.

        Raises:
            KindMissing: the API server does not serve this kind.
        """

    async def fresh(self, api_version: str, kind: str, namespace: str, name: str) -> Object | None:
        """The same from the API server itself, whoever's object it is."""

    async def list(
        self, api_version: str, kind: str, namespace: str, *, labels: str = "", fields: str = ""
    ) -> tuple[Object, ...]:
        """The objects that the selectors match, by name.

        Raises:
            KindMissing: the API server does not serve this kind.
        """

    async def list_fresh(self, api_version: str, kind: str, namespace: str, *, labels: str) -> tuple[Object, ...]:
        """The same from the API server itself: each kind's watch is behind by a time of its own."""

    async def find_run(self, tracking_uri: str, uid: str) -> RunView | None:
        """The newest MLflow run tagged with this UID; None where there is none.

        Raises:
            TrackingUnavailable: MLflow did not answer.
        """

    async def alias(self, tracking_uri: str, model: str, alias: str) -> str | None:
        """The version an alias points at; None where it does not exist.

        Raises:
            TrackingUnavailable: MLflow did not answer.
        """

    async def predict(self, url: str, golden: Golden) -> Answer:
        """Send one V1 request and compare the answer; never raises."""


async def champion_alias(cluster: Cluster, tracking_uri: str, model: str) -> tuple[str | None, str | None]:
    """Where the champion's alias points, and what MLflow's silence sounds like; an answer is believed for a while."""
    try:
        return await cluster.alias(tracking_uri, model, CHAMPION_ALIAS), None
    except TrackingUnavailable as error:
        return None, str(error)


class World(Protocol):
    """What a kind saw. Frozen."""

    @property
    def object(self) -> Object:
        """The object itself, as the API server gave it."""

    @property
    def children(self) -> tuple[Object, ...]:
        """Its living children, of every kind that `build` can return."""


class Decision(Protocol):
    """What a kind decided. One of a closed set of frozen dataclasses of its own."""

    @property
    def wake(self) -> timedelta | None:
        """Look again after this long even if nothing happens."""


W = TypeVar("W", bound=World)
D = TypeVar("D", bound=Decision)


class Kind(Protocol[W, D]):
    """One of the three kinds."""

    @property
    def name(self) -> str:
        """The Kubernetes kind."""

    async def observe(self, cluster: Cluster, key: Key, now: datetime) -> W | None:
        """Everything the decision needs; None where the object is gone or being deleted."""

    def decide(self, world: W, now: datetime) -> D:
        """Pure."""

    def build(self, world: W, decision: D) -> Sequence[Desired | Alias]:
        """Pure. The complete desired set: a child that is not in it is deleted."""

    def story(self, decision: D) -> Sequence[Judgement]:
        """Pure. What happens now and no condition tells; each becomes an Event where the status changes."""

    def report(self, world: W, decision: D, problem: Violation | None, now: datetime) -> Model:
        """Pure. The whole new status; `problem` is what stood in the way of the writes."""
