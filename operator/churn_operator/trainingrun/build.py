"""The objects a TrainingRun is to have: one Job."""

from churn_operator.api.tasks import Resolved
from churn_operator.core.job import RETRIES, JobOrder, build_job
from churn_operator.core.objects import MODEL_LABEL, Desired
from churn_operator.trainingrun.decide import Accept, Await, Decision, Decline, Fail, Reject, Rest, Train
from churn_operator.trainingrun.observe import RUN_LABEL, TrainingRunWorld, job_name


def build(world: TrainingRunWorld, decision: Decision) -> tuple[Desired, ...]:
    match decision:
        case Train() if world.status.resolved is not None:
            return (_job(world, world.status.resolved),)
        case Await() | Accept() | Reject() | Decline() | Fail() | Rest(keep_job=True):
            return tuple(Desired(job, once=True) for job in world.children)
        case _:
            return ()


def _job(world: TrainingRunWorld, resolved: Resolved) -> Desired:
    task, training = resolved.task, resolved.task.training
    secret = world.settings.storage_secret
    if world.model is not None and world.model.spec.storage.secret_ref is not None:
        secret = world.model.spec.storage.secret_ref.name
    order = JobOrder(
        role="train",
        name=job_name(world.name),
        task=task,
        image=task.image,
        pull_policy=world.settings.image_pull_policy,
        resources=training.resources,
        deadline_seconds=training.active_deadline_seconds,
        retries=RETRIES,
        secret=secret,
        source=task.data.source,
    )
    return Desired(build_job(world.object, order, **{MODEL_LABEL: task.model, RUN_LABEL: world.name}), once=True)
