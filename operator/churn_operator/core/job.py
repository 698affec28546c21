"""Jobs: how one is written, and what one came to."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from churn_operator.api.base import Model, Resources
from churn_operator.api.data import DataSource
from churn_operator.api.reasons import Reason
from churn_operator.api.results import decode_result
from churn_operator.api.tasks import CLAIM_PATH, EXIT_UNAVAILABLE, LOG_PREFIX, SOURCE_PREFIX, TASK_PATH, JobFailure
from churn_operator.core.kind import Cluster
from churn_operator.core.objects import Object, Violation, child_metadata, name_of, uid_of

CONTAINER = "job"
TASK_ANNOTATION = "churnops.dev/task"
ROLE_LABEL = "churnops.dev/role"
NOT_STARTED, TERMINATED, LOST = 128, 143, 255
"""Exit codes: of a container that containerd could not start, of SIGTERM, and of one that containerd no longer knew
when it came up again."""
WORTH_ANOTHER = (EXIT_UNAVAILABLE, NOT_STARTED, TERMINATED, LOST)
"""Exit codes that the retries are for; any other comes again with the same input, and ends the Job at once."""
RETRIES = 6
"""A neighbour that is away gets this many more chances where much hangs on one Job.

No standing wish repeats a run that a person asked for, and the next tick of a schedule may be a day away. Kubernetes'
pauses before them, 10 s and then twice as long each time, make ten and a half minutes.
"""
ENDED = frozenset({"Complete", "SuccessCriteriaMet", "Failed", "FailureTarget"})
"""Conditions of a Job that ended, or whose end is decided."""

RESTRICTED_POD: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESTRICTED_CONTAINER: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True)
class JobOrder:
    """What a Job is to do, and with what."""

    role: Literal["probe", "train", "drift", "shadow", "labels"]
    name: str
    task: Model
    image: str
    pull_policy: str
    resources: Resources
    deadline_seconds: int
    retries: int
    secret: str
    source: DataSource | None = None
    log_secret: str | None = None
    """Of the inference log, which is in the chart's object store wherever the model's own files are."""


@dataclass(frozen=True)
class Absent:
    """There is no such Job."""


@dataclass(frozen=True)
class Running:
    """The Job is under way; `problem` is what keeps its pod from running, `began` that one has run."""

    problem: Violation | None = None
    began: bool = False


@dataclass(frozen=True)
class Finished:
    """The Job left this text."""

    text: str


@dataclass(frozen=True)
class Broken:
    """The Job gave up."""

    violation: Violation
    revision: str | None = None


R = TypeVar("R", bound=Model)

JobState = Absent | Running | Finished | Broken


def build_job(owner: Object, order: JobOrder, **labels: str) -> dict[str, Any]:
    """A Job whose pod reads its task from an annotation of its own: one object, one write, nothing to go missing."""
    labels = labels | {ROLE_LABEL: order.role}
    metadata = child_metadata(owner, order.name, **labels)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": order.retries,
            "activeDeadlineSeconds": order.deadline_seconds,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": CONTAINER,
                            "operator": "NotIn",
                            "values": list(WORTH_ANOTHER),
                        },
                    },
                ]
            },
            "template": {
                "metadata": {
                    "labels": metadata["labels"],
                    "annotations": {TASK_ANNOTATION: json.dumps(order.task.to_dict(), sort_keys=True)},
                },
                "spec": _pod(order),
            },
        },
    }


def _pod(order: JobOrder) -> dict[str, Any]:
    claim = order.source.claim if order.source else None
    volumes: list[dict[str, Any]] = [
        {
            "name": "task",
            "downwardAPI": {
                "items": [
                    {
                        "path": TASK_PATH.rpartition("/")[2],
                        "fieldRef": {"fieldPath": f"metadata.annotations['{TASK_ANNOTATION}']"},
                    }
                ]
            },
        },
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "task", "mountPath": TASK_PATH.rpartition("/")[0], "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
    ]
    if claim is not None:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": claim.name, "readOnly": True}})
        mounts.append({"name": "data", "mountPath": CLAIM_PATH, "readOnly": True})
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": RESTRICTED_POD,
        "containers": [
            {
                "name": CONTAINER,
                "image": order.image,
                "imagePullPolicy": order.pull_policy,
                "args": [order.role, TASK_PATH],
                "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108 - the pod's own
                "envFrom": credentials(order.secret, order.source, order.log_secret),
                "resources": order.resources.to_dict(),
                "securityContext": RESTRICTED_CONTAINER,
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }


def credentials(secret: str, source: DataSource | None = None, log_secret: str | None = None) -> list[dict[str, Any]]:
    """The object store's credentials; beside them under prefixes the source's own, and the inference log's."""
    refs: list[dict[str, Any]] = [{"secretRef": {"name": secret}}]
    if source is not None and source.secret_ref is not None:
        refs.append({"prefix": SOURCE_PREFIX, "secretRef": {"name": source.secret_ref.name}})
    if log_secret not in (None, secret):
        refs.append({"prefix": LOG_PREFIX, "secretRef": {"name": log_secret}})
    return refs


