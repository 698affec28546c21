"""What a TrainingRun needs to know."""

from dataclasses import dataclass
from datetime import datetime

from churn_operator.api.base import API_VERSION
from churn_operator.api.churnmodel import ChurnModelSpec, ChurnModelStatus
from churn_operator.api.tasks import PROGRESS_TAG, RESULT_TAG, Progress
from churn_operator.api.trainingrun import TrainingRunSpec, TrainingRunStatus
from churn_operator.core.errors import TrackingUnavailable
from churn_operator.core.job import JobState, observe_job, parse_result
from churn_operator.core.kind import Cluster, RunView
from churn_operator.core.objects import MODEL_LABEL, Key, Object, is_controlled_by, name_of, uid_of
from churn_operator.settings import Settings

RUN_LABEL = "churnops.dev/run"


@dataclass(frozen=True)
class ModelView:
    """The ChurnModel that a run belongs to."""

    object: Object
    spec: ChurnModelSpec
    status: ChurnModelStatus


@dataclass(frozen=True)
class TrainingRunWorld:
    """Everything a decision about a run looks at."""

    settings: Settings
    object: Object
    children: tuple[Object, ...]
    spec: TrainingRunSpec
    status: TrainingRunStatus
    model: ModelView | None
    job: JobState
    tracking_problem: str | None = None
    run: RunView | None = None
    progress: Progress | None = None

    @property
    def name(self) -> str:
        return name_of(self.object)

    @property
    def namespace(self) -> str:
        return str(self.object["metadata"]["namespace"])

    @property
    def number(self) -> int:
        """The run's number, which is the version's too."""
        return int(self.name.rpartition("-")[2])


def job_name(run: str) -> str:
    return f"{run}-train"


async def observe(settings: Settings, cluster: Cluster, key: Key, now: datetime) -> TrainingRunWorld | None:  # noqa: ARG001 - kinds look alike
    """Read the run, its model, its Job, and what MLflow says of it."""
    obj = await cluster.get(API_VERSION, "TrainingRun", key.namespace, key.name)
    if obj is None or "deletionTimestamp" in obj["metadata"]:
        return None
    spec = TrainingRunSpec.model_validate(obj["spec"])
    status = TrainingRunStatus.model_validate(obj.get("status", {}))
    labels = f"{MODEL_LABEL}={spec.model_ref.name},{RUN_LABEL}={key.name}"
    jobs = await cluster.list("batch/v1", "Job", key.namespace, labels=labels)
    children = tuple(job for job in jobs if is_controlled_by(job, obj))
    if status.finished_at is not None:
        return TrainingRunWorld(settings, obj, children, spec, status, model=None, job=observe_job(None, ()))
    model = await _model(cluster, key.namespace, spec.model_ref.name)
    run, problem = await _tracked(cluster, settings, status, model, uid_of(obj))
    pods = await cluster.list("v1", "Pod", key.namespace, labels=labels) if children else ()
    job = next((job for job in children if name_of(job) == job_name(key.name)), None)
    tags = run.tags if run else {}
    return TrainingRunWorld(
        settings=settings,
        object=obj,
        children=children,
        spec=spec,
        status=status,
        model=model,
        job=observe_job(job, pods, tags.get(RESULT_TAG)),
        tracking_problem=problem,
        run=run,
        progress=_progress(tags.get(PROGRESS_TAG)),
    )


def _progress(tag: str | None) -> Progress | None:
    """How far the Job is; anybody can write tags, so that one that says something else says nothing."""
    progress = None if tag is None else parse_result(tag, Progress)
    return progress if isinstance(progress, Progress) else None


async def _model(cluster: Cluster, namespace: str, name: str) -> ModelView | None:
    obj = await cluster.get(API_VERSION, "ChurnModel", namespace, name)
    if obj is None:
        return None
    return ModelView(
        obj, ChurnModelSpec.model_validate(obj["spec"]), ChurnModelStatus.model_validate(obj.get("status", {}))
    )


async def _tracked(
    cluster: Cluster, settings: Settings, status: TrainingRunStatus, model: ModelView | None, uid: str
) -> tuple[RunView | None, str | None]:
    uri = settings.tracking_uri
    if status.resolved is not None:
        uri = status.resolved.task.tracking_uri
    elif model is not None and model.spec.tracking.uri is not None:
        uri = model.spec.tracking.uri
    try:
        return await cluster.find_run(uri, uid), None
    except TrackingUnavailable as error:
        return None, str(error)
