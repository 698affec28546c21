"""What a pod that does not serve says of itself."""

from typing import Any

import pytest
from support.canary import ago, canary, guarded
from support.kinds import NOW

from churn_operator.api.reasons import Reason
from churn_operator.churnmodel.moves import GiveUp, Restore
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.churnmodel.pods import crash, is_ready, made_at, trouble
from churn_operator.churnmodel.rollout import decide_rollout
from churn_operator.core.clock import parse
from churn_operator.core.objects import Violation


def pod(*, ready: str = "False", state: Any = None, last: Any = None, **fields: Any) -> dict[str, Any]:
    container = {"name": "kserve-container", "state": state or {}, "lastState": last or {}, "restartCount": 3}
    conditions = [{"type": "Ready", "status": ready}, *fields.pop("conditions", [])]
    status = {"conditions": conditions, "containerStatuses": [container]} | fields
    return {"metadata": {"name": "telco-v2-a"}, "status": status}


HERE = "pod telco-v2-a: container"
ENDED = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
NO_IMAGE = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(pod(state={"running": {}}), None, id="one that starts"),
        pytest.param(pod(state={"waiting": {"reason": "ContainerCreating"}}), None, id="one that is made"),
        pytest.param(pod(ready="True", last=ENDED), None, id="one that recovered"),
        pytest.param(
            pod(state=BACK_OFF, last=ENDED),
            f"{HERE} kserve-container ended with exit code 137 (OOMKilled), and was started again 3 times",
            id="one that ends again and again",
        ),
        pytest.param(
            pod(state=NO_IMAGE),
            f"{HERE} kserve-container cannot start: ErrImagePull: not found",
            id="one without an image",
        ),
        pytest.param(
            pod(initContainerStatuses=[{"name": "storage-initializer", "state": {"terminated": {"exitCode": 3}}}]),
            f"{HERE} storage-initializer ended with exit code 3 (Error)",
            id="one whose files do not come",
        ),
        pytest.param(
            pod(conditions=[UNSCHEDULABLE]), "pod telco-v2-a: no node takes it: 0/1 nodes", id="one without a node"
        ),
        pytest.param({"metadata": {"name": "telco-v2-a"}}, None, id="one that has no status yet"),
    ],
)
def test_what_keeps_a_pod_from_serving_is_told(seen: dict[str, Any], expected: str | None) -> None:
    assert trouble([seen]) == expected


def test_a_pod_that_goes_is_not_ready() -> None:
    going = pod(ready="True") | {"metadata": {"name": "a", "deletionTimestamp": "now"}}
    assert (is_ready(going), is_ready(pod(ready="True"))) == (False, True)


def crashed(ended: str = ago(minutes=1), code: int = 137, reason: str = "OOMKilled", **fields: Any) -> dict[str, Any]:
    """One that was started again, and answers."""
    return pod(ready="True", last={"terminated": {"exitCode": code, "reason": reason, "finishedAt": ended}}, **fields)


OOM = f"{HERE} kserve-container ended with exit code 137 (OOMKilled)"
DISRUPTED = {"type": "DisruptionTarget", "status": "True"}
ALIVE: dict[str, Any] = pod(ready="True", state={"running": {}})


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(crashed(), OOM, id="one that crashed, and answers again"),
        pytest.param(crashed(state=BACK_OFF), OOM, id="one that waits for its next start"),
        pytest.param(
            pod(state={"terminated": {"exitCode": 139, "finishedAt": ago(minutes=1)}}),
            f"{HERE} kserve-container ended with exit code 139 (Error)",
            id="one that just crashed",
        ),
        pytest.param(ALIVE, None, id="one that lives"),
        pytest.param({"metadata": {"name": "telco-v2-a"}}, None, id="one without a status"),
        pytest.param(crashed(ago(minutes=3)), None, id="one that crashed before"),
        pytest.param(crashed(code=0, reason="Completed"), None, id="one that ended well"),
        pytest.param(crashed(code=143, reason="Error"), None, id="one that was asked to end"),
        pytest.param(crashed(code=255, reason="Unknown"), None, id="one whose node was started anew"),
        pytest.param(crashed(phase="Failed", reason="Evicted"), None, id="one that is evicted"),
        pytest.param(crashed(conditions=[DISRUPTED]), None, id="one that gives way to another"),
        pytest.param(
            crashed() | {"metadata": {"name": "a", "deletionTimestamp": "now"}}, None, id="one that is drained"
        ),
        pytest.param(
            pod(containerStatuses=[ENDED | {"name": "agent", "lastState": ENDED}]), None, id="one beside the predictor"
        ),
    ],
)
def test_a_crash_is_told_from_every_other_end(seen: dict[str, Any], expected: str | None) -> None:
    found = crash([ALIVE, seen], parse(ago(minutes=2)))
    assert (found.said if found else None) == expected


DAYS = ago(days=2)
BOTH = {"v1": (ALIVE,), "v2": (ALIVE, crashed())}
FELL = Violation(Reason.ChallengerNotAnswering, f"v2 failed with 10 % of the traffic: {OOM}")
BREACH = Violation(Reason.ChampionNotAnswering, f"v2 failed in its guard time: {OOM}")


@pytest.mark.parametrize(
    ("world", "why"),
    [
        pytest.param(canary(1, pods=BOTH), FELL, id="of a challenger"),
        pytest.param(guarded(pods=BOTH), BREACH, id="of a new champion"),
        pytest.param(canary(1, pods={"v1": (crashed(),), "v2": (ALIVE,)}), None, id="but not of the champion"),
        pytest.param(canary(1, pods=BOTH | {"v1": (crashed(),)}), None, id="nor of both"),
        pytest.param(canary(1, since=DAYS, pods=BOTH | {"v1": (crashed(ago(hours=2)),)}), FELL, id="at another time"),
        pytest.param(guarded(pods={"v1": (crashed(),), "v2": (crashed(),)}), None, id="nor of both in the guard time"),
        pytest.param(canary(1, pods={"v2": (crashed(ago(minutes=3)),)}), None, id="nor one before the step"),
    ],
)
def test_a_crash_takes_a_version_off_the_traffic(world: ChurnModelWorld, why: Violation | None) -> None:
    move = decide_rollout(world, NOW).move
    assert (move.violation if isinstance(move, GiveUp | Restore) else None) == why


def test_a_pod_tells_when_it_was_made() -> None:
    assert made_at({"metadata": {"name": "a", "creationTimestamp": ago()}}) == NOW
    assert made_at({"metadata": {"name": "a"}}) is None
