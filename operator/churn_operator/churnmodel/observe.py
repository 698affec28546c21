"""What a ChurnModel needs to know."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from churn_operator.api.base import API_VERSION, parse_duration
from churn_operator.api.churnmodel import ChurnModelSpec, ChurnModelStatus, ServedVersion, VersionState
from churn_operator.api.digest import spec_digest
from churn_operator.api.driftmonitor import DriftMonitorStatus
from churn_operator.api.reasons import Reason
from churn_operator.api.rollout import Counters, RolloutPhase, RolloutStatus
from churn_operator.api.tasks import Golden
from churn_operator.api.trainingrun import SETTLED, RunPhase, TrainingRunSpec, TrainingRunStatus
from churn_operator.churnmodel.counts import Counts
from churn_operator.churnmodel.metrics import Wanted, read_counters
from churn_operator.churnmodel.pods import in_url, is_ready, made_at, trouble
from churn_operator.churnmodel.route import RouteSeen, route_seen
from churn_operator.core import clock
from churn_operator.core.errors import KindMissing, Unavailable
from churn_operator.core.job import Absent, JobState, observe_job, pods_of
from churn_operator.core.kind import Answer, Cluster, champion_alias
from churn_operator.core.objects import MODEL_LABEL, OWNED, Key, Object, is_controlled_by, name_of, uid_of
from churn_operator.settings import Settings

SERVING_API = "serving.kserve.io/v1beta1"
GATEWAY_API = "gateway.networking.k8s.io/v1"
HEADLESS = "None"
"""The clusterIP of a Service that is a name of its pods alone."""
JUDGED = frozenset({VersionState.Champion, VersionState.RollingOut})
"""States of a version whose requests are counted."""
SPLITS = frozenset({"Canary", "ABTest"})
"""Strategies by which two versions share the gateway's clients. By the others one version has all clients at a time."""
COUNTED = frozenset({RolloutPhase.Shifting, RolloutPhase.Guarding})
"""Phases in which a version is judged by what its pods count."""
NO_ROUTES = "the cluster has no Gateway API: it knows no HTTPRoute"


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
    def model_uid(self) -> str | None:
        """The model that it began for."""
        return None if self.status.resolved is None else self.status.resolved.model_uid

    @property
    def compared_with(self) -> str | None:
        """The champion when it began."""
        resolved = self.status.resolved
        return resolved.task.champion.version if resolved is not None and resolved.task.champion is not None else None

    @property
    def is_approved(self) -> bool:
        """By a person, or by the model's file."""
        approved = self.status.condition("Approved")
        return approved is not None and approved.reason == Reason.Approved

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
class Constant:
    """What stands in for the champion with one probability for everybody.

    It is not logged: what a window of the log or a replay reads there would be taken for what a model answered.
    """

    probability: float
    version: str = "fallback"
    log_url: None = None

    @property
    def golden(self) -> Golden:
        return Golden(instance={}, probability=self.probability)


