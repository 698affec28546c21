"""What the demonstration and the end-to-end tests play on: a namespace, the data they publish, and what they ask."""

import io
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import requests
from hack.demo import world
from hack.demo.kube import Kubectl, Object, kubectl_json
from hack.demo.load import send
from hack.demo.storage import NAMESPACE as NEIGHBOURS
from hack.demo.storage import ObjectStore

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLES = REPOSITORY / "samples"
GATEWAYS = "gateways"
"""The namespace of the cluster's Gateway."""


@dataclass(frozen=True)
class Stage:
    """One namespace; `folder` inside the bucket keeps what it publishes apart from others' data."""

    namespace: str
    scratch: Path
    folder: str = ""
    kubectl: Kubectl = field(init=False)
    store: ObjectStore = field(default_factory=ObjectStore)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kubectl", Kubectl(self.namespace))

    def uri(self, name: str) -> str:
        return f"s3://churn/{self.folder}{name}"

    def sample(self, path: str) -> str:
        """A sample's manifest, reading from this stage's folder."""
        return (SAMPLES / path).read_text().replace("s3://churn/", self.uri(""))

    def publish(self, state: str, name: str) -> str:
        """Put a state of the world under that name, and return the version that the store gave it."""
        table = world.STATES[state](pd.read_csv(world.TELCO), np.random.default_rng(world.SEED))
        return self.publish_table(table, name)

    def publish_table(self, table: pd.DataFrame, name: str) -> str:
        file = self.scratch / name.replace("/", "-")
        table.to_parquet(file, index=False) if name.endswith(".parquet") else table.to_csv(file, index=False)
        return self.store.put(file, self.uri(name))

    def publish_file(self, file: Path, name: str) -> str:
        return self.store.put(file, self.uri(name))

    def ask(self, model: str, state: str, rows: slice = slice(None)) -> int:
        """Customers of a state of the world ask the model, through its stable address; how many they were."""
        asking = customers(world.STATES[state](pd.read_csv(world.TELCO), np.random.default_rng(world.SEED))[rows])
        send(self.endpoint(model), asking, name=f"{state}-{secrets.token_hex(4)}")
        return len(asking)

    def logged(self, model: str) -> pd.DataFrame:
        """A model's inference log, of all versions, as a reader takes it: each row once, whatever is being merged."""
        folder = f"s3://models/inference-log/namespace={self.namespace}/model={model}/"
        try:
            files = [self.store.get(uri) for uri in self.store.list(folder) if uri.endswith(".parquet")]
        except self.store.client.exceptions.NoSuchKey:  # it went into a larger file meanwhile
            return self.logged(model)
        rows = [pd.read_parquet(io.BytesIO(file)) for file in files]
        return pd.concat(rows).drop_duplicates(["event_id", "row"]) if rows else pd.DataFrame()

    def endpoint(self, model: str) -> str:
        """The stable address of a model's predictions, as this machine reaches it."""
        service = self.kubectl.get("services", model)
        if service is None:
            raise LookupError(f"there is no Service {model}")
        return f"http://{service['spec']['clusterIP']}/v1/models/{model}:predict"


def gateway(model: str) -> str:
    """The address of a model's predictions behind the cluster's Gateway, as this machine reaches it."""
    spec = kubectl_json("-n", GATEWAYS, "get", "service", "traefik")["spec"]
    return f"http://{spec['clusterIP']}/v1/models/{model}:predict"


def customer(table: pd.DataFrame, position: int = 0) -> Object:
    """One row without its label, as a client would send it."""
    return customers(table.iloc[[position]])[0]


def customers(table: pd.DataFrame) -> list[Object]:
    """The rows, should they have labels without these, as a client would send them."""
    rows: list[Object] = json.loads(table.drop(columns=world.TARGET, errors="ignore").to_json(orient="records"))
    return rows


def members() -> list[Object]:
    """The members of the gym, as a client would send them."""
    rows = pd.read_csv(SAMPLES / "gym" / "gym.csv").dropna().drop(columns=["member", "cancelled"]).astype(object)
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


class Mlflow:
    """MLflow's REST API, as this machine reaches it."""

    def __init__(self) -> None:
        spec = kubectl_json("-n", NEIGHBOURS, "get", "service", "mlflow")["spec"]
        self.url = f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"

    def get(self, path: str, **query: str) -> Object:
        """The answer.

        Raises:
            requests.HTTPError: MLflow refused.
        """
        answer = self._fetch(f"api/2.0/mlflow/{path}", **query)
        answer.raise_for_status()
        found: Object = answer.json()
        return found

    def run(self, run_id: str) -> Object:
        run: Object = self.get("runs/get", run_id=run_id)["run"]
        return run

    def alias(self, model: str, alias: str) -> str | None:
        """The version that the alias points at, or None."""
        answer = self._fetch("api/2.0/mlflow/registered-models/alias", name=model, alias=alias)
        return str(answer.json()["model_version"]["version"]) if answer.ok else None

    def versions(self, model: str) -> list[Object]:
        found: list[Object] = self.get("model-versions/search", filter=f"name='{model}'").get("model_versions", [])
        return found

    def artifact(self, run_id: str, path: str) -> bytes:
        """The bytes of an artifact, through the server."""
        root = self.run(run_id)["info"]["artifact_uri"].partition("mlflow-artifacts:/")[2].lstrip("/")
        answer = self._fetch(f"api/2.0/mlflow-artifacts/artifacts/{root}/{path}")
        answer.raise_for_status()
        return answer.content

    def _fetch(self, path: str, **query: str) -> requests.Response:
        return requests.get(f"{self.url}/{path}", params=query, timeout=30)
