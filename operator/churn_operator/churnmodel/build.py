"""The objects a ChurnModel is to have."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from churn_operator.api.base import API_VERSION, LocalRef, Resources
from churn_operator.api.churnmodel import ServedVersion
from churn_operator.api.driftmonitor import DriftMonitorSpec, MonitoringSpec
from churn_operator.api.inference_log import (
    METADATA_ANNOTATIONS,
    METADATA_HEADERS,
    MODEL_ANNOTATION,
    MODEL_URI_ANNOTATION,
    VERSION_ANNOTATION,
    root,
)
from churn_operator.api.rollout import GatewaySpec, RolloutPhase, ShadowStatus
from churn_operator.api.tasks import ChampionRef, LabelsTask, LoggedRows, ProbeTask, ShadowTask
from churn_operator.api.trainingrun import TrainingRunSpec
from churn_operator.churnmodel.decide import Decision, Open
from churn_operator.churnmodel.labels import is_open, wanted
from churn_operator.churnmodel.metrics import PORT
from churn_operator.churnmodel.observe import (
    GATEWAY_API,
    SERVING_API,
    ChurnModelWorld,
    Constant,
    labels_name,
    predictor_service,
    probe_name,
    replay_name,
    server_name,
    tracking_uri,
)
from churn_operator.churnmodel.policies import answered, moved
from churn_operator.core import clock
from churn_operator.core.job import (
    RESTRICTED_CONTAINER,
    RESTRICTED_POD,
    JobOrder,
    build_job,
    credentials,
)
from churn_operator.core.objects import CHAMPION_ALIAS, MODEL_LABEL, Alias, Desired, child_metadata, identity

AGENT_PORT = 9081
"""Where KServe's agent takes the requests that it logs, in front of PORT."""
GRPC_PORT = 8081
"""The predictor's own default."""
MODEL_DIR = "/mnt/models"
TMP = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - the pod's own
SCRAPED = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(PORT),
    "prometheus.io/path": "/metrics",
}
"""What many a Prometheus goes by; it reaches the pods."""
PROBE_RESOURCES = Resources(requests={"cpu": "50m", "memory": "64Mi"}, limits={"memory": "512Mi"})
FETCH_RESOURCES = Resources(requests={"cpu": "50m", "memory": "64Mi"}, limits={"memory": "512Mi"})
CONSTANT_RESOURCES = Resources(requests={"cpu": "50m", "memory": "192Mi"}, limits={"memory": "512Mi"})
"""Without a model the predictor takes 180 MiB."""
PROBE_DEADLINE = 300
REPLAY_RESOURCES = Resources(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "2Gi"})
REPLAY_DEADLINE = 900
"""Seconds for all but the requests: to start, and to read the log."""
REPLAY_WINDOW = timedelta(days=7)
"""What was logged before is no more what clients ask."""
LABELS_RESOURCES = Resources(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "2Gi"})
LABELS_DEADLINE = 900
GRACE_SECONDS = 30
"""The predictor answers on for 5 s after SIGTERM, and then gives requests in flight 15 s."""
LOGGED_GRACE_SECONDS = 40
LOGGED_DRAIN_SECONDS = 32
"""KServe's agent goes when nothing was asked for 30 s after SIGTERM: the predictor behind it must not go first."""


def build(world: ChurnModelWorld, decision: Decision) -> tuple[Desired | Alias, ...]:
    desired: list[Desired | Alias] = []
    if not world.kserve_missing:
        desired += [Desired(_server(world, version)) for version in decision.rollout.served]
        desired += [] if world.constant is None else [Desired(_constant(world, world.constant))]
    champion = decision.rollout.champion
    if champion is not None:
        desired += [Desired(_service(world, decision.rollout.serves or champion)), *_alias(world)]
    if champion is not None and world.spec.serving.gateway is not None and world.has_routes:
        desired.append(Desired(_route(world, world.spec.serving.gateway, decision.rollout.weights)))
    monitoring = world.spec.monitoring or (MonitoringSpec() if world.settings.collector_url else None)
    if monitoring is not None:
        desired.append(Desired(_monitor(world, monitoring)))
    if isinstance(decision.retraining, Open):
        desired.append(Desired(_run(world, decision.retraining), once=True))
    if decision.probe:
        desired.append(Desired(_probe(world), once=True))
    desired += _replay(world, decision)
    desired += _labels(world, decision)
    return tuple(desired)


