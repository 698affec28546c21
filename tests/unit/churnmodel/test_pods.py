"""What a pod that does not serve says of itself."""

from typing import Any

import pytest

from churn_operator.churnmodel.pods import is_ready, trouble


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
