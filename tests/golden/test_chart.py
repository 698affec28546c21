"""The chart's manifests, to the letter, and what holds of all of them.

`CHURN_WRITE_GOLDEN=1 pytest tests/golden` writes the expected files anew; the difference is then yours to judge.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.control_plane import ROOT
from support.helm import CHART, FULL, SMALLEST, helm, render

from churn_operator.collector.settings import Settings as CollectorSettings
from churn_operator.settings import Settings

HERE = Path(__file__).parent
GOLDEN = {"chart-smallest.yaml": SMALLEST, "chart-full.yaml": FULL}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_manifests_are_the_expected_ones(name: str) -> None:
    rendered = render(GOLDEN[name], "--set=crds.install=false")
    if os.environ.get("CHURN_WRITE_GOLDEN"):
        (HERE / name).write_text(rendered)
    assert rendered == (HERE / name).read_text()


@pytest.mark.parametrize("values", [SMALLEST, FULL], ids=["the smallest values", "every value"])
def test_lint_has_nothing_to_say(values: Path) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, "--values", values)


ENVIRONMENTS = ROOT / "samples/environments"


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_each_environment_has_values_that_the_chart_takes(environment: str) -> None:
    values = ENVIRONMENTS / f"{environment}.yaml"
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, "--values", values)
    rendered = render(values, "--api-versions=monitoring.coreos.com/v1")
    assert f"s3://churn-{environment}/models" in rendered
    assert {"name": "CHURN_CLUSTER", "value": environment} in settings_of(rendered)


def settings_of(rendered: str) -> list[dict[str, str]]:
    """What the operator's process is told by its environment."""
    found = (one for one in yaml.safe_load_all(rendered) if one and one["kind"] == "Deployment")
    operator = next(one for one in found if one["metadata"]["name"] == "churn-operator")
    settings: list[dict[str, str]] = operator["spec"]["template"]["spec"]["containers"][0]["env"]
    return settings


def test_argo_cd_finds_the_chart_and_the_values_of_each_environment() -> None:
    made = yaml.safe_load((ENVIRONMENTS / "argocd.yaml").read_text())["spec"]
    source, (generator,) = made["template"]["spec"]["source"], made["generators"]
    chart, (values,) = ROOT / source["path"], source["helm"]["valueFiles"]
    for element in generator["list"]["elements"]:
        assert (chart / values.replace("{{environment}}", element["environment"])).resolve().is_file()


def objects(*kinds: str, golden: str = "chart-full.yaml") -> list[dict[str, Any]]:
    everything = yaml.safe_load_all((HERE / golden).read_text())
    return [obj for obj in everything if obj["kind"] in kinds]


def roles() -> list[dict[str, Any]]:
    return [role for golden in GOLDEN for role in objects("ClusterRole", "Role", golden=golden)]


def rules() -> list[dict[str, Any]]:
    return [rule for role in roles() for rule in role["rules"]]


def test_no_rule_has_a_wildcard() -> None:
    assert rules()
    assert not [rule for rule in rules() for words in rule.values() if "*" in words]


def test_nothing_may_read_a_secret_or_a_config_map() -> None:
    may = {resource for rule in rules() for resource in rule["resources"]}
    assert "pods" in may
    assert not may & {"secrets", "configmaps", "serviceaccounts", "pods/exec", "pods/log", "nodes"}


