"""What a ChurnModel needs to know."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from churn_operator.api.base import API_VERSION, parse_duration
from churn_operator.api.churnmodel import ChurnModelSpec, ChurnModelStatus, ServedVersion, VersionState
from churn_operator.api.driftmonitor import DriftMonitorStatus
from churn_operator.api.trainingrun import SETTLED, RunPhase, TrainingRunSpec, TrainingRunStatus
from churn_operator.core.digest import spec_digest
from churn_operator.core.errors import KindMissing
from churn_operator.core.job import ROLE_LABEL, Absent, JobState, observe_job, pods_of
from churn_operator.core.kind import Answer, Cluster, tracking_problem
from churn_operator.core.objects import MODEL_LABEL, OWNED, Key, Object, is_controlled_by, name_of
from churn_operator.settings import Settings

SERVING_API = "serving.kserve.io/v1beta1"


@dataclass(frozen=True)
class RunSeen:
    """A TrainingRun of this model."""

    name: str
    number: int
    spec: TrainingRunSpec
    status: TrainingRunStatus

    @property
    def is_measured(self) -> bool:
        """Nothing is trained any more. One that awaits approval may wait for days, and holds nothing up meanwhile."""
        return self.status.phase in SETTLED or self.awaits_approval

    @property
    def awaits_approval(self) -> bool:
        return self.status.phase is RunPhase.AwaitingApproval

    @property
    def ended_at(self) -> str | None:
        """When its training came to an end: what people say days later starts no cooldown."""
        return self.status.awaiting_since or self.status.finished_at


@dataclass(frozen=True)
class MonitorSeen:
    """A DriftMonitor of this model."""

    name: str
    status: DriftMonitorStatus


@dataclass(frozen=True)
class ServerSeen:
    """A version's InferenceService and what it answered."""

    version: str
    ready: bool
    message: str
    answer: Answer | None = None

    @property
    def answers(self) -> bool:
        return self.ready and self.answer is not None and self.answer.ok


@dataclass(frozen=True)
class ChurnModelWorld:
    """Everything a decision about a model looks at."""

    settings: Settings
    object: Object
    children: tuple[Object, ...]
    spec: ChurnModelSpec
    status: ChurnModelStatus
    digest: str
    runs: tuple[RunSeen, ...] = ()
    monitors: tuple[MonitorSeen, ...] = ()
    servers: tuple[ServerSeen, ...] = ()
    target: str | None = None
    """The version that the stable Service's selector names."""
    probe_slot: int = 0
    probe: JobState = field(default_factory=Absent)
    kserve_missing: bool = False
    tracking_problem: str | None = None

    @property
    def name(self) -> str:
        return name_of(self.object)

    @property
    def namespace(self) -> str:
        return str(self.object["metadata"]["namespace"])

    @property
    def champion(self) -> ServedVersion | None:
        return next((v for v in self.status.versions if v.state is VersionState.Champion), None)

    def server(self, version: str) -> ServerSeen | None:
        return next((server for server in self.servers if server.version == version), None)


def server_name(model: str, version: str) -> str:
    return f"{model}-{version}"


def probe_name(model: str, slot: int) -> str:
    return f"{model}-probe-{slot}"


def tracking_uri(settings: Settings, spec: ChurnModelSpec) -> str:
    return spec.tracking.uri or settings.tracking_uri


