"""What the Job controller, the scheduler and the kubelet would do, done at once: for API servers without them."""

from datetime import UTC, datetime
from typing import Any

from churn_operator.core.client import MERGE, ApiClient
from churn_operator.core.clock import stamp
from churn_operator.core.objects import Object, name_of, uid_of


async def run_pod(api: ApiClient, job: Object, status: dict[str, Any]) -> Object:
    """The Job's pod, in this state."""
    template = job["spec"]["template"]
    namespace, name = job["metadata"]["namespace"], f"{name_of(job)}-pod"
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name_of(job), "uid": uid_of(job), "controller": True}
    metadata = dict(template["metadata"], name=name, namespace=namespace, ownerReferences=[owner])
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    known = await api.get("v1", "Pod", namespace, name)
    if known is None:
        await api.create(pod)
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
    reply = await api.call("PATCH", path, body={"status": status}, content_type=MERGE)
    assert reply.ok, reply.message
    return reply.body


async def end_job(api: ApiClient, job: Object, message: str, exit_code: int = 0, reason: str | None = None) -> None:
    """The Job's only pod ended with this termination message, and the Job with it.

    `reason` is the container's: Completed, Error or OOMKilled.
    """
    now = stamp(datetime.now(UTC))
    is_good = exit_code == 0
    ended = {
        "exitCode": exit_code,
        "message": message,
        "reason": reason or ("Completed" if is_good else "Error"),
        "startedAt": now,
        "finishedAt": now,
    }
    container = {
        "name": job["spec"]["template"]["spec"]["containers"][0]["name"],
        "image": job["spec"]["template"]["spec"]["containers"][0]["image"],
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": ended},
    }
    await run_pod(api, job, {"phase": "Succeeded" if is_good else "Failed", "containerStatuses": [container]})
    await end(api, job, is_good=is_good, now=now)


async def end(api: ApiClient, job: Object, *, is_good: bool, now: str, reason: str = "BackoffLimitExceeded") -> None:
    """The Job's own status says that it completed or failed."""
    kinds = ("SuccessCriteriaMet", "Complete") if is_good else ("FailureTarget", "Failed")
    why = "CompletionsReached" if is_good else reason
    conditions = [
        {"type": kind, "status": "True", "reason": why, "message": why, "lastTransitionTime": now} for kind in kinds
    ]
    status: dict[str, Any] = {"startTime": now, "conditions": conditions}
    status |= {"completionTime": now, "succeeded": 1} if is_good else {"failed": 1}
    path = f"/apis/batch/v1/namespaces/{job['metadata']['namespace']}/jobs/{name_of(job)}/status"
    reply = await api.call("PATCH", path, body={"status": status}, content_type=MERGE)
    assert reply.ok, reply.message