def writers(roles: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Whose role lets them write which status."""
    found: dict[str, set[str]] = {}
    for role in roles:
        for rule in role["rules"]:
            of = {resource for resource in rule["resources"] if resource.endswith("/status")}
            if of and {"patch", "update"} & set(rule["verbs"]):
                found.setdefault(role["metadata"]["name"], set()).update(of)
    return found


def test_people_write_a_status_only_where_a_policy_keeps_the_rest_of_it_for_the_operator() -> None:
    everything = {"churnmodels/status", "trainingruns/status", "driftmonitors/status"}
    people = {"churn-operator-edit": {"churnmodels/status"}, "churn-operator-approver": {"trainingruns/status"}}
    assert writers(roles()) == {"churn-operator": everything} | people
    kinds = {obj["kind"] for obj in objects("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")}
    assert len(kinds) == 2
    off = list(yaml.safe_load_all(render(SMALLEST, "--set=crds.install=false", "--set=approval.policy.enabled=false")))
    assert writers([obj for obj in off if obj["kind"] in {"ClusterRole", "Role"}]) == {"churn-operator": everything}
    assert not [obj for obj in off if "Admission" in obj["kind"]]


def test_no_role_of_the_chart_lets_anybody_change_what_is_asked_of_a_model() -> None:
    may = [rule for rule in rules() if "approve" in rule["verbs"]]
    assert {resource for rule in may for resource in rule["resources"]} == {"trainingruns"}


def test_each_policy_is_bound_and_looks_at_no_namespace_but_those_of_its_operator() -> None:
    policies = {policy["metadata"]["name"] for policy in objects("ValidatingAdmissionPolicy")}
    bindings = objects("ValidatingAdmissionPolicyBinding")
    assert {binding["spec"]["policyName"] for binding in bindings} == policies
    for binding in bindings:
        (where,) = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
        assert where["values"] == ["marketing", "sales"]


def test_with_namespaces_named_only_the_operators_roles_there_write_its_statuses() -> None:
    own = [role for role in roles() if "churn-operator" in writers([role])]
    assert [(role["kind"], role["metadata"].get("namespace")) for role in own] == [
        ("ClusterRole", None),
        ("Role", "marketing"),
        ("Role", "sales"),
    ]


def test_with_namespaces_named_what_is_cluster_wide_only_reads_the_list_of_kinds() -> None:
    """But for what people get by aggregation."""
    own = next(role for role in objects("ClusterRole") if role["metadata"]["name"] == "churn-operator")
    crds = {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"]}
    assert own["rules"] == [crds | {"verbs": ["list", "watch"]}]


def test_every_setting_of_the_operator_is_said_by_the_chart() -> None:
    """All but its ports, which nobody outside the pod chooses."""
    container = containers()["operator"]
    said = {entry["name"]: entry["value"] for entry in container["env"]}
    ports = {f"CHURN_{name.upper()}_PORT": str(port["containerPort"]) for name, port in _ports(container).items()}
    assert set(said) | set(ports) == {f"CHURN_{name.upper()}" for name in Settings.model_fields}
    settings = Settings.from_environment(said)
    assert (settings.health_port, settings.metrics_port) == tuple(int(port) for port in ports.values())
    assert (settings.workers, settings.probe_seconds, settings.log_format) == (16, 2.5, "json")
    assert (settings.api_timeout_seconds, settings.tracking_timeout_seconds) == (20, 10)
    assert (settings.lease, settings.lease_seconds) == ("churn-system/churn-operator", 30)
    assert settings.namespaces == ("marketing", "sales")
    assert settings.prometheuses == ("http://prometheus.monitoring.svc:9090", "https://thanos.example.com/west")
    assert settings.events_sink == "http://broker-ingress.knative-eventing.svc/churn/default"
    labels = (settings.prometheus_namespace_label, settings.prometheus_pod_label)
    assert labels == ("kubernetes_namespace", "kubernetes_pod_name")


def containers() -> dict[str, dict[str, Any]]:
    pods = [deployment["spec"]["template"]["spec"] for deployment in objects("Deployment")]
    return {container["name"]: container for pod in pods for container in pod["containers"]}


def test_what_the_chart_says_to_the_collector_is_understood() -> None:
    environment = {
        entry["name"]: entry.get("value", "a word from a Secret") for entry in containers()["collector"]["env"]
    }
    settings = CollectorSettings.from_environment(environment)
    assert {f"CHURN_COLLECTOR_{name.upper()}" for name in settings.model_fields_set} == set(environment)
    assert (settings.retention_days, settings.buffer_bytes) == (30, 1 << 30)
    assert settings.flush_seconds < settings.settle_seconds
    assert _ports(containers()["collector"])["http"]["containerPort"] == settings.port


def test_no_service_and_no_budget_of_one_deployment_means_the_pods_of_another() -> None:
    pods = {obj["metadata"]["name"]: obj["spec"]["template"]["metadata"]["labels"] for obj in objects("Deployment")}
    for obj in (*objects("Deployment"), *objects("Service"), *objects("PodDisruptionBudget")):
        selector = obj["spec"]["selector"]
        wanted = selector.get("matchLabels", selector).items()
        assert len([name for name, labels in pods.items() if wanted <= labels.items()]) == 1, obj["metadata"]["name"]


def test_without_the_collector_nothing_of_it_is_there() -> None:
    assert "collector" not in render(SMALLEST, "--set=crds.install=false", "--set=collector.enabled=false")


def _ports(container: dict[str, Any]) -> dict[str, Any]:
    return {port["name"]: port for port in container["ports"]}


def test_every_value_is_read_by_a_template() -> None:
    templates = "".join(path.read_text() for path in CHART.rglob("templates/**/*") if path.is_file())
    read = set(re.findall(r"\.Values\.([A-Za-z.]+)", templates)) | {
        "images.operator",
        "images.jobs",
        "images.predictor",
        "images.collector",
    }
    for path in _leaves(yaml.safe_load(FULL.read_text())):
        assert any(f"{path}.".startswith(f"{known}.") for known in read), path


def _leaves(value: Any, path: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [path]
    return [leaf for key, item in value.items() for leaf in _leaves(item, f"{path}.{key}".lstrip("."))]


WRONG_VALUES = {
    "without MLflow's address": ("tracking.uri=null", "at '/tracking/uri'"),
    "with MLflow at no address": ("tracking.uri=mlflow", "at '/tracking/uri'"),
    "with a misspelt value": ("tracking.url=http://mlflow", "additional properties 'url' not allowed"),
    "with files outside the object store": ("storage.uri=/models", "at '/storage/uri'"),
    "with a Secret of no name": ("storage.secretName=", "at '/storage/secretName'"),
    "with no replica": ("replicas=0", "at '/replicas'"),
    "with a Lease too short to be renewed": ("leaseSeconds=1", "at '/leaseSeconds'"),
    "with a namespace of no name": ("watchNamespaces={Marketing}", "at '/watchNamespaces/0'"),
    "with no worker": ("workers=0", "at '/workers'"),
    "with a log in prose": ("logs.format=prose", "at '/logs/format'"),
    "with a retention of no day": ("collector.retentionDays=0", "at '/collector/retentionDays'"),
    "with a Prometheus at no address": ("analysis.prometheus.urls={prometheus}", "at '/analysis/prometheus/urls/0'"),
    "with a password for a Prometheus": (
        "analysis.prometheus.urls={http://me:secret@prometheus}",
        "at '/analysis/prometheus/urls/0'",
    ),
    "with a label of no name": ("analysis.prometheus.podLabel=a-b", "at '/analysis/prometheus/podLabel'"),
    "with events to no address": ("events.sink=broker", "at '/events/sink'"),
    "with a token in the address of events": ("events.sink=http://broker?token=secret", "at '/events/sink'"),
    "with a policy that is neither on nor off": ("approval.policy.enabled=maybe", "at '/approval/policy/enabled'"),
    "with a limit that is none": ("resources.limits.memory=much", "at '/resources/limits/memory'"),
}


@pytest.mark.parametrize(("change", "message"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_values_that_are_wrong_are_refused_by_name(change: str, message: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):
        render(SMALLEST, f"--set={change}")


def test_the_chart_can_be_a_part_of_another(tmp_path: Path) -> None:
    """Helm then hands it `global`, which a strict schema must let pass."""
    parent = tmp_path / "parent"
    (parent / "charts").mkdir(parents=True)
    (parent / "charts/churn-operator").symlink_to(CHART)
    dependency = {"name": "churn-operator", "version": "0.1.0"}
    chart = {"apiVersion": "v2", "name": "parent", "version": "0.1.0", "dependencies": [dependency]}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(chart))
    values = {"global": {"a": 1}, "churn-operator": yaml.safe_load(SMALLEST.read_text())}
    (parent / "values.yaml").write_text(yaml.safe_dump(values))
    assert "name: parent-churn-operator" in helm("template", "parent", parent, "--kube-version=1.32.0")
