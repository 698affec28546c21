"""The training Job, from its container's start to the registered model, beside a bare script in the same image.

The script reads the same rows, cross-validates and fits the same candidates with the same limits, and dumps the winner:
what somebody would write who needs none of the rest.

python -m hack.bench.training
"""

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from hack.bench.bounds import Bound, judged
from hack.bench.pods import pod_spec
from hack.demo import world
from hack.demo.kube import Object, wait_until
from hack.demo.stage import Mlflow, Stage

NAMESPACE = "churn-bench"
ROUNDS = 3
TIMES_AS_LONG = 1.5
LIMITS = {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}
SCRIPT = Path(__file__).with_name("bare.py").read_text()


def bare_job(name: str, data: str) -> Object:
    pod = pod_spec("jobs", ["python", "-c", SCRIPT, data], LIMITS) | {"restartPolicy": "Never"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def terminated(stage: Stage, job: str) -> Object | None:
    pods = stage.kubectl.list("pods", f"job-name={job}")
    states = [container["state"] for pod in pods for container in pod["status"].get("containerStatuses", [])]
    return next((state["terminated"] for state in states if "terminated" in state), None)


def wait_terminated(stage: Stage, job: str) -> Object:
    ended = wait_until(
        f"the end of Job {job}", lambda: terminated(stage, job), seconds=300, diagnose=stage.kubectl.diagnose
    )
    if ended["exitCode"]:
        raise RuntimeError(f"Job {job} ended with {ended['exitCode']}\n{stage.kubectl.diagnose()}")
    return ended


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


def bare(stage: Stage, number: int, data: str) -> float:
    stage.kubectl.apply(yaml.safe_dump(bare_job(f"bare-{number}", data)))
    ended = wait_terminated(stage, f"bare-{number}")
    return (when(ended["finishedAt"]) - when(ended["startedAt"])).total_seconds()


def ours(stage: Stage, mlflow: Mlflow, number: int) -> float:
    """Seconds from the container's start until MLflow had the model's version."""
    if number > 1:
        run: dict[str, Any] = {
            "apiVersion": "churnops.dev/v1alpha1",
            "kind": "TrainingRun",
            "metadata": {"name": f"telco-{number}"},
            "spec": {
                "modelRef": {"name": "telco"},
                "reason": "a benchmark",
                "requestedBy": stage.kubectl.whoami(),
            },
        }
        stage.kubectl.apply(yaml.safe_dump(run))
    ended = wait_until(
        f"the Job of telco-{number}",
        lambda: terminated(stage, f"telco-{number}-train"),
        seconds=300,
        diagnose=stage.kubectl.diagnose,
    )
    versions = mlflow.versions(f"{NAMESPACE}.telco")
    registered = max(int(version["creation_timestamp"]) for version in versions) / 1000
    return (datetime.fromtimestamp(registered, UTC) - when(ended["startedAt"])).total_seconds()


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        stage, mlflow = Stage(namespace=NAMESPACE, scratch=Path(scratch), folder=f"{NAMESPACE}/"), Mlflow()
        stage.publish_file(world.TELCO, "telco.csv")
        model = yaml.safe_load(stage.sample("telco/churnmodel.yaml"))
        del model["spec"]["monitoring"], model["spec"]["retraining"]
        data = stage.store.client.generate_presigned_url(
            "get_object", Params={"Bucket": "churn", "Key": f"{NAMESPACE}/telco.csv"}
        )
        stage.kubectl.apply(yaml.safe_dump(model))
        pairs = [(ours(stage, mlflow, number), bare(stage, number, data)) for number in range(1, ROUNDS + 1)]
    stage.kubectl.run("delete", "namespace", NAMESPACE)
    for job, script in pairs:
        print(f"training Job {job:5.1f} s   bare script {script:5.1f} s   {job / script:4.2f} times")
    best = min(job for job, _ in pairs), min(script for _, script in pairs)
    times = best[0] / best[1]
    print(f"the fastest of each: {best[0]:.1f} s beside {best[1]:.1f} s, {times:.2f} times (bound {TIMES_AS_LONG:g})")
    return judged(Bound("times as long as the bare script", times, most=TIMES_AS_LONG))


if __name__ == "__main__":
    sys.exit(main())
