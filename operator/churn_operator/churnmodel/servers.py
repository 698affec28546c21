"""The InferenceService of a version, and of what stands in without one. Pure."""

from typing import Any

from churn_operator.api.base import Resources
from churn_operator.api.churnmodel import ServedVersion, ServingSpec
from churn_operator.api.inference_log import (
    METADATA_ANNOTATIONS,
    METADATA_HEADERS,
    MODEL_ANNOTATION,
    MODEL_URI_ANNOTATION,
    VERSION_ANNOTATION,
)
from churn_operator.churnmodel.metrics import PORT
from churn_operator.churnmodel.observe import (
    SERVING_API,
    ChurnModelWorld,
    Constant,
    server_name,
)
from churn_operator.core.job import (
    RESTRICTED_CONTAINER,
    RESTRICTED_POD,
    credentials,
)
from churn_operator.core.objects import MODEL_LABEL, child_metadata

AUTOSCALER = "serving.kserve.io/autoscalerClass"
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
FETCH_RESOURCES = Resources(requests={"cpu": "50m", "memory": "64Mi"}, limits={"memory": "512Mi"})
CONSTANT_RESOURCES = Resources(requests={"cpu": "50m", "memory": "192Mi"}, limits={"memory": "512Mi"})
"""Without a model the predictor takes 180 MiB."""
GRACE_SECONDS = 30
"""The predictor answers on for 5 s after SIGTERM, and then gives requests in flight 15 s."""
LOGGED_GRACE_SECONDS = 40
LOGGED_DRAIN_SECONDS = 32
"""KServe's agent goes when nothing was asked for 30 s after SIGTERM: the predictor behind it must not go first."""


def server(world: ChurnModelWorld, version: ServedVersion) -> dict[str, Any]:
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
        **_replicas(world.spec.serving),
        "terminationGracePeriodSeconds": LOGGED_GRACE_SECONDS if version.log_url else GRACE_SECONDS,
        **_logger(version),
        "initContainers": [fetch],
        "containers": [serve],
        "volumes": [{"name": "models", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    scaled = {} if world.spec.serving.autoscaling is None else {AUTOSCALER: "hpa"}
    return _inference_service(world, version.version, pod, scaled | _logged_as(world, version))


def constant(world: ChurnModelWorld, fallback: Constant) -> dict[str, Any]:
    """What stands in without a model: it fetches nothing, so that an object store that is away does not stop it."""
    serve = _predictor(world, world.settings.predictor_image) | {
        "args": [f"--probability={fallback.probability}", *_named(world, fallback.version)],
        "resources": CONSTANT_RESOURCES.to_dict(),
        "volumeMounts": [TMP],
    }
    pod = {
        "minReplicas": 1,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "containers": [serve],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return _inference_service(world, fallback.version, pod, {})


def _inference_service(
    world: ChurnModelWorld, version: str, pod: dict[str, Any], annotations: dict[str, str]
) -> dict[str, Any]:
    return {
        "apiVersion": SERVING_API,
        "kind": "InferenceService",
        "metadata": child_metadata(world.object, server_name(world.name, version), **{MODEL_LABEL: world.name})
        | {"annotations": {AUTOSCALER: "none"} | SCRAPED | annotations},
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
    alive = {"path": "/", "port": PORT}
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
        # A busy node takes its time, which must not look like a process that hangs.
        "startupProbe": {"httpGet": alive, "periodSeconds": 1, "failureThreshold": 300},
        "livenessProbe": {"httpGet": alive, "timeoutSeconds": 5, "failureThreshold": 6},
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


def _replicas(serving: ServingSpec) -> dict[str, Any]:
    """What KServe makes a HorizontalPodAutoscaler of, where it is to make one."""
    if serving.autoscaling is None:
        return {"minReplicas": serving.replicas}
    return {
        "minReplicas": serving.replicas,
        "maxReplicas": serving.autoscaling.max_replicas,
        "scaleMetric": serving.autoscaling.metric.lower(),
        "scaleTarget": serving.autoscaling.target_utilization,
    }


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
