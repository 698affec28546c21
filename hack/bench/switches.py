"""Lets a model change its champion again and again under load: not one request may fail.

python -m hack.bench.switches [SWITCHES]
"""

import sys
import tempfile
from pathlib import Path

import pandas as pd
import yaml
from hack.bench.bounds import Bound, judged
from hack.demo import world
from hack.demo.kube import Object, holds, wait_until
from hack.demo.load import Load
from hack.demo.stage import Stage, customers

NAMESPACE = "churn-bench"


def main(switches: int) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        stage = Stage(namespace=NAMESPACE, scratch=Path(scratch), folder=f"{NAMESPACE}/")
        stage.publish_file(world.TELCO, "telco.csv")
        stage.kubectl.apply(model(stage))
        until(stage, 1)
        with Load(stage.endpoint("telco"), customers(pd.read_csv(world.TELCO))) as load:
            for number in range(2, switches + 2):
                stage.kubectl.apply(run(number, stage.kubectl.whoami()))
                until(stage, number)
    stage.kubectl.run("delete", "namespace", NAMESPACE)
    print(f"{switches} switches of the champion at {load.per_second:g} requests a second: {load.summary()}")
    for failure in load.failures:
        print(f"  {failure}")
    return judged(
        Bound("requests that failed", len(load.failures), most=0),
        Bound("champions that answered", len(load.versions), least=switches + 1),
    )


def model(stage: Stage) -> str:
    """The sample, which trains when it is told to, and lets the one before go at once."""
    sample = yaml.safe_load(stage.sample("telco/churnmodel.yaml"))
    del sample["spec"]["monitoring"], sample["spec"]["retraining"]
    return yaml.safe_dump(sample | {"spec": sample["spec"] | {"rollout": {"guard": "1s"}}})


def run(number: int, user: str) -> str:
    made = {"apiVersion": "churnops.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": f"telco-{number}"}}
    spec = {"modelRef": {"name": "telco"}, "reason": "to change the champion", "requestedBy": user}
    return yaml.safe_dump(made | {"spec": spec})


def until(stage: Stage, number: int) -> None:
    """That version serves, and it alone."""

    def alone() -> bool:
        found: Object = stage.kubectl.get("churnmodels", "telco") or {}
        champion = found.get("status", {}).get("summary", {}).get("champion")
        return champion == f"v{number}" and holds(found, "Ready") and len(servers(stage)) == 1

    wait_until(f"v{number} alone", alone, seconds=300, diagnose=stage.kubectl.diagnose)


def servers(stage: Stage) -> list[Object]:
    return stage.kubectl.list("inferenceservices")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
