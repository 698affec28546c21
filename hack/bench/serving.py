"""A prediction through the stable Service, beside an empty KServe SDK model in a pod of the same image and limits.

python -m hack.bench.serving
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from hack.bench.bounds import Bound, judged
from hack.bench.pods import pod_spec
from hack.demo import world
from hack.demo.kube import Object, holds, wait_until
from hack.demo.stage import Stage

NAMESPACE = "churn-bench"
PORT = 8080
PARITY = 1e-5
HERE = Path(__file__).parent


def empty() -> str:
    """The rival's Deployment and Service, with the resources that a ChurnModel's predictor gets by default."""
    resources = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
    script = (HERE / "predictor_empty.py").read_text()
    labels = {"app": "empty"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "empty"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": pod_spec("predictor", ["python", "-c", script, str(PORT)], resources),
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "empty"},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": PORT}]},
    }
    return yaml.safe_dump_all([deployment, service])


def unlogged(stage: Stage) -> str:
    """A Service that leads past KServe's agent, which logs, to the same predictor."""
    spec = (stage.kubectl.get("services", "telco") or {})["spec"]
    made = {"selector": spec["selector"], "ports": [{"port": 80, "targetPort": PORT}]}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "unlogged"}, "spec": made})


def ready(stage: Stage) -> Object | None:
    model = stage.kubectl.get("churnmodels", "telco")
    return model if holds(model, "Ready") else None


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        stage = Stage(namespace=NAMESPACE, scratch=Path(scratch), folder=f"{NAMESPACE}/")
        stage.publish_file(world.TELCO, "telco.csv")
        model = yaml.safe_load(stage.sample("telco/churnmodel.yaml"))
        del model["spec"]["monitoring"], model["spec"]["retraining"]
        stage.kubectl.apply(yaml.safe_dump(model))
        stage.kubectl.apply(empty())
        wait_until("ChurnModel telco Ready", lambda: ready(stage), seconds=300, diagnose=stage.kubectl.diagnose)
        stage.kubectl.run("rollout", "status", "deployment/empty", "--timeout=120s")
        stage.kubectl.apply(unlogged(stage))
        past = stage.endpoint("unlogged").replace("models/unlogged", "models/telco")
        urls = [f"--url={stage.endpoint('telco')}", f"--unlogged-url={past}", f"--empty-url={stage.endpoint('empty')}"]
        timed = subprocess.run([sys.executable, "-m", "hack.bench.predictor", *urls], check=False)
        run = stage.kubectl.get("trainingruns", "telco-1") or {}
    stage.kubectl.run("delete", "namespace", NAMESPACE)
    result = run["status"]["result"]
    print(
        f"\nlargest difference of a probability, served against scikit-learn's, over {result['data']['holdoutRows']} "
        f"held-out rows: {result['metrics']['parity']:.1e} (bound {PARITY:g})"
    )
    return (
        judged(Bound("largest difference of a probability", result["metrics"]["parity"], most=PARITY))
        or timed.returncode
    )


if __name__ == "__main__":
    sys.exit(main())
