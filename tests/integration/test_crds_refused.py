"""What `kubectl apply` refuses, naming the field and the rule."""

from typing import Any

import pytest
from support.control_plane import ControlPlane
from support.manifests import DATA, EVIDENCE, MONITOR, MONITORING, RUN, gate, manifest, resources, source

GATEWAY = {"parentRefs": [{"name": "public", "namespace": "gateways"}]}


def canary(*weights: int, pause: str = "10m", serving: Any = None, **rollout: Any) -> dict[str, Any]:
    steps = [{"weight": weight, "pause": pause} for weight in weights]
    rolls = {"strategy": "Canary", "steps": steps} | rollout
    return {"data": DATA, "serving": serving or {"gateway": GATEWAY}, "rollout": rolls}


def labels(data: Any = DATA, **fields: Any) -> dict[str, Any]:
    asked = {"source": {"uri": "s3://crm/left.csv"}} | fields
    return {"data": data, "rollout": {"analysis": {"labels": asked}}}


def autoscaled(most: int, *, replicas: int = 1, resources: Any = None, **fields: Any) -> dict[str, Any]:
    asked = {"replicas": replicas, "autoscaling": {"maxReplicas": most} | fields}
    return {"data": DATA, "serving": asked | ({"resources": resources} if resources else {})}


