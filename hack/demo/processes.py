"""What runs in pods, where this machine is their node."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hack.demo.kube import Kubectl, Object

OPERATOR = "app.kubernetes.io/name=churn-operator"


def processes(pods: Iterable[Object], word: str, proc: Path = Path("/proc")) -> list[int]:
    """Those whose command has the word in it; none where the pods run on another machine."""
    uids = [pod["metadata"]["uid"] for pod in pods]
    folders = [text for uid in uids for text in (uid, uid.replace("-", "_"))]
    return [int(process.name) for process in proc.glob("[0-9]*") if _runs(process, folders, word)]


def _runs(process: Path, folders: Iterable[str], word: str) -> bool:
    with suppress(OSError):  # it has ended meanwhile
        group, command = (process / "cgroup").read_text(), (process / "cmdline").read_bytes()
        return word.encode() in command and any(folder in group for folder in folders)
    return False


def kill_operator(pod: str | None = None) -> bool:
    """One of its pods or all, as a crash does; whether it was SIGKILL, and not only the pods' deletion.

    A deletion without grace is SIGTERM and two seconds, in which the operator gives its Lease back. After a SIGKILL the
    pods are deleted nevertheless: a container that died starts again after ever longer pauses, a new pod's at once.
    """
    operator = Kubectl("churn-system")
    pods = [one for one in operator.list("pods", OPERATOR) if pod in (None, one["metadata"]["name"])]
    killed = [process for process in processes(pods, "churn_operator") if _kill(process)]
    for one in pods:
        operator.delete("pod", one["metadata"]["name"], "--grace-period=0", "--force")
    return bool(killed)


def _kill(process: int) -> bool:
    """Not where it has ended meanwhile, or is another user's."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGKILL)
        return True
    return False