@dataclass(frozen=True)
class ServerSeen:
    """An InferenceService, and what it answered where it was asked.

    KServe calls one unready of which a single pod is drained, or that is to have more of them: who has clients is asked
    whatever it says.
    """

    version: str
    message: str
    answer: Answer | None = None
    made: datetime | None = None

    @property
    def answers(self) -> bool:
        return self.answer is not None and self.answer.ok

    @property
    def heard(self) -> str:
        return self.message if self.answer is None else self.answer.message


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
    taken: int = 0
    """The highest number of a run that began for a model of this name, which was deleted since."""
    monitors: tuple[MonitorSeen, ...] = ()
    servers: tuple[ServerSeen, ...] = ()
    target: str | None = None
    """The version that the stable Service's selector names."""
    probe_slot: int = 0
    probe: JobState = field(default_factory=Absent)
    replay: JobState = field(default_factory=Absent)
    """The Job of the rollout's present replay."""
    labels: JobState = field(default_factory=Absent)
    """The Job of the rollout's present look for labels."""
    route: RouteSeen | None = None
    has_routes: bool = True
    """The API server knows HTTPRoutes."""
    gateway_problem: str | None = None
    pods: Mapping[str, tuple[Object, ...]] = field(default_factory=dict)
    """By version that is, or is about to be, judged by what its pods count."""
    counters: Mapping[str, tuple[Counters, ...]] = field(default_factory=dict)
    """By version: what each of its pods that are ready has counted; absent where one did not say."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """By version: why it could not be read what its pods have counted."""
    kserve_missing: bool = False
    looking_since: datetime | None = None
    """What happened before that, nobody saw: None where all of it was seen."""
    alias: str | None = None
    """The registered version that the alias of champions points at."""
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

    @property
    def constant(self) -> Constant | None:
        return constant_of(self.spec)

    def counted(self, version: str) -> Counts | None:
        """What the version's pods have counted since the step began; None where one does not say.

        Of a pod that was there before and had not told yet, nothing: what it counted is of another time.
        """
        counters = self.counters.get(version)
        if counters is None:
            return None
        began = ((as_counts(pod), self.baseline(version, pod)) for pod in counters)
        return sum((counts - as_counts(then) for counts, then in began if then is not None), Counts())

    def baseline(self, version: str, now: Counters) -> Counters | None:
        """What a pod had counted when the step began, nothing where it was made later; None where nobody knows.

        What was counted by another promise, or of other clients, tells nothing of it.
        """
        rollout = self.status.rollout
        if rollout is None or rollout.phase not in COUNTED:
            return Counters(pod=now.pod)
        pods = (then for one in rollout.baselines if one.version == version for then in one.pods)
        of = (then for then in pods if then.pod == now.pod and self.is_timed(then))
        known = next((then for then in of if then.gateway in (None, now.gateway)), None)
        is_new = known is None and self._was_made_since(rollout.since, version, now.pod)
        return Counters(pod=now.pod) if is_new else known

    def is_timed(self, counters: Counters) -> bool:
        """What they call slow is what is now."""
        return counters.p95_milliseconds in (None, self.spec.serving.slo.p95_milliseconds)

    def _was_made_since(self, began: str, version: str, pod: str) -> bool:
        made = next((made_at(one) for one in self.pods.get(version, ()) if name_of(one) == pod), None)
        return made is not None and made > clock.parse(began)

    def server(self, version: str) -> ServerSeen | None:
        return next((server for server in self.servers if server.version == version), None)


def as_counts(counters: Counters) -> Counts:
    return Counts(counters.requests, counters.errors, counters.slow, counters.scores)


def constant_of(spec: ChurnModelSpec) -> Constant | None:
    fallback = spec.serving.fallback
    return None if fallback is None or fallback.probability is None else Constant(fallback.probability)


def server_name(model: str, version: str) -> str:
    return f"{model}-{version}"


def predictor_service(model: str, version: str) -> str:
    """KServe's Service of one version."""
    return f"{server_name(model, version)}-predictor"


def probe_name(model: str, slot: int) -> str:
    return f"{model}-probe-{slot}"


def replay_name(model: str, version: str, attempt: int) -> str:
    """Each attempt has a Job of its own: what one came to is never taken for what another did."""
    return f"{server_name(model, version)}-shadow" + (f"-{attempt}" if attempt > 1 else "")


