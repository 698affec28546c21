"""ChurnModel: the promise that the model in production is still the best one there is evidence for."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from churn_operator.api.analysis import ScoreCounts, SloSpec, between
from churn_operator.api.approval import ApprovalSpec, Command, Handled
from churn_operator.api.base import (
    SET_LIST,
    SHORT_NAME,
    Condition,
    Conditions,
    Digest,
    Duration,
    Interval,
    LocalRef,
    Model,
    Resources,
    Revision,
    Text,
    Time,
    Uri,
    Word,
    map_list,
    rules,
)
from churn_operator.api.data import DataSpec
from churn_operator.api.driftmonitor import MonitoringSpec
from churn_operator.api.rollout import GatewaySpec, RolloutSpec, RolloutStatus
from churn_operator.api.tasks import Candidate, Golden, ModelRef
from churn_operator.api.training import DEFAULT_GATES, Gates, TrainingSpec
from churn_operator.api.trainingrun import Trigger


class BatchingSpec(Model):
    """Rows of several requests in one call of the model: more throughput for some milliseconds of latency."""

    max_rows: Annotated[int, Field(ge=2, le=1000)] = 64
    """A batch of this many rows is scored at once."""
    max_latency_milliseconds: Annotated[int, Field(ge=1, le=1000)] = 2
    """A smaller one is scored this long after its first row came."""


class AutoscalingSpec(Model):
    """When a version gets more pods, and how many at most."""

    max_replicas: Annotated[int, Field(ge=1, le=100)]
    """Pods of each version at most; serving.replicas are the fewest."""
    metric: Literal["CPU", "Memory"] = "CPU"
    """What is measured of its pods, of all their containers together. Memory hardly falls when requests do."""
    target_utilization: Annotated[int, Field(ge=1, le=100)] = 80
    """Percent of what they request that they are to use on average: above it pods are added, below it removed."""


class FallbackSpec(Model):
    """Who answers while the champion cannot: a version, or the same probability for everybody."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.version) != has(self.probability)", "exactly one of version and probability is required")
        )
    )

    version: Word | None = None
    """A version that was champion. It keeps its server for as long as it is named here."""
    probability: Annotated[float, Field(ge=0, le=1), between("probability", 0.0, 1.0)] | None = None
    """What every row is answered, as of version `fallback`, by a server of its own that needs neither model nor object
    store; `churn` is then whether it is at least 0.5. The inference log holds none of it: it tells of no customer."""

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.version is None) == (self.probability is None):
            raise ValueError("exactly one of version and probability is required")
        return self


class ServingSpec(Model):
    """How the champion is served."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.autoscaling) || self.autoscaling.maxReplicas >= self.replicas",
                "autoscaling.maxReplicas must not be below replicas",
            ),
            (
                (
                    "!has(self.autoscaling) || "
                    "(self.autoscaling.metric == 'CPU' ? 'cpu' : 'memory') in self.resources.requests"
                ),
                (
                    "autoscaling.metric CPU needs resources.requests.cpu, and Memory resources.requests.memory: "
                    "utilization is a percentage of it"
                ),
            ),
        )
    )

    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    """Pods of each version that serves; with autoscaling the fewest, and those that it has before it gets clients."""
    autoscaling: AutoscalingSpec | None = None
    """More pods while those that are there are busy, by a HorizontalPodAutoscaler that KServe makes for each version.
    It needs metrics-server, or whatever else serves metrics.k8s.io. To switch it on or off replaces the pods one by
    one. Absent: as many pods as replicas says."""
    resources: Resources = Resources(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "1Gi"})
    """Of the predictor container."""
    batching: BatchingSpec | None = None
    """Absent: each request is scored by itself, as soon as it comes."""
    slo: SloSpec = SloSpec()
    """What clients are promised; a version is judged by it while it rolls out."""
    gateway: GatewaySpec | None = None
    """Where clients from outside ask, and where they can be split. Absent: they ask the Service of the model's name."""
    fallback: FallbackSpec | None = None
    """Who answers while the champion cannot, until it has answered again for ten seconds. Absent: nobody."""


class RetrainingSpec(Model):
    """What makes a retraining necessary, and what holds it back."""

    # Not `on`, the shorter word: YAML 1.1, which kubectl reads, takes that key for `true`.
    triggers: Annotated[
        tuple[Literal["Drift", "NewData", "SpecChanged"], ...], Field(max_length=8, json_schema_extra=SET_LIST)
    ] = ("Drift", "SpecChanged")
    """What opens a run by itself."""
    cooldown: Duration = "1h"
    """At least this long between the end of a run and the next that no person asked for."""
    probe_interval: Interval = "10m"
    """How often the source is asked for its state while an answer matters."""


class TrackingSpec(Model):
    """An MLflow server and an experiment in it."""

    uri: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^https?://")] | None = None
    """MLflow's address. Defaults to the chart's."""
    experiment: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """MLflow experiment. Defaults to <namespace>.<name>."""


