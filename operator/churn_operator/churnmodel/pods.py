"""What a version's pods say of themselves."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from churn_operator.core import clock
from churn_operator.core.objects import Object, name_of

ON_THE_WAY = frozenset({"", "ContainerCreating", "PodInitializing"})
"""What a container waits for that nobody needs to be told."""
PREDICTOR = "kserve-container"
"""The container that answers."""
NO_CRASH = frozenset({0, 143})
"""Exit codes of one that ended by itself, or was asked to (SIGTERM)."""
UNSEEN = frozenset({"Unknown", "ContainerStatusUnknown"})
"""Reasons of an end that nobody saw: its node was started anew."""


def is_ready(pod: Object) -> bool:
    return _condition(pod, "Ready").get("status") == "True" and "deletionTimestamp" not in pod["metadata"]


def in_url(address: str) -> str:
    """IPv6 stands in brackets."""
    return f"[{address}]" if ":" in address else address


def made_at(pod: Object) -> datetime | None:
    made = pod["metadata"].get("creationTimestamp")
    return None if made is None else clock.parse(made)


def trouble(pods: Iterable[Object]) -> str | None:
    """What keeps the first of them that is in trouble from serving, in Kubernetes' own words."""
    for pod in pods:
        if not is_ready(pod) and (found := _trouble(pod)):
            return f"pod {name_of(pod)}: {found}"
    return None


@dataclass(frozen=True)
class Crash:
    """That a process which answers ended by itself."""

    at: datetime
    said: str
    """In Kubernetes' own words."""


def crash(pods: Iterable[Object], since: datetime) -> Crash | None:
    """That of the first of them that crashed since then.

    One that is evicted, drained or preempted did not: its pod goes.
    """
    for pod in pods:
        ended = _last_end(pod)
        if not ended.get("finishedAt") or ended["exitCode"] in NO_CRASH or ended.get("reason") in UNSEEN or _goes(pod):
            continue
        at = clock.parse(ended["finishedAt"])
        if at > since:
            return Crash(at, f"pod {name_of(pod)}: container {PREDICTOR} {_exit(ended)}")
    return None


def _last_end(pod: Object) -> Object:
    """Of the predictor; what is live again or waits to be keeps it in mind."""
    containers = pod.get("status", {}).get("containerStatuses", ())
    states: Object = next((container for container in containers if container["name"] == PREDICTOR), {})
    ended: Object = states.get("state", {}).get("terminated") or states.get("lastState", {}).get("terminated") or {}
    return ended


def _goes(pod: Object) -> bool:
    is_over = pod["status"].get("phase") in {"Failed", "Succeeded"}
    is_disrupted = _condition(pod, "DisruptionTarget").get("status") == "True"
    return is_over or is_disrupted or "deletionTimestamp" in pod["metadata"]


def _trouble(pod: Object) -> str | None:
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        return f"no node takes it: {scheduled.get('message', '')}"
    status = pod.get("status", {})
    containers = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    return next((found for container in containers if (found := _stuck(container))), None)


def _stuck(container: Object) -> str | None:
    """Of a container that ended badly, or that cannot start."""
    waiting = container.get("state", {}).get("waiting") or {}
    why = waiting.get("reason", "")
    ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
    if ended.get("exitCode", 0):
        times = container.get("restartCount", 0)
        again = f", and was started again {times} times" if times > 1 else ""
        return f"container {container['name']} {_exit(ended)}{again}"
    if why not in ON_THE_WAY:
        return f"container {container['name']} cannot start: {why}: {waiting.get('message', '')}"
    return None


def _exit(ended: Object) -> str:
    return f"ended with exit code {ended['exitCode']} ({ended.get('reason', 'Error')})"


def _condition(pod: Object, type_: str) -> Object:
    conditions = pod.get("status", {}).get("conditions", ())
    return next((condition for condition in conditions if condition["type"] == type_), {})
