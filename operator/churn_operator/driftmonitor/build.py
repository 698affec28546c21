"""The objects a DriftMonitor is to have: the Job of the newest check."""

from churn_operator.api.base import Resources, parse_duration
from churn_operator.api.churnmodel import ChurnModelSpec, ServedVersion
from churn_operator.api.inference_log import root
from churn_operator.api.tasks import DriftTask, LoggedRows
from churn_operator.core import clock
from churn_operator.core.job import RETRIES, JobOrder, build_job
from churn_operator.core.objects import MODEL_LABEL, Desired
from churn_operator.driftmonitor.decide import Compare, Decision, Record, Rest, Wait, settled
from churn_operator.driftmonitor.observe import MONITOR_LABEL, TICK_LABEL, VERSION_LABEL, DriftMonitorWorld

RESOURCES = Resources(requests={"cpu": "250m", "memory": "384Mi"}, limits={"memory": "2Gi"})
DEADLINE = 3600
"""Half of it may pass before the last attempt: in pauses, and in waiting three minutes in each for a silent store."""


def build(world: DriftMonitorWorld, decision: Decision) -> tuple[Desired, ...]:
    match decision:
        case Compare() if world.model is not None and world.champion is not None:
            return (_check(world, decision, world.model, world.champion),)
        case Record(job=job):
            return (Desired(job.object, once=True),)
        case Rest() if world.last_job is not None:
            return (Desired(world.last_job.object, once=True),)
        case Compare() | Rest() | Wait():
            return ()


def _check(world: DriftMonitorWorld, decision: Compare, model: ChurnModelSpec, champion: ServedVersion) -> Desired:
    current, name = world.spec.current, world.spec.model_ref.name
    tick = int(decision.tick.timestamp())
    storage = model.storage.secret_ref
    task = DriftTask(
        namespace=world.namespace,
        churn_model=name,
        monitor=world.name,
        uid=world.object["metadata"]["uid"],
        version=champion.version,
        model=champion.model,
        source=current.source,
        predictions=_predictions(world, decision),
        last_revision=world.status.last_revision if settled(world) is not None else None,
        tests=world.spec.tests,
        tracking_uri=model.tracking.uri or world.settings.tracking_uri,
        experiment=model.tracking.experiment or f"{world.namespace}.{name}",
    )
    order = JobOrder(
        role="drift",
        name=f"{world.name}-drift-{champion.version}-{tick}",
        task=task,
        image=world.settings.jobs_image,
        pull_policy=world.settings.image_pull_policy,
        resources=RESOURCES,
        deadline_seconds=DEADLINE,
        retries=RETRIES,
        secret=storage.name if storage else world.settings.storage_secret,
        source=current.source,
        log_secret=world.settings.storage_secret if current.predictions else None,
    )
    labels = {MODEL_LABEL: name, MONITOR_LABEL: world.name, VERSION_LABEL: champion.version, TICK_LABEL: str(tick)}
    return Desired(build_job(world.object, order, **labels), once=True)


def _predictions(world: DriftMonitorWorld, decision: Compare) -> LoggedRows | None:
    """The window ends with the tick, whenever its Job comes to run: the same tick again is the same window."""
    asked = world.spec.current.predictions
    if asked is None:
        return None
    return LoggedRows(
        uri=root(world.settings.storage_uri),
        since=clock.stamp(decision.tick - parse_duration(asked.window)),
        until=clock.stamp(decision.tick),
        min_rows=asked.min_rows,
    )
