"""What a DriftMonitor needs to know."""

from dataclasses import dataclass
from datetime import UTC, datetime

from churn_operator.api.base import API_VERSION
from churn_operator.api.churnmodel import ChurnModelSpec, ChurnModelStatus, ServedVersion, VersionState
from churn_operator.api.driftmonitor import DriftMonitorSpec, DriftMonitorStatus
from churn_operator.core.job import Absent, JobState, observe_job, pods_of
from churn_operator.core.kind import Cluster
from churn_operator.core.objects import Key, Object, is_controlled_by, name_of
from churn_operator.settings import Settings

MONITOR_LABEL = "churnops.dev/monitor"
VERSION_LABEL = "churnops.dev/version"
TICK_LABEL = "churnops.dev/tick"


@dataclass(frozen=True)
class CheckJob:
    """A check of one tick against one version."""

    name: str
    version: str
    tick: datetime
    object: Object
    state: JobState


@dataclass(frozen=True)
class DriftMonitorWorld:
    """Everything a decision about a monitor looks at."""

    settings: Settings
    object: Object
    children: tuple[Object, ...]
    spec: DriftMonitorSpec
    status: DriftMonitorStatus
    model: ChurnModelSpec | None = None
    champion: ServedVersion | None = None
    jobs: tuple[CheckJob, ...] = ()

    @property
    def name(self) -> str:
        return name_of(self.object)

    @property
    def namespace(self) -> str:
        return str(self.object["metadata"]["namespace"])

    @property
    def last_job(self) -> CheckJob | None:
        """The newest check against the champion."""
        mine = (job for job in self.jobs if self.champion is not None and job.version == self.champion.version)
        return max(mine, key=lambda job: job.tick, default=None)


async def observe(settings: Settings, cluster: Cluster, key: Key, now: datetime) -> DriftMonitorWorld | None:  # noqa: ARG001 - kinds look alike
    """Read the monitor, its model's champion, and its Jobs."""
    obj = await cluster.get(API_VERSION, "DriftMonitor", key.namespace, key.name)
    if obj is None or "deletionTimestamp" in obj["metadata"]:
        return None
    spec = DriftMonitorSpec.model_validate(obj["spec"])
    model = await cluster.get(API_VERSION, "ChurnModel", key.namespace, spec.model_ref.name)
    labels = f"{MONITOR_LABEL}={key.name}"
    jobs = await cluster.list("batch/v1", "Job", key.namespace, labels=labels)
    children = tuple(job for job in jobs if is_controlled_by(job, obj))
    return DriftMonitorWorld(
        settings=settings,
        object=obj,
        children=children,
        spec=spec,
        status=DriftMonitorStatus.model_validate(obj.get("status", {})),
        model=None if model is None else ChurnModelSpec.model_validate(model["spec"]),
        champion=_champion(model),
        jobs=tuple([await _check(cluster, job) for job in children]),
    )


def _champion(model: Object | None) -> ServedVersion | None:
    if model is None:
        return None
    versions = ChurnModelStatus.model_validate(model.get("status", {})).versions
    return next((version for version in versions if version.state is VersionState.Champion), None)


async def _check(cluster: Cluster, job: Object) -> CheckJob:
    labels = job["metadata"]["labels"]
    state = Absent() if "deletionTimestamp" in job["metadata"] else observe_job(job, await pods_of(cluster, job))
    tick = datetime.fromtimestamp(int(labels[TICK_LABEL]), UTC)
    return CheckJob(name_of(job), labels[VERSION_LABEL], tick, job, state)
