"""A run that a person asked for, while the object store, and then MLflow, is away: does it come to a verdict?

python -m hack.bench.away [SECONDS]   that each is away, 600 without
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hack.bench.bounds import Bound, judged
from hack.demo.kube import Kubectl, Object, condition, holds, wait_until
from hack.demo.stage import SAMPLES, Stage
from hack.demo.storage import NAMESPACE as NEIGHBOURS

NAMESPACE = "churn-bench-away"
PATIENCE = 300.0
LONGEST_PAUSE = 330.0
"""Before the last attempt of a Job, in seconds."""
LOOK_EVERY = 5.0


def main(seconds: float) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        stage = Stage(namespace=NAMESPACE, scratch=Path(scratch), folder=f"{NAMESPACE}/")
        stage.publish_file(SAMPLES / "gym" / "gym.csv", "gym.csv")
        stage.kubectl.apply(stage.sample("gym/churnmodel.yaml"))
        wait(stage, "gym Ready", lambda: holds(stage.kubectl.get("churnmodels", "gym"), "Ready"))
        lost = sum([without_store(stage, seconds), without_mlflow(stage, seconds)])
    stage.kubectl.run("delete", "namespace", NAMESPACE)
    return judged(Bound("runs that came to no verdict", lost, most=0))


def wait(stage: Stage, what: str, look: object, seconds: float = PATIENCE) -> None:
    wait_until(what, look, seconds=seconds, diagnose=stage.kubectl.diagnose)  # type: ignore[arg-type] # any look


def without_store(stage: Stage, seconds: float) -> bool:
    """Whether the run is lost whose Job finds no object store from its first attempt on."""
    with away(stage, "object-store"):
        ask(stage, "gym-7")
        told = watch(stage, "gym-7", seconds)
    return is_lost(stage, "gym-7", told, f"the object store away for {seconds:.0f} s")


def without_mlflow(stage: Stage, seconds: float) -> bool:
    """Whether the run is lost whose Job is there when MLflow goes away."""
    ask(stage, "gym-8")
    wait(stage, "the Job", lambda: stage.kubectl.get("jobs", "gym-8-train"))
    with away(stage, "mlflow"):
        told = watch(stage, "gym-8", seconds)
    return is_lost(stage, "gym-8", told, f"MLflow away for {seconds:.0f} s")


@contextmanager
def away(stage: Stage, name: str) -> Iterator[None]:
    """No pod of this neighbour."""
    neighbours = Kubectl(NEIGHBOURS)
    neighbours.run("scale", "deployment", name, "--replicas=0")
    wait(stage, f"no pod of {name}", lambda: not neighbours.list("pods", f"app={name}"))
    try:
        yield
    finally:
        neighbours.run("scale", "deployment", name, "--replicas=1")
        neighbours.run("rollout", "status", f"deployment/{name}", "--timeout=120s")


def ask(stage: Stage, name: str) -> None:
    spec = {
        "modelRef": {"name": "gym"},
        "reason": "to see what it does without a neighbour",
        "requestedBy": stage.kubectl.whoami(),
    }
    run = {"apiVersion": "churnops.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": name}, "spec": spec}
    stage.kubectl.apply(json.dumps(run))


def succeeded(stage: Stage, name: str) -> Object:
    return condition(stage.kubectl.get("trainingruns", name), "Succeeded")


def watch(stage: Stage, name: str, seconds: float) -> list[str]:
    """What the run said meanwhile."""
    told: list[str] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        told.append(str(succeeded(stage, name).get("message", "")))
        time.sleep(LOOK_EVERY)
    return list(dict.fromkeys(told))


def is_lost(stage: Stage, name: str, told: list[str], what: str) -> bool:
    ended = lambda: succeeded(stage, name).get("status") in {"True", "False"}  # noqa: E731 - reads better than a function around a function
    wait(stage, f"the verdict on {name}", ended, LONGEST_PAUSE + PATIENCE)
    verdict = succeeded(stage, name)
    print(f"{what}: {name} ended with {verdict['reason']}: {verdict['message']}")
    for message in told:
        print(f"    {message}")
    return bool(verdict["status"] != "True")


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 600))
