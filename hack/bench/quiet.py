"""Counts what the operator writes when nothing calls for a write.

python -m hack.bench.quiet [SECONDS]
"""

import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from hack.bench.bounds import Bound, judged
from hack.bench.writes import AuditLog, table
from hack.demo.kube import Kubectl, holds, wait_until
from hack.demo.stage import SAMPLES, Stage

NAMESPACE = "churn-bench-quiet"
SETTLE = 30


def main() -> int:
    quiet = float(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as scratch:
        stage = Stage(namespace=NAMESPACE, scratch=Path(scratch), folder=f"{NAMESPACE}/")
        stage.publish_file(SAMPLES / "gym" / "gym.csv", "gym.csv")
        stage.kubectl.apply(stage.sample("gym/churnmodel.yaml"))
        wait_until(
            "ChurnModel gym Ready",
            lambda: holds(stage.kubectl.get("churnmodels", "gym"), "Ready"),
            seconds=300,
            diagnose=stage.kubectl.diagnose,
        )
    pass_time(SETTLE)
    label = ("label", "churnmodel", "gym", "--overwrite", "team=retention")
    bounds = (
        count("a changed label", lambda: stage.kubectl.run(*label)),
        count("a restart of the operator, which lists everything anew", restart),
        count(f"{quiet:.0f} quiet seconds", lambda: None, quiet),
    )
    stage.kubectl.run("delete", "namespace", NAMESPACE)
    return judged(*bounds)


def restart() -> None:
    system = Kubectl("churn-system")
    system.run("rollout", "restart", "deployment/churn-operator")
    system.run("rollout", "status", "deployment/churn-operator", "--timeout=120s")


def count(what: str, act: Callable[[], object], seconds: float = SETTLE) -> Bound:
    log = AuditLog()
    act()
    pass_time(seconds)
    writes = [write for write in log.writes() if write.namespace == NAMESPACE]
    print(f"{len(writes):4d} writes after {what}")
    for resource, name, verb, number in table(writes):
        print(f"      {number:4d}  {verb:7s} {resource:28s} {name}")
    return Bound(f"writes after {what}", len(writes), most=0)


def pass_time(seconds: float) -> None:
    threading.Event().wait(seconds)


if __name__ == "__main__":
    sys.exit(main())