def _service(world: ChurnModelWorld, version: ServedVersion | Constant) -> dict[str, Any]:
    """The address that never changes; its selector is the whole of a BlueGreen switch."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(world.object, world.name, **{MODEL_LABEL: world.name}),
        "spec": {
            "selector": {
                "serving.kserve.io/inferenceservice": server_name(world.name, version.version),
                "component": "predictor",
            },
            "ports": [
                {
                    "name": "http",
                    "port": 80,
                    "protocol": "TCP",
                    "targetPort": AGENT_PORT if version.log_url else PORT,
                },
                {"name": "grpc", "port": GRPC_PORT, "protocol": "TCP", "targetPort": GRPC_PORT},
            ],
        },
    }


def _route(world: ChurnModelWorld, gateway: GatewaySpec, weights: Mapping[str, int]) -> dict[str, Any]:
    """How a Gateway splits its clients. What the API server would add is written, so that it never looks changed."""
    parents = [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": world.namespace} | parent.to_dict()
        for parent in gateway.parent_refs
    ]
    backends = [
        {
            "group": "",
            "kind": "Service",
            "name": predictor_service(world.name, version),
            "port": 80,
            "weight": weight,
        }
        for version, weight in weights.items()
    ]
    everything = {"path": {"type": "PathPrefix", "value": "/"}}
    hostnames = {"hostnames": list(gateway.hostnames)} if gateway.hostnames else {}
    return {
        "apiVersion": GATEWAY_API,
        "kind": "HTTPRoute",
        "metadata": child_metadata(world.object, world.name, **{MODEL_LABEL: world.name}),
        "spec": {"parentRefs": parents, **hostnames, "rules": [{"matches": [everything], "backendRefs": backends}]},
    }


def _alias(world: ChurnModelWorld) -> tuple[Alias, ...]:
    """At the champion of the status, which is the one that serves a look later at most.

    Where somebody pointed it elsewhere, and that is followed, it stays there until their wish is kept in a run: whoever
    dies between the two writes finds it, in one place or the other.
    """
    champion, asked = world.champion, moved(world)
    why = "" if asked is None else answered(world, asked)
    if champion is None or why is None:
        return ()
    alias = Alias(
        tracking_uri=tracking_uri(world.settings, world.spec),
        model=f"{world.namespace}.{world.name}",
        alias=CHAMPION_ALIAS,
        version=champion.registry_version,
        seen=world.alias,
        why=why,
    )
    return (alias,)


def _server(world: ChurnModelWorld, version: ServedVersion) -> dict[str, Any]:
    """One version's InferenceService: model and images never change in it.

    It carries its own container instead of naming a ServingRuntime, so that neither an upgrade nor the removal of the
    operator can change or stop what serves.
    """
    models = {"name": "models", "mountPath": MODEL_DIR}
    secret = world.spec.storage.secret_ref.name if world.spec.storage.secret_ref else world.settings.storage_secret
    fetch = _container(world, "storage-initializer", version.fetch_image) | {
        "args": ["fetch", version.model.uri, MODEL_DIR],
        "envFrom": credentials(secret),
        "resources": FETCH_RESOURCES.to_dict(),
        "volumeMounts": [models, TMP],
    }
    serve = _predictor(world, version.image) | {
        "args": [
            f"--model-dir={MODEL_DIR}",
            *_named(world, version.version),
            *([f"--drain-seconds={LOGGED_DRAIN_SECONDS}"] if version.log_url else []),
            *_batching(world),
        ],
        "resources": world.spec.serving.resources.to_dict(),
        "volumeMounts": [models | {"readOnly": True}, TMP],
    }
    pod = {
        "minReplicas": world.spec.serving.replicas,
        "terminationGracePeriodSeconds": LOGGED_GRACE_SECONDS if version.log_url else GRACE_SECONDS,
        **_logger(version),
        "initContainers": [fetch],
        "containers": [serve],
        "volumes": [{"name": "models", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    return _inference_service(world, version.version, pod, _logged_as(world, version))


def _constant(world: ChurnModelWorld, constant: Constant) -> dict[str, Any]:
    """What stands in without a model: it fetches nothing, so that an object store that is away does not stop it."""
    serve = _predictor(world, world.settings.predictor_image) | {
        "args": [f"--probability={constant.probability}", *_named(world, constant.version)],
        "resources": CONSTANT_RESOURCES.to_dict(),
        "volumeMounts": [TMP],
    }
    pod = {
        "minReplicas": 1,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "containers": [serve],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return _inference_service(world, constant.version, pod, {})


def _inference_service(
    world: ChurnModelWorld, version: str, pod: dict[str, Any], annotations: dict[str, str]
) -> dict[str, Any]:
    return {
        "apiVersion": SERVING_API,
        "kind": "InferenceService",
        "metadata": child_metadata(world.object, server_name(world.name, version), **{MODEL_LABEL: world.name})
        | {"annotations": {"serving.kserve.io/autoscalerClass": "none"} | SCRAPED | annotations},
        "spec": {
            "predictor": {
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "securityContext": RESTRICTED_POD,
            }
            | pod
        },
    }


def _predictor(world: ChurnModelWorld, image: str) -> dict[str, Any]:
    return _container(world, "kserve-container", image) | {
        # KServe takes the first for HTTP, and knows gRPC by the name.
        "ports": [
            {"name": "http1", "containerPort": PORT, "protocol": "TCP"},
            {"name": "h2c", "containerPort": GRPC_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {
            "httpGet": {"path": f"/v1/models/{world.name}", "port": PORT},
            "periodSeconds": 2,
            "failureThreshold": 2,
        },
        "livenessProbe": {"httpGet": {"path": "/", "port": PORT}, "failureThreshold": 3},
    }


def _container(world: ChurnModelWorld, name: str, image: str) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": world.settings.image_pull_policy,
        "env": [{"name": "HOME", "value": TMP["mountPath"]}],
        "securityContext": RESTRICTED_CONTAINER,
    }


def _named(world: ChurnModelWorld, version: str) -> list[str]:
    return [f"--model-name={world.name}", f"--version={version}", f"--http-port={PORT}"]


def _logger(version: ServedVersion) -> dict[str, Any]:
    """KServe's logger, as it was when the version was made: one that is switched on later rolls no pod."""
    if version.log_url is None:
        return {}
    return {
        "logger": {
            "mode": "all",
            "url": version.log_url,
            "metadataHeaders": list(METADATA_HEADERS),
            "metadataAnnotations": list(METADATA_ANNOTATIONS),
        }
    }