async def pods_of(cluster: Cluster, job: Object | None) -> tuple[Object, ...]:
    """The pods of a Job, none of which is missing that speaks for a Job that ended.

    An ended Job is judged once, and its pod's last words are the result: a watch of pods that is behind the one of Jobs
    must not turn them into silence.
    """
    if job is None:
        return ()
    where = ("v1", "Pod", job["metadata"]["namespace"])
    labels = f"batch.kubernetes.io/job-name={name_of(job)}"
    pods = await cluster.list(*where, labels=labels)
    status = job.get("status", {})
    ended = max(1, status.get("succeeded", 0) + status.get("failed", 0))
    if ENDED & _verdict(job).keys() and sum(bool(_terminated(pod)) for pod in _own(job, pods)) < ended:
        return await cluster.list_fresh(*where, labels=labels)
    return pods


def observe_job(job: Object | None, pods: Sequence[Object], recorded: str | None = None) -> JobState:
    """What a Job came to, judged by its own pods only.

    `recorded` is the result as MLflow keeps it, for a pod that is gone.
    """
    if job is None:
        return Absent()
    own, verdict = _own(job, pods), _verdict(job)
    if "Complete" in verdict or "SuccessCriteriaMet" in verdict:
        text = next((message for pod in reversed(own) if (message := _message(pod))), recorded)
        if text is None:
            return Broken(Violation(Reason.ResultUnreadable, f"Job {name_of(job)} completed and left no result."))
        return Finished(text)
    if failed := verdict.get("Failed") or verdict.get("FailureTarget"):
        return _broken(job, failed, own)
    problem = next((problem for pod in reversed(own) if (problem := _pod_problem(pod))), None)
    return Running(problem or _between_attempts(job, own), began=any(map(_began, own)))


def _between_attempts(job: Object, pods: Sequence[Object]) -> Violation | None:
    """Who was away in the last attempt and since when, where Kubernetes is to make another."""
    counted = [pod for pod in pods if _terminated(pod) and not _is_disrupted(pod)]
    attempts = job["spec"].get("backoffLimit", 0) + 1
    last = _missed(counted[-1]) if counted and counted[-1] is pods[-1] else None
    if last is None or len(counted) >= attempts:
        return None
    misses = ((pod, missed) for pod in reversed(counted) if (missed := _missed(pod)))
    *_, (first, _) = takewhile(lambda miss: miss[1].reason == last.reason, misses)
    message = (
        f"Since {_terminated(first)['finishedAt']}: {last.message}. Attempt {len(counted)} of {attempts} ended so; "
        "the next follows after a pause, which doubles each time."
    )
    return Violation(last.reason, message)


def _is_disrupted(pod: Object) -> bool:
    """What evicted it is no fault of the attempt: the Job does not count it."""
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "DisruptionTarget" and c["status"] == "True" for c in conditions)


