"""A run that a person asked for, while the object store, and then MLflow, is away: does it come to a verdict?

Then a canary in its first step, while the Gateway is away: is it held meanwhile, and does it go on by itself?

python -m hack.bench.away [SECONDS]   that each is away, 600 without
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hack.bench.bounds import Bound, judged
from hack.bench.failures import host, rollout, state
from hack.bench.split import Play, begin
from hack.demo.kube import Kubectl, Object, condition, holds, wait_until
from hack.demo.load import Load
from hack.demo.stage import GATEWAYS, SAMPLES, Stage, gateway, members
from hack.demo.storage import NAMESPACE as NEIGHBOURS

T = TypeVar("T")
NAMESPACE = "churn-bench-away"
PATIENCE = 300.0
LONGEST_PAUSE = 330.0
"""Before the last attempt of a Job, in seconds."""
LOOK_EVERY = 5.0
GATEWAY_NAMESPACE = "churn-bench-away-gateway"
CANARY = {
    "steps": [{"weight": 10, "pause": "60s"}, {"weight": 50, "pause": "30s"}],
    "analysis": {"minRequests": 20},
}
"""The first step is passed soon, and lasts for long enough to take the Gateway away in it."""
PER_SECOND, STABLE_PER_SECOND = 20, 5
SETTLED = 3.0
"""Seconds within which whoever was asked before the Gateway's last pod was gone has answered."""
HELD = "RollingOut"


def main(seconds: float) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        stage = Stage(namespace=NAMESPACE, scratch=Path(scratch), folder=f"{NAMESPACE}/")
        stage.publish_file(SAMPLES / "gym" / "gym.csv", "gym.csv")
        stage.kubectl.apply(stage.sample("gym/churnmodel.yaml"))
        wait(stage, "gym Ready", lambda: holds(stage.kubectl.get("churnmodels", "gym"), "Ready"))
        lost = sum([without_store(stage, seconds), without_mlflow(stage, seconds)])
        stage.kubectl.run("delete", "namespace", NAMESPACE)
        behind = Stage(namespace=GATEWAY_NAMESPACE, scratch=Path(scratch), folder=f"{GATEWAY_NAMESPACE}/")
        held = without_gateway(behind, seconds)
    behind.kubectl.run("delete", "namespace", GATEWAY_NAMESPACE)
    return judged(Bound("runs that came to no verdict", lost, most=0), *bounds_of(held))


def wait(stage: Stage, what: str, look: object, seconds: float = PATIENCE) -> None:
    wait_until(what, look, seconds=seconds, diagnose=stage.kubectl.diagnose)  # type: ignore[arg-type] # any look


def without_store(stage: Stage, seconds: float) -> bool:
    """Whether the run is lost whose Job finds no object store from its first attempt on."""
    with away(stage, Kubectl(NEIGHBOURS), "object-store", "app"):
        ask(stage, "gym-7")
        told = watch(lambda: said(stage, "gym-7"), seconds)
    return is_lost(stage, "gym-7", told, f"the object store away for {seconds:.0f} s")


def without_mlflow(stage: Stage, seconds: float) -> bool:
    """Whether the run is lost whose Job is there when MLflow goes away."""
    ask(stage, "gym-8")
    wait(stage, "the Job", lambda: stage.kubectl.get("jobs", "gym-8-train"))
    with away(stage, Kubectl(NEIGHBOURS), "mlflow", "app"):
        told = watch(lambda: said(stage, "gym-8"), seconds)
    return is_lost(stage, "gym-8", told, f"MLflow away for {seconds:.0f} s")


@dataclass(frozen=True)
class Held:
    """What was seen of a canary whose Gateway was away, and of it when the Gateway was there again."""

    looks: Sequence[tuple[str | None, str]]
    """The challenger's state, and what RolloutHealthy said, while it was away."""
    answered: int
    """Requests that a Gateway answered that was away: it was not."""
    stable_failures: int
    """Failed requests to the stable Service, from before to the end."""
    ended: str
    """The phase of the rollout at last."""