class RegistrySpec(Model):
    """What becomes of the alias `champion` in MLflow where somebody points it at another version."""

    follow: bool = False
    """Opens a run that judges that version by the gates like any other; a version that passes is rolled out. Either
    way the alias goes back to the champion: it never says more than what serves."""


class StorageSpec(Model):
    """A folder of the object store and who may write it."""

    uri: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^s3://")] | None = None
    """Folder in the object store. Defaults to the chart's."""
    secret_ref: LocalRef | None = None
    """Secret with the credentials, in this namespace. Defaults to the one the chart names."""


class ChurnModelSpec(Model):
    """One file in, a served model that retrains itself."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!(self.rollout.strategy in ['Canary', 'ABTest']) || has(self.serving.gateway)",
                (
                    "rollout.strategy Canary or ABTest needs serving.gateway: only a gateway can split traffic "
                    "(GatewayRequired)"
                ),
            ),
            (
                "!has(self.rollout.analysis.labels) || has(self.data.idColumn)",
                "rollout.analysis.labels needs data.idColumn: labels and predictions are joined by it",
            ),
            (
                (
                    "!has(self.rollout.analysis.labels) || !has(self.data.idColumn) || "
                    "self.data.pii.all(p, p.column != self.data.idColumn || p.action != 'Drop')"
                ),
                (
                    "rollout.analysis.labels needs data.idColumn in the inference log: data.pii must Hash it, or not "
                    "name it"
                ),
            ),
        )
    )

    data: DataSpec
    """What the model learns from."""
    training: TrainingSpec = TrainingSpec()
    """How it is trained."""
    gates: Gates = DEFAULT_GATES
    """What a run must show before it is accepted: all must hold. To change it needs the verb `approve` on churnmodels,
    where the chart's admission policy is installed."""
    approval: ApprovalSpec = ApprovalSpec()
    """Whether a person is asked before a version serves."""
    serving: ServingSpec = ServingSpec()
    """How it is served."""
    rollout: RolloutSpec = RolloutSpec()
    """How traffic moves."""
    monitoring: MonitoringSpec | None = None
    """Creates and owns a DriftMonitor of the same name. Absent: one with every default where the inference log is on,
    else none. Others may be added by hand."""
    retraining: RetrainingSpec = RetrainingSpec()
    """When to train again."""
    tracking: TrackingSpec = TrackingSpec()
    """Where runs are recorded."""
    registry: RegistrySpec = RegistrySpec()
    """What a move of the alias `champion` means."""
    storage: StorageSpec = StorageSpec()
    """Where model files are kept."""
    suspend: bool = False
    """Opens no new run and gives no version more traffic; what serves goes on serving, unless it fails."""


class VersionState(StrEnum):
    """What a version is to the cluster."""

    RollingOut = "RollingOut"
    Champion = "Champion"
    Retired = "Retired"
    RolledBack = "RolledBack"
    Quarantined = "Quarantined"


WAS_CHAMPION = frozenset({VersionState.Champion, VersionState.Retired, VersionState.Quarantined})


class ServedVersion(Model):
    """A version that was accepted, and what became of it."""

    version: Word
    """v and the run's number."""
    run: Annotated[str, Field(max_length=63)]
    """The TrainingRun that made it."""
    state: VersionState
    """RollingOut, Champion, Retired, RolledBack (it did not get the traffic) or Quarantined (it had it, and failed)."""
    reason: Text
    """Why it is in that state."""
    since: Time
    """Since when."""
    promoted: Time | None = None
    """When it became champion last. Absent: it never was, or is so no more since before this was written."""
    model: ModelRef
    """Its files."""
    revision: Revision
    """The state of the data it learned from, or, of a registered version, that it was judged by."""
    spec_digest: Digest
    """Digest of the data, training and gates it was made by."""
    registry_version: Word
    """Its version in MLflow's registry."""
    candidate: Candidate | None = None
    """The registered version that its run judged; absent where the run trained it."""
    image: Annotated[str, Field(max_length=512)]
    """The predictor that serves it; never changed in a version."""
    fetch_image: Annotated[str, Field(max_length=512)]
    """What brings its files and checks their digests."""
    log_url: Uri | None = None
    """Where its requests and answers are logged; absent: nowhere. Never changed in a version."""
    golden: Golden
    """A request whose answer is known."""
    scores: ScoreCounts | None = None
    """Its probabilities on held-out rows, in twenty equal bins."""
    metric: Word
    """The training metric on the held-out rows, printed."""

    @property
    def served(self) -> str | None:
        """When it became champion, or a state that tells that it did."""
        return self.promoted or (self.since if self.state in WAS_CHAMPION else None)