REFUSED_MODELS = {
    "without data": ({}, "spec.data: Required value"),
    "without a target": ({"data": {"source": DATA["source"]}}, "spec.data.target: Required value"),
    "with a misspelt field": ({"data": DATA, "trainig": {}}, 'unknown field "spec.trainig"'),
    "with a source of no sort": (source(), "spec.data.source: .*exactly one of uri and claim is required"),
    "with a source of two sorts": (
        source(uri="s3://churn/a.csv", claim={"name": "data", "path": "a.csv"}),
        "spec.data.source: .*exactly one of uri and claim is required",
    ),
    "with a source of an unknown scheme": (source(uri="ftp://churn/a.csv"), "spec.data.source: .*uri must be s3://"),
    "with a bucket and no key": (source(uri="s3://churn.csv"), "spec.data.source: .*uri must be s3://bucket/key"),
    "with a password in the address": (
        source(uri="https://me:secret@example.com/a.csv"),
        "spec.data.source: .*uri must not hold credentials",
    ),
    "with a table that is none": (source(uri="s3://churn/a.xlsx"), "the file must end in .csv or .parquet"),
    "with a claim's path from the root": (
        source(claim={"name": "data", "path": "/a.csv"}),
        "spec.data.source.claim: .*path must not start with a slash",
    ),
    "with a claim's path that leads out": (
        source(claim={"name": "data", "path": "../etc/a.csv"}),
        "spec.data.source.claim: .*path must not lead out of the volume",
    ),
    "that excludes its target": (
        {"data": DATA | {"exclude": ["churn"]}},
        "spec.data: .*target must not be listed in exclude",
    ),
    "that excludes its id": (
        {"data": DATA | {"idColumn": "id", "exclude": ["id"]}},
        "spec.data: .*idColumn must not be listed in exclude",
    ),
    "whose target is its id": (
        {"data": DATA | {"idColumn": "churn"}},
        "spec.data: .*idColumn and target must be different columns",
    ),
    "with a fallback of no sort": (
        {"data": DATA, "serving": {"fallback": {}}},
        "spec.serving.fallback: .*exactly one of version and probability is required",
    ),
    "with a fallback of two sorts": (
        {"data": DATA, "serving": {"fallback": {"version": "v1", "probability": 0.2}}},
        "spec.serving.fallback: .*exactly one of version and probability is required",
    ),
    "with a probability that is none": (
        {"data": DATA, "serving": {"fallback": {"probability": 1.5}}},
        "spec.serving.fallback.probability: .*probability must lie between 0.0 and 1.0",
    ),
    "whose target is personal": (
        {"data": DATA | {"pii": [{"column": "churn"}]}},
        "spec.data: .*target must not be listed in pii",
    ),
    "whose id must not be there": (
        {"data": DATA | {"idColumn": "id", "pii": [{"column": "id", "action": "Fail"}]}},
        "spec.data: .*idColumn must not be listed in pii with the action Fail",
    ),
    "with two fates of a column": (
        {"data": DATA | {"pii": [{"column": "a"}, {"column": "a", "action": "Hash"}]}},
        r"spec.data.pii\[1\]: Duplicate value",
    ),
    "that excludes a column twice": (
        {"data": DATA | {"exclude": ["a", "a"]}},
        r"spec.data.exclude\[1\]: Duplicate value",
    ),
    "with a label that YAML takes for a boolean": (
        {"data": DATA | {"positiveLabel": True}},
        "spec.data.positiveLabel: .*must be of type string",
    ),
    "with an unknown metric": (
        {"data": DATA, "training": {"metric": "auc"}},
        'spec.training.metric: Unsupported value: "auc"',
    ),
    "with an unknown estimator": (
        {"data": DATA, "training": {"estimators": [{"name": "XGBoost"}]}},
        r'spec.training.estimators\[0\].name: Unsupported value: "XGBoost"',
    ),
    "with an estimator twice": (
        {"data": DATA, "training": {"estimators": [{"name": "RandomForest"}, {"name": "RandomForest"}]}},
        r"spec.training.estimators\[1\]: Duplicate value",
    ),
    "without an estimator": (
        {"data": DATA, "training": {"estimators": []}},
        "spec.training.estimators: .*should have at least 1 items",
    ),
    "with one fold": (
        {"data": DATA, "training": {"crossValidation": {"folds": 1}}},
        "spec.training.crossValidation.folds: .*should be greater than or equal to 2",
    ),
    "with a resource that no container has": (
        resources(requests={"mem": "1Gi"}),
        "spec.training.resources: .*requests and limits name cpu, memory",
    ),
    "with a quantity that is none": (
        resources(requests={"memory": "a lot"}),
        "spec.training.resources.requests.memory: .*should match",
    ),
    "with requests above limits": (
        resources(requests={"memory": "2Gi"}, limits={"memory": "1024Mi"}),
        "spec.training.resources: .*requests must not exceed limits",
    ),
    "with a gate of no sort": (gate(), r"spec.gates\[0\]: .*exactly one of metric and champion is required"),
    "with a gate of two sorts": (
        gate(metric="roc_auc", min=0.8, champion={}),
        r"spec.gates\[0\]: .*exactly one of metric and champion is required",
    ),
    "with a gate without a bound": (gate(metric="roc_auc"), r"spec.gates\[0\]: .*a metric needs min, max or both"),
    "with a bound on a comparison": (gate(champion={}, min=0.8), r"spec.gates\[0\]: .*min and max belong to metric"),
    "with bounds that cross": (
        gate(metric="roc_auc", min=0.9, max=0.8),
        r"spec.gates\[0\]: .*min must not exceed max",
    ),
    "with a bound in percent": (
        gate(metric="roc_auc", min=80),
        r"spec.gates\[0\]: .*min and max must lie between 0 and 1",
    ),
    "with a gate twice": (
        {"data": DATA, "gates": [{"name": "a", "champion": {}}, {"name": "a", "metric": "f1", "min": 0.5}]},
        r"spec.gates\[1\]: Duplicate value",
    ),
    "with a confidence of one": (
        gate(champion={"confidence": 1}),
        r"spec.gates\[0\].champion.confidence: .*confidence must lie between 0.5 and 0.999",
    ),
    "without a replica": (
        {"data": DATA, "serving": {"replicas": 0}},
        "spec.serving.replicas: .*should be greater than or equal to 1",
    ),
    "with fewer replicas at most than at least": (
        autoscaled(3, replicas=4),
        "spec.serving: .*autoscaling.maxReplicas must not be below replicas",
    ),
    "autoscaled without end": (
        {"data": DATA, "serving": {"autoscaling": {}}},
        "spec.serving.autoscaling.maxReplicas: Required value",
    ),
    "autoscaled by what nobody measures": (
        autoscaled(3, metric="Requests"),
        'spec.serving.autoscaling.metric: Unsupported value: "Requests"',
    ),
    "autoscaled beyond what there is": (
        autoscaled(3, targetUtilization=101),
        "spec.serving.autoscaling.targetUtilization: .*less than or equal to 100",
    ),
    "autoscaled by CPU of which none is requested": (
        autoscaled(3, resources={"requests": {"memory": "256Mi"}}),
        "spec.serving: .*autoscaling.metric CPU needs resources.requests.cpu",
    ),
    "autoscaled by memory that is limited only": (
        autoscaled(3, metric="Memory", resources={"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}),
        "spec.serving: .*and Memory resources.requests.memory: utilization is a percentage of it",
    ),
    "with a canary and no gateway": (
        {"data": DATA, "rollout": {"strategy": "Canary"}},
        "spec: .*strategy Canary or ABTest needs serving.gateway.*GatewayRequired",
    ),
    "with an A/B test and no gateway": (
        {"data": DATA, "rollout": {"strategy": "ABTest"}},
        "spec: .*strategy Canary or ABTest needs serving.gateway.*GatewayRequired",
    ),
    "with an A/B test that the challenger can never win": (
        canary(10, strategy="ABTest", abTest={"sample": 99}),
        "spec.rollout: .*abTest.sample must not be fewer than analysis.minRequests",
    ),
    "with an A/B test of nobody": (
        canary(10, strategy="ABTest", abTest={"weight": 0}),
        "spec.rollout.abTest.weight: .*greater than or equal to 1",
    ),
    "with an A/B test of decisions that nobody labels": (
        canary(10, strategy="ABTest", abTest={"metric": "Quality"}),
        "spec.rollout: .*abTest.metric Quality needs analysis.labels",
    ),
    "with an A/B test of a metric that is none": (
        canary(10, strategy="ABTest", abTest={"metric": "Revenue"}),
        'spec.rollout.abTest.metric: Unsupported value: "Revenue"',
    ),
    "with a gateway of no name": (
        canary(10, serving={"gateway": {"parentRefs": []}}),
        "spec.serving.gateway.parentRefs: .*at least 1 items",
    ),
    "with a host that is none": (
        canary(10, serving={"gateway": GATEWAY | {"hostnames": ["Telco_1"]}}),
        "spec.serving.gateway.hostnames.*should match",
    ),
    "with steps that fall": (canary(50, 10), "spec.rollout: .*each weight must be greater than the one before"),
    "with a step twice": (canary(10, 10), "spec.rollout: .*each weight must be greater than the one before"),
    "without steps": (canary(), "spec.rollout.steps: .*at least 1 items"),
    "with a step of nothing": (canary(0), "spec.rollout.steps.*weight: .*greater than or equal to 1"),
    "with a step of more than all": (canary(101), "spec.rollout.steps.*weight: .*less than or equal to 99"),
    "with a guard shorter than a step": (
        canary(10, pause="2h"),
        "spec.rollout: .*guard must not be shorter than a step's pause",
    ),
    "with a false alarm at each look": (
        canary(10, analysis={"falseAlarmRate": 0.9}),
        "spec.rollout.analysis.falseAlarmRate: .*must lie between",
    ),
    "with a password for a Prometheus": (
        canary(10, analysis={"prometheus": {"url": "http://me:secret@prometheus"}}),
        "spec.rollout.analysis.prometheus: .*url must be http://host .*no credentials",
    ),
    "with a Prometheus behind a query": (
        canary(10, analysis={"prometheus": {"url": "http://prometheus/?to=elsewhere"}}),
        "spec.rollout.analysis.prometheus: .*url must be http://host",
    ),
    "with a Prometheus that is a file": (
        canary(10, analysis={"prometheus": {"url": "file:///etc/passwd"}}),
        "spec.rollout.analysis.prometheus: .*url must be http://host",
    ),
    "with a label that is none": (
        canary(10, analysis={"prometheus": {"labels": {'a="b"} or {c': "d"}}}),
        "spec.rollout.analysis.prometheus: .*labels: a name has letters",
    ),
    "with labels and no way to join them": (
        labels(),
        "spec: .*rollout.analysis.labels needs data.idColumn: labels and predictions are joined by it",
    ),
    "with labels of identifiers that are dropped": (
        labels(DATA | {"idColumn": "id", "pii": [{"column": "id"}]}),
        "spec: .*rollout.analysis.labels needs data.idColumn in the inference log",
    ),
    "with labels from nowhere": (
        labels(DATA | {"idColumn": "id"}, source={}),
        "spec.rollout.analysis.labels.source: .*exactly one of uri and claim is required",
    ),
    "with labels that are looked for all the time": (
        labels(DATA | {"idColumn": "id"}, interval="10s"),
        "spec.rollout.analysis.labels.interval: .*should match",
    ),
    "with a promise of no time": (
        {"data": DATA, "serving": {"slo": {"p95Milliseconds": 0}}},
        "spec.serving.slo.p95Milliseconds: .*greater than or equal to 1",
    ),
    "with a strategy that is none": (
        {"data": DATA, "rollout": {"strategy": "Mirror"}},
        'spec.rollout.strategy: Unsupported value: "Mirror"',
    ),
    "with a replay that can never be judged": (
        {"data": DATA, "rollout": {"strategy": "Shadow", "shadow": {"requests": 99}}},
        "spec.rollout: .*shadow.requests must not be fewer than analysis.minRequests",
    ),
    "with a replay of nothing": (
        {"data": DATA, "rollout": {"shadow": {"requests": 0}}},
        "spec.rollout.shadow.requests: .*should be greater than or equal to 1",
    ),
    "with more agreement than there is": (
        {"data": DATA, "rollout": {"shadow": {"minAgreement": 1.5}}},
        "spec.rollout.shadow.minAgreement: .*minAgreement must lie between 0.0 and 1.0",
    ),
    "with a deadline of zero": (
        {"data": DATA, "rollout": {"progressDeadline": "0s"}},
        "spec.rollout.progressDeadline: .*should match",
    ),
    "with a length of time without a unit": (
        {"data": DATA, "rollout": {"guard": "60"}},
        "spec.rollout.guard: .*should match",
    ),
    "with a trigger that is none": (
        {"data": DATA, "retraining": {"triggers": ["Full moon"]}},
        r'spec.retraining.triggers\[0\]: Unsupported value: "Full moon"',
    ),
    "with more breaches than windows": (
        {"data": DATA, "monitoring": MONITORING | {"persistence": {"breaches": 3, "of": 2}}},
        "spec.monitoring.persistence: .*breaches must not exceed of",
    ),
    "with a share of nothing": (
        {"data": DATA, "monitoring": MONITORING | {"share": 0}},
        "spec.monitoring.share: .*should be greater than 0",
    ),
    "with a schedule in words": (
        {"data": DATA, "monitoring": MONITORING | {"schedule": "every day"}},
        "spec.monitoring.schedule: .*schedule must be five fields of cron",
    ),
    "with a schedule in the 25th hour": (
        {"data": DATA, "monitoring": MONITORING | {"schedule": "0 24 * * *"}},
        "spec.monitoring.schedule: .*schedule must be five fields of cron",
    ),
    "with a schedule of no length": (
        {"data": DATA, "monitoring": MONITORING | {"schedule": "@every 0s"}},
        "spec.monitoring.schedule: .*schedule must be five fields of cron",
    ),
    "with model files outside the object store": (
        {"data": DATA, "storage": {"uri": "file:///tmp"}},
        "spec.storage.uri: .*should match",
    ),
    "with MLflow at no address": (
        {"data": DATA, "tracking": {"uri": "mlflow:5000"}},
        "spec.tracking.uri: .*should match",
    ),
}

REFUSED = [
    *(pytest.param("ChurnModel", "telco", *case, id=f"a model {what}") for what, case in REFUSED_MODELS.items()),
    pytest.param("ChurnModel", "telco.v1", {"data": DATA}, "metadata.name must start", id="a model with a dotted name"),
    pytest.param(
        "ChurnModel",
        "telco-v1-predictor",
        {"data": DATA},
        "metadata.name must not end in -predictor",
        id="the name that KServe gives a Service of model telco",
    ),
    pytest.param("ChurnModel", "7telco", {"data": DATA}, "metadata.name must start", id="a name that starts with 7"),
    pytest.param("ChurnModel", "t" * 41, {"data": DATA}, "at most 40", id="a model with a long name"),
    pytest.param("ChurnModel", "t" * 253, {"data": DATA}, "at most 40", id="a model with the longest name there is"),
    pytest.param("DriftMonitor", "m" * 41, MONITOR, "at most 40", id="a monitor with a long name"),
    pytest.param("DriftMonitor", "telco", MONITORING, "spec.modelRef: Required value", id="a monitor of no model"),
    *(
        pytest.param("DriftMonitor", "telco", MONITOR | {"current": current}, message, id=f"a monitor of {what}")
        for what, current, message in (
            ("nothing", {}, "spec.current: .*exactly one of source and predictions is required"),
            (
                "a table and predictions",
                MONITORING["current"] | {"predictions": {}},
                "spec.current: .*exactly one of source and predictions is required",
            ),
            ("thousands of days", {"predictions": {"window": "1000d"}}, "spec.current.predictions.window: .*match"),
            ("no time", {"predictions": {"window": "0d"}}, "spec.current.predictions.window: .*should match"),
            ("a handful", {"predictions": {"minRows": 5}}, "spec.current.predictions.minRows: .*equal to 50"),
        )
    ),
    pytest.param(
        "DriftMonitor",
        "telco",
        MONITOR | {"tests": {"numerical": "ks"}},
        'spec.tests.numerical: Unsupported value: "ks"',
        id="a monitor with an unknown test",
    ),
    pytest.param("TrainingRun", "telco-07", RUN, "metadata.name.*such as telco-7", id="a run whose number has a zero"),
    pytest.param("TrainingRun", "telco-123456789", RUN, "metadata.name.*eight digits", id="by hand, a huge number"),
    pytest.param("TrainingRun", "telco", RUN, "metadata.name.*such as telco-7", id="a run without a number"),
    pytest.param("TrainingRun", "telco-x-7", RUN, "metadata.name.*such as telco-7", id="a run named after another"),
    pytest.param("TrainingRun", "telco-7", {}, "spec.modelRef: Required value", id="a run of no model"),
    pytest.param(
        "TrainingRun",
        "telco-7",
        RUN | {"evidence": EVIDENCE},
        "spec: .*evidence belongs to the trigger Drift",
        id="a run with evidence and without drift",
    ),
    pytest.param(
        "TrainingRun",
        "telco-7",
        RUN | {"trigger": "NewData", "requestedBy": "alice"},
        "spec: .*requestedBy belongs to the trigger Manual",
        id="a run that somebody asked for and nobody did",
    ),
    pytest.param(
        "TrainingRun",
        "telco-7",
        RUN | {"trigger": "RegistryMoved"},
        "spec: .*candidate belongs to the trigger RegistryMoved, which needs it, and to Manual",
        id="a run of a registered version that says not which",
    ),
    pytest.param(
        "TrainingRun",
        "telco-7",
        RUN | {"trigger": "NewData", "candidate": {"registryVersion": "7"}},
        "spec: .*candidate belongs to the trigger RegistryMoved, which needs it, and to Manual",
        id="a run of new data and of a registered version",
    ),
    pytest.param(
        "TrainingRun",
        "telco-7",
        RUN | {"candidate": {"registryVersion": "champion"}},
        "spec.candidate.registryVersion: Invalid value",
        id="a run of a registered version that is no number",
    ),
    pytest.param(
        "ChurnModel",
        "telco",
        {"data": DATA, "approval": {"required": True, "timeout": "0d"}},
        "spec.approval.timeout: Invalid value",
        id="a model whose runs expire at once",
    ),
    pytest.param(
        "ChurnModel",
        "telco",
        {"data": DATA, "approval": {"approved": [{"version": "v3", "evidenceDigest": "sha256:abc"}]}},
        r"spec.approval.approved\[0\].evidenceDigest: Invalid value",
        id="a model that approves no digest",
    ),
]


@pytest.mark.parametrize(("kind", "name", "spec", "message"), REFUSED)
def test_kubectl_refuses_naming_field_and_rule(
    control_plane: ControlPlane, kind: str, name: str, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        control_plane.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifest(kind, name, spec))