def labels_name(model: str, version: str, begun: str) -> str:
    """Each look has a Job of its own, named by the minute at which its interval began."""
    return f"{server_name(model, version)}-labels-{int(clock.parse(begun).timestamp()) // 60}"


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
    jobs = await cluster.list("batch/v1", "Job", key.namespace, labels=mine)
    try:
        servers = await cluster.list(SERVING_API, "InferenceService", key.namespace, labels=mine)
        kserve_missing = False
    except KindMissing:
        servers, kserve_missing = (), True
    routes = await _routes(cluster, key, mine)
    pods = await _judged(cluster, key, status)
    judged = {one.version: pods[one.version] for one in status.versions if one.state in JUDGED and one.version in pods}
    heard = await _counters(settings, cluster, key, spec, judged)
    children = tuple(c for c in (*services, *jobs, *servers, *monitors, *(routes or ())) if is_controlled_by(c, obj))
    addressed = {name_of(one): one for one in services if name_of(one) != key.name or is_controlled_by(one, obj)}
    alias, problem = await champion_alias(cluster, tracking_uri(settings, spec), f"{key.namespace}.{key.name}")
    seen = [_run(run) for run in runs]
    own = [run for run in seen if run.model_uid in (None, uid_of(obj))]
    slot = int(now.timestamp() // parse_duration(spec.retraining.probe_interval).total_seconds())
    return ChurnModelWorld(
        settings=settings,
        object=obj,
        children=children,
        spec=spec,
        status=status,
        digest=spec_digest(spec),
        runs=tuple(sorted(own, key=lambda run: run.number)),
        taken=max((run.number for run in seen if run not in own), default=0),
        monitors=tuple(
            MonitorSeen(name_of(m), DriftMonitorStatus.model_validate(m.get("status", {}))) for m in monitors
        ),
        servers=await _servers(cluster, key, spec, status, servers, addressed),
        target=_target(key.name, addressed.get(key.name)),
        probe_slot=slot,
        probe=await _job(cluster, probe_name(key.name, slot), children),
        replay=await _replay(cluster, key.name, status, children),
        labels=await _labels(cluster, key.name, status, children),
        route=next((route_seen(key.name, c) for c in children if c["kind"] == "HTTPRoute"), None),
        has_routes=routes is not None,
        gateway_problem=await _gateway_problem(cluster, key, spec) if routes is not None else NO_ROUTES,
        pods=pods,
        counters={version: told for version, told in heard.items() if not isinstance(told, str)},
        unread={version: told for version, told in heard.items() if isinstance(told, str)},
        kserve_missing=kserve_missing,
        alias=alias,
        tracking_problem=problem,
    )


def _run(obj: Object) -> RunSeen:
    name = name_of(obj)
    return RunSeen(
        name=name,
        number=int(name.rpartition("-")[2]),
        spec=TrainingRunSpec.model_validate(obj["spec"]),
        status=TrainingRunStatus.model_validate(obj.get("status", {})),
    )


def _asked(spec: ChurnModelSpec, status: ChurnModelStatus) -> list[ServedVersion | Constant]:
    """Those whose answer matters: of the versions that retired the one to go back to, and who stands in."""
    states = {VersionState.Champion, VersionState.RollingOut}
    if is_guarding(status):
        states.add(VersionState.Retired)
    fallback = spec.serving.fallback.version if spec.serving.fallback else None
    constant = constant_of(spec)
    versions = (v for v in status.versions if v.state in states or v.version == fallback)
    return [*versions, *(() if constant is None else (constant,))]


async def _servers(
    cluster: Cluster,
    key: Key,
    spec: ChurnModelSpec,
    status: ChurnModelStatus,
    live: tuple[Object, ...],
    services: Mapping[str, Object],
) -> tuple[ServerSeen, ...]:
    by_name = {name_of(obj): obj for obj in live}
    seen = []
    for version in _asked(spec, status):
        name = server_name(key.name, version.version)
        obj = by_name.get(name)
        if obj is None:
            continue
        lacks = None if _had_clients(version, status.rollout) else await _lacking(cluster, key, spec, version, obj)
        answer = None
        if lacks is None:
            host = await _host(cluster, key, version, services)
            url = f"http://{host}/v1/models/{key.name}:predict"
            answer = await cluster.predict(url, version.golden)
        heard = lacks or "not ready yet"
        if answer is None or not answer.ok:
            pods = await _pods(cluster, key, version.version)
            why = trouble(pods)
            heard = why or heard
            answer = answer and _explained(answer, why if pods else "it has no pod")
        seen.append(ServerSeen(version.version, heard, answer, made_at(obj)))
    return tuple(seen)


async def _lacking(
    cluster: Cluster, key: Key, spec: ChurnModelSpec, version: ServedVersion | Constant, server: Object
) -> str | None:
    """Why a server that had no clients yet is not to have any.

    KServe makes one that is autoscaled with a single pod, and calls that ready; its autoscaler looks 15 s later.
    """
    conditions = server.get("status", {}).get("conditions", ())
    ready: Object = next((c for c in conditions if c["type"] == "Ready"), {})
    if ready.get("status") != "True":
        return str(ready.get("message", "not ready yet"))
    if spec.serving.autoscaling is None or isinstance(version, Constant):
        return None
    pods, fewest = sum(map(is_ready, await _pods(cluster, key, version.version))), spec.serving.replicas
    return None if pods >= fewest else f"{pods} of the {fewest} pods that serving.replicas asks for are ready"


def _had_clients(version: ServedVersion | Constant, rollout: RolloutStatus | None) -> bool:
    """It answered before it got any, or the champion's logged requests."""
    if isinstance(version, Constant):
        return False
    admitted = {RolloutPhase.Shadowing, RolloutPhase.Shifting}
    is_admitted = rollout is not None and rollout.version == version.version and rollout.phase in admitted
    return is_admitted or version.state in {VersionState.Champion, VersionState.Retired}


def _explained(answer: Answer, why: str | None) -> Answer:
    return answer if why is None else Answer(answer.ok, f"{answer.message}: {why}")


def _is_champion(version: ServedVersion | Constant) -> bool:
    return isinstance(version, ServedVersion) and version.state is VersionState.Champion


async def _pods(cluster: Cluster, key: Key, version: str) -> tuple[Object, ...]:
    labels = f"{MODEL_LABEL}={key.name},serving.kserve.io/inferenceservice={server_name(key.name, version)}"
    return await cluster.list("v1", "Pod", key.namespace, labels=labels)


async def _host(cluster: Cluster, key: Key, version: ServedVersion | Constant, services: Mapping[str, Object]) -> str:
    """The champion is asked where its clients ask; who stands in by its own, where clients may be led to right now.

    All by address, as far as it is known: without DNS a champion would answer and its challenger would not.
    """
    stable = services.get(key.name)
    if stable is not None and _is_champion(version) and _target(key.name, stable) == version.version:
        return in_url(stable["spec"]["clusterIP"])
    name = predictor_service(key.name, version.version)
    service = services.get(name)
    address = service and service["spec"].get("clusterIP")
    if service is None or not address:
        return f"{name}.{key.namespace}.svc"
    if address != HEADLESS:
        return in_url(address)
    ready = (pod for pod in await _pods(cluster, key, version.version) if is_ready(pod))
    port = service["spec"]["ports"][0]["targetPort"]
    return next((f"{in_url(pod['status']['podIP'])}:{port}" for pod in ready), f"{name}.{key.namespace}.svc")


def _target(model: str, service: Object | None) -> str | None:
    if service is None:
        return None
    selected = str(service["spec"].get("selector", {}).get("serving.kserve.io/inferenceservice", ""))
    return selected.removeprefix(f"{model}-") or None


def is_guarding(status: ChurnModelStatus) -> bool:
    return status.rollout is not None and status.rollout.phase is RolloutPhase.Guarding


async def _routes(cluster: Cluster, key: Key, labels: str) -> tuple[Object, ...] | None:
    """The model's HTTPRoutes; None where the API server knows none."""
    try:
        return await cluster.list(GATEWAY_API, "HTTPRoute", key.namespace, labels=labels)
    except KindMissing:
        return None


async def _gateway_problem(cluster: Cluster, key: Key, spec: ChurnModelSpec) -> str | None:
    """Which Gateway is not there. One that may not be looked at tells by the route's status."""
    for parent in spec.serving.gateway.parent_refs if spec.serving.gateway else ():
        namespace = parent.namespace or key.namespace
        with contextlib.suppress(Unavailable):
            if await cluster.get(GATEWAY_API, "Gateway", namespace, parent.name) is None:
                return f"there is no Gateway {parent.name} in namespace {namespace}"
    return None


async def _judged(cluster: Cluster, key: Key, status: ChurnModelStatus) -> Mapping[str, tuple[Object, ...]]:
    """The pods of those versions that are, or are about to be, judged, and of the one before in its guard time."""
    rolling = any(version.state is VersionState.RollingOut for version in status.versions)
    if not rolling and not is_guarding(status):
        return {}
    judged = JUDGED | {VersionState.Retired} if is_guarding(status) else JUDGED
    return {one.version: await _pods(cluster, key, one.version) for one in status.versions if one.state in judged}


def splits(spec: ChurnModelSpec) -> bool:
    """Whether a gateway splits clients, so that only what came through it is compared."""
    return spec.serving.gateway is not None and spec.rollout.strategy in SPLITS


async def _counters(
    settings: Settings, cluster: Cluster, key: Key, spec: ChurnModelSpec, pods: Mapping[str, tuple[Object, ...]]
) -> Mapping[str, tuple[Counters, ...] | str]:
    """What those of them counted that are ready: where a gateway splits clients, of what came through it."""

    async def read(version: str) -> tuple[Counters, ...] | str:
        promise, prometheus = spec.serving.slo.p95_milliseconds, spec.rollout.analysis.prometheus
        wanted = Wanted(key, version, promise, prometheus, gateway=splits(spec))
        return await read_counters(settings, cluster, wanted, filter(is_ready, pods[version]))

    return dict(zip(pods, await asyncio.gather(*map(read, pods)), strict=True))


async def _replay(cluster: Cluster, model: str, status: ChurnModelStatus, children: Iterable[Object]) -> JobState:
    rollout = status.rollout
    if rollout is None or rollout.phase is not RolloutPhase.Shadowing or rollout.shadow is None:
        return Absent()
    return await _job(cluster, replay_name(model, rollout.version, rollout.shadow.attempt), children)


async def _labels(cluster: Cluster, model: str, status: ChurnModelStatus, children: Iterable[Object]) -> JobState:
    rollout = status.rollout
    if rollout is None or rollout.labels is None or rollout.labels.begun is None:
        return Absent()
    return await _job(cluster, labels_name(model, rollout.version, rollout.labels.begun), children)


async def _job(cluster: Cluster, name: str, children: Iterable[Object]) -> JobState:
    job = next((c for c in children if c["kind"] == "Job" and name_of(c) == name), None)
    return observe_job(job, await pods_of(cluster, job))
