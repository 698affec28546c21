"""The Jobs of a ChurnModel: what asks a source for its state, replays the log, and looks for labels. Pure."""

from datetime import timedelta
from typing import Any

from churn_operator.api.base import Resources
from churn_operator.api.churnmodel import ServedVersion
from churn_operator.api.inference_log import (
    root,
)
from churn_operator.api.rollout import RolloutPhase, ShadowStatus
from churn_operator.api.tasks import ChampionRef, LabelsTask, LoggedRows, ProbeTask, ShadowTask
from churn_operator.churnmodel.decide import Decision
from churn_operator.churnmodel.labels import is_open, wanted
from churn_operator.churnmodel.observe import (
    ChurnModelWorld,
    labels_name,
    predictor_service,
    probe_name,
    replay_name,
)
from churn_operator.core import clock
from churn_operator.core.job import (
    JobOrder,
    build_job,
)
from churn_operator.core.objects import MODEL_LABEL, Desired, identity

PROBE_RESOURCES = Resources(requests={"cpu": "50m", "memory": "64Mi"}, limits={"memory": "512Mi"})
PROBE_DEADLINE = 300
REPLAY_RESOURCES = Resources(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "2Gi"})
REPLAY_DEADLINE = 900
"""Seconds for all but the requests: to start, and to read the log."""
REPLAY_WINDOW = timedelta(days=7)
"""What was logged before is no more what clients ask."""
LABELS_RESOURCES = Resources(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "2Gi"})
LABELS_DEADLINE = 900


def replay(world: ChurnModelWorld, decision: Decision) -> tuple[Desired, ...]:
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


def labels(world: ChurnModelWorld, decision: Decision) -> tuple[Desired, ...]:
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


def probe(world: ChurnModelWorld) -> dict[str, Any]:
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
