"""Pods of the benchmarks, under the restricted pod security standard."""

from typing import Any

RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def pod_spec(image: str, command: list[str], resources: dict[str, Any]) -> dict[str, Any]:
    """One container that runs the command in one of our images."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "main",
                "image": f"localhost/churn-operator/{image}:dev",
                "imagePullPolicy": "Never",
                "command": command,
                "resources": resources,
                "securityContext": RESTRICTED,
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the pod's own
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