class Quarantine(Model):
    """A model that was champion and failed: nothing but a person's order brings it back, whatever its number."""

    digest: Digest
    """Of its files."""
    version: Word
    """The version that it was."""
    since: Time
    """Since when."""


BACKENDS = 4
"""Of a route, that are told of: its own are two at most."""


class TrafficShare(Model):
    """Where requests are sent, as it was read back."""

    version: Word
    """The version."""
    percent: Annotated[int, Field(ge=0, le=100)]
    """Share of the requests that it is sent."""
    counted: Annotated[int, Field(ge=0, le=100)] | None = None
    """Share of the gateway's requests of this step that its pods have counted."""


class DataState(Model):
    """What the last probe found."""

    revision: Revision
    """The state of the source."""
    since: Time
    """When it was first found in that state."""


class Retraining(Model):
    """A retraining that is wanted and waits."""

    trigger: Trigger
    """What wants it."""
    held_by: Annotated[str, Field(max_length=63)]
    """Why it waits."""
    message: Text
    """The same for people."""


class FallbackStatus(Model):
    """That somebody answers in the champion's place, or has just ceased to."""

    version: Word
    """Who does."""
    since: Time
    """Since when."""
    recovered: Time | None = None
    """Since when the champion answers again; it has the traffic back ten seconds later. Absent: it does not."""


class ModelLinks(Model):
    """What to open for more."""

    endpoint: Uri | None = None
    """Where predictions are answered, inside the cluster."""
    registered_model: Uri | None = None
    """The MLflow registered model."""


class ModelSummary(Model):
    """What is printed of a model, each in a word."""

    champion: Word | None = None
    """The version that serves."""
    traffic: Word | None = None
    """Versions and their shares."""
    rollout: Word | None = None
    """The version that takes the traffic, or did not get it, how far it is or why it ended, and the last verdict."""
    metric: Word | None = None
    """The champion's metric on held-out rows."""
    drift: Word | None = None
    """Share of drifted features in the last window."""


class ChurnModelStatus(Model):
    """What was observed."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec this status speaks of."""
    phase: Word = "Pending"
    """Summary of the conditions."""
    conditions: Conditions = ()
    """Ready (the champion answers), Trained, RolloutHealthy, WithinDriftLimits."""
    versions: Annotated[tuple[ServedVersion, ...], Field(max_length=10, json_schema_extra=map_list("version"))] = ()
    """Accepted versions, newest first."""
    quarantine: Annotated[tuple[Quarantine, ...], Field(max_length=100, json_schema_extra=map_list("digest"))] = ()
    """Models that do not come back by themselves, the last one first; the hundred last are remembered."""
    traffic: Annotated[tuple[TrafficShare, ...], Field(max_length=BACKENDS, json_schema_extra=map_list("version"))] = ()
    """Where the gateway, or without one the stable Service, sends requests, as it was read back."""
    rollout: RolloutStatus | None = None
    """The rollout that is under way, or the last one."""
    fallback: FallbackStatus | None = None
    """Who answers in the champion's place; absent while the champion does."""
    last_run: Annotated[int, Field(ge=0)] = 0
    """The highest number a run of this model ever had; none is used twice."""
    alias: Word | None = None
    """The registered version that the alias `champion` was last seen at where it belongs: if it is at another, somebody
    moved it. Absent where nobody follows it."""
    data: DataState | None = None
    """What the last probe of the source found."""
    retraining: Retraining | None = None
    """A retraining that is wanted and waits; absent when none is."""
    summary: ModelSummary = ModelSummary()
    """The columns of kubectl get."""
    links: ModelLinks | None = None
    """What to open for more."""
    command: Command | None = None
    """The last order of a person: the one field here that others than the operator write."""
    handled: Handled | None = None
    """What came of the last order."""

    def condition(self, type_: str) -> Condition | None:
        return next((c for c in self.conditions if c.type == type_), None)


class ChurnModel:
    """Facts of the kind that the CRD and the client need."""

    kind: ClassVar = "ChurnModel"
    plural: ClassVar = "churnmodels"
    short: ClassVar = "chm"
    spec: ClassVar = ChurnModelSpec
    status: ClassVar = ChurnModelStatus
    doc: ClassVar = "ChurnModel keeps a served churn model the best one there is evidence for."
    columns: ClassVar = (
        ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
        ("Phase", "string", ".status.phase"),
        ("Champion", "string", ".status.summary.champion"),
        ("Traffic", "string", ".status.summary.traffic"),
        ("Rollout", "string", ".status.summary.rollout"),
        ("Metric", "string", ".status.summary.metric"),
        ("Drift", "string", ".status.summary.drift"),
        ("Age", "date", ".metadata.creationTimestamp"),
    )
    rules: ClassVar = (
        SHORT_NAME,
        (
            "!self.metadata.name.endsWith('-predictor')",
            "metadata.name must not end in -predictor: KServe's Services of other models' versions do",
        ),
    )
    selectable: ClassVar = ()