def _logged_as(world: ChurnModelWorld, version: ServedVersion) -> dict[str, str]:
    """What tells the collector whose request it was; they reach the pods, and never change."""
    if version.log_url is None:
        return {}
    return {
        MODEL_ANNOTATION: world.name,
        VERSION_ANNOTATION: version.version,
        MODEL_URI_ANNOTATION: version.model.uri,
    }


def _batching(world: ChurnModelWorld) -> list[str]:
    batching = world.spec.serving.batching
    if batching is None:
        return []
    return [f"--batch-rows={batching.max_rows}", f"--batch-milliseconds={batching.max_latency_milliseconds}"]


def _monitor(world: ChurnModelWorld, monitoring: MonitoringSpec) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "DriftMonitor",
        "metadata": child_metadata(world.object, world.name, **{MODEL_LABEL: world.name}),
        "spec": DriftMonitorSpec(model_ref=LocalRef(name=world.name), **monitoring.model_dump()).to_dict(),
    }


def _run(world: ChurnModelWorld, opened: Open) -> dict[str, Any]:
    wish = opened.wish
    spec = TrainingRunSpec(
        model_ref=LocalRef(name=world.name),
        trigger=wish.trigger,
        reason=wish.reason[:1024],
        revision=opened.revision,
        evidence=wish.evidence,
        candidate=wish.candidate,
    )
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "metadata": child_metadata(world.object, f"{world.name}-{opened.number}", **{MODEL_LABEL: world.name}),
        "spec": spec.to_dict(),
    }


def _replay(world: ChurnModelWorld, decision: Decision) -> tuple[Desired, ...]:
    """The Job of a replay that is under way; one that ended stays, if it is there, until the next."""
    rollout, champion = decision.rollout, decision.rollout.champion
    progress, strategy = rollout.progress, world.spec.rollout.strategy
    if progress is None or progress.phase is not RolloutPhase.Shadowing or strategy != "Shadow":
        return ()
    challenger = next((v for v in rollout.versions if v.version == progress.version), None)
    if progress.shadow is None or challenger is None or champion is None or champion.log_url is None:
        return ()
    if progress.shadow.retry_at is None and progress.shadow.result is None:
        return (Desired(_replay_job(world, champion, challenger, progress.shadow), once=True),)
    return _kept(world, replay_name(world.name, challenger.version, progress.shadow.attempt))