def _missed(pod: Object) -> JobFailure | None:
    """Who was away in this attempt."""
    if _terminated(pod).get("exitCode") != EXIT_UNAVAILABLE:
        return None
    failure = parse_result(_message(pod) or "", JobFailure)
    return None if isinstance(failure, Violation) else failure


def _own(job: Object, pods: Sequence[Object]) -> list[Object]:
    """Those that this very Job made, oldest first."""
    return sorted(
        (pod for pod in pods if any(ref["uid"] == uid_of(job) for ref in pod["metadata"].get("ownerReferences", ()))),
        key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")),
    )


def _verdict(job: Object) -> dict[str, Object]:
    return {c["type"]: c for c in job.get("status", {}).get("conditions", ()) if c["status"] == "True"}


def parse_result(text: str, kind: type[R]) -> R | Violation:
    """A Job's result; a Violation where it is not one that this operator knows."""
    try:
        return kind.model_validate_json(decode_result(text))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return Violation(Reason.ResultUnreadable, f"The Job's result cannot be read: {where}: {first['msg']}.")
    except ValueError as error:
        return Violation(Reason.ResultUnreadable, f"The Job's result cannot be read: {error}.")


def _witnesses(failed: Object, pods: Sequence[Object]) -> list[Object]:
    """Whose words tell of the end, the newest first: unless the attempts were used up it came of the last one alone."""
    ran = [pod for pod in reversed(pods) if _began(pod)]
    return ran if failed.get("reason") == "BackoffLimitExceeded" else ran[:1]


def _broken(job: Object, failed: Object, pods: Sequence[Object]) -> Broken:
    for pod in _witnesses(failed, pods):
        if _terminated(pod).get("reason") == "OOMKilled":
            limit = pod["spec"]["containers"][0].get("resources", {}).get("limits", {}).get("memory", "its memory")
            return Broken(
                Violation(
                    Reason.OutOfMemory,
                    f"The container of Job {name_of(job)} was killed when it reached {limit}: "
                    "raise resources.limits.memory.",
                )
            )
        if text := _message(pod):
            failure = parse_result(text, JobFailure)
            if isinstance(failure, JobFailure):
                return Broken(Violation(failure.reason, failure.message), failure.revision)
    if failed.get("reason") == "DeadlineExceeded":
        seconds = job["spec"].get("activeDeadlineSeconds")
        waiting = next((f" Last seen: {p.message}" for pod in reversed(pods) if (p := _pod_problem(pod))), "")
        message = f"Job {name_of(job)} took longer than activeDeadlineSeconds ({seconds}) and was ended.{waiting}"
        return Broken(Violation(Reason.DeadlineExceeded, message))
    return Broken(Violation(Reason.JobFailed, f"Job {name_of(job)} failed: {failed.get('message', 'no message')}"))


def _container(pod: Object) -> Object:
    statuses = pod.get("status", {}).get("containerStatuses", ())
    return next((status for status in statuses if status["name"] == CONTAINER), {})


def _began(pod: Object) -> bool:
    return bool({"running", "terminated"} & _container(pod).get("state", {}).keys())


def _terminated(pod: Object) -> Object:
    state: Object = _container(pod).get("state", {}).get("terminated") or {}
    return state


def _message(pod: Object) -> str | None:
    return _terminated(pod).get("message") or None


CANNOT_PULL = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
CANNOT_START = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


def _pod_problem(pod: Object) -> Violation | None:
    """What keeps a pod from running, in Kubernetes' own words."""
    waiting = _container(pod).get("state", {}).get("waiting") or {}
    why, message = waiting.get("reason", ""), waiting.get("message", "")
    if why in CANNOT_PULL:
        return Violation(Reason.ImagePullFailed, f"{why}: {message}")
    if why in CANNOT_START:
        return Violation(Reason.ContainerCannotStart, f"{why}: {message}")
    for condition in pod.get("status", {}).get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Violation(Reason.Unschedulable, str(condition.get("message", "no node can take the pod")))
    return None
