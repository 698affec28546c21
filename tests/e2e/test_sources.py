"""Tables that are in no object store: a file on a claim, and one that a web server of the cluster gives."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator

import pandas as pd
import pytest
import yaml
from hack.demo.kube import Object, holds, kubectl_json, wait_until
from hack.demo.stage import SAMPLES, Stage

MEMBERS = SAMPLES / "gym" / "gym.csv"
IMAGE = f"{os.environ.get('IMAGES', 'localhost/churn-operator')}/jobs:{os.environ.get('TAG', 'dev')}"


@pytest.fixture(scope="module")
def volume(stage: Stage) -> Iterator[None]:
    """For the claim `tables`, where the cluster provides none by itself: a folder of this machine."""
    if kubectl_json("get", "storageclasses")["items"]:
        yield
        return
    folder = stage.scratch / "volume"
    folder.mkdir()
    name = f"tables-{secrets.token_hex(3)}"
    node = kubectl_json("get", "nodes")["items"][0]["metadata"]["name"]
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": stage.namespace, "name": "tables"}
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": claim,
        "local": {"path": str(folder)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
    }
    created = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}
    stage.kubectl.apply(json.dumps(created))
    yield
    stage.kubectl.run("delete", "persistentvolume", name, "--wait=false")


@pytest.fixture(scope="module")
def library(stage: Stage, volume: None) -> Stage:  # noqa: ARG001 - what the claim needs
    """A claim with the members as csv and as parquet, and a web server of these files."""
    stage.kubectl.apply(LIBRARY)
    stage.kubectl.run("wait", "--for=condition=Ready", "pod/library", "--timeout=90s")
    put(stage, "gym.csv", MEMBERS.read_text())
    write = "import pandas as pd; pd.read_csv('/tables/gym.csv').to_parquet('/tables/gym.parquet')"
    stage.kubectl.run("exec", "library", "--", "python", "-c", write)
    return stage


LIBRARY = f"""
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: tables}}
spec:
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: 1Gi}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: library}}
spec:
  selector: {{app: library}}
  ports: [{{port: 80, targetPort: 8080}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: library, labels: {{app: library}}}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: {{type: RuntimeDefault}}
  containers:
    - name: library
      image: {IMAGE}
      command: [python, -m, http.server, "8080", --directory, /tables]
      readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
      securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
      volumeMounts: [{{name: tables, mountPath: /tables}}]
  volumes:
    - {{name: tables, persistentVolumeClaim: {{claimName: tables}}}}
"""


def put(stage: Stage, name: str, content: str) -> None:
    """Whole or not at all: half a table is a state of its own, and would be trained on."""
    write = f"cat > /tables/.{name} && mv /tables/.{name} /tables/{name}"
    stage.kubectl.run("exec", "-i", "library", "--", "sh", "-c", write, text=content)


def churnmodel(name: str, source: Object) -> str:
    data = {"source": source, "target": "cancelled", "idColumn": "member"}
    training = {"estimators": [{"name": "LogisticRegression"}]}
    retraining = {"triggers": ["NewData"], "probeInterval": "10s", "cooldown": "1s"}
    spec = {"data": data, "training": training, "retraining": retraining, "gates": []}
    return yaml.safe_dump(
        {"apiVersion": "churnops.dev/v1alpha1", "kind": "ChurnModel", "metadata": {"name": name}, "spec": spec}
    )


@pytest.mark.parametrize(
    ("name", "source"),
    [
        pytest.param("mounted", {"claim": {"name": "tables", "path": "gym.csv"}}, id="csv on a claim"),
        pytest.param("fetched", {"uri": "http://library/gym.parquet"}, id="parquet over http"),
    ],
)
def test_a_model_is_trained_from(library: Stage, name: str, source: Object) -> None:
    library.kubectl.apply(churnmodel(name, source))

    def ready() -> Object | None:
        model = library.kubectl.get("churnmodels", name)
        return model if holds(model, "Ready") else None

    wait_until(f"ChurnModel {name} Ready", ready, seconds=180, diagnose=library.kubectl.diagnose)
    run = library.kubectl.get("trainingruns", f"{name}-1") or {}
    read = run["status"]["result"]["data"]
    assert read["rows"] == len(pd.read_csv(MEMBERS))
    assert read["revision"].startswith("sha256:")
    assert read["snapshot"].startswith("s3://")


def test_new_rows_on_the_claim_are_a_new_revision_and_the_old_one_is_kept(library: Stage) -> None:
    first = library.kubectl.get("trainingruns", "mounted-1") or {}
    rows = pd.read_csv(MEMBERS)
    put(library, "gym.csv", rows.iloc[:-100].to_csv(index=False))

    def trained() -> Object | None:
        run = library.kubectl.get("trainingruns", "mounted-2")
        return run if holds(run, "Succeeded") else None

    second = wait_until("mounted-2 Succeeded", trained, seconds=120, diagnose=library.kubectl.diagnose)
    before, read = (run["status"]["result"]["data"] for run in (first, second))
    assert read["rows"] == len(rows) - 100
    assert read["revision"] != before["revision"]
    assert hashlib.sha256(library.store.get(before["snapshot"])).hexdigest() == before["digest"].removeprefix("sha256:")