def _kept(world: ChurnModelWorld, job: str) -> tuple[Desired, ...]:
    """A Job that ended, for its log, if it is there."""
    return tuple(Desired(child, once=True) for child in world.children if identity(child) == ("Job", job))


def _replay_job(
    world: ChurnModelWorld, champion: ServedVersion, challenger: ServedVersion, shadow: ShadowStatus
) -> dict[str, Any]:
    """Of an attempt: when it began decides what it reads, so that the same attempt is the same Job."""
    asked, until = world.spec.rollout.shadow, clock.parse(shadow.since)
    service = predictor_service(world.name, challenger.version)
    task = ShadowTask(
        namespace=world.namespace,
        churn_model=world.name,
        champion=ChampionRef(version=champion.version, model=champion.model),
        version=challenger.version,
        url=f"http://{service}.{world.namespace}.svc/v1/models/{world.name}:predict",
        log=LoggedRows(
            uri=root(world.settings.storage_uri),
            since=clock.stamp(until - REPLAY_WINDOW),
            until=shadow.since,
            min_rows=world.spec.rollout.analysis.min_requests,
        ),
        requests=asked.requests,
        requests_per_second=asked.requests_per_second,
        p95_milliseconds=world.spec.serving.slo.p95_milliseconds,
    )
    storage, own = world.spec.storage.secret_ref, world.settings.storage_secret
    order = JobOrder(
        role="shadow",
        name=replay_name(world.name, challenger.version, shadow.attempt),
        task=task,
        image=world.settings.jobs_image,
        pull_policy=world.settings.image_pull_policy,
        resources=REPLAY_RESOURCES,
        deadline_seconds=REPLAY_DEADLINE + 2 * asked.requests // asked.requests_per_second + asked.requests,
        retries=0,
        secret=storage.name if storage else own,
        log_secret=own,
    )
    return build_job(world.object, order, **{MODEL_LABEL: world.name})


def _labels(world: ChurnModelWorld, decision: Decision) -> tuple[Desired, ...]:
    """The Job of a look for labels that is under way; one that ended stays, if it is there, until the next."""
    progress = decision.rollout.progress
    if progress is None or progress.phase not in (RolloutPhase.Shifting, RolloutPhase.Guarding):
        return ()
    labels, asked = progress.labels, wanted(world)
    if labels is None or labels.begun is None or asked is None:
        return ()
    if not is_open(labels):
        return _kept(world, labels_name(world.name, progress.version, labels.begun))
    named = {v.version: ChampionRef(version=v.version, model=v.model) for v in decision.rollout.versions}
    champion, challenger = named.get(labels.champion), named.get(progress.version)
    if champion is None or challenger is None:
        return ()
    until = min(labels.begun, progress.since) if progress.phase is RolloutPhase.Guarding else labels.begun
    task = LabelsTask(
        namespace=world.namespace,
        churn_model=world.name,
        champion=champion,
        challenger=challenger,
        log=LoggedRows(
            uri=root(world.settings.storage_uri),
            since=labels.since,
            until=until,
            min_rows=world.spec.rollout.analysis.min_requests,
        ),
        source=asked.source,
    )
    return (Desired(_labels_job(world, labels_name(world.name, progress.version, labels.begun), task), once=True),)


def _labels_job(world: ChurnModelWorld, name: str, task: LabelsTask) -> dict[str, Any]:
    storage, own = world.spec.storage.secret_ref, world.settings.storage_secret
    order = JobOrder(
        role="labels",
        name=name,
        task=task,
        image=world.settings.jobs_image,
        pull_policy=world.settings.image_pull_policy,
        resources=LABELS_RESOURCES,
        deadline_seconds=LABELS_DEADLINE,
        retries=0,
        secret=storage.name if storage else own,
        source=task.source,
        log_secret=own,
    )
    return build_job(world.object, order, **{MODEL_LABEL: world.name})


def _probe(world: ChurnModelWorld) -> dict[str, Any]:
    source = world.spec.data.source
    order = JobOrder(
        role="probe",
        name=probe_name(world.name, world.probe_slot),
        task=ProbeTask(source=source),
        image=world.settings.jobs_image,
        pull_policy=world.settings.image_pull_policy,
        resources=PROBE_RESOURCES,
        deadline_seconds=PROBE_DEADLINE,
        retries=0,
        secret=world.settings.storage_secret,
        source=source,
    )
    return build_job(world.object, order, **{MODEL_LABEL: world.name})