def bounds_of(held: Held) -> Iterator[Bound]:
    moved = [seen for seen, _ in held.looks if seen != HELD]
    yield Bound("looks at which the challenger was promoted or given up, no Gateway being there", len(moved), most=0)
    named = sum(names_gateway(message) for _, message in held.looks[-1:])
    yield Bound("last looks at which RolloutHealthy named the Gateway and since when", named, least=1)
    yield Bound("requests that an absent Gateway answered", held.answered, most=0)
    yield Bound("failed requests to the stable Service", held.stable_failures, most=0)
    yield Bound("canaries that did not come to their end", int(held.ended != "Complete"), most=0)


def names_gateway(message: str) -> bool:
    return "Gateway" in message and "Since " in message


def without_gateway(stage: Stage, seconds: float) -> Held:
    """A canary that passed its first step when the Gateway's pods went away: what comes next needs the Gateway."""
    begin(stage, **CANARY)
    clients = Load(gateway("gym"), members(), per_second=PER_SECOND, host=host(stage))
    stable = Load(stage.endpoint("gym"), members(), per_second=STABLE_PER_SECOND)
    with clients, stable:
        canary = Play(stage, clients)
        canary.retrain("v2")
        canary.until_in("v2", "Shifting", 1)
        wait(stage, "enough requests of step 1", lambda: rollout(stage).get("verdict", {}).get("result") == "Pass")
        with away(stage, Kubectl(GATEWAYS), "traefik", "app.kubernetes.io/name"):
            gone, step = time.monotonic(), rollout(stage)["step"]
            looks = watch(lambda: (state(stage, "v2"), healthy(stage)), seconds)
            over = time.monotonic()
        back = time.monotonic()
        wait(stage, "the end of the canary", lambda: rollout(stage)["phase"] in {"Complete", "RolledBack"})
        ended, took = rollout(stage)["phase"], time.monotonic() - back
    asked = [sample for sample in clients.samples if gone + SETTLED < sample.at < over]
    answered = sum(not sample.problem for sample in asked)
    print(f"the Gateway away for {seconds:.0f} s, in step {step}: {ended} {took:.0f} s after, with its guard")
    print(f"    its clients meanwhile: {len(asked) - answered} of {len(asked)} failed; ", end="")
    print(f"the stable Service's all the while: {len(stable.failures)} of {len(stable.samples)}")
    show(f"{seen}: {message}" for seen, message in looks)
    return Held(looks, answered, len(stable.failures), ended)


def healthy(stage: Stage) -> str:
    return str(condition(stage.kubectl.get("churnmodels", "gym"), "RolloutHealthy").get("message", ""))


@contextmanager
def away(stage: Stage, neighbours: Kubectl, name: str, label: str) -> Iterator[None]:
    """No pod of this neighbour, whose label has its name."""
    neighbours.run("scale", "deployment", name, "--replicas=0")
    wait(stage, f"no pod of {name}", lambda: not neighbours.list("pods", f"{label}={name}"))
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


def said(stage: Stage, name: str) -> str:
    return str(succeeded(stage, name).get("message", ""))


def watch(look: Callable[[], T], seconds: float) -> list[T]:
    """What was seen at each look meanwhile."""
    seen: list[T] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        seen.append(look())
        time.sleep(LOOK_EVERY)
    return seen


def show(told: Iterable[str]) -> None:
    for message in dict.fromkeys(told):
        print(f"    {message}")


def is_lost(stage: Stage, name: str, told: list[str], what: str) -> bool:
    ended = lambda: succeeded(stage, name).get("status") in {"True", "False"}  # noqa: E731 - reads better than a function around a function
    wait(stage, f"the verdict on {name}", ended, LONGEST_PAUSE + PATIENCE)
    verdict = succeeded(stage, name)
    print(f"{what}: {name} ended with {verdict['reason']}: {verdict['message']}")
    show(told)
    return bool(verdict["status"] != "True")


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 600))
