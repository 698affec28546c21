"""What a TrainingRun needs to know."""

from dataclasses import dataclass
from datetime import datetime

from churn_operator.api.approval import ApprovalTerms
from churn_operator.api.base import API_VERSION
from churn_operator.api.churnmodel import ChurnModelSpec, ChurnModelStatus, ServedVersion, VersionState
from churn_operator.api.tasks import PROGRESS_TAG, RESULT_TAG, Progress
from churn_operator.api.trainingrun import RunPhase, TrainingRunSpec, TrainingRunStatus
from churn_operator.core.errors import TrackingUnavailable
from churn_operator.core.job import Absent, JobState, Running, observe_job, parse_result, pods_of
from churn_operator.core.kind import Cluster, RunView, champion_alias
from churn_operator.core.objects import MODEL_LABEL, Key, Object, is_controlled_by, name_of, uid_of
from churn_operator.settings import Settings

RUN_LABEL = "churnops.dev/run"


@dataclass(frozen=True)
class ModelView:
    """The ChurnModel that a run belongs to."""

    object: Object
    spec: ChurnModelSpec
    status: ChurnModelStatus

    @property
    def champion(self) -> ServedVersion | None:
        return next((v for v in self.status.versions if v.state is VersionState.Champion), None)


def is_required(terms: ApprovalTerms | None, model: ModelView | None) -> bool:
    """Whether a person is asked: as the model said when the run began, or as it says now."""
    now = model is not None and model.spec.approval.required
    return terms is not None and (terms.required or now)


@dataclass(frozen=True)
class Rival:
    """Another run of the same model."""

    name: str
    number: int
    phase: RunPhase


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
    rivals: tuple[Rival, ...] = ()
    """Looked for where the run is, or may be, put up for approval."""

    @property
    def name(self) -> str:
        return name_of(self.object)

    @property
    def namespace(self) -> str:
        return str(self.object["metadata"]["namespace"])

    @property
    def number(self) -> int:
        """The run's number, which is the version's too."""
        return number_of(self.name)


def number_of(name: str) -> int:
    """Of a run, such as telco-7, or of a version, such as v7."""
    return int(name.rpartition("-")[2].removeprefix("v"))


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
    rivals = await _rivals(cluster, key, spec) if is_required(status.approval_terms, model) else ()
    if status.result is not None:  # measured, and put up for approval: its Job and MLflow have no more to say
        return TrainingRunWorld(settings, obj, children, spec, status, model, observe_job(None, ()), rivals=rivals)
    job = next((job for job in children if name_of(job) == job_name(key.name)), None)
    pods = await pods_of(cluster, job)
    uri = _tracking_uri(settings, status, model)
    run, problem = await _tracked(cluster, uri, f"{key.namespace}.{spec.model_ref.name}", obj, observe_job(job, pods))
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
        rivals=rivals,
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


async def _rivals(cluster: Cluster, key: Key, spec: TrainingRunSpec) -> tuple[Rival, ...]:
    runs = await cluster.list(
        API_VERSION, "TrainingRun", key.namespace, fields=f"spec.modelRef.name={spec.model_ref.name}"
    )
    others = (run for run in runs if name_of(run) != key.name)
    return tuple(
        Rival(name_of(run), number_of(name_of(run)), RunPhase(run.get("status", {}).get("phase", RunPhase.Pending)))
        for run in others
    )


def _tracking_uri(settings: Settings, status: TrainingRunStatus, model: ModelView | None) -> str:
    if status.resolved is not None:
        return status.resolved.task.tracking_uri
    return (model and model.spec.tracking.uri) or settings.tracking_uri


async def _tracked(
    cluster: Cluster, uri: str, model: str, obj: Object, job: JobState
) -> tuple[RunView | None, str | None]:
    """The run as MLflow has it, which is not before its pod began; without a Job, whether MLflow answers."""
    if isinstance(job, Absent):
        _, problem = await champion_alias(cluster, uri, model)
        return None, problem
    if isinstance(job, Running) and not job.began:
        return None, None
    try:
        return await cluster.find_run(uri, uid_of(obj)), None
    except TrackingUnavailable as error:
        return None, str(error)
