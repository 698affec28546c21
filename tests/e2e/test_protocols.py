"""One model behind one address, asked in every way there is, and served by as many pods as are asked for."""

import json
from dataclasses import dataclass
from typing import Any

import grpc
import pandas as pd
import pytest
import requests
from hack.demo.kube import Object, holds, wait_until
from hack.demo.load import Load
from hack.demo.stage import SAMPLES, Stage, members
from kserve import InferInput, InferRequest, InferResponse
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from prometheus_client.parser import text_string_to_metric_families

MEMBERS = SAMPLES / "gym" / "gym.csv"
TIMEOUT = 10


@dataclass(frozen=True)
class Address:
    """The stable Service, and a member to ask about."""

    host: str
    member: Object

    def post(self, path: str, body: object, **headers: str) -> requests.Response:
        return requests.post(f"http://{self.host}{path}", json=body, headers=headers, timeout=TIMEOUT)

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://{self.host}{path}", timeout=TIMEOUT)

    def probability(self) -> float:
        answer = self.post("/v1/models/gym:predict", {"instances": [self.member]}).json()
        probability: float = answer["predictions"][0]["probability"]
        return probability

    def request(self) -> InferRequest:
        inputs = [
            InferInput(name, [1], "BYTES" if isinstance(value, str) else "FP64", [value])
            for name, value in self.member.items()
        ]
        return InferRequest("gym", inputs)


def ready(stage: Stage) -> Object | None:
    model = stage.kubectl.get("churnmodels", "gym")
    return model if holds(model, "Ready") else None


@pytest.fixture(scope="module")
def address(stage: Stage) -> Address:
    stage.publish_file(MEMBERS, "gym.csv")
    stage.kubectl.apply(stage.sample("gym/churnmodel.yaml"))
    wait_until("ChurnModel gym Ready", lambda: ready(stage), seconds=300, diagnose=stage.kubectl.diagnose)
    service = stage.kubectl.get("services", "gym") or {}
    rows = pd.read_csv(MEMBERS).dropna().drop(columns=["member", "cancelled"]).astype(object)
    member: dict[str, Any] = {str(name): value for name, value in rows.iloc[0].to_dict().items()}
    return Address(service["spec"]["clusterIP"], member)


def test_a_plain_client_gets_v1s_prediction(address: Address) -> None:
    one = address.post("/predict", address.member, **{"x-request-id": "order-7"})
    assert one.headers["x-request-id"] == "order-7"
    assert one.json()["probability"] == address.probability()
    # The model's arithmetic differs in the last digit with the number of rows.
    expected = one.json() | {"probability": pytest.approx(one.json()["probability"], abs=1e-6)}
    assert address.post("/predict", [address.member] * 2).json() == [expected] * 2


def test_v2_over_rest_answers_the_same(address: Address) -> None:
    body, _ = address.request().to_rest()
    answer = address.post("/v2/models/gym/infer", body).json()
    assert answer["outputs"][0]["data"] == [address.probability()]
    assert answer["model_version"] == "v1"
    assert [each["name"] for each in address.get("/v2/models/gym").json()["inputs"]] == list(address.member)


def test_v2_over_grpc_answers_the_same_and_keeps_its_model(address: Address) -> None:
    with grpc.insecure_channel(f"{address.host}:8081") as channel:
        stub = GRPCInferenceServiceStub(channel)
        answer = InferResponse.from_grpc(stub.ModelInfer(address.request().to_grpc(), timeout=TIMEOUT))
        assert answer.get_output_by_name("probability").as_numpy().tolist() == [address.probability()]
        assert answer.model_version == "v1"
        with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
            stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="gym"), timeout=TIMEOUT)
    assert address.post("/v2/repository/models/gym/unload", {}).status_code == 404


def test_every_protocol_refuses_in_the_same_words(address: Address) -> None:
    wrong = address.member | {"monthly_fee": "cheap"}
    v1 = address.post("/v1/models/gym:predict", {"instances": [wrong]})
    plain = address.post("/predict", wrong)
    words = 'monthly_fee: must be a number, got "cheap"'
    assert (v1.status_code, v1.json()) == (400, {"error": f"instances[0].{words}"})
    assert (plain.status_code, plain.json()) == (400, {"error": words})


def test_the_model_describes_itself(address: Address) -> None:
    document = address.get("/openapi.json").json()
    row = document["components"]["schemas"]["Row"]
    assert row["required"] == list(address.member)
    assert "member" in row["properties"], "the identifier may be named"
    assert "monthly_fee" in address.get("/docs").text
    assert address.get("/ready").json() == {"name": "gym", "version": "v1", "ready": True}


def counted(address: Address) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(address.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def test_what_was_asked_is_counted(address: Address) -> None:
    label = {"model": "gym", "version": "v1"}
    asked = label | {"protocol": "predict", "outcome": "answered", "caller": "client"}
    requests_total = ("churn_predictor_requests_total", frozenset(asked.items()))
    unknown = ("churn_predictor_unknown_categories_total", frozenset((label | {"column": "club"}).items()))
    before = counted(address)
    address.post("/predict", address.member | {"club": "Opened yesterday"})
    after = counted(address)
    assert after[requests_total] - before.get(requests_total, 0) == 1
    assert after[unknown] - before[unknown] == 1


def scale(stage: Stage, autoscaling: Object | None, pods: int) -> None:
    """Until each pod is one that KServe made by these terms, and there are so many."""
    patch = {"spec": {"serving": {"autoscaling": autoscaling}}}
    stage.kubectl.run("patch", "chm", "gym", "--type=merge", "--patch", json.dumps(patch))
    autoscaler = "none" if autoscaling is None else "hpa"

    def is_scaled() -> bool:
        made = stage.kubectl.get("deployments", "gym-v1-predictor") or {}
        now, annotations = made["status"], made["spec"]["template"]["metadata"]["annotations"]
        counts = [now.get(of, 0) for of in ("replicas", "updatedReplicas", "availableReplicas")]
        is_seen = now.get("observedGeneration") == made["metadata"]["generation"]
        is_meant = annotations["serving.kserve.io/autoscalerClass"] == autoscaler
        return is_seen and is_meant and counts == [pods] * len(counts)

    wait_until(f"{pods} pods, {autoscaler}", is_scaled, seconds=180, diagnose=stage.kubectl.diagnose)


def test_more_pods_come_while_clients_ask_and_go_again_without_one_failed_request(
    address: Address, stage: Stage
) -> None:
    """Of a hundredth of what they request, any pod that answers takes more."""
    asked = {"maxReplicas": 3, "metric": "CPU", "targetUtilization": 1}

    def autoscaler() -> Object | None:
        return stage.kubectl.get("horizontalpodautoscalers", "gym-v1-predictor")

    with Load(f"http://{address.host}/v1/models/gym:predict", members(), per_second=20) as load:
        scale(stage, asked, pods=3)
        made = autoscaler() or {}
        scale(stage, None, pods=1)
        wait_until("no autoscaler", lambda: autoscaler() is None, seconds=30, diagnose=stage.kubectl.diagnose)
    target = {"type": "Utilization", "averageUtilization": 1}
    assert (made["spec"]["minReplicas"], made["spec"]["maxReplicas"]) == (1, 3)
    assert made["spec"]["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    assert load.failures == [], load.summary()
    assert load.versions == ["v1"], load.summary()