async def observe(settings: Settings, cluster: Cluster, key: Key, now: datetime) -> ChurnModelWorld | None:
    """Read the model, its runs, monitors, servers and probes, and ask the servers for a prediction."""
    obj = await cluster.get(API_VERSION, "ChurnModel", key.namespace, key.name)
    if obj is None or "deletionTimestamp" in obj["metadata"]:
        return None
    spec = ChurnModelSpec.model_validate(obj["spec"])
    status = ChurnModelStatus.model_validate(obj.get("status", {}))
    mine = f"{MODEL_LABEL}={key.name}," + ",".join(f"{label}={value}" for label, value in OWNED.items())
    ours = f"spec.modelRef.name={key.name}"
    runs = await cluster.list(API_VERSION, "TrainingRun", key.namespace, fields=ours)
    monitors = await cluster.list(API_VERSION, "DriftMonitor", key.namespace, fields=ours)
    services = await cluster.list("v1", "Service", key.namespace, labels=mine)
    jobs = await cluster.list("batch/v1", "Job", key.namespace, labels=f"{mine},{ROLE_LABEL}=probe")
    try:
        servers = await cluster.list(SERVING_API, "InferenceService", key.namespace, labels=mine)
        kserve_missing = False
    except KindMissing:
        servers, kserve_missing = (), True
    children = tuple(c for c in (*services, *jobs, *servers, *monitors) if is_controlled_by(c, obj))
    service = next((c for c in children if c["kind"] == "Service" and name_of(c) == key.name), None)
    slot = int(now.timestamp() // parse_duration(spec.retraining.probe_interval).total_seconds())
    return ChurnModelWorld(
        settings=settings,
        object=obj,
        children=children,
        spec=spec,
        status=status,
        digest=spec_digest(spec),
        runs=tuple(sorted((_run(run) for run in runs), key=lambda run: run.number)),
        monitors=tuple(
            MonitorSeen(name_of(m), DriftMonitorStatus.model_validate(m.get("status", {}))) for m in monitors
        ),
        servers=await _servers(cluster, key, status.versions, servers, service),
        target=_target(key.name, service),
        probe_slot=slot,
        probe=await _probe(cluster, probe_name(key.name, slot), children),
        kserve_missing=kserve_missing,
        tracking_problem=await tracking_problem(cluster, tracking_uri(settings, spec), f"{key.namespace}.{key.name}"),
    )


def _run(obj: Object) -> RunSeen:
    name = name_of(obj)
    return RunSeen(
        name=name,
        number=int(name.rpartition("-")[2]),
        spec=TrainingRunSpec.model_validate(obj["spec"]),
        status=TrainingRunStatus.model_validate(obj.get("status", {})),
    )


async def _servers(
    cluster: Cluster,
    key: Key,
    versions: Iterable[ServedVersion],
    live: tuple[Object, ...],
    service: Object | None,
) -> tuple[ServerSeen, ...]:
    by_name = {name_of(obj): obj for obj in live}
    asked = {VersionState.Champion, VersionState.RollingOut}
    seen = []
    for version in versions:
        name = server_name(key.name, version.version)
        obj = by_name.get(name)
        if obj is None or version.state not in asked:
            continue
        conditions = obj.get("status", {}).get("conditions", ())
        ready: Object = next((c for c in conditions if c["type"] == "Ready"), {})
        is_ready = ready.get("status") == "True"
        answer = None
        if is_ready or version.state is VersionState.Champion:
            url = f"http://{_host(key, name, version, service)}/v1/models/{key.name}:predict"
            answer = await cluster.predict(url, version.golden.instance, version.golden.probability)
        seen.append(ServerSeen(version.version, is_ready, str(ready.get("message", "not ready yet")), answer))
    return tuple(seen)


def _host(key: Key, name: str, version: ServedVersion, service: Object | None) -> str:
    """The champion is asked where its clients ask, by address: a name that was just made may not be known yet."""
    if service is not None and _target(key.name, service) == version.version:
        return str(service["spec"]["clusterIP"])
    return f"{name}-predictor.{key.namespace}.svc"


def _target(model: str, service: Object | None) -> str | None:
    if service is None:
        return None
    selected = str(service["spec"].get("selector", {}).get("serving.kserve.io/inferenceservice", ""))
    return selected.removeprefix(f"{model}-") or None


async def _probe(cluster: Cluster, name: str, children: Iterable[Object]) -> JobState:
    job = next((c for c in children if c["kind"] == "Job" and name_of(c) == name), None)
    return observe_job(job, await pods_of(cluster, job))
